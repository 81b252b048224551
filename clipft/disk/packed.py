"""Images in one file: pixels of uint8 one after the other, and an index of where each begins.

`pixels` only grows; `index.npy`, replaced when it is whole, names what is whole in it. So a kill
leaves what the last index names, and a reader sees no half image.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .files import atomic, disk, write_json

FOLDER = "packed"  # in the cache
PIXELS, INDEX, META = "pixels", "index.npy", "meta.json"
ROW = np.dtype([("key", "<u8"), ("start", "<i8"), ("height", "<i4"), ("width", "<i4")])
CHANNELS = 3
Added = tuple[int, int, int, int]  # a row


@dataclass(frozen=True, eq=False)
class Packed:
    """A folder of packed images, to be read: `rows` (N,) of ROW, by rising key."""

    folder: Path
    rows: np.ndarray
    keys: np.ndarray  # of the rows, side by side in memory
    pixels: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> "Packed | None":
        """What lies in a folder; None where nothing is packed there, or it cannot be read."""
        try:
            rows = np.load(folder / INDEX, allow_pickle=False)
            keys = np.ascontiguousarray(rows["key"])
            pixels = np.memmap(folder / PIXELS, np.uint8, mode="r")
        except (OSError, ValueError, EOFError):
            return None
        if end_of(rows) > len(pixels):  # it was cut by somebody
            return None
        return cls(folder, rows, keys, pixels)

    def find(self, key: int) -> np.ndarray | None:
        """The image (H, W, 3) of a key, uint8; None where it is not packed."""
        place = np.searchsorted(self.keys, np.uint64(key))
        if place == len(self.keys) or self.keys[place] != key:
            return None
        _, start, height, width = self.rows[place].tolist()
        shape = (height, width, CHANNELS)
        return self.pixels[start : start + height * width * CHANNELS].reshape(shape)


def end_of(rows: np.ndarray) -> int:
    """Where the last image of an index ends."""
    if not len(rows):
        return 0
    last = rows[rows["start"].argmax()]
    return int(last["start"]) + int(last["height"]) * int(last["width"]) * CHANNELS


def add(folder: Path, title: str, images: Iterable[tuple[int, np.ndarray]], every: int) -> None:
    """Add (key, image (H, W, 3)) to a folder that this process holds; kept after `every` bytes.

    Raises StorageError where the disk refuses; what was kept before stays.
    """
    packed = Packed.open(folder)
    rows = np.empty(0, ROW) if packed is None else packed.rows
    end = end_of(rows)
    fresh: list[Added] = []
    with disk(folder):
        write_json(folder / META, {"title": title})
        with (folder / PIXELS).open("ab") as file:
            os.truncate(folder / PIXELS, end)  # what no index names
            kept = end
            try:
                for key, image in images:
                    height, width, _ = image.shape
                    file.write(np.ascontiguousarray(image).data)
                    fresh.append((key, end, height, width))
                    end += image.size
                    if end - kept >= every:
                        rows, kept, fresh = _kept(folder, file, rows, fresh), end, []
            finally:  # whatever ended it
                if fresh:
                    _kept(folder, file, rows, fresh)


def _kept(folder: Path, file: BinaryIO, rows: np.ndarray, fresh: list[Added]) -> np.ndarray:
    """Write the index of what is in the file by now."""
    file.flush()
    os.fsync(file.fileno())
    rows = np.concatenate([rows, np.array(fresh, ROW)])
    rows = rows[np.argsort(rows["key"], kind="stable")]
    with atomic(folder / INDEX) as temporary, temporary.open("wb") as index:
        np.save(index, rows, allow_pickle=False)
    return rows
