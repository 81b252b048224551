"""Images a CPU second, of JPEGs of 500 x 375, in one process: the transform of open_clip against
our rows, by default, with decoder=fast, and from a packed copy. `make bench`.
"""

import time
from dataclasses import replace
from statistics import median

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from clipft.data.packs import place_of
from clipft.data.splits import Split
from clipft.disk import packed
from clipft.inputs.batches import Images
from clipft.inputs.decoding import Resizing

IMAGES = 48
ROUNDS = 5
LEAST = {"ours": 0.85, "fast": 1.6, "packed": 1.2, "packed, fast": 3}  # times open_clip's rate


@pytest.fixture
def split(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    y, x = np.mgrid[:375, :500]
    for row in range(IMAGES):
        waves = [np.sin(x / (9 + row) + k) * np.cos(y / 25 + k) for k in range(3)]
        noise = np.random.default_rng(row).normal(0, 14, (375, 500, 3))
        pixels = (127 + 100 * np.stack(waves, -1) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{row}.jpg", quality=90)
    ids = tuple(f"{row}.jpg" for row in range(IMAGES))
    return Split("real", "train", tmp_path, ids, (0,) * IMAGES)


def rate(read):
    """Images a CPU second."""
    began = time.process_time()
    for row in range(IMAGES):
        read(row)
    return IMAGES / (time.process_time() - began)


def test_images_a_second(split):
    from clipft.data.packs import _images, _key_or_none

    steps = image_transform_v2(PreprocessCfg(size=224), is_train=False).transforms[:-2]
    theirs, ours = Resizing(steps), Resizing(steps)
    fast = replace(split, decoding=replace(split.decoding, decoder="fast"))

    def bare(row):
        with Image.open(split.root / split.ids[row]) as image:
            return pil_to_tensor(theirs(image.convert("RGB")))

    ways = {"bare": bare}
    for name, rows in {"ours": split, "fast": fast}.items():
        ways[name] = Images(rows, ours)._read
    keys = [_key_or_none(split, row) for row in range(IMAGES)]
    images = _images(split, range(IMAGES), keys, [], skip_bad=False)
    place = place_of(split, "real")
    place.mkdir(parents=True)
    packed.add(place, "photographs", images, every=1 << 30)
    for name, rows in {"packed": split, "packed, fast": fast}.items():
        ways[name] = Images(rows, ours)._read

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rates = {name: [] for name in ways}
    for _ in range(ROUNDS):  # alternating
        for name, read in ways.items():
            rates[name].append(rate(read))
    torch.set_num_threads(threads)
    for name, found in rates.items():
        ratios = [one / bare for one, bare in zip(found, rates["bare"], strict=True)]
        spread = f"{min(ratios):.2f} ... {max(ratios):.2f}"
        print(f"\n{name}: {median(found):.0f} images/s, {median(ratios):.2f} ({spread}) times bare")
        assert median(ratios) >= LEAST.get(name, 1)
