"""Temporary names that say who writes them, so that what a killed process left is found and goes.

What is left right after a kill: `.NAME.WHO-PID-xxxx.tmp` beside what was being written. It goes
when NAME is written again, and all of a folder when it is locked again (`lock`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
from pathlib import Path

SAFETENSORS = re.compile(r"\.tmp[A-Za-z0-9]{6}")  # its own temporary file, beside what it saves
OLD = 24 * 3600  # seconds after which nobody of another machine is still writing one file
# An older clipft did not say who.
MARKED = re.compile(r"\.(?P<name>.+)\.(?:(?P<who>[0-9a-f]{6})-(?P<pid>\d+)-)?[^.]*\.tmp")


@functools.cache
def who() -> str:
    """6 letters for the machine, or the container, in which process ids count."""
    place = platform.node()
    with contextlib.suppress(OSError):
        place += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(place.encode()).hexdigest()[:6]


def temporary_prefix(name: str) -> str:
    """How a temporary name begins, beside a file or folder of this name; it ends with .tmp."""
    return f".{name}.{who()}-{os.getpid()}-"


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove what processes that are no more were writing in a folder: of one name; or all, in a
    folder that this process holds.

    What cannot be removed stays. Of another machine's only what is a day older than its folder's
    last change is taken for left.
    """
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if not name and SAFETENSORS.fullmatch(entry.name):
                remove(Path(entry.path))
            if not entry.name.endswith(".tmp"):
                continue
            match = MARKED.fullmatch(entry.name)
            if match is None or (name and match["name"] != name):
                continue
            if match["who"] == who():
                is_left = not is_alive(int(match["pid"]))
            else:  # both times are those of the file system, whatever the machines' clocks say
                is_left = entry.stat().st_mtime < Path(folder).stat().st_mtime - OLD
            if is_left:
                remove(Path(entry.path))


def remove(path: Path, *, stays: bool = True) -> None:
    """Remove a file, a link, or a folder with all that is in it.

    What cannot be removed stays; without `stays` that is an OSError.
    """
    with contextlib.suppress(OSError) if stays else contextlib.nullcontext():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=stays)
        else:
            path.unlink(missing_ok=True)
