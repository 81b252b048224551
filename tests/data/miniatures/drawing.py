"""Small images that miniature data sets are made of, and what tests of all of them ask."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 32


def pixels(label: int, number: int, size: int = SIZE) -> np.ndarray:
    """(size, size, 3) uint8: a colour for the label, noise for the number; no two are the same."""
    noise = np.random.default_rng([label, number]).normal(0, 25, (size, size, 3))
    colour = np.array([40 + 37 * label % 160, 40 + 91 * label % 160, 120])
    return (colour + noise).clip(0, 255).astype(np.uint8)


def draw(file: Path, label: int, number: int, size: int = SIZE) -> None:
    """Write an image, and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(label, number, size)).save(file)


def write_all(writers: Mapping[str, Callable[[Path], object]], base: Path) -> Path:
    """Each miniature in a folder of its name below `base`, which CLIPFT_DATA may name."""
    for name, write in writers.items():
        write(base / name)
    return base


def samples(split) -> list[tuple[str, int]]:
    """(path on this disk, label) of a split, in its order, as torchvision's `samples`."""
    pairs = zip(split.ids, split.labels, strict=True)
    return [(str(split.root / path), label) for path, label in pairs]
