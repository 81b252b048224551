"""Image files, read by Pillow: the pixels of one, and small versions to look at."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from ..errors import ImageError, first_line
from ..progress import say
from .found import HEIF, HEIF_EXTRA, IMAGES, named_images
from .severities import disturbed_size
from .splits import Decoding, Split, SplitName

if TYPE_CHECKING:
    from .manifests import Manifest

TILE = 48  # pixels of a thumbnail's longer side
DEPTHS = (8, 10, 12, 14, 16)  # bits of cameras, scanners and their files


Decoded = Image.Image
Transform = Callable[[Any], Any]  # of an image or its pixels, uint8 (3, H, W), to one of these


def decode(
    path: Path, decoding: Decoding = Decoding(), content: bytes | None = None
) -> Image.Image:
    """An image file as RGB, by Pillow; raises ImageError that names the file and what is wrong.

    content: of the file, where it was read already.
    """
    image = _read(path, decoding, content)
    return image if decoding.made is None else decoding.made.apply(image)


def _read(path: Path, decoding: Decoding, content: bytes | None) -> Image.Image:
    try:
        with any_size(), _opened(path, content) as image:
            _check_size(image, path, decoding.megapixels)
            seen = as_seen(image) if decoding.look == "viewer" else as_rgb(image)
            return shrunk(_within(seen, decoding.border, path), decoding.shrink)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"image missing: {path}") from None
    except Exception as error:  # of a damaged file Pillow's readers raise anything
        raise ImageError(f"image unreadable: {path} ({first_line(error)})") from None


def as_image(pixels: np.ndarray) -> Image.Image:
    """Pixels (H, W, 3), uint8, as an image of its own."""
    return Image.fromarray(pixels)


def size_of(path: Path) -> tuple[int, int] | None:
    """Width and height that an image's file states; None where it is unreadable."""
    try:
        with any_size(), _opened(path, None) as image:
            return image.size
    except Exception:  # of a damaged file Pillow's readers raise anything
        return None


def decoded_size(path: Path, decoding: Decoding = Decoding()) -> tuple[int, int]:
    """Width and height of what `decode` makes of a file, without its pixels where they are plain.

    Raises ImageError as `decode` does, but for damage behind the file's first bytes.
    """
    try:
        with any_size(), _opened(path, None) as image:
            size = _plain_size(image, decoding)
    except Exception:  # of a damaged file Pillow's readers raise anything; `decode` names it
        size = None
    return decode(path, decoding).size if size is None else size


def _plain_size(image: Image.Image, decoding: Decoding) -> tuple[int, int] | None:
    """Width and height that a file's first bytes say of the image; None where they may not."""
    if image.format not in PLAIN or decoding.border:
        return None
    if decoding.look == "viewer" and image.getexif().get(ExifTags.Base.Orientation) not in UPRIGHT:
        return None
    size = shrunk_size(image.size, decoding.shrink)
    return size if decoding.made is None else disturbed_size(size)


def _within(image: Image.Image, border: int, path: Path) -> Image.Image:
    """An image without its border."""
    if not border:
        return image
    if min(image.size) <= 2 * border:
        size = f"{image.width} x {image.height}"
        raise ImageError(f"image too small: {path} is {size} with a border of {border} pixels")
    return image.crop((border, border, image.width - border, image.height - border))


