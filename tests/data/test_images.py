"""Pixels of images of every kind, against arrays made by hand; and what counts as an image."""

import io
import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from pillow_heif import from_pillow

from clipft import progress
from clipft.data.found import find_images, why_not
from clipft.data.images import (
    any_size,
    as_rgb,
    as_seen,
    decode,
    grey_levels,
    image_files,
    thumbnail,
)
from clipft.data.splits import Decoding
from clipft.errors import ConfigError, ImageError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
SEEN = Decoding("viewer")
WHITE, ORANGE, GREY = (255, 255, 255), (200, 100, 40), (100, 100, 100)


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(progress, "_SAID", set())


def grey(image):
    """The one grey level of each pixel of an RGB image."""
    pixels = np.asarray(image)
    assert pixels.ndim == 3 and (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


# --- grey levels


DEEP = {  # name -> (array, file's ending): all are the ramp
    "16 bits": (RAMP.astype(np.uint16) * 257, "png"),
    "16 bits, TIFF": (RAMP.astype(np.uint16) * 257, "tiff"),
    "16 bits, high byte alone": (RAMP.astype(np.uint16) * 256, "png"),
    "12 bits": (RAMP.astype(np.uint16) * 16 + 15, "png"),
    "10 bits": (RAMP.astype(np.uint16) * 4, "tiff"),
    "8 bits in 16": (RAMP.astype(np.uint16), "png"),
    "32 bits, whole": (RAMP.astype(np.int32) * 257, "tiff"),
    "32 bits, negative": (RAMP.astype(np.int32) * 10 - 1000, "tiff"),
    "32 bits, large": (RAMP.astype(np.int32) * 1_000_000, "tiff"),
    "fractions to 1": (RAMP.astype(np.float32) / 255, "tiff"),
    "fractions to 255": (RAMP.astype(np.float32), "tiff"),
    "fractions to 65535": (RAMP.astype(np.float32) * 257, "tiff"),
}


@pytest.mark.parametrize(("values", "ending"), DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("how", [Decoding(), SEEN], ids=["file", "viewer"])
def test_deep_images_keep_their_levels(tmp_path, values, ending, how):
    """Pillow's own way makes them white: python-pillow/Pillow#2574, #3011, #1108, #5991."""
    Image.fromarray(values).save(tmp_path / f"a.{ending}")
    assert (grey(decode(tmp_path / f"a.{ending}", how)) == RAMP).all()


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I"])
def test_every_order_of_bytes(mode):
    kind = {"I;16B": ">u2", "I": "<i4"}.get(mode, "<u2")
    content = (RAMP.astype(kind) * 257).astype(kind).tobytes()
    raw = "I;32" if mode == "I" else mode
    assert (grey(as_rgb(Image.frombytes(mode, (16, 16), content, "raw", raw))) == RAMP).all()


def test_levels_at_the_ends():
    assert grey_levels(np.full((2, 2), 65535, np.uint16)).tolist() == [[255] * 2] * 2
    assert grey_levels(np.zeros((1, 1), np.float32)).tolist() == [[0]]
    assert grey_levels(np.full((1, 2), -3, np.int32)).tolist() == [[0, 0]]
    assert grey_levels(np.array([[np.nan, 0.5, np.inf]], np.float32)).tolist() == [[0, 128, 0]]


def picture(mode):
    """(an image of ORANGE or GREY in a mode, what it is in RGB)."""
    if mode in ("1", "L", "LA", "La", "I", "F"):
        of = {"1": 1, "LA": (100, 255), "La": (100, 255)}.get(mode, 100)
        return Image.new(mode, (2, 2), of), WHITE if mode == "1" else GREY
    of = {"CMYK": (55, 155, 215, 0), "HSV": (16, 204, 200), "YCbCr": (123, 81, 183)}
    of |= {"RGBA": (*ORANGE, 9), "RGBa": (*ORANGE, 255), "RGBX": (*ORANGE, 7)}
    if mode in of:
        return Image.new(mode, (2, 2), of[mode]), ORANGE
    if mode in ("P", "PA"):
        image = Image.new(mode, (2, 2), 1 if mode == "P" else (1, 9))
        image.putpalette([0, 0, 0, *ORANGE])
        return image, ORANGE
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    return ImageCms.applyTransform(Image.new("RGB", (2, 2), ORANGE), to_lab), ORANGE


MODES = "1 L LA La I F P PA RGBA RGBa RGBX CMYK YCbCr HSV LAB".split()


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_as_it_is_stored(mode):
    image, want = picture(mode)
    found = np.asarray(as_rgb(image)).astype(int)
    assert image.mode == mode and found.shape == (2, 2, 3)
    exact = mode not in ("YCbCr", "HSV", "LAB")  # whose 8 bits are other colours than RGB's
    assert abs(found - want).max() <= (0 if exact else 3)
    if mode not in ("I", "F", "La"):
        assert as_rgb(image).tobytes() == image.convert("RGB").tobytes()  # as open_clip


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in ("RGBA", "PA")])
def test_every_mode_as_it_is_seen(mode):
    image, _ = picture(mode)
    assert as_seen(image).tobytes() == as_rgb(image).tobytes()


