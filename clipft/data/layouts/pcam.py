"""PatchCamelyon: images and labels in arrays of HDF5 files, which are taken out once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from ...config import digest
from ...disk.files import atomic_folder, cache_dir
from ...errors import ConfigError, MissingExtra, first_line
from ...progress import progress_bar
from .asked import Asked, Rows

BATCH = 256  # images that are held in memory at once
PER_FOLDER = 1000
FILES = "camelyonpatch_level_2_split_{part}_{what}.h5"
OF_PARTS = (("train", "train"), ("val", "valid"), ("test", "test"))


def pcam(asked: Asked) -> dict[str, Rows]:
    """Train, val and test; the images become PNG files in the cache, in the order of the arrays."""
    parts = {}
    for part, spelled in OF_PARTS:
        images = asked.file(FILES.format(part=spelled, what="x"))
        labels = _labels(asked, asked.file(FILES.format(part=spelled, what="y")))
        rows = parts[part] = Rows(root=_taken_out(images, len(labels)))
        for number, label in enumerate(labels):
            rows.add(_path(number), label)
    return parts


def _path(number: int) -> str:
    return f"{number // PER_FOLDER:04d}/{number:06d}.png"


def _labels(asked: Asked, file: Path) -> list[int]:
    """The label of each image; raises ConfigError where one is none of the classes."""
    with _open(file, "y") as array:
        labels = array[:].reshape(-1).tolist()
    for number, label in enumerate(labels):
        if not 0 <= label < len(asked.folders):
            fault = f"{file}: image {number} has label {label}"
            raise ConfigError(f"{fault}; wanted: 0 to {len(asked.folders) - 1}")
    return labels


def _taken_out(file: Path, count: int) -> Path:
    """The folder of the images of a file, in the cache; they are written on first use.

    Raises ConfigError where it does not hold as many images as there are labels.
    """
    from PIL import Image

    state = file.stat()
    stamp = digest([file.name, state.st_size, state.st_mtime_ns], 8)
    place = cache_dir() / f"patchcamelyon-{stamp}"
    with _open(file, "x") as array:
        if len(array) != count:
            fault = f"{file} holds {len(array)} images, and there are {count} labels"
            raise ConfigError(f"{fault}; wanted: both files of one download")
        if array.ndim != 4 or array.shape[3] != 3 or array.dtype != "uint8":
            fault = f"{file} holds {array.dtype} of shape {tuple(array.shape)}"
            raise ConfigError(f"{fault}; wanted: uint8 (images, height, width, 3)")
        if place.is_dir():
            return place
        with atomic_folder(place, instead="set CLIPFT_CACHE to another folder") as temporary:
            bar = progress_bar(_one_by_one(array), f"images of {file.name}", "image")
            for number, image in enumerate(bar):
                target = temporary / _path(number)
                target.parent.mkdir(exist_ok=True)
                Image.fromarray(image).save(target)
    return place


def _one_by_one(array: Any) -> Iterator[Any]:
    """The images of an array, which is read in pieces."""
    for start in range(0, len(array), BATCH):
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
