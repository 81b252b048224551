"""A folder that one process holds: a second one is refused at once, in one line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import RunError
from .files import disk


@contextlib.contextmanager
def lock(folder: Path | str) -> Iterator[None]:
    """Hold a folder for this process, and make it where there is none.

    Raises RunError when another process holds it, StorageError where the disk refuses.
    """
    folder = Path(folder)
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        guard = FileLock(folder / ".lock")
        try:
            guard.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"{folder} is being written by another process; wait for it or stop it first"
            ) from None

    try:
        yield
    finally:
        guard.release()
