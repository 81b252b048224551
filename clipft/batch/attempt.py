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
import time
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen, TimeoutExpired
from typing import Any

from ..disk.files import write_json
from .machine import provenance
from .spec import Job

TAIL = 4096  # bytes of a log that are looked at
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
        if self.gpu:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpu
        return environment


class Attempts:
    """Tries that are under way in this process's threads; `stop` ends them all."""

    def __init__(self) -> None:
        self._alive: dict[int, Popen] = {}

    def run(self, job: Job, share: Share) -> Status:
        """Run a job's process to its end; returns what is kept of it as status.json."""
        job.folder.mkdir(parents=True, exist_ok=True)
        write_json(job.folder / "params.json", job.parameters)
        begun = time.time()
        command = [sys.executable, "-m", "clipft.batch.notebook", job.notebook, job.folder]
        with tempfile.TemporaryDirectory(prefix="ipy-") as home, log_of(job).open("w") as file:
            env = share.environment(home)
            # The job reads an end when this process is no more, however that came, and ends too.
            pipes = {"stdin": PIPE, "stdout": file, "stderr": STDOUT}
            with Popen(command, **pipes, env=env, start_new_session=True) as process:
                self._alive[process.pid] = process
                state = _wait(process, deadline=begun + (share.timeout or math.inf))
                del self._alive[process.pid]

        seconds = round(time.time() - begun, 1)
        status = {"state": state, "code": process.returncode, "seconds": seconds, "gpu": share.gpu}
        status |= {"host": platform.node()} | provenance(share.gpu)
        write_json(job.folder / "status.json", status)
        return status

    def stop(self) -> None:
        """Ask every process that is under way to end; each `run` returns then."""
        for process in list(self._alive.values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def lost(job: Job, reason: str, seconds: float) -> Status:
    """What is kept of a job whose end nobody saw; the reason becomes the last line of its log."""
    job.folder.mkdir(parents=True, exist_ok=True)
    with log_of(job).open("a") as file:
        file.write(f"\n{reason}\n")
    status = {"state": "failed", "code": None, "seconds": round(seconds, 1), "gpu": ""}
    write_json(job.folder / "status.json", status)
    return status


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


def _wait(process: Popen, *, deadline: float) -> str:
    """How a process ended: ok, failed, or timeout where it was stopped at its deadline."""
    left = deadline - time.time()
    try:
        return "ok" if process.wait(None if math.isinf(left) else max(0, left)) == 0 else "failed"
    except TimeoutExpired:
        _stop(process)
        return "timeout"
    except BaseException:  # whoever waits was interrupted, as Ray does to a task
        _stop(process)
        raise


def _stop(process: Popen) -> None:
    """End a process and its children; after ten seconds without asking."""
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutExpired):
        process.wait(10)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
