"""Image files, read by Pillow: what counts as one, its pixels, and small versions to look at."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..errors import ImageError
from .splits import Split, SplitName

if TYPE_CHECKING:
    from .manifests import Manifest

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
TILE = 48  # pixels of a thumbnail's longer side


Decoded = Image.Image
Transform = Callable[[Decoded], Any]  # to an image, or to the pixels of one


def decode(path: Path) -> Image.Image:
    """An image file as RGB; raises ImageError that names the file and what is wrong with it."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise ImageError(f"image missing: {path}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"image unreadable: {path} ({error})") from None


def thumbnail(file: Path) -> bytes | None:
    """An image file as a small WebP, its longer side TILE pixels; None where it is unreadable."""
    try:
        small = decode(file)
    except ImageError:
        return None
    small.thumbnail((TILE, TILE))
    buffer = io.BytesIO()
    small.save(buffer, "webp", quality=80)
    return buffer.getvalue()


def image_files(paths: Sequence[Path | str]) -> list[Path]:
    """The files, and the images in folders, as one list; raises ImageError where there is none."""
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append(path)
            continue
        inside = [file for file in path.rglob("*") if file.suffix.lower() in IMAGES]
        if not inside:
            wanted = ", ".join(sorted(IMAGES))
            raise ImageError(f"no image in the folder {path}; looked for {wanted}")
        files += sorted(inside)
    if not files:
        raise ImageError("no image given; name files or folders")
    return files


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
    labels = np.linspace(0, len(names) - 1, min(classes, len(names)), dtype=int).tolist()
    rendered = manifest.first_images(labels, "test")
    tiles = {}
    for domain in manifest.domains:
        if rendered:
            images = rendered[domain]
        else:
            split = manifest.split(str(SplitName(domain, "test")))
            images = [_first_image(split, label) for label in labels]
        tiles[domain] = [_tile(image, size) for image in images]
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
        images: list[Image.Image | None] = [decode(split.root / split.ids[row]) for row in rows]
        images += [None] * (count - len(rows))
        tiles[domain] = [_tile(image, size) for image in images]
    return tiles


def _first_image(split: Split, label: int) -> Image.Image | None:
    if label not in split.labels:
        return None
    return decode(split.root / split.ids[split.labels.index(label)])


def _tile(image: Image.Image | None, size: int) -> np.ndarray:
    if image is None:
        return np.full((size, size, 3), 128, np.uint8)
    return np.asarray(image.resize((size, size)))
