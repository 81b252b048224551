"""A batch at work: jobs go to an engine as their turn comes; finished work is kept."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import queue
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..disk.files import write_json
from ..disk.lock import lock
from ..errors import ClipftError, ConfigError, JobsFailed, RunError, TimeUp
from ..figures import pages
from ..progress import write
from . import life
from .attempt import Status, log_of, temporary_folder
from .engine import Engine
from .engines import engine_of
from .forecast import expected_seconds
from .graph import NOTHING, Gate, Order, behind
from .life import sigterm_exits
from .live import Show
from .on_ray import OnRay, as_options
from .overview import write_overview
from .record import (
    DONE,
    FAILED,
    NOT_RUN,
    RUNNING,
    WAITING,
    Ahead,
    Entry,
    read_record,
    reason,
    unknown_kinds,
)
from .spec import Batch, Job, Plan, choose, open_batch

AGAIN = "the same command goes on from what was finished"
TICK = 1.0  # seconds between two looks at the clock and at the jobs that run


def run_batch(  # noqa: PLR0913
    path: Path | str,
    out: Path | str | None = None,
    jobs: int = 0,
    gpus: str = "",
    only: Sequence[str] = (),
    *,
    small: bool = False,
    engine: str | OnRay = "local",
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
        engine: `local`, this machine; or `ray`, a cluster, as the spec's block `ray` says. An
            `OnRay` is that with other values.

    Returns:
        `out`.

    Raises:
        ConfigError: where the spec is wrong.
        MissingExtra: where the engine is not installed.
        RunError: when a run failed (the others are finished first), or another batch writes there.

    Example:
        >>> clipft.run_batch("papermill_runs/nothing.yaml")
        Traceback (most recent call last):
        clipft.errors.ConfigError: ...
    """
    batch = open_batch(path, out, small=small)
    runner = engine_of(engine, batch, jobs=jobs, gpus=gpus)
    command = command_of(path, out, jobs=jobs, gpus=gpus, only=only, small=small)
    command += as_options(engine)
    return work_off(batch, runner, Wish(only=only, command=command))


@dataclass(frozen=True)
class Wish:
    """What of a batch is to be run, and for how long.

    only: see `spec.choose`. retry_failed: what failed, and what needs it, alone. stop_after:
    seconds, 0: no end. command: what makes the batch again, as it is typed.
    """

    only: Sequence[str] = ()
    retry_failed: bool = False
    stop_after: float = 0.0
    command: str = ""


def work_off(batch: Batch, engine: Engine, wish: Wish) -> Path:
    """Run what is left of a batch on an engine, and write its page; returns its folder.

    Raises JobsFailed when a job failed (the others are finished first), TimeUp when the time is up,
    RunError where another driver is at work.
    """
    begun = time.monotonic()
    temporary_folder()  # one line now, not one in every log
    chosen = choose(batch.plan, wish.only)
    with lock(batch.out):
        entries = read_record(batch.plan)
        if wish.retry_failed:
            again = _again(batch.plan, entries)
            chosen = [[job for job in stage if job.number in again] for stage in chosen]
        _say_of_others(entries)
        pages.write_plotlyjs(batch.out)
        with sigterm_exits(), _Driver(batch, engine, chosen, entries) as driver:
            if wish.stop_after:
                driver.deadline = begun + wish.stop_after
            driver.run()
        return _closed(batch, driver, wish.command)


def _again(plan: Plan, entries: dict[int, Entry]) -> set[int]:
    """What failed, and what needs that, and nothing else that is not done."""
    failed = {number for number, entry in entries.items() if entry.state == FAILED}
    not_run = {number for number, entry in entries.items() if entry.state == NOT_RUN}
    others = {number for number, entry in entries.items() if entry.state in (WAITING, RUNNING)}
    gates = {number: plan.gates[number] for number in not_run | others}
    return failed | not_run - behind(gates, others)


