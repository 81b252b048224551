"""decoder=fast: every file becomes Pillow's pixels, resized to within the rounding."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import noted
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision import transforms
from torchvision.transforms.functional import pil_to_tensor

from clipft.config import Reading
from clipft.data.images import decode, plain_format
from clipft.data.splits import Decoding, Split
from clipft.errors import ConfigError, ImageError, MissingExtra
from clipft.inputs import decoding as decoders
from clipft.inputs.batches import pixel_chunks, train_transform
from clipft.inputs.decoding import Resizing, decode_fast
from clipft.inputs.release import CentralPixels, TrainPixels
from clipft.models.embeddings import extract

FAST = Decoding(decoder="fast")
SEEN = Decoding("viewer", decoder="fast")
WIDTH, HEIGHT = 83, 61


def photo(seed=0, width=WIDTH, height=HEIGHT, channels=3):
    """Waves and noise: edges of every strength."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (5 + 3 * k)) * np.cos(y / (9 + k)) for k in range(channels)]
    noise = rng.normal(0, 20, (height, width, channels))
    return (128 + 110 * np.stack(waves, -1) + noise).clip(0, 255).astype(np.uint8)


RGB = Image.fromarray(photo())
GREY = RGB.convert("L")
CLEAR = Image.fromarray(photo(channels=4))
DEEP = Image.fromarray(photo()[..., 0].astype(np.uint16) * 257)
TURNED = Image.Exif()
TURNED[274] = 6
FILM = {"save_all": True, "append_images": [RGB.rotate(90)]}

KINDS = {  # name -> (format, image, how it is saved, whether torchcodec reads it)
    "jpeg": ("JPEG", RGB, {}, True),
    "jpeg, all colours": ("JPEG", RGB, {"subsampling": 0, "quality": 98}, True),
    "jpeg, progressive": ("JPEG", RGB, {"progressive": True}, True),
    "jpeg, grey": ("JPEG", GREY, {}, True),
    "jpeg, rgb": ("JPEG", RGB, {"keep_rgb": True}, True),
    "jpeg, cmyk": ("JPEG", RGB.convert("CMYK"), {}, False),
    "jpeg, turned": ("JPEG", RGB, {"exif": TURNED}, False),
    "two jpegs": ("MPO", RGB, FILM, False),
    "png": ("PNG", RGB, {}, True),
    "png, grey": ("PNG", GREY, {}, True),
    "png, two colours": ("PNG", RGB.convert("1"), {}, True),
    "png, palette": ("PNG", RGB.convert("P"), {}, True),
    "png, clear": ("PNG", CLEAR, {}, True),
    "png, grey and clear": ("PNG", CLEAR.convert("LA"), {}, True),
    "png, a clear colour": ("PNG", RGB.convert("P"), {"transparency": 3}, True),
    "png, 16 bits": ("PNG", DEEP, {}, False),
    "png, turned": ("PNG", RGB, {"exif": TURNED}, False),
    "png, film": ("PNG", RGB, FILM, False),
    "webp": ("WEBP", RGB, {}, True),
    "webp, lossless": ("WEBP", RGB, {"lossless": True}, True),
    "webp, clear": ("WEBP", CLEAR, {}, True),
    "webp, turned": ("WEBP", RGB, {"exif": TURNED}, False),
    "webp, film": ("WEBP", RGB, FILM, False),
    "avif": ("AVIF", RGB, {}, True),
    "avif, grey": ("AVIF", GREY, {}, True),
    "avif, clear": ("AVIF", CLEAR, {}, False),
    "avif, turned": ("AVIF", RGB, {"exif": TURNED}, False),
    "tiff": ("TIFF", RGB, {}, False),
    "bmp": ("BMP", RGB, {}, False),
    "gif": ("GIF", RGB, {}, False),
    "ppm": ("PPM", RGB, {}, False),
}


def saved(kind):
    """The bytes of a kind of file."""
    form, image, how, _ = KINDS[kind]
    buffer = io.BytesIO()
    image.save(buffer, form, **how)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_has_pillows_pixels(tmp_path, kind):
    file = tmp_path / "a.jpg"  # its content counts
    file.write_bytes(saved(kind))
    for how in (FAST, SEEN, replace(FAST, border=3), replace(SEEN, shrink=20)):
        got = decode_fast(file, how)
        assert (got.dtype, got.ndim) == (torch.uint8, 3)
        assert torch.equal(got, pil_to_tensor(decode(file, how)))
    assert bool(plain_format(file.read_bytes(), FAST)) == KINDS[kind][3]


