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
from uuid import uuid4

import numpy as np

from ..config import digest
from ..errors import RunError, StorageError, first_line
from ..progress import write
from .files import atomic_folder, cache_dir, disk, read_json
from .leftovers import remove_leftovers
from .packed import FOLDER

Arrays = Mapping[str, np.ndarray]
Key = Mapping[str, Any]

FORMAT = 1  # of the entries; another number finds none of the old ones
META = "meta.json"
DATA_SET = "data set"  # the kind of what was rendered
PACKED = "packed images"
KEPT = (DATA_SET, PACKED)  # kinds that are listed, never pruned
BLOCK = 1 << 24  # bytes that are read at once
DAY = 24 * 3600  # seconds


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


@dataclass(frozen=True)
class Entered:
    """What is said of an entry beside its arrays."""

    kind: str
    title: str
    key: Key

    def write_meta(self, folder: Path, checksums: Mapping[str, int]) -> None:
        """Leave it, and the arrays' checksums, beside the arrays."""
        meta = {"kind": self.kind, "title": self.title, "key": dict(self.key)}
        content = json.dumps(meta | {"crc32": dict(checksums)})
        (folder / META).write_text(content, encoding="utf-8")


class Draft:
    """An array of the cache that is written by rows, in order, and never held.

    Within `with`; at its end it becomes an entry if all rows are there, else nothing is left of it.
    Where the disk refuses, all goes on without it, and one line says so.
    """

    def __init__(self, cache: "Cache", entered: Entered, shape: tuple[int, int]):
        self._cache = cache
        self._entered = entered
        self._shape = shape
        self._rows = 0
        self._checksum = 0
        self._open = contextlib.ExitStack()
        self._folder = Path()
        self._file: Any = None
        self._refused = False

    def __enter__(self) -> Self:
        return self

    def add(self, rows: np.ndarray) -> None:
        """The next rows (n, D)."""
        if self._refused:
            return
        content = np.ascontiguousarray(rows, np.float32).tobytes()
        try:
            with disk(self._cache.arrays):
                file = self._file or self._begin()
                file.write(content)
        except StorageError as error:
            self._refuse(error)
            return
        self._rows += len(rows)
        self._checksum = zlib.crc32(content, self._checksum)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._file is None or self._refused:
            return
        if error is not None or self._rows != self._shape[0]:
            self._drop()
            return
        try:
            with disk(self._cache.arrays):
                self._file.close()
                self._entered.write_meta(self._folder, {self._entered.kind: self._checksum})
                self._open.close()
        except StorageError as refusal:
            self._refuse(refusal)

    def _begin(self) -> Any:
        place = self._cache.place(self._entered.kind, self._entered.key)
        self._folder = self._open.enter_context(atomic_folder(place))
        self._file = (self._folder / f"{self._entered.kind}.npy").open("wb")
        header = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        return self._file

    def _drop(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):
            self._file.close()
        unfinished = InterruptedError("not all rows came")
        with contextlib.suppress(StorageError):
            self._open.__exit__(InterruptedError, unfinished, None)

    def _refuse(self, error: StorageError) -> None:
        self._refused = True
        self._cache.complain(error)
        if self._file is not None:
            self._drop()


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
        place = self.place(kind, key)
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
        place = self.place(kind, key)
        try:
            with atomic_folder(place) as folder:
                checksums = {name: _write(folder, name, array) for name, array in arrays.items()}
                Entered(kind, title, key).write_meta(folder, checksums)
        except StorageError as error:
            self.complain(error)
            return arrays

        mapped = self.find(kind, key)
        return arrays if mapped is None else mapped

    def replace(self, kind: str, title: str, key: Key, arrays: Arrays) -> None:
        """Write an entry in place of an older one under this key."""
        place = self.place(kind, key)
        old = place.with_name(f".{place.name}.{uuid4().hex}.tmp")
        with contextlib.suppress(OSError):
            # First out of sight: nobody reads one half of each.
            place.rename(old)
        self.keep(kind, title, key, arrays)
        shutil.rmtree(old, ignore_errors=True)

    def draft(self, kind: str, title: str, key: Key, shape: tuple[int, int]) -> "Draft":
        """An entry of one fp32 array of this shape, called as its kind, that is written by rows."""
        return Draft(self, Entered(kind, title, key), shape)

    def remember(self, kind: str, title: str, key: Key, make: Callable[[], Arrays]) -> Arrays:
        """The arrays under this key; made, and kept, where there are none yet."""
        arrays = self.find(kind, key)
        if arrays is None:
            return self.keep(kind, title, key, arrays=make())
        return arrays

    def complain(self, error: StorageError) -> None:
        """Say once that the disk refused."""
        if not self.complained:
            self.complained = True
            write(f"the cache is off, all is computed anew: {error}, or set CLIPFT_CACHE")

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
        remove_leftovers(self.arrays)
        return unused

    def place(self, kind: str, key: Key) -> Path:
        """The folder of an entry, there or not."""
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
                if _crc32_of_file(place / f"{name}.npy", arrays[name]) != expected:
                    raise ValueError(f"{name}.npy has another checksum")
            self.verified.add(version)
        return arrays


_cache_of = functools.cache(Cache)  # one object for a folder: checked once, complains once


def default_cache() -> Cache:
    """The cache of $CLIPFT_CACHE: the same object for the same folder within a process."""
    return _off.get() or _cache_of(cache_dir())


class NoDraft(Draft):
    """Rows that are not kept."""

    def add(self, rows: np.ndarray) -> None:
        """Nothing."""


class Forgetful(Cache):
    """A cache that holds nothing: all is made anew."""

    def find(self, kind: str, key: Key) -> dict[str, np.ndarray] | None:  # noqa: ARG002
        """None."""
        return None

    def keep(self, kind: str, title: str, key: Key, arrays: Arrays) -> Arrays:  # noqa: ARG002
        """The arrays as given."""
        return arrays

    def draft(self, kind: str, title: str, key: Key, shape: tuple[int, int]) -> Draft:
        """One that keeps nothing."""
        return NoDraft(self, Entered(kind, title, key), shape)


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


def _crc32_of_file(file: Path, mapped: np.ndarray) -> int:
    """The checksum of a mapped array's numbers; read by blocks, so that none of them stays."""
    if not isinstance(mapped, np.memmap):
        return _crc32(mapped)
    checksum = 0
    with file.open("rb") as opened:
        opened.seek(mapped.offset)
        while block := opened.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _folders(parent: Path) -> Iterator[Path]:
    """Folders in a folder that may be missing, in order of names; hidden ones are left out."""
    with contextlib.suppress(OSError):
        for place in sorted(parent.iterdir()):
            if place.is_dir() and not place.name.startswith("."):
                yield place
