"""TODO: docstring."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from .manifests import Manifest


TILE = 48  # pixels of a thumbnail's longer side


def decode(path: Path) -> Image.Image:
    """An image file as RGB; raises ImageError that names the file and what is wrong with it."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise ImageError(f"image missing: {path}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"image unreadable: {path} ({error})") from None


def sample_tiles(
    manifest: Manifest, classes: int = 12, size: int = 64
) -> tuple[list[str], dict[str, list[np.ndarray]]]:
    """Names of some classes, evenly spread, and for each domain one test image of each as uint8 (size, size, 3)."""
    picked = np.linspace(
        0, len(manifest.names) - 1, min(classes, len(manifest.names)), dtype=int
    ).tolist()
    tiles = {}
    for domain in manifest.domains:
        split = manifest.split(f"{domain}/test")
        rows = [split.labels.index(label) if label in split.labels else None for label in picked]
        tiles[domain] = [
            np.full((size, size, 3), 128, np.uint8)  # a class that this domain lacks is a grey tile
            if row is None
            else np.asarray(decode(split.root / split.ids[row]).resize((size, size)))
            for row in rows
        ]
    return [manifest.names[label] for label in picked], tiles


def thumbnail(file: Path) -> bytes | None:
    """An image file as a small WebP, its longer side TILE pixels, or None where it cannot be read."""
    try:
        small = decode(file)
    except ImageError:
        return None
    small.thumbnail((TILE, TILE))
    buffer = io.BytesIO()
    small.save(buffer, "webp", quality=80)
    return buffer.getvalue()


IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