def test_rgb_of_16_bits_goes_by_pillow(tmp_path):
    """Which keeps the high byte; torchcodec rounds. Pillow writes none, so it is made by hand."""
    import struct
    import zlib

    def chunk(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    values = (photo()[:4, :5].astype(">u2") * 257 - 100) & 0xFFFF
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    assert not plain_format((tmp_path / "a.png").read_bytes(), FAST)
    assert torch.equal(
        decode_fast(tmp_path / "a.png", FAST), pil_to_tensor(decode(tmp_path / "a.png"))
    )


def test_heic_goes_by_pillow(tmp_path):
    from pillow_heif import from_pillow

    from_pillow(RGB).save(tmp_path / "a.heic")
    got = decode_fast(tmp_path / "a.heic", FAST)
    assert torch.equal(got, pil_to_tensor(decode(tmp_path / "a.heic")))


def test_a_viewers_colours_and_transparency_go_by_pillow():
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    buffer = io.BytesIO()
    RGB.save(buffer, "JPEG", icc_profile=profile)
    assert (plain_format(buffer.getvalue(), FAST), plain_format(buffer.getvalue(), SEEN)) == (
        "JPEG",
        "",
    )
    for kind in ("png, clear", "png, a clear colour", "webp, clear"):
        assert plain_format(saved(kind), FAST) and not plain_format(saved(kind), SEEN)
    assert plain_format(saved("jpeg"), SEEN) == "JPEG"


@pytest.mark.parametrize("kind", ["jpeg", "jpeg, progressive", "png", "webp", "avif"])
def test_a_damaged_file_is_what_pillow_says_it_is(tmp_path, kind):
    whole = saved(kind)
    rng = np.random.default_rng(0)
    file = tmp_path / "a.png"
    damaged = [whole[:length] for length in rng.integers(0, len(whole), 25)]
    for place in rng.integers(0, len(whole), 25):
        damaged.append(whole[:place] + bytes([rng.integers(256)]) + whole[place + 1 :])
    outcomes = set()
    for content in damaged:
        file.write_bytes(content)
        try:
            want = pil_to_tensor(decode(file))
        except ImageError as error:
            outcomes.add("error")
            with pytest.raises(ImageError, match=f"^{re.escape(str(error))}$"):
                decode_fast(file, FAST)
        else:
            outcomes.add("image")
            assert torch.equal(decode_fast(file, FAST), want)
    assert "error" in outcomes


def test_too_large_and_missing_are_said_as_ever(tmp_path):
    Image.new("RGB", (2000, 1000)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"too large: .*2 megapixels"):
        decode_fast(tmp_path / "a.png", replace(FAST, megapixels=1))
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(ImageError, match=r"image (missing|unreadable)"):
            decode_fast(path, FAST)


# --- resizing


SIZES = [(83, 61), (61, 83), (40, 40), (300, 40), (33, 32), (32, 32), (9, 20), (250, 187)]


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [32, (24, 40)], ids=str)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_models_own_resize(mode, size, interpolation):
    """open_clip's transform of the image, against ours of its pixels."""
    cfg = PreprocessCfg(size=size, resize_mode=mode, interpolation=interpolation, fill_color=77)
    steps = image_transform_v2(cfg, is_train=False).transforms[:-2]
    resizing, theirs = Resizing(steps), transforms.Compose(steps)
    for seed, (width, height) in enumerate(SIZES):
        image = Image.fromarray(photo(seed, width, height))
        want = pil_to_tensor(theirs(image)).int()
        assert torch.equal(pil_to_tensor(resizing(image)).int(), want)
        off = (resizing(pil_to_tensor(image)).int() - want).abs().float()
        is_enlarged = min(width, height) <= 40
        assert off.max() <= (4 if is_enlarged else 1)
        assert is_enlarged or off.mean() < 0.3  # by the sizes


def test_how_far_a_photograph_is_off():
    """As RunConfig.decoder says it: 0.5 % of the values, by 1 of 255."""
    steps = image_transform_v2(PreprocessCfg(size=224), is_train=False).transforms[:-2]
    image = Image.fromarray(photo(0, 500, 375))
    off = Resizing(steps)(pil_to_tensor(image)).int() - pil_to_tensor(Resizing(steps)(image)).int()
    assert off.abs().max() == 1
    assert 0.001 < (off != 0).float().mean() < 0.01


def test_crops_are_the_same_draws():
    """v1's transforms of an image, as they ever were; and of its pixels within the rounding."""
    bicubic = transforms.InterpolationMode.BICUBIC
    plain = transforms.Compose(
        [
            transforms.RandomResizedCrop(32, scale=(0.08, 1), interpolation=bicubic),
            transforms.RandomHorizontalFlip(),
        ]
    )
    ours = train_transform(32, (0.08, 1.0), True)
    off = []
    for seed in range(60):
        image = Image.fromarray(photo(seed, *SIZES[seed % len(SIZES)]))
        made, states = [], []
        for make, given in ((plain, image), (ours, image), (ours, pil_to_tensor(image))):
            torch.manual_seed(seed)
            made.append(make(given))
            states.append(torch.random.get_rng_state())
        assert made[0].tobytes() == made[1].tobytes()
        assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])
        off.append((made[2].int() - pil_to_tensor(made[0]).int()).abs().flatten())
    off = torch.cat(off)
    assert off.max() <= 4
    assert (off > 1).float().mean() < 0.001
    assert off.float().mean() < 0.05


