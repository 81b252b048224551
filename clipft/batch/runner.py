"""A batch at work: jobs go to an engine as their turn comes; finished work is kept."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn

from ..disk.lock import lock
from ..errors import RunError
from ..figures import pages
from ..progress import write
from .attempt import Status, log_of, percent, tail
from .engine import Engine
from .engines import engine_of
from .notebook import sigterm_exits
from .on_ray import OnRay, as_options
from .overview import write_overview
from .spec import Job, Spec, choose, in_small, place_of, plan, read_spec

AGAIN = "the same command goes on from what was finished"


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
        path: the spec, see `papermill_runs/*.yaml`.
        out: where it all goes; None for out/NAME beside the spec.
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
    command = _command(path, out, jobs=jobs, gpus=gpus, only=only, small=small)
    command += as_options(engine)
    path = Path(path)
    spec = read_spec(path)
    if small:
        spec = in_small(spec, path.parent)
    out = place_of(spec, path, out)
    stages = plan(spec, path.parent, out)
    chosen = choose(stages, only)
    planned = itertools.chain.from_iterable(chosen)
    runner = engine_of(engine, spec, out, planned=planned, jobs=jobs, gpus=gpus)

    with lock(out):
        pages.write_plotlyjs(out)
        total = sum(len(stage) for stage in chosen)
        with sigterm_exits(), _Driver(spec, runner, total) as driver:
            for stage in chosen:
                driver.run(stage)
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


class _Driver:
    """Hands jobs to an engine as their turn comes, and shows how far they are."""

    def __init__(self, spec: Spec, engine: Engine, total: int):
        self.timeout = spec.timeout
        self.engine = engine
        self.made: set[str] = set()  # runs that earlier stages made

        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, console=Console())
        self.all = self.progress.add_task(spec.name, total=total)
        self.tasks: dict[Path, TaskID] = {}  # bars of the jobs that run, by folder

    def __enter__(self) -> Self:
        self.engine.__enter__()
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *failure: object) -> None:
        self.engine.__exit__(kind, *failure)
        self.progress.stop()
        if kind is SystemExit:  # SIGTERM; after Ctrl-C the command line says it
            write(f"clipft: stopped; {AGAIN}", file=sys.stderr)

    def run(self, stage: list[Job]) -> None:
        """All jobs of one stage; raises RunError that names the log of the first that failed.

        Two jobs that make the same run go one after the other: the second finds it made.
        """
        to_do = [job for job in stage if not job.done]
        self.progress.advance(self.all, len(stage) - len(to_do))
        states: dict[Path, str] = {}
        under_way: dict[Future[Status], Job] = {}
        being_made: set[str] = set()
        while to_do or under_way:
            for job in list(to_do):
                makes = _made_by(job) - self.made
                if len(under_way) >= self.engine.width or makes & being_made:
                    continue
                to_do.remove(job)
                being_made |= makes
                self.tasks[job.folder] = self.progress.add_task(job.title, total=100)
                under_way[self.engine.submit(job)] = job

            ended, _ = wait(under_way, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in ended:
                job = under_way.pop(future)
                being_made -= _made_by(job)
                states[job.folder] = self._ended(job, future.result())
            for job in under_way.values():
                self.progress.update(self.tasks[job.folder], completed=percent(log_of(job)) or 0)
        self.made.update(itertools.chain.from_iterable(_made_by(job) for job in stage))
        failed = [job for job in stage if states.get(job.folder, "ok") != "ok"]
        if failed:
            raise RunError(self._summary(failed, states, len(stage)))

    def _ended(self, job: Job, status: Status) -> str:
        """Say how a job ended; returns its state."""
        self.progress.remove_task(self.tasks.pop(job.folder))
        self.progress.advance(self.all)
        line = f"{status['state']:7} {status['seconds']:6.1f} s  {job.title}"
        self.progress.console.print(line, highlight=False)
        return status["state"]

    def _summary(self, failed: list[Job], states: dict[Path, str], count: int) -> str:
        first = failed[0]
        log = log_of(first)
        reason = [*tail(log), "no output"][0]
        if states[first.folder] == "timeout":
            reason = f"stopped after {self.timeout:g} s, the spec's timeout"
        of_all = f"{len(failed)} of {count} runs failed"
        return f"{of_all}, first {first.title}: {reason} (see {log}); {AGAIN}"


def _made_by(job: Job) -> set[str]:
    """The runs that a job makes where they are not there, by folder and name."""
    return {f"{job.runs} {run}" for run in job.work.makes}