# --- as it is stored, or as it is seen


def test_transparency_is_dropped_or_on_white(tmp_path):
    half = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    half.putpixel((1, 0), (0, 100, 200, 51))  # a fifth
    half.save(tmp_path / "a.png")
    assert np.asarray(decode(tmp_path / "a.png")).tolist() == [[[0, 0, 0], [0, 100, 200]]]
    want = [[list(WHITE), [204, 224, 244]]]
    assert np.asarray(decode(tmp_path / "a.png", SEEN)).tolist() == want

    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([0, 0, 0, *ORANGE])
    palette.save(tmp_path / "p.png", transparency=1)
    assert decode(tmp_path / "p.png").getpixel((0, 0)) == ORANGE
    assert decode(tmp_path / "p.png", SEEN).getpixel((0, 0)) == WHITE

    Image.new("LA", (1, 1), (0, 102)).save(tmp_path / "la.png")
    assert decode(tmp_path / "la.png", SEEN).getpixel((0, 0)) == (153, 153, 153)


CORNERS = np.array([[1, 2, 3], [4, 5, 6]], np.uint8) * 40
TURNED = {  # EXIF orientation -> the corners as a viewer shows them
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.T,
    6: CORNERS[::-1].T,
    7: CORNERS[::-1, ::-1].T,
    8: CORNERS.T[::-1],
}


@pytest.mark.parametrize("orientation", TURNED)
def test_photographs_are_upright_where_they_are_seen(tmp_path, orientation):
    """pytorch/vision#7977, fastai/fastai#3565, kohya-ss/sd-scripts#1316."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(CORNERS).save(tmp_path / "a.png", exif=exif)
    assert (grey(decode(tmp_path / "a.png")) == CORNERS).all()
    assert (grey(decode(tmp_path / "a.png", SEEN)) == TURNED[orientation]).all()


def test_damaged_notes_of_a_camera_are_passed_over(tmp_path):
    Image.fromarray(CORNERS).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff", quality=95)
    with warnings.catch_warnings(action="ignore"):
        assert decode(tmp_path / "a.jpg", SEEN).size == (3, 2)


def test_colours_are_those_of_the_profile(tmp_path):
    """A profile in which red and blue are exchanged: only a viewer looks at it."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    profile = profile.replace("sRGB".encode("utf-16-be"), "Mine".encode("utf-16-be"))
    Image.new("RGB", (1, 1), (250, 20, 30)).save(tmp_path / "a.png", icc_profile=bytes(profile))
    assert decode(tmp_path / "a.png").getpixel((0, 0)) == (250, 20, 30)
    seen = decode(tmp_path / "a.png", SEEN).getpixel((0, 0))
    assert np.abs(np.subtract(seen, (30, 20, 250))).max() <= 3
    Image.new("RGB", (1, 1), ORANGE).save(tmp_path / "b.png", icc_profile=b"no profile")
    assert decode(tmp_path / "b.png", SEEN).getpixel((0, 0)) == ORANGE


def test_an_unknown_look():
    with pytest.raises(ConfigError, match="unknown look 'viewr'; did you mean 'viewer'"):
        Decoding("viewr")


# --- large ones


def claims(width, height):
    """A BMP of a few bytes that says that it is so large: its pixels are missing."""
    header = b"BM" + bytes(8) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    size = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    return header + size + b"\1\0\x18\0" + bytes(24)


def test_a_large_image_needs_the_key(tmp_path):
    """open-edge-platform/geti_v2#1486, scalableminds/webknossos-libs#892, cjtu/craterpy#79."""
    (tmp_path / "map.bmp").write_bytes(claims(20000, 10000))
    with pytest.raises(ImageError, match=r"map\.bmp has 200 megapixels; .* megapixels: 200$"):
        decode(tmp_path / "map.bmp")
    with pytest.raises(ImageError, match=r"unreadable: .*truncated"):
        decode(tmp_path / "map.bmp", Decoding(megapixels=200))
    Image.new("1", (12000, 8000), 1).save(tmp_path / "honest.png")  # Pillow warns from 89 on
    assert decode(tmp_path / "honest.png", Decoding(megapixels=96)).size == (12000, 8000)
    with pytest.raises(ImageError, match="96 megapixels; at most 95"):
        decode(tmp_path / "honest.png", Decoding(megapixels=95))


def test_pillows_own_limit_comes_back():
    before = Image.MAX_IMAGE_PIXELS
    inside = threading.Event()
    leave = threading.Event()

    def stay():
        with any_size():
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=stay)
    other.start()
    inside.wait(10)
    with any_size():
        leave.set()
        other.join()
        assert Image.MAX_IMAGE_PIXELS is None
    assert Image.MAX_IMAGE_PIXELS == before


# --- what counts as an image