def test_the_releases_resize_takes_either():
    """It rounds nothing, so that both decoders give the same bits."""
    for transform in (CentralPixels((16, 16)), TrainPixels((16, 16), (0.3, 1.0), flip=True)):
        made = []
        for image in (RGB, pil_to_tensor(RGB)):
            torch.manual_seed(0)
            made.append(transform(image))
        assert torch.equal(*made)


# --- a run's


@pytest.fixture
def split(tmp_path):
    for row in range(6):
        Image.fromarray(photo(row)).save(tmp_path / f"{row}.jpg")
    ids = tuple(f"{row}.jpg" for row in range(6))
    return Split("real", "test", tmp_path, ids, (0, 1, 2) * 2, decoding=FAST)


@pytest.fixture
def seen(monkeypatch):
    """The files that go to torchcodec's way."""
    return noted(monkeypatch, "decode_fast")


def test_rows_are_read_by_the_splits_decoder(split, seen):
    steps = image_transform_v2(PreprocessCfg(size=32), is_train=False).transforms[:-2]
    (fast,) = pixel_chunks(split, Resizing(steps))
    assert len(seen) == 6
    (plain,) = pixel_chunks(replace(split, decoding=Decoding()), Resizing(steps))
    assert len(seen) == 6
    assert 0 < (fast.pixels.int() - plain.pixels.int()).abs().max() <= 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_is_one_line(split, workers):
    (split.root / "3.jpg").write_bytes((split.root / "3.jpg").read_bytes()[:-200])
    with pytest.raises(ImageError, match=r"^image unreadable: .*3.jpg \(.*truncated.*; repair it"):
        list(pixel_chunks(split, lambda pixels: pixels[:, :8, :8], Reading(workers=workers)))


def test_a_run_that_says_so_reads_so(world, seen):
    from clipft.runs.run import Run

    run = world.train(steps=2, eval_every=2, decoder="fast")
    of_training = len(seen)
    run.score((1.0,))
    assert 0 < of_training < len(seen)
    assert run.id != world.folder(steps=2, eval_every=2).name
    assert Run.open(run.path).manifest.decoding == run.bench.manifest.decoding == FAST
    assert run.bench.manifest.digest() == world.bench().manifest.digest()


def test_cached_embeddings_are_of_a_decoder(world):
    run = world.bench()
    plain = run.bench.manifest.split("real/test")
    fast = world.bench(decoder="fast").bench.manifest.split("real/test")
    assert plain.decoding.changes() == {} and fast.decoding.changes() == {"decoder": "fast"}
    one, two = extract(run.student, plain), extract(run.student, fast)
    assert not np.array_equal(one.embeddings, two.embeddings)
    np.testing.assert_array_equal(extract(run.student, plain).embeddings, one.embeddings)


def test_runs_of_two_decoders_are_not_combined(world):
    import clipft

    runs = [world.train(steps=2, decoder=decoder).path for decoder in ("pillow", "fast")]
    with pytest.raises(ConfigError, match=r"has decoder 'fast', .* 'pillow'; keep to one"):
        clipft.combine("uniform_soup", runs, {})


# --- where it is not installed, or does not work


def test_without_torchcodec_a_line_says_so_first(world, monkeypatch):
    from clipft.runs import checks

    fast = world.config(decoder="fast")
    monkeypatch.setattr(checks.util, "find_spec", lambda name: None)
    line = r"torchcodec is not installed; it comes with: pip install 'clipft\[fast\]'"
    for ask in (
        lambda: checks.check_training(fast, world.runs),
        lambda: world.train(decoder="fast"),
    ):
        with pytest.raises(MissingExtra, match=line):
            ask()
    assert not world.runs.exists()
    checks.check_training(world.config(), world.runs)


def test_a_torchcodec_of_another_torch_is_one_line(tmp_path, monkeypatch):
    def broken(name):
        raise OSError("undefined symbol: _ZN3c10\nsecond line")

    monkeypatch.setattr(decoders, "import_module", broken)
    decoders._decoders.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"^torchcodec cannot be loaded: undefined symbol"):
            decode_fast(tmp_path / "a.png", FAST)
    finally:
        decoders._decoders.cache_clear()