def _say_of_others(entries: dict[int, Entry]) -> None:
    """Name what is under way already: by `--job`, or left by a driver on another host."""
    signs = [entry.sign for entry in entries.values() if entry.sign is not None]
    if signs:
        first = signs[0]
        heard = f"heard of {first.age:.0f} s ago"
        write(
            f"{len(signs)} jobs run elsewhere and are waited for, first on {first.where}, {heard}"
        )


def _closed(batch: Batch, driver: _Driver, command: str) -> Path:
    """Write the page of what there is; raises JobsFailed where a job failed."""
    summary = driver.summary()
    try:
        images = write_overview(batch.spec, batch.plan, batch.out, command)
    except ClipftError as error:
        if not summary:
            raise
        images = str(error)  # what failed is said first
    write(images)
    write(f"open {batch.out / 'index.html'}")
    if summary:
        raise JobsFailed(summary)
    return batch.out


def run_job(batch: Batch, number: int, engine: Engine, stop_after: float = 0.0) -> None:
    """Run one job of a batch, whose needs must be done: so schedulers run a batch as an array.

    Raises ConfigError for a number that no job has, RunError where a need is not done or the job
    runs already, JobsFailed where it failed, TimeUp after so many seconds; 0: no end.
    """
    temporary_folder()
    jobs = {job.number: job for job in batch.plan.jobs}
    if number not in jobs:
        raise ConfigError(f"no job {number}: {batch.spec.name} has jobs 1 to {len(jobs)}; --list")
    job = jobs[number]
    if job.done:
        write(f"done already: {job.title}")
        return
    sign = life.read_sign(job.folder / life.RUNNING)
    if sign is not None and sign.lives:
        raise RunError(f"job {number} runs already, on {sign.where}: {job.title}")
    missing = [jobs[need] for need in needs_of(batch.plan, number) if not jobs[need].done]
    if missing:
        first = f"{missing[0].number}, {missing[0].title}"
        problem = f"job {number} needs {len(missing)} jobs that are not done, first {first}"
        raise RunError(f"{problem}; run them first")

    if not (batch.out / pages.PLOTLYJS).exists():
        pages.write_plotlyjs(batch.out)
    with sigterm_exits(), engine:
        future = engine.submit(job)
        _, running = futures.wait([future], stop_after or None)
        if running:
            raise TimeUp(f"time is up for {job.title}; {AGAIN}")
        status = _status_of(job, future)
    write(f"{status['state']:7} {status['seconds']:6.1f} s  {job.title}")
    if status["state"] != "ok":
        why = reason(job, status)
        raise JobsFailed(f"{job.title}: {why} (see {log_of(job)}); {AGAIN}")


def needs_of(plan: Plan, number: int) -> list[int]:
    """The jobs that a job needs itself, in order."""
    found: set[int] = set()
    todo = [plan.gates[number]]
    seen: set[Gate] = set()
    while todo:
        gate = todo.pop()
        if gate in seen or gate is NOTHING:
            continue
        seen.add(gate)
        found.update(gate.jobs)
        todo += gate.gates
    return sorted(found)