def shrunk(image: Image.Image, shorter: int) -> Image.Image:
    """An image whose shorter side has so many pixels at most, by Pillow's bicubic; 0: as it is."""
    size = shrunk_size(image.size, shorter)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def shrunk_size(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Width and height that `shrunk` makes of an image of this width and height."""
    least = min(size)
    if not shorter or least <= shorter:
        return size
    width, height = (max(shorter, round(side * shorter / least)) for side in size)
    return width, height


def plain_format(content: bytes, decoding: Decoding) -> str:
    """JPEG, PNG, WEBP or AVIF, where any reader makes of a file's content what `decode` does.

    "" where `decode` is to read it: another format, an image that is too large, a border,
    shrinking or a made shift, and what readers take differently: a camera's note of its direction,
    more than 8 bits, CMYK, films, transparency of AVIF; for a viewer all transparency and profiles
    of colours.
    """
    if decoding.border or decoding.shrink or decoding.made is not None:
        return ""
    try:
        with any_size(), Image.open(io.BytesIO(content), formats=list(PLAIN)) as image:
            if image.width * image.height // 10**6 > decoding.megapixels:
                return ""
            return _format_if_plain(image, content, decoding.look)
    except Exception:  # of a damaged file Pillow's readers raise anything; `decode` names it
        return ""


PLAIN = {  # format -> modes that every reader makes the same RGB of
    "JPEG": {"RGB", "L"},
    "PNG": {"RGB", "L", "P", "1", "RGBA", "LA"},
    "WEBP": {"RGB", "RGBA"},
    "AVIF": {"RGB", "L"},
}
DEPTH_OF_PNG = 24  # the byte that holds its bits
UPRIGHT = (None, 1)  # what a camera notes of it


def _format_if_plain(image: Image.Image, content: bytes, look: str) -> str:
    kind = image.format or ""
    is_deep = kind == "PNG" and content[DEPTH_OF_PNG] > 8
    is_film = getattr(image, "is_animated", False)
    notes = Image.Image.getexif(image)  # that of PNG would decode all of it
    is_turned = notes.get(ExifTags.Base.Orientation) not in UPRIGHT
    if image.mode not in PLAIN.get(kind, ()) or is_deep or is_film or is_turned:
        return ""
    if look == "viewer":
        odd = {"icc_profile", "transparency"} & image.info.keys()
        return "" if odd or image.mode in TRANSPARENT else kind
    return kind


def _opened(path: Path, content: bytes | None) -> Image.Image:
    def open_it() -> Image.Image:
        return Image.open(path if content is None else io.BytesIO(content))

    try:
        return open_it()
    except UnidentifiedImageError:
        if _heif_opener_added():  # by its content: phones' .heic files are also called .jpg
            return open_it()
        if path.suffix.lower() in HEIF:
            raise ImageError(f"image unreadable: {path} (to read .heic: {HEIF_EXTRA})") from None
        raise


@cache
def _heif_opener_added() -> bool:
    """Whether Pillow can read HEIC from here on."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _check_size(image: Image.Image, path: Path, megapixels: int) -> None:
    own = image.width * image.height // 10**6
    if own > megapixels:
        wanted = f"at most {megapixels}, which a manifest can raise, e.g. megapixels: {own}"
        raise ImageError(f"image too large: {path} has {own} megapixels; {wanted}")


_no_limit = threading.Lock()
_without_limit = 0  # how many ask for no limit just now
_usual_limit: int | None = None


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """Lift Pillow's own limit of pixels: `decode` has its own, and a crop of an image needs none.

    The limit is one number of the whole process, so it comes back when the last has left.
    """
    global _without_limit, _usual_limit
    with _no_limit:
        if not _without_limit:
            _usual_limit = Image.MAX_IMAGE_PIXELS
            Image.MAX_IMAGE_PIXELS = None
        _without_limit += 1
    try:
        yield
    finally:
        with _no_limit:
            _without_limit -= 1
            if not _without_limit:
                Image.MAX_IMAGE_PIXELS = _usual_limit


# --- made up


def made_photograph(seed: int, width: int = 500, height: int = 375) -> Image.Image:
    """An image that is as much work to decode and resize as a photograph, but shows nothing.

    Smooth shapes of every size, faint where they are small, and a little noise: as a JPEG of
    quality 90 it has 1.5 to 3 bits a pixel.
    """
    draw = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 128.0)
    for cells in (2, 4, 8, 16, 32, 64, 128):
        shapes = draw.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        smooth = Image.fromarray(shapes).resize((width, height), Image.Resampling.BICUBIC)
        pixels += (np.asarray(smooth) - 127.5) * 0.8 / cells**0.4
    pixels += draw.normal(0, 4, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


# --- colours


def as_rgb(image: Image.Image) -> Image.Image:
    """An image as open_clip reads it, `convert("RGB")`: as it is stored, without transparency.

    But grey images of more than 8 bits keep their levels, see `grey_levels`; `convert` makes all
    above 255 white.
    """
    if _is_deep(image):
        return Image.fromarray(grey_levels(np.asarray(image))).convert("RGB")
    if (
        image.mode == "La"
    ):  # grey, multiplied by its transparency; on the way to RGB it has to be LA
        image = image.convert("LA")
    return image.convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    """Whether it is grey with more than 8 bits: I, I;16, I;16B, F ..."""
    return image.mode.startswith("I") or image.mode == "F"


def grey_levels(values: np.ndarray) -> np.ndarray:
    """Grey values of any depth (H, W) as 8 bits (H, W), black and white where the format has them.

    Whole numbers have the smallest usual depth (8, 10, 12, 14 or 16 bits) that holds the brightest,
    and their highest 8 bits are taken; fractions up to 1 are parts of white. What is negative, or
    beyond 16 bits, is stretched from the darkest to the brightest. What is no number is black.
    """
    if values.dtype.kind == "f":
        values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    low, high = values.min(), values.max()
    if low < 0 or high >= 2 ** DEPTHS[-1]:
        low = min(float(low), 0.0)
        spread = float(high) - low
        parts = (values.astype(np.float64) - low) / (spread if spread else 1.0)
        return np.rint(255 * parts).astype(np.uint8)
    if values.dtype.kind == "f" and high <= 1:
        return np.rint(255 * values).astype(np.uint8)
    depth = next(bits for bits in DEPTHS if high < 2**bits)
    return (values // 2 ** (depth - 8)).astype(np.uint8)


def as_seen(image: Image.Image) -> Image.Image:
    """An image as RGB as a viewer shows it: upright, on white where transparent, in sRGB."""
    image = _upright(image)
    if _is_deep(image):
        return as_rgb(image)
    profile = image.info.get("icc_profile")
    if image.mode in TRANSPARENT or "transparency" in image.info:
        image = _on_white(image)
    return _in_srgb(image, profile)


TRANSPARENT = {"RGBA", "LA", "PA", "RGBa", "La"}


def _upright(image: Image.Image) -> Image.Image:
    """Turned as the camera says that it was held."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # of damaged notes of a camera Pillow raises anything; viewers pass over them
        return image


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours as the image's own profile means them; phones often take them in Display P3."""
    if profile:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(own).lower():
                srgb = ImageCms.createProfile("sRGB")
                seen = ImageCms.profileToProfile(image, own, srgb, outputMode="RGB")
                return as_rgb(image) if seen is None else seen
        except (OSError, ImageCms.PyCMSError):
            pass  # a damaged profile, or one of another kind of image
    return as_rgb(image)


# --- small versions


def thumbnail(file: Path, decoding: Decoding = Decoding(), size: int = TILE) -> bytes | None:
    """An image file as a WebP whose longer side has `size` pixels at most; None where it is
    unreadable.
    """
    try:
        small = decode(file, decoding)
    except ImageError:
        return None
    small.thumbnail((size, size))
    buffer = io.BytesIO()
    small.save(buffer, "webp", quality=80)
    return buffer.getvalue()


def coarser(image: bytes, quality: int) -> bytes:
    """A WebP at a lower quality, 0 to 100."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(image)) as opened:
        opened.save(buffer, "webp", quality=quality)
    return buffer.getvalue()


def image_files(paths: Sequence[Path | str]) -> list[Path]:
    """The files, and the images in folders, as one list; raises ImageError where there is none.

    What is left out is said, see `found`.
    """
    given = [Path(path) for path in paths]
    files, left_out = named_images(given)
    say(left_out.lines())
    if files:
        return files
    if not given:
        raise ImageError("no image given; name files or folders")
    folders = [path for path in given if path.is_dir()]
    what = f"no image in the folder {folders[0]}" if folders else f"no image: {given[0]}"
    why = "".join(f"; {line}" for line in left_out.lines())
    raise ImageError(f"{what}; looked for {', '.join(sorted(IMAGES))}{why}")


def sample_tiles(
    manifest: Manifest, classes: int = 12, size: int = 64
) -> tuple[list[str], dict[str, list[np.ndarray]]]:
    """Small test images of some classes, one of each domain, for `contact_sheet_figure`.

    Only these images are read; of an EmojiShift that is not on disk yet only these are rendered.

    Arguments:
        manifest: the data set, see `load_manifest`.
        classes: how many, evenly spread over all.
        size: pixels of a side.

    Returns:
        The names of the classes; and domain -> an image (size, size, 3), uint8, of each of them. A
        class that a domain lacks is a grey tile there.

    Raises:
        ImageError: where a file is missing or unreadable.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> names, tiles = clipft.sample_tiles(run.manifest, classes=3)
        >>> names
        ['apple', 'bee', 'zebra']
        >>> tiles["sketch"][0].shape
        (64, 64, 3)
    """
    names = manifest.names
    labels = spread(len(names), classes)
    rendered = manifest.first_images(labels, "test")
    tiles = {}
    for domain in manifest.domains:
        if rendered:
            images = rendered[domain]
        else:
            split = manifest.split(str(SplitName(domain, "test")))
            images = [_first_image(split, label) for label in labels]
        tiles[domain] = [tile(image, size) for image in images]
    return [names[label] for label in labels], tiles


def class_tiles(
    manifest: Manifest, name: str, count: int, size: int = 64
) -> dict[str, list[np.ndarray]]:
    """Small test images of one class: domain -> `count` images (size, size, 3), uint8.

    Where a domain has fewer, the rest are grey tiles. Raises ImageError as `sample_tiles` does.
    """
    label = manifest.names.index(name)
    tiles = {}
    for domain in manifest.domains:
        split = manifest.split(str(SplitName(domain, "test")))
        rows = [row for row, own in enumerate(split.labels) if own == label][:count]
        images: list[Image.Image | None] = [_image_of(split, row) for row in rows]
        images += [None] * (count - len(rows))
        tiles[domain] = [tile(image, size) for image in images]
    return tiles


def _first_image(split: Split, label: int) -> Image.Image | None:
    if label not in split.labels:
        return None
    return _image_of(split, split.labels.index(label))


def _image_of(split: Split, row: int) -> Image.Image:
    name = split.ids[row]
    return decode(split.root / name, split.decoding.of(name))


def spread(classes: int, shown: int = 12) -> list[int]:
    """Some labels, evenly spread over all."""
    return np.linspace(0, classes - 1, min(shown, classes), dtype=int).tolist()


def tile(image: Image.Image | None, size: int = 64) -> np.ndarray:
    """A small square of an image, (size, size, 3), uint8; grey where there is none."""
    if image is None:
        return np.full((size, size, 3), 128, np.uint8)
    return np.asarray(image.resize((size, size)))
