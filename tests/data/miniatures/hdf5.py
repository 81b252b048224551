"""What clipft and torchvision use of h5py, for where it is missing: arrays in an .npz file."""

from pathlib import Path

import numpy as np


class File:
    """`h5py.File` with arrays as its items; no part of a file is read alone."""

    def __init__(self, path, mode="r"):
        self._path = Path(path)
        self._mode = mode
        self._arrays = {}
        if mode == "r":
            try:
                with self._path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                    self._arrays = dict(arrays)
            except ValueError as error:
                raise OSError(f"Unable to synchronously open file ({error})") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._mode == "w":
            with self._path.open("wb") as file:
                np.savez(file, **self._arrays)

    def __getitem__(self, name):
        return self._arrays[name]

    def __setitem__(self, name, array):
        self._arrays[name] = array

    def __contains__(self, name):
        return name in self._arrays
