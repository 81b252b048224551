"""What was computed once and can be made again: arrays under the hash of their ingredients.

An entry is a folder of .npy files, read as memory maps, and a meta.json with their checksums. It
is written under another name and renamed, so a reader sees all of it or nothing; of two processes
that write one entry at once the first wins. A damaged entry is found when it is opened and made
again. Where the disk refuses, all goes on without it, and one line says so.
"""

import contextlib
import functools
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..config import digest
from ..errors import RunError, StorageError, first_line
from ..progress import write
from .files import atomic_folder, cache_dir, disk, read_json
from .packed import FOLDER

Arrays = Mapping[str, np.ndarray]
Key = Mapping[str, Any]

FORMAT = 1  # of the entries; another number finds none of the old ones
META = "meta.json"
DATA_SET = "data set"  # the kind of what was rendered
PACKED = "packed images"
KEPT = (DATA_SET, PACKED)  # kinds that are listed, never pruned
HOUR = 3600  # seconds
DAY = 24 * HOUR


@dataclass(frozen=True)
class Entry:
    """One line of `clipft cache`: size in bytes, time of last use in seconds since 1970."""

    kind: str
    title: str
    size: int
    used: float
    path: Path

    @classmethod
    def at(cls, path: Path, kind: str, title: str) -> Self:
        """What lies in a folder."""
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return cls(kind, title, size=size, used=path.stat().st_mtime, path=path)


class Cache:
    """The entries in `arrays` of a folder; data sets, which others render, lie beside `arrays`.

    An entry has a kind (what its arrays are), a title for the reader, and a key: all that its
    arrays depend on, as JSON has it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.arrays = folder / "arrays"
        self.verified: set[tuple[Path, int]] = set()  # entries checked before, with their time
        self.complained = False  # the disk refused, and that was said once

    def find(self, kind: str, key: Key) -> dict[str, np.ndarray] | None:
        """The arrays under this key, read-only memory maps, or None.

        A damaged entry is removed, and a line says so.
        """
        place = self._place(kind, key)
        try:
            if not place.is_dir():
                return None
            arrays = self._open(place)
        except PermissionError:  # another user's
            return None
        except (OSError, EOFError, ValueError, KeyError, TypeError, RunError) as error:
            reason = first_line(error)
            write(f"the cached {kind} in {place.name} are damaged ({reason}); they are made again")
            shutil.rmtree(place, ignore_errors=True)
            return None

        with contextlib.suppress(OSError):
            os.utime(place)  # the time of last use
        return arrays

    def keep(self, kind: str, title: str, key: Key, arrays: Arrays) -> Arrays:
        """Write an entry, return it memory-mapped; where the disk refuses, the arrays as given."""
        place = self._place(kind, key)
        try:
            with atomic_folder(place) as folder:
                checksums = {name: _write(folder, name, array) for name, array in arrays.items()}
                meta = {"kind": kind, "title": title, "key": dict(key), "crc32": checksums}
                (folder / META).write_text(json.dumps(meta), encoding="utf-8")
        except StorageError as error:
            if not self.complained:
                self.complained = True
                write(f"the cache is off, all is computed anew: {error}, or set CLIPFT_CACHE")
            return arrays

        mapped = self.find(kind, key)
        return arrays if mapped is None else mapped

    def remember(self, kind: str, title: str, key: Key, make: Callable[[], Arrays]) -> Arrays:
        """The arrays under this key; made, and kept, where there are none yet."""
        arrays = self.find(kind, key)
        if arrays is None:
            return self.keep(kind, title, key, arrays=make())
        return arrays

    def entries(self) -> list[Entry]:
        """All entries, and the data sets that were rendered, the longest unused first."""
        entries = []
        for place in _folders(self.arrays):
            with contextlib.suppress(RunError, KeyError, TypeError):
                meta = read_json(place / META)
                entries.append(Entry.at(place, meta["kind"], meta["title"]))

        for place in _folders(self.folder / FOLDER):
            with contextlib.suppress(RunError, KeyError, TypeError):
                entries.append(Entry.at(place, PACKED, read_json(place / META)["title"]))

        for place in _folders(self.folder):
            if place not in (self.arrays, self.folder / FOLDER):
                entries.append(Entry.at(place, DATA_SET, place.name))
        return sorted(entries, key=attrgetter("used"))

    def prune(self, days: float = 0) -> list[Entry]:
        """Remove the entries unused for so many days, and what a killed process left behind.

        Returns the entries that were removed. Data sets stay, and packed images, which no run makes
        again: remove their folders by hand.
        Raises StorageError where the disk refuses.
        """
        now = time.time()
        old = [entry for entry in self.entries() if entry.used <= now - days * DAY]
        unused = [entry for entry in old if entry.kind not in KEPT]

        with disk(self.arrays):
            for entry in unused:
                shutil.rmtree(entry.path)
            for unfinished in self.arrays.glob(".*.tmp"):
                # A younger one may still be written.
                if unfinished.stat().st_mtime < now - HOUR:
                    shutil.rmtree(unfinished)
        return unused

    def _place(self, kind: str, key: Key) -> Path:
        return self.arrays / digest([FORMAT, kind, dict(key)], 24)

    def _open(self, place: Path) -> dict[str, np.ndarray]:
        """The arrays of an entry; raises ValueError where a file is not what was written."""
        checksums = read_json(place / META)["crc32"]
        arrays = {}
        for name in checksums:
            arrays[name] = np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False)

        # Reading all of it is what takes time, so it is done once in a process.
        version = (place, (place / META).stat().st_mtime_ns)
        if version not in self.verified:
            for name, expected in checksums.items():
                if _crc32(arrays[name]) != expected:
                    raise ValueError(f"{name}.npy has another checksum")
            self.verified.add(version)
        return arrays


_cache_of = functools.cache(Cache)  # one object for a folder: checked once, complains once


def default_cache() -> Cache:
    """The cache of $CLIPFT_CACHE: the same object for the same folder within a process."""
    return _off.get() or _cache_of(cache_dir())


class Forgetful(Cache):
    """A cache that holds nothing: all is made anew."""

    def find(self, kind: str, key: Key) -> dict[str, np.ndarray] | None:  # noqa: ARG002
        """None."""
        return None

    def keep(self, kind: str, title: str, key: Key, arrays: Arrays) -> Arrays:  # noqa: ARG002
        """The arrays as given."""
        return arrays


_off: ContextVar[Cache | None] = ContextVar("cache that is off", default=None)


@contextlib.contextmanager
def without_memory() -> Iterator[None]:
    """Within, nothing is taken from the default cache, and nothing is kept there."""
    before = _off.set(Forgetful(cache_dir()))
    try:
        yield
    finally:
        _off.reset(before)


def _write(folder: Path, name: str, array: np.ndarray) -> int:
    """Write an array and return its checksum; not fsynced: the checksum finds a lost write."""
    np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
    return _crc32(array)


def _crc32(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _folders(parent: Path) -> Iterator[Path]:
    """Folders in a folder that may be missing, in order of names; hidden ones are left out."""
    with contextlib.suppress(OSError):
        for place in sorted(parent.iterdir()):
            if place.is_dir() and not place.name.startswith("."):
                yield place
