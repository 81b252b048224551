"""Images that lie in arrays: read without running a pickle's code, taken out into files once."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib import format as npy
from PIL import Image

from ...disk.files import atomic_folder
from ...errors import ConfigError, first_line
from ...progress import progress_bar
from ..taken_out import numbered, stamp
from .asked import Asked, Rows

PNG = ".png"
ROWS = "rows.json"  # beside the images: which files they are of, and their labels


class Images(Protocol):
    """Images (N, H, W, 3), uint8: an array, or what is read as it is walked through."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3)."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Of pixels."""
        ...

    @property
    def ndim(self) -> int:
        """4."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


Arrays = tuple[Images, np.ndarray]  # and labels (N,)

# module and name of what a pickle may make: NumPy's arrays and numbers, and bytes
ADMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),
}


class ArraysOnly(pickle.Unpickler):
    """Reads a pickle of arrays, numbers and texts; anything else raises UnpicklingError."""

    def find_class(self, module: str, name: str) -> Any:
        """One of ADMITTED."""
        module = module.replace("numpy.core.", "numpy._core.")  # as NumPy 1 called it
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}; wanted: arrays alone")
        return super().find_class(module, name)


def read_pickle(file: Path) -> dict[str, Any]:
    """A dictionary of arrays as Python 2 pickled it; raises ConfigError for anything else."""
    with _readable(file), file.open("rb") as opened:
        content = ArraysOnly(opened, encoding="latin1").load()
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}, wanted: a dictionary")
        return content


def read_npy(file: Path) -> Any:
    """The array of a .npy file, or the dictionary of arrays that one may hold."""
    with _readable(file), file.open("rb") as opened:
        version = npy.read_magic(opened)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        _, _, dtype = header(opened)
        if dtype.hasobject:
            return ArraysOnly(opened, encoding="latin1").load().item()
    with _readable(file):
        return np.load(file, mmap_mode="r", allow_pickle=False)


def read_npz(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file."""
    with _readable(file), file.open("rb") as opened:
        packed = np.load(opened, allow_pickle=False)
        return {name: packed[name] for name in packed.files}


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn what goes wrong in a file into one line; raises ConfigError."""
    try:
        yield
    except Exception as error:  # of a damaged pickle anything is raised
        raise ConfigError(f"{file}: cannot be read: {first_line(error)}") from None


def taken_out(asked: Asked, part: str, files: Sequence[Path], read: Callable[[], Arrays]) -> Rows:
    """The images of arrays as PNG files in the cache, in the arrays' order; with a bar, once.

    files: what `read` reads; when they change the images are taken out again. Raises ConfigError
    where arrays and labels do not fit.
    """
    inside = f"{asked.domain}/{part}"
    place = asked.cache / inside
    stamps = [[file.name, *stamp(file)] for file in files]

    known = place / ROWS
    made: dict[str, Any] = json.loads(known.read_text("utf-8")) if known.is_file() else {}
    if made.get("made_of") != stamps:
        images, labels = read()
        _check(asked, files, images, labels)
        made = {"made_of": stamps, "labels": labels.tolist()}
        shutil.rmtree(place, ignore_errors=True)
        _write(place, images, made, title=f"images of {asked.domain} {part}")

    labels = made["labels"]
    return Rows([f"{inside}/{numbered(number, PNG)}" for number in range(len(labels))], labels)


def _check(asked: Asked, files: Sequence[Path], images: Images, labels: np.ndarray) -> None:
    """Raise ConfigError where these are no images with labels of the classes.

    files: the first holds the images, the last the labels.
    """
    file = files[0]
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        got = f"{images.dtype} of shape {images.shape}"
        raise ConfigError(f"{file}: images are {got}; wanted: uint8 (N, H, W, 3)")
    if len(images) != len(labels) or not len(labels):
        raise ConfigError(f"{file}: {len(images)} images and {len(labels)} labels; wanted: as many")
    count = len(asked.folders)
    odd = np.flatnonzero((labels < 0) | (labels >= count))
    if len(odd):
        said = f"image {odd[0]} has label {labels[odd[0]]}"
        raise ConfigError(f"{files[-1]}: {said}; wanted: 0 ... {count - 1}")


def _write(place: Path, images: Images, made: dict[str, Any], title: str) -> None:
    with atomic_folder(place, instead="set CLIPFT_CACHE to another folder") as temporary:
        for number, pixels in enumerate(progress_bar(images, title, "image")):
            file = temporary / numbered(number, PNG)
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(file)
        (temporary / ROWS).write_text(json.dumps(made), encoding="utf-8")
