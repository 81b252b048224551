"""What a process changes in a folder, as the kernel tells it: nothing of the process is changed."""

import contextlib
import ctypes
import os
import select
import struct
import time
from pathlib import Path

MODIFY, CLOSE_WRITE, MOVED_TO, CREATE, DELETE = 0x2, 0x8, 0x80, 0x100, 0x200
IS_FOLDER = 0x40000000
EVENTS = MODIFY | CLOSE_WRITE | MOVED_TO | CREATE | DELETE
HEAD = struct.Struct("iIII")
TURN = 0.05  # seconds after which the process is asked whether it is over

libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """The changes under a folder, in folders that are made later too; `seen` counts them."""

    def __init__(self, folder: Path):
        self._file = libc.inotify_init1(os.O_NONBLOCK)
        self._folders: dict[int, Path] = {}
        self.seen = 0
        self._add(folder)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def until(self, count: int, job, seconds: float = float("inf")) -> bool:
        """Wait for so many changes, or so long; False where the job was over before."""
        end = time.monotonic() + seconds
        while self.seen < count:
            left = end - time.monotonic()
            if left <= 0:
                return True
            ready, _, _ = select.select([self._file], [], [], min(TURN, left))
            if ready:
                self._read(count)
            elif job.is_over:
                return False
        return True

    def _read(self, count: int) -> None:
        content = os.read(self._file, 1 << 16)
        at = 0
        while at < len(content):
            number, mask, _, length = HEAD.unpack_from(content, at)
            at += HEAD.size
            name = content[at : at + length].rstrip(b"\0").decode()
            at += length
            self.seen += 1
            if mask & IS_FOLDER and mask & (CREATE | MOVED_TO) and number in self._folders:
                self._add(self._folders[number] / name)
            if self.seen >= count:
                return

    def _add(self, folder: Path) -> None:
        number = libc.inotify_add_watch(self._file, os.fsencode(folder), EVENTS)
        if number < 0:  # it is gone again
            return
        self._folders[number] = folder
        # What was made in it before it was watched.
        with contextlib.suppress(OSError):
            for entry in list(os.scandir(folder)):
                if entry.is_dir(follow_symlinks=False):
                    self._add(folder / entry.name)