def command_of(  # noqa: PLR0913
    path: Path | str,
    out: Path | str | None,
    *,
    jobs: int,
    gpus: str,
    only: Sequence[str],
    small: bool,
    plugins: Sequence[str] = (),
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
    for plugin in plugins:
        words += ["--plugin", plugin]
    return shlex.join(words)


class _Driver:
    """Hands jobs to an engine as their turn comes, and shows how far they are."""

    def __init__(
        self,
        batch: Batch,
        engine: Engine,
        chosen: Sequence[Sequence[Job]],
        entries: dict[int, Entry],
    ):
        self.deadline = math.inf
        self._batch = batch
        self._engine = engine
        self._sign = batch.out / life.DRIVER
        self._touched = 0.0
        wanted = [job for stage in chosen for job in stage]
        self._jobs = {job.number: job for job in wanted if entries[job.number].state != DONE}
        self._count = len(wanted)
        self._failed: list[tuple[Job, Status]] = []
        self._under_way: dict[int, Job] = {}
        self._ended: queue.SimpleQueue[tuple[int, Future[Status]]] = queue.SimpleQueue()

        gates = {number: batch.plan.gates[number] for number in self._jobs}
        self._order = Order(gates, {number: job.tokens for number, job in self._jobs.items()})
        counts = Counter({DONE: len(wanted) - len(self._jobs)})
        self._show = Show(batch.spec.name, counts, self._ahead(entries))

    def _ahead(self, entries: dict[int, Entry]) -> Ahead:
        plan = self._batch.plan
        unknown = [job for job in unknown_kinds(plan, entries) if job.number in self._jobs]
        ahead = Ahead(expected_seconds(self._batch, unknown))
        for job in plan.jobs:
            if job.number in self._jobs:
                ahead.waits(job)
            elif entries[job.number].state == DONE:
                ahead.ended(job, entries[job.number].seconds)
        return ahead

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as begun:
            begun.enter_context(self._show)
            begun.callback(self._sign.unlink, missing_ok=True)
            begun.enter_context(self._engine)
            life.leave_sign(self._sign, os.getpid(), width=self._engine.width)
            self._begun = begun.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *failure: Any) -> None:
        self._begun.__exit__(kind, *failure)
        if kind is SystemExit:  # SIGTERM; after Ctrl-C the command line says it
            write(f"clipft: stopped; {AGAIN}", file=sys.stderr)

    def run(self) -> None:
        """All jobs whose needs are met; raises TimeUp at the deadline.

        Two jobs that make the same run go one after the other: the second finds it made.
        """
        while True:
            while len(self._under_way) < self._engine.width:
                number = self._order.pop()
                if number is None:
                    break
                self._begin(self._jobs[number])
            if not self._under_way:
                return
            self._look()

    def _begin(self, job: Job) -> None:
        self._show.begun(job)
        self._under_way[job.number] = job
        future = self._engine.submit(job)
        future.add_done_callback(functools.partial(self._note, job.number))

    def _note(self, number: int, future: Future[Status]) -> None:
        """Called in whatever thread a job ended in."""
        self._ended.put((number, future))

    def _look(self) -> None:
        """Wait for a job to end, not for long, and look at the clock."""
        now = time.monotonic()
        if now > self.deadline:
            done = self._count - len(self._jobs)
            raise TimeUp(f"time is up, {done} of {self._count} jobs are done; {AGAIN}")
        if now > self._touched + life.BEAT:
            life.touch(self._sign)
            self._touched = now
        try:
            number, future = self._ended.get(timeout=min(TICK, self.deadline - now))
        except queue.Empty:
            return
        finally:
            self._show.refresh(self._engine.width)
        job = self._under_way.pop(number)
        status = _status_of(job, future)
        self._show.ended(job, status["state"], status["seconds"])
        is_ok = status["state"] == "ok"
        self._order.finished(number, ok=is_ok)
        if is_ok:
            del self._jobs[number]
        else:
            self._failed.append((job, status))

    def summary(self) -> str:
        """What failed, in one line; empty where nothing did."""
        if not self._failed:
            return ""
        job, status = min(self._failed, key=lambda failed: failed[0].number)
        count = f"{len(self._failed)} of {self._count} runs failed"
        if self._order.not_run:
            count += f" and {len(self._order.not_run)} that need them were not run"
        why = reason(job, status)
        return f"{count}, first {job.title}: {why} (see {log_of(job)}); {AGAIN}"


def _status_of(job: Job, future: Future[Status]) -> Status:
    """How a job ended; where its engine could not run it, that is written down as its failure."""
    try:
        return future.result()
    except Exception as error:
        why = str(error) if isinstance(error, ClipftError) else f"{type(error).__name__}: {error}"
        status = {"state": "failed", "code": None, "seconds": 0.0, "why": " ".join(why.split())}
        write_json(job.folder / "status.json", status)
        return status
