"""A rank's part of a batch is that part of the whole batch, bit for bit."""

from dataclasses import replace

import pytest
import torch
from conftest import draw_tree
from PIL import Image

from clipft.config import Reading
from clipft.data.images import decode, decoded_size
from clipft.data.splits import Decoding, Split
from clipft.errors import ImageError
from clipft.inputs import workers
from clipft.inputs.batches import Batch, Stream, train_batches, train_transform
from clipft.inputs.ranks import ALONE, Ranks
from clipft.inputs.release import TrainPixels
from clipft.progress import is_first, progress_bar, write

COUNT = 3


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Split:
    """Images of many sizes and shapes, some of which no crop fits without a second look."""
    root = tmp_path_factory.mktemp("images")
    ids = []
    draw = torch.Generator().manual_seed(1)
    for number in range(14):
        height, width = torch.randint(9, 60, (2,), generator=draw).tolist()
        size = (3, height, 160) if number % 5 == 0 else (3, height, width)
        pixels = torch.randint(256, size, generator=draw, dtype=torch.uint8)
        ids.append(f"{number}.{'png' if number % 2 else 'jpg'}")
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(root / ids[-1])
    return Split("real", "train", root, tuple(ids), tuple(number % 3 for number in range(14)))


def batches_of(split, ranks, transform, reading=Reading(workers=0), **about):
    stream = Stream(len(split), 11, range(5), seed=4, ranks=ranks)
    return list(train_batches(split, transform, stream, reading, **about))


TRANSFORMS = {
    "torchvision's": train_transform(16, (0.08, 1.0), flip=True),
    "unmirrored": train_transform((16, 8), (0.5, 1.0), flip=False),
    "of the release": TrainPixels((16, 16), (0.3, 1.0), flip=True),
}
DECODINGS = {
    "plain": {},
    "fast": {"decoder": "fast"},
    "shrunk": {"shrink": 12},
    "cut": {"border": 1},
}


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("kind", TRANSFORMS)
def test_parts_are_the_batch_of_one_process(split, kind, once, decoding):
    split = replace(split, decoding=Decoding(**DECODINGS[decoding]))
    whole = batches_of(split, ALONE, TRANSFORMS[kind], once=once)
    ranks = [Ranks(rank, COUNT) for rank in range(COUNT)]
    parts = [batches_of(split, rank, TRANSFORMS[kind], once=once) for rank in ranks]
    for batch, *of_ranks in zip(whole, *parts, strict=True):
        joined = Batch.join(of_ranks)
        assert torch.equal(joined.pixels, batch.pixels)
        assert torch.equal(joined.labels, batch.labels) and torch.equal(joined.rows, batch.rows)
        for part, rank in zip(of_ranks, ranks, strict=True):
            assert torch.equal(part.all_rows, batch.rows)
            assert part.sizes(rank) == [len(other.rows) for other in of_ranks] == [3, 4, 4]


def test_parts_without_the_images_that_cannot_be_read(split, tmp_path):
    for name in split.ids:
        (tmp_path / name).write_bytes((split.root / name).read_bytes())
    for name in split.ids[2:5]:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-600])
    spoilt = replace(split, root=tmp_path)
    skipping = Reading(workers=0, skip_bad=True)
    transform = TRANSFORMS["torchvision's"]
    whole = batches_of(spoilt, ALONE, transform, skipping)
    assert any(batch.bad for batch in whole)
    parts = [batches_of(spoilt, Ranks(rank, COUNT), transform, skipping) for rank in range(COUNT)]
    for batch, *of_ranks in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([part.pixels for part in of_ranks]), batch.pixels)
        assert {part.bad for part in of_ranks} == {batch.bad}
        assert all(torch.equal(part.all_rows, batch.rows) for part in of_ranks)
    with pytest.raises(ImageError, match="--skip-bad-images"):
        batches_of(spoilt, Ranks(0, COUNT), transform)


def test_only_its_own_images_are_decoded_by_a_rank(split, decoded):
    batches_of(split, Ranks(2, COUNT), TRANSFORMS["torchvision's"], keep_bytes=0)
    assert len(decoded) == 5 * 4


@pytest.mark.parametrize(("size", "block"), [(0, 1), (1, 1), (2, 1), (10, 1), (10, 4), (513, 256)])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_parts_cover_all_once_in_whole_blocks(size, block, count):
    parts = [Ranks(rank, count).part(size, block) for rank in range(count)]
    assert [place for part in parts for place in part] == list(range(size))
    assert all(part.start % block == 0 for part in parts if part)
    blocks = [-(-len(part) // block) for part in parts]
    assert max(blocks) - min(blocks) <= 1


@pytest.mark.parametrize("look", ["file", "viewer"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "tiff"])
def test_sizes_are_those_of_decoded_images(tmp_path, look, orientation, suffix):
    notes = Image.Exif()
    notes[0x112] = orientation
    file = tmp_path / f"image.{suffix}"
    Image.new("L", (31, 20)).save(file, exif=notes)
    for how in ({}, {"shrink": 8}, {"border": 3}):
        decoding = Decoding(look=look, **how)
        assert decoded_size(file, decoding) == decode(file, decoding).size


def test_what_is_no_image_has_no_size(tmp_path):
    (tmp_path / "image.png").write_bytes(b"none")
    with pytest.raises(ImageError, match="image unreadable"):
        decoded_size(tmp_path / "image.png")


def test_ranks_share_the_cores_of_a_machine(monkeypatch, tmp_path):
    draw_tree(tmp_path, ["real"], ["apple"], 2, 1)
    split = Split("real", "train", tmp_path, ("real/apple/real_000_train0.png",) * 2, (0, 0))
    monkeypatch.setattr(workers, "on_card", lambda _: True)
    monkeypatch.setattr(workers, "_mean_size", lambda _: 1_000_000)
    monkeypatch.setattr(workers, "processors", lambda: 6)
    monkeypatch.setattr(workers, "_room", lambda: 1 << 40)
    counts = {}
    for devices in (1, 2, 8):
        reading = Reading(devices=devices)
        counts[devices] = workers.worker_count(
            reading, split, images=10**6, batch_size=8, training=True
        )
    assert counts == {1: 6, 2: 3, 8: 0}


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"RANK": "3"}, True),  # somebody else's
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "4", "LOCAL_RANK": "0"}, False),
        ({"CLIPFT_LAUNCHED": "1"}, True),
        ({"CLIPFT_LAUNCHED": "1", "LOCAL_RANK": "1"}, False),
    ],
)
def test_the_first_rank_speaks(monkeypatch, capsys, environment, first):
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first() == first
    write("a line")
    assert capsys.readouterr().out == ("a line\n" if first else "")
    assert progress_bar(3, "bar", "step").disable != first
