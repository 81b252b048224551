"""One try of a job: a process of its own, its log, and how it ended.

Whatever engine runs a job, here or on another machine, it runs it by this.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen, TimeoutExpired
from typing import Any

from ..disk.files import write_json
from ..disk.lock import lock
from ..errors import ConfigError, RunError
from . import life
from .machine import provenance
from .spec import Job

TAIL = 4096  # bytes of a log that are looked at
STOPPED = "stopped"  # the state of a try that was ended with its batch: it is no failure
SOCKET = 107 - len("/nbk-12345678/k-5")  # characters of a folder for a kernel's sockets, at most
SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # folders that are tried where TMPDIR is too long
WAIT = 1.0  # seconds between two looks whether another process has left a job's folder
Status = dict[str, Any]  # what is kept of a try as status.json


@dataclass(frozen=True)
class Share:
    """What of a machine a job may use.

    gpu: ids as CUDA_VISIBLE_DEVICES has them, "" for what is there. timeout: seconds.
    """

    threads: int
    gpu: str = ""
    timeout: float | None = None

    def environment(self, home: str) -> dict[str, str]:
        """The variables of a job's process: its share of the machine, and an IPython of its own."""
        threads = str(self.threads)
        environment = os.environ | {"CLIPFT_HEADLESS": "1", "PYTHONUNBUFFERED": "1"}
        environment |= {"JUPYTER_PREFER_ENV_PATH": "1", "IPYTHONDIR": home}
        environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        environment["TMPDIR"] = temporary_folder()
        if self.gpu:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpu
        return environment


class Attempts:
    """Tries that are under way in this process's threads; `stop` ends them all."""

    def __init__(self) -> None:
        self._alive: dict[int, tuple[Popen, Path]] = {}
        self._stopping = threading.Event()

    def run(self, job: Job, share: Share) -> Status:
        """Run a job's process to its end; returns what is kept of it as status.json.

        Where another process runs the same job, that one is waited for, and its outcome is this
        one's; what a killed one left behind is ended first.
        """
        job.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:
            self._wait_for_turn(job, held)
            status = job.status
            if status is not None and status["state"] == "ok":  # meanwhile, by another process
                return status
            if self._stopping.is_set():
                return {"state": STOPPED, "seconds": 0.0}
            return self._try(job, share)

    def stop(self) -> None:
        """Ask every process that is under way to end; each `run` returns then."""
        self._stopping.set()
        asked = list(self._alive.values())
        for process, _ in asked:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        if asked:
            late = threading.Timer(life.GRACE, _kill_the_living, [asked])
            late.daemon = True
            late.start()

    def _wait_for_turn(self, job: Job, held: contextlib.ExitStack) -> None:
        """Hold a job's folder, once no other process runs it."""
        sign_file = job.folder / life.RUNNING
        while not self._stopping.is_set():
            try:
                held.enter_context(lock(job.folder))
                break
            except RunError:
                self._stopping.wait(WAIT)

        sign = life.read_sign(sign_file)
        if sign is not None and sign.is_here:
            life.end(job.folder)
        while sign is not None and not sign.is_here and sign.lives and not self._stopping.is_set():
            self._stopping.wait(WAIT)
            sign = life.read_sign(sign_file)

    def _try(self, job: Job, share: Share) -> Status:
        (job.folder / "status.json").unlink(missing_ok=True)
        write_json(job.folder / "params.json", job.parameters)
        begun = time.time()
        with _begun(job, share) as process:
            self._alive[process.pid] = (process, job.folder)
            if self._stopping.is_set():  # in between
                self.stop()
            state = _wait(process, job.folder, deadline=begun + (share.timeout or math.inf))
            del self._alive[process.pid]
        if process.returncode < 0 or state == "timeout":
            life.end(job.folder, seconds=WAIT)  # its kernel had nobody to end it
        if state == "failed" and self._stopping.is_set():
            state = STOPPED

        seconds = round(time.time() - begun, 1)
        status = {"state": state, "code": process.returncode, "seconds": seconds, "gpu": share.gpu}
        if state == "timeout":
            status["why"] = f"stopped after {share.timeout:g} s, the spec's timeout"
        status |= {"host": platform.node()} | provenance(share.gpu)
        write_json(job.folder / "status.json", status)
        (job.folder / life.RUNNING).unlink(missing_ok=True)
        return status


@contextlib.contextmanager
def _begun(job: Job, share: Share) -> Iterator[Popen]:
    """A job's process, which ends with this one: it reads from a pipe that nobody writes to."""
    command = [sys.executable, "-m", "clipft.batch.notebook", job.notebook, job.folder]
    place = temporary_folder()
    with (
        tempfile.TemporaryDirectory(prefix="ipy-", dir=place) as home,
        log_of(job).open("w") as log,
    ):
        env = share.environment(home) | {life.MARK: str(job.folder)}
        with Popen(
            command, stdin=PIPE, stdout=log, stderr=STDOUT, env=env, start_new_session=True
        ) as process:
            sign = job.folder / life.RUNNING
            life.leave_sign(sign, process.pid, gpu=share.gpu, folder=str(job.folder))
            yield process


def temporary_folder() -> str:
    """The folder of temporary files, or another where its name leaves no room for a socket's.

    Raises ConfigError where there is none.
    """
    usual = tempfile.gettempdir()
    for place in (usual, *SHORT):
        if len(os.fsencode(place)) <= SOCKET and os.access(place, os.W_OK | os.X_OK):
            return place
    problem = f"TMPDIR is {usual}, too long for a kernel's sockets, which have 107 characters"
    raise ConfigError(f"{problem}; set TMPDIR to a folder of at most {SOCKET}")


def log_of(job: Job) -> Path:
    """What a job's process wrote."""
    return job.folder / "log.txt"


def tail(log: Path) -> list[str]:
    """The last lines of a log that say something, the last first; each redraw of a bar is one."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        lines = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
        return [line.strip() for line in reversed(lines) if line.strip()]
    return []


def percent(log: Path) -> int | None:
    """How far the bar that a run drew last has come."""
    for line in tail(log):
        head, mark, _ = line.partition("%|")
        words = head.split()
        if mark and words and words[-1].isdecimal():
            return int(words[-1])
    return None


def _wait(process: Popen, folder: Path, *, deadline: float) -> str:
    """How a process ended: ok, failed, or timeout where it was stopped at its deadline."""
    left = deadline - time.time()
    try:
        return "ok" if process.wait(None if math.isinf(left) else max(0, left)) == 0 else "failed"
    except TimeoutExpired:
        _stop(process, folder)
        return "timeout"
    except BaseException:  # whoever waits was interrupted, as Ray does to a task
        _stop(process, folder)
        raise


def _stop(process: Popen, folder: Path) -> None:
    """End a process and its children; after some time without asking."""
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutExpired):
        process.wait(life.GRACE)
    if process.poll() is None:
        life.kill(folder)
        process.wait()


def _kill_the_living(asked: list[tuple[Popen, Path]]) -> None:
    for process, folder in asked:
        if process.poll() is None:
            life.kill(folder)