def small(ending, kind=""):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), ORANGE).save(buffer, kind or Image.registered_extensions()[ending])
    return buffer.getvalue()


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".avif", ".webp", ".tif", ".ppm", ".jp2"])
def test_endings_that_are_read(tmp_path, ending):
    (tmp_path / f"a{ending.upper()}").write_bytes(small(ending))
    assert image_files([tmp_path]) == [tmp_path / f"a{ending.upper()}"]
    assert decode(tmp_path / f"a{ending.upper()}").size == (8, 6)


@pytest.mark.parametrize("name", ["a.heic", "b.HEIF", "c.jpg"])
def test_photographs_of_phones(tmp_path, name):
    from_pillow(Image.new("RGB", (16, 8), ORANGE)).save(tmp_path / name)
    assert image_files([tmp_path]) == [tmp_path / name]
    image = decode(tmp_path / name, SEEN)
    assert image.size == (16, 8)
    assert np.abs(np.subtract(image.getpixel((4, 4)), ORANGE)).max() < 6


def test_a_phones_photograph_without_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    monkeypatch.setattr("clipft.data.images._heif_opener_added", lambda: False)
    with pytest.raises(ImageError, match=r"a\.heic \(to read \.heic: pip install 'clipft\[heic\]'"):
        decode(tmp_path / "a.heic")
    monkeypatch.setattr("clipft.data.found.IMAGES", {".jpg"})
    monkeypatch.setattr("clipft.data.found.UNREAD", {".heic"})
    (line,) = find_images(tmp_path).left_out.lines()
    assert line.startswith("left out, not read: .heic (1); save them as .jpg, or read .heic: pip")


def mixed_folder(root):
    """A folder as people have it: an image in each place where one counts, and all else."""
    for name in ("a.JPG", "x.jpg/b.png", "sub/deep/c.webp"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(small(".png"))
    for name in ("._a.JPG", ".DS_Store", "Thumbs.db", "notes.txt", "d.svg", "README", "e.mp4"):
        (root / name).write_bytes(b"x")
    (root / "empty.jpg").mkdir()
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "f.gif").write_bytes(small(".gif"))
    (root / "linked").symlink_to(elsewhere)
    (root / "g.jpg").symlink_to(elsewhere / "f.gif")
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    return root


def test_all_of_a_folder_is_used_or_named(tmp_path, capsys):
    """pytorch/vision#109, apple/turicreate#644, BiaPyX/BiaPy#125."""
    root = mixed_folder(tmp_path / "photos")
    found = [file.relative_to(root).as_posix() for file in image_files([root])]
    assert found == ["a.JPG", "g.jpg", "linked/f.gif", "sub/deep/c.webp", "x.jpg/b.png"]
    assert capsys.readouterr().err.splitlines() == [
        f"left out, hidden: 2, e.g. {root}/.DS_Store",
        "left out, no image: .db (1), .mp4 (1), .txt (1), without an ending (1)",
        "left out, not read: .svg (1); save them as .jpg",
        f"left out, a folder that is called as an image and holds none: 1, e.g. {root}/empty.jpg",
        f"left out, a link to nowhere: 1, e.g. {root}/gone.jpg",
    ]
    image_files([root])
    assert capsys.readouterr().err == ""  # said once


def test_a_name_in_latin1_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(small(".png"))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).write_bytes(small(".png"))
    found = find_images(tmp_path)
    assert found.images == ["a.png"]
    line = "left out, a name that is not UTF-8: 1, e.g. caf\\udce9.png"
    assert found.left_out.lines() == [line]


def test_named_files_go_by_the_same_rule(tmp_path):
    root = mixed_folder(tmp_path / "photos")
    files = image_files(sorted(root.iterdir()))
    assert [file.name for file in files if file.parent == root] == [
        "README",  # named, and without an ending: its content decides
        "a.JPG",
        "g.jpg",
        "gone.jpg",  # is missing, which is an error of its own
    ]
    with pytest.raises(ImageError, match=r"no image: .*notes\.txt; looked for .*; left out, no im"):
        image_files([root / "notes.txt"])
    with pytest.raises(ImageError, match=r"no image: .*hidden: 1"):
        image_files([Path(root / "._a.JPG")])


def test_the_rule():
    for ending in (".txt", ".csv", ".mp4", ".json", ".zip", ".gz", ".py"):
        assert why_not(ending, named=True) == why_not(ending) == "no image"
    assert (why_not("", named=True), why_not("")) == ("", "no image")
    assert (why_not(".17", named=True), why_not(".ico", named=True)) == ("", "")
    assert why_not(".nef", named=True) == why_not(".svg") == "not read"


def test_thumbnails_are_as_the_model_sees_the_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (96, 48), ORANGE).save(tmp_path / "a.jpg", exif=exif)
    sizes = [
        Image.open(io.BytesIO(thumbnail(tmp_path / "a.jpg", how))).size
        for how in (Decoding(), SEEN, Decoding(megapixels=1))
    ]
    assert sizes == [(48, 24), (24, 48), (48, 24)]
    assert thumbnail(tmp_path / "a.jpg", Decoding(megapixels=-1)) is None
