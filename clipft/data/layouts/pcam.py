"""PatchCamelyon: images and labels in arrays of HDF5 files, which are taken out once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigError, MissingExtra, first_line
from .arrays import Arrays, taken_out
from .asked import Asked, Rows

BATCH = 256  # images that are held in memory at once
FILES = "camelyonpatch_level_2_split_{part}_{what}.h5"
OF_PARTS = (("train", "train"), ("val", "valid"), ("test", "test"))


def pcam(asked: Asked) -> dict[str, Rows]:
    """Train, val and test, in the order of the arrays."""
    parts = {}
    for part, spelled in OF_PARTS:
        files = [asked.file(FILES.format(part=spelled, what=what)) for what in ("x", "y")]
        parts[part] = taken_out(asked, part, files, lambda own=files: _pair(*own))
    return parts


def _pair(images: Path, labels: Path) -> Arrays:
    with _open(labels, "y") as array:
        return InPieces(images), array[:].reshape(-1).astype(np.int64)


class InPieces:
    """The images of a file as an array to walk through: those of train are 7 GB."""

    def __init__(self, file: Path):
        self.file = file
        with _open(file, "x") as array:
            self.shape: tuple[int, ...] = array.shape
            self.dtype: np.dtype = array.dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        with _open(self.file, "x") as array:
            for start in range(0, len(self), BATCH):
                yield from array[start : start + BATCH]


@contextmanager
def _open(file: Path, name: str) -> Iterator[Any]:
    """An array of an HDF5 file; raises ConfigError where there is none, MissingExtra for h5py."""
    try:
        h5py = import_module("h5py")
    except ImportError:
        raise MissingExtra("h5py", "hdf5") from None
    try:
        opened = h5py.File(file, "r")
    except OSError as error:
        fault = f"{file} cannot be read as an HDF5 file: {first_line(error)}"
        raise ConfigError(f"{fault}; wanted: what the .gz holds; download it again") from None
    with opened:
        if name not in opened:
            raise ConfigError(f"{file} holds no {name}; wanted: one of PatchCamelyon's files")
        yield opened[name]
