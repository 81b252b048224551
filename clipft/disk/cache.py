"""What was computed once and can be made again: arrays on disk, memory-mapped, under the hash of their ingredients.

An entry is a folder of .npy files and a meta.json with their checksums. It is written under another name and renamed,
so a reader sees all of it or nothing; of two processes that write one entry at once the first wins. A damaged entry is
found when it is opened and made again. Where the disk refuses, all goes on without it, and one line says so.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import digest
from ..errors import RunError, StorageError
from ..progress import write
from .files import cache_dir, disk, read_json

Arrays = Mapping[str, np.ndarray]
FORMAT = 1  # of the entries; another number finds none of the old ones
META = "meta.json"
_verified: set[tuple[str, int]] = (
    set()
)  # entries whose checksums this process has compared, with their time
_said: list[str] = []  # why the cache is off: said once


@dataclass(frozen=True)
class Entry:
    """One line of `clipft cache`: size in bytes, time of last use in seconds since 1970."""

    kind: str
    title: str
    size: int
    used: float
    path: Path


def folder() -> Path:
    """Where the entries lie, `arrays` in $CLIPFT_CACHE."""
    return cache_dir() / "arrays"


def find(kind: str, key: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
    """The arrays under this key, read-only memory maps, or None. A damaged entry is removed, and a line says so."""
    place = _place(kind, key)
    try:
        if not place.is_dir():
            return None
        arrays = _open(place)
    except PermissionError:  # another user's
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError, RunError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        write(f"the cached {kind} in {place.name} are damaged ({reason}); they are made again")
        shutil.rmtree(place, ignore_errors=True)
        return None
    with contextlib.suppress(OSError):
        os.utime(place)  # the time of last use
    return arrays


def keep(kind: str, title: str, key: Mapping[str, Any], arrays: Arrays) -> Arrays:
    """Write an entry and return it memory-mapped; where the disk refuses, the arrays as they came."""
    place = _place(kind, key)
    try:
        with disk(place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(
                tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}.", suffix=".tmp")
            )
            try:
                sums = {
                    name: _write(temporary / f"{name}.npy", array) for name, array in arrays.items()
                }
                meta = {"kind": kind, "title": title, "key": dict(key), "crc32": sums}
                (temporary / META).write_text(json.dumps(meta), encoding="utf-8")
                os.chmod(temporary, 0o755)
                try:
                    os.rename(temporary, place)
                except OSError as error:
                    if error.errno not in (
                        errno.EEXIST,
                        errno.ENOTEMPTY,
                    ):  # another process was first
                        raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except StorageError as error:
        if not _said:
            _said.append(str(error))
            write(f"the cache is off, all is computed anew: {error}, or set CLIPFT_CACHE")
        return arrays
    return find(kind, key) or arrays


def remember(kind: str, title: str, key: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
    """The arrays under this key; made, and kept, where there are none yet."""
    return find(kind, key) or keep(kind, title, key, make())


def entries() -> list[Entry]:
    """All entries, and the data sets that were rendered, the longest unused first."""
    found = []
    for place in _folders(folder()):
        with contextlib.suppress(RunError, KeyError, TypeError):
            meta = read_json(place / META)
            found.append(
                Entry(meta["kind"], meta["title"], _size(place), place.stat().st_mtime, place)
            )
    for place in _folders(cache_dir()):
        if place != folder():
            found.append(Entry("data set", place.name, _size(place), place.stat().st_mtime, place))
    return sorted(found, key=lambda entry: entry.used)


def prune(days: float = 0) -> list[Entry]:
    """Remove the entries unused for so many days, and what a killed process left behind; returns what was removed.

    Data sets stay: remove their folders by hand. Raises StorageError where the disk refuses.
    """
    before = time.time() - 86400 * days
    old = [entry for entry in entries() if entry.kind != "data set" and entry.used <= before]
    left = [
        place for place in folder().glob(".*.tmp") if place.stat().st_mtime < time.time() - 3600
    ]
    with disk(folder()):
        for place in [*(entry.path for entry in old), *left]:
            shutil.rmtree(place)
    return old


def _place(kind: str, key: Mapping[str, Any]) -> Path:
    return folder() / digest([FORMAT, kind, dict(key)], 24)


def _open(place: Path) -> dict[str, np.ndarray]:
    sums = read_json(place / META)["crc32"]
    arrays = {
        name: np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in sums
    }
    seen = (str(place), (place / META).stat().st_mtime_ns)
    if seen not in _verified:
        for name, expected in sums.items():
            if _crc32(arrays[name]) != expected:
                raise ValueError(f"{name}.npy has another checksum")
        _verified.add(seen)
    return arrays


def _write(file: Path, array: np.ndarray) -> int:
    np.save(
        file, np.ascontiguousarray(array), allow_pickle=False
    )  # not fsynced: the checksum finds a lost write
    return _crc32(array)


def _crc32(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _folders(parent: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (
            place
            for place in sorted(parent.iterdir())
            if place.is_dir() and not place.name.startswith(".")
        )


def _size(place: Path) -> int:
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
