"""A batch at work: one process per job, judged by its exit code; finished work is kept."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import queue
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen, TimeoutExpired
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn

from ..disk.files import read_json, write_json
from ..disk.lock import lock
from ..errors import RunError
from ..figures import pages
from ..progress import write
from .machine import provenance, visible_gpus
from .notebook import sigterm_exits
from .overview import write_overview
from .shipped import find_spec
from .spec import Job, Spec, choose, in_small, place_of, plan, read_spec

AGAIN = "the same command goes on from what was finished"
TAIL = 4096  # bytes of a log that are looked at


def run_batch(
    path: Path | str,
    out: Path | str | None = None,
    jobs: int = 0,
    gpus: str = "",
    only: Sequence[str] = (),
    *,
    small: bool = False,
) -> Path:
    """Run a spec: notebooks times parameters, a process each, finished ones skipped.

    Leaves notebooks/, runs/, figures/, results.csv and index.html under `out`.

    Arguments:
        path: the spec's file, or a name: `demo` of `papermill_runs/demo.yaml`, here or as it comes
            with clipft.
        out: where it all goes; None for out/NAME beside the spec, papermill_runs/out/NAME for one
            that comes with an installed clipft.
        jobs: how many run side by side; 0 for one per GPU, or what the spec says.
        gpus: ids as in "0,1", one run at a time on each; "" for all that are visible.
        only: words that name the runs wanted, see `batch.spec.choose`; empty for all.
        small: run it as its block `small` says, into out/NAME_small.

    Returns:
        `out`.

    Raises:
        ConfigError: where the spec is wrong.
        RunError: when a run failed (the others are finished first), or another batch writes there.

    Example:
        >>> clipft.run_batch("papermill_runs/nothing.yaml")
        Traceback (most recent call last):
        clipft.errors.ConfigError: ...
    """
    command = _command(path, out, jobs=jobs, gpus=gpus, only=only, small=small)
    path = find_spec(path)
    spec = read_spec(path)
    if small:
        spec = in_small(spec, path.parent)
    out = place_of(spec, path, out)
    stages = plan(spec, path.parent, out)
    chosen = choose(stages, only)

    with lock(out):
        pages.write_plotlyjs(out)
        total = sum(len(stage) for stage in chosen)
        with sigterm_exits(), _Runner(spec, _slots(jobs, gpus, spec.jobs), total) as runner:
            for stage in chosen:
                runner.run(stage)
        images = write_overview(spec, stages, out, command)
    write(images)
    write(f"open {out / 'index.html'}")
    return out


def _command(
    path: Path | str,
    out: Path | str | None,
    *,
    jobs: int,
    gpus: str,
    only: Sequence[str],
    small: bool,
) -> str:
    """The command line that runs the same batch."""
    words = ["clipft", "batch", str(path)]
    if out:
        words += ["--out", str(out)]
    if jobs:
        words += ["--jobs", str(jobs)]
    if gpus:
        words += ["--gpus", gpus]
    for word in only:
        words += ["--only", word]
    if small:
        words.append("--small")
    return shlex.join(words)


def _slots(jobs: int, gpus: str, jobs_of_spec: int) -> list[str]:
    """The runs that go side by side, each with its GPU's id, or "" where there is no GPU."""
    devices = (gpus or visible_gpus()).replace(",", " ").split()
    counts = (jobs, len(devices), jobs_of_spec, min(2, os.cpu_count() or 1))
    count = next(number for number in counts if number)
    return list(itertools.islice(itertools.cycle(devices or [""]), count))


