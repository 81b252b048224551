"""A folder that one process holds: a second one is refused at once, in one line that says who.

The kernel frees the lock of a process that ends, however it ends; that of a machine that dies is
freed by the server of a network file system. Where a file system has no locks at all, the record
of the holder in `.lock` stands for one: then that of a dead machine is removed by hand.
"""

import contextlib
import errno
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import RunError, StorageError
from ..progress import say
from .files import HELD, LOCK, disk
from .leftovers import is_alive, remove_leftovers, who

# What flock says where the file system has none: NFS mounted without, Lustre, some FUSE.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextlib.contextmanager
def lock(folder: Path | str, *, tidies: bool = True) -> Iterator[None]:
    """Hold a folder for this process, and make it where there is none.

    What killed processes left in it is removed, if it tidies. Raises RunError when another process
    holds it, StorageError where the disk refuses.
    """
    folder = Path(folder)
    file = folder / LOCK
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        guard = FileLock(file, fallback_to_soft=False)
        try:
            guard.acquire(timeout=0)
        except Timeout:
            raise _refusal(folder, _holder(file)) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            _take_without_locks(folder, error)
        else:
            _look_at_record(folder)

    key = os.path.abspath(folder)
    try:
        _write_record(file)
        HELD[key] = _identity(file)
        if tidies:
            remove_leftovers(folder)
        yield
    finally:
        is_ours = HELD.pop(key, None) == _identity(file)
        if is_ours:
            with contextlib.suppress(OSError):
                os.truncate(file, 0)
        guard.release()


def _write_record(file: Path) -> None:
    """Leave in the lock who holds it."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    record = {"host": platform.node(), "pid": os.getpid(), "since": since, "who": who()}
    with disk(file):
        file.write_text(json.dumps(record) + "\n", encoding="utf-8")


def _holder(file: Path) -> dict[str, Any]:
    """Who holds a lock, or left it without releasing it; empty where nobody says so."""
    with contextlib.suppress(OSError, ValueError):
        record = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(record, dict) and {"host", "pid", "since", "who"} <= record.keys():
            return record
    return {}


def _named(holder: dict[str, Any]) -> str:
    return f"pid {holder['pid']} on {holder['host']} since {holder['since']}"


def _refusal(folder: Path, holder: dict[str, Any]) -> RunError:
    by = f" ({_named(holder)})" if holder else ""
    return RunError(
        f"{folder} is being written by another process{by}; wait for it or stop it first"
    )


def _look_at_record(folder: Path) -> None:
    """Say it where another machine never released what this process could lock."""
    holder = _holder(folder / LOCK)
    if holder and holder["who"] != who():
        unreleased = f"{folder} was not released by {_named(holder)}: it was killed"
        say([f"{unreleased}, or this mount has local locks (local_lock, nolock) and two may write"])


def _take_without_locks(folder: Path, error: OSError) -> None:
    """Hold a folder by its record alone; raises RunError where somebody may hold it.

    Two that begin within the same moment are not told apart.
    """
    reason = (error.strerror or str(error)).lower()
    holder = _holder(folder / LOCK)
    if holder and holder["who"] == who() and is_alive(int(holder["pid"])):
        raise _refusal(folder, holder)
    if holder and holder["who"] != who():
        raise StorageError(
            f"{folder} lies on a file system without locks ({reason}) and was last held by"
            f" {_named(holder)}; if that has ended, remove {folder / LOCK}"
        )
    no_locks = f"{folder} lies on a file system without locks ({reason})"
    say([f"{no_locks}: start no second command on it from another machine"])


def _identity(file: Path) -> tuple[int, int] | None:
    """Which file it is; None where it is gone."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
