"""What lives: a job's process ends with whoever began it, and is found where it did not.

A process at work for a batch leaves a sign, a small file that says where it runs, and touches it as
long as it lives. On its own host it is also known by a variable of its environment, which its
kernel and all that the kernel starts inherit.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import psutil

from ..disk.files import read_json, write_json
from ..errors import RunError

MARK = "CLIPFT_JOB"  # in the environment of a job's processes: its folder
RUNNING = "running.json"  # the sign of a job's process, in the job's folder
DRIVER = "driver.json"  # that of a batch's driver, in the batch's folder
BEAT = 10.0  # seconds between two touches
SILENT = 120.0  # seconds without a touch seen here: longer than NFS remembers a file's time
GRACE = 30.0  # seconds in which what was asked to end may save what it reached
SAME_START = 2.0  # seconds by which the start of one process may be told differently


@dataclass(frozen=True)
class Sign:
    """Where a process runs, and since when; `age`: seconds since it was touched last."""

    host: str
    pid: int
    started: float  # of the process, as the system says it
    since: float  # of its work
    gpu: str = ""
    width: int = 0  # of a driver: how many jobs it runs side by side
    folder: str = ""  # of a job
    age: float = 0.0

    @property
    def is_here(self) -> bool:
        """Whether it was left by a process of this host."""
        return self.host == platform.node()

    @property
    def lives(self) -> bool:
        """Whether the process is there; on another host, whether it was heard of lately."""
        with contextlib.suppress(psutil.AccessDenied):  # somebody else's: as on another host
            if self.is_here:
                return self._is_there()
        return self.age < SILENT

    def _is_there(self) -> bool:
        """Whether this host has that very process, not another one of its number."""
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if self.folder:  # a clock that was set back moves the starts of all processes
                return process.environ().get(MARK) == self.folder
            return abs(process.create_time() - self.started) < SAME_START
        except psutil.NoSuchProcess:
            return False

    @property
    def where(self) -> str:
        """Host, process and GPU in words."""
        return f"{self.host}, process {self.pid}" + (f", GPU {self.gpu}" if self.gpu else "")


def leave_sign(file: Path, pid: int, *, gpu: str = "", width: int = 0, folder: str = "") -> None:
    """Write down where a process of this host runs."""
    started = math.nan
    with contextlib.suppress(psutil.Error):
        started = psutil.Process(pid).create_time()
    place = {"host": platform.node(), "pid": pid, "started": started, "since": time.time()}
    write_json(file, place | {"gpu": gpu, "width": width, "folder": folder})


def read_sign(file: Path) -> Sign | None:
    """The sign that lies there; None where there is none, or none that can be read."""
    try:
        touched = file.stat().st_mtime
        return Sign(**read_json(file), age=max(0.0, time.time() - touched))
    except (OSError, RunError, TypeError):
        return None


def touch(file: Path) -> None:
    """Say that its process lives; nothing where the sign was taken away."""
    with contextlib.suppress(OSError):
        os.utime(file)


# --- to end in order


@contextlib.contextmanager
def sigterm_exits() -> Iterator[None]:
    """SIGTERM leaves by way of every `finally`, with code 143; in the main thread only.

    So does SIGHUP, with 129, where nobody else listens to it: a terminal that is closed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # not under nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, _leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


@contextlib.contextmanager
def leashed(folder: Path) -> Iterator[None]:
    """In a job's process: end, with its kernel, when whoever began it is gone.

    Standard input is a pipe that nothing is written to: it closes with the other end.
    """
    ended = threading.Event()
    for work in (_hold, _beat):
        threading.Thread(target=work, args=(folder, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        if not _is_held():
            (folder / RUNNING).unlink(missing_ok=True)


def _is_held() -> bool:
    """Whether the one who began this process is still there, to write down how it ended."""
    os.set_blocking(0, False)
    try:
        return os.read(0, 1) != b""
    except BlockingIOError:
        return True


def _hold(folder: Path, ended: threading.Event) -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock the interpreter wants at its end
        pass
    if ended.is_set():
        return
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    kill(folder)


def _beat(folder: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        touch(folder / RUNNING)


# --- to end what is left


def processes_of(folder: Path) -> list[psutil.Process]:
    """The processes of this host that work for a job: its own, its kernel, the kernel's."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(folder):
                found.append(process)
    return found


def kill(folder: Path) -> None:
    """End all that works for a job, without asking; this process too, last, where it is one."""
    own = None
    for process in processes_of(folder):
        if process.pid == os.getpid():
            own = process
            continue
        with contextlib.suppress(psutil.Error):
            process.kill()
    if own is not None:
        own.kill()


def end(folder: Path, seconds: float = GRACE) -> None:
    """Wait until nothing works for a job any more; what has not ended in time is ended.

    All are asked at once: a job's process lost the one who began it, and may not have noticed.
    """
    left = processes_of(folder)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, living = psutil.wait_procs(left, timeout=seconds)
    if living:
        kill(folder)
        psutil.wait_procs(living, timeout=seconds)