class _Runner:
    """Runs jobs in slots (a slot is a GPU or a share of the cores) and shows how far they are."""

    def __init__(self, spec: Spec, slots: list[str], total: int):
        self.timeout = spec.timeout
        self.threads = max(1, (os.cpu_count() or 1) // len(slots))
        self.slots: queue.SimpleQueue[str] = queue.SimpleQueue()
        for slot in slots:
            self.slots.put(slot)
        self.pool = ThreadPoolExecutor(len(slots))
        self.alive: dict[int, Popen] = {}
        self.made: set[str] = set()  # runs that earlier stages made
        self.held: dict[str, threading.Lock] = {}  # of runs that several jobs of a stage make

        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, console=Console())
        self.all = self.progress.add_task(spec.name, total=total)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in list(self.alive.values()):  # interrupted: no run is left behind
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        self.pool.shutdown()
        self.progress.stop()
        if kind is SystemExit:  # SIGTERM; after Ctrl-C the command line says it
            write(f"clipft: stopped; {AGAIN}", file=sys.stderr)

    def run(self, stage: list[Job]) -> None:
        """All jobs of one stage; raises RunError that names the log of the first that failed.

        Two jobs that make the same run go one after the other: the second finds it made.
        """
        makers = Counter(itertools.chain.from_iterable(_made_by(job) for job in stage))
        shared = [run for run, count in makers.items() if count > 1 and run not in self.made]
        self.held = {run: threading.Lock() for run in shared}
        self.made.update(makers)
        outcomes = zip(stage, self.pool.map(self._run_job, stage), strict=True)
        failed = [job for job, is_done in outcomes if not is_done]
        if not failed:
            return

        first = failed[0]
        log = first.folder / "log.txt"
        reason = [*_tail(log), "no output"][0]
        if read_json(first.folder / "status.json")["state"] == "timeout":
            reason = f"stopped after {self.timeout:g} s, the spec's timeout"
        count = f"{len(failed)} of {len(stage)} runs failed"
        raise RunError(f"{count}, first {first.title}: {reason} (see {log}); {AGAIN}")

    def _run_job(self, job: Job) -> bool:
        """Run a job, unless it is done; returns whether it is done now."""
        if job.done:
            self.progress.advance(self.all)
            return True
        with contextlib.ExitStack() as held:
            for run in sorted(self.held.keys() & _made_by(job)):
                held.enter_context(self.held[run])
            return self._run_in_slot(job)

    def _run_in_slot(self, job: Job) -> bool:
        """Run a job in the next free slot; returns whether it is done now."""
        gpu = self.slots.get()
        task = self.progress.add_task(job.title, total=100)
        try:
            status = self._execute(job, gpu, task)
        finally:
            self.progress.remove_task(task)
            self.slots.put(gpu)
        self.progress.advance(self.all)
        line = f"{status['state']:7} {status['seconds']:6.1f} s  {job.title}"
        self.progress.console.print(line, highlight=False)
        return status["state"] == "ok"

    def _execute(self, job: Job, gpu: str, task: TaskID) -> dict[str, Any]:
        """Run a job's process to its end; returns what is kept of it as status.json."""
        job.folder.mkdir(parents=True, exist_ok=True)
        write_json(job.folder / "params.json", job.parameters)
        log = job.folder / "log.txt"
        begun = time.time()
        command = [sys.executable, "-m", "clipft.batch.notebook", job.notebook, job.folder]
        with tempfile.TemporaryDirectory(prefix="ipy-") as home, log.open("w") as file:
            env = self._environment(home, gpu)
            process = Popen(
                command, stdin=DEVNULL, stdout=file, stderr=STDOUT, env=env, start_new_session=True
            )
            self.alive[process.pid] = process
            state = self._wait(process, log, task, deadline=begun + (self.timeout or math.inf))
            del self.alive[process.pid]

        seconds = round(time.time() - begun, 1)
        status = {"state": state, "code": process.returncode, "seconds": seconds, "gpu": gpu}
        status |= provenance(gpu)
        write_json(job.folder / "status.json", status)
        return status

    def _environment(self, home: str, gpu: str) -> dict[str, str]:
        """The variables of a job's process: its share of the machine, and an IPython of its own."""
        threads = str(self.threads)
        environment = os.environ | {"CLIPFT_HEADLESS": "1", "PYTHONUNBUFFERED": "1"}
        environment |= {"JUPYTER_PREFER_ENV_PATH": "1", "IPYTHONDIR": home}
        environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        if gpu:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        return environment

    def _wait(self, process: Popen, log: Path, task: TaskID, *, deadline: float) -> str:
        """How a process ended: ok, failed, or timeout where it was stopped at its deadline."""
        while time.time() <= deadline:
            with contextlib.suppress(TimeoutExpired):
                return "ok" if process.wait(1.0) == 0 else "failed"
            percent = _percent(log)
            if percent is not None:
                self.progress.update(task, completed=percent)
        _stop(process)
        return "timeout"


def _made_by(job: Job) -> set[str]:
    """The runs that a job makes where they are not there, by folder and name."""
    return {f"{job.runs} {run}" for run in job.work.makes}


def _stop(process: Popen) -> None:
    """End a process and its children; after ten seconds without asking."""
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutExpired):
        process.wait(10)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(log: Path) -> list[str]:
    """The last lines of a log that say something, the last first; each redraw of a bar is one."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        lines = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
        return [line.strip() for line in reversed(lines) if line.strip()]
    return []


def _percent(log: Path) -> int | None:
    """How far the bar that a run drew last has come."""
    for line in _tail(log):
        head, mark, _ = line.partition("%|")
        words = head.split()
        if mark and words and words[-1].isdecimal():
            return int(words[-1])
    return None
