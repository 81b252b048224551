"""The command on batches: run one, or say how it stands."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from ..errors import ConfigError
from ..stops import read_duration
from .app import Plugin
from .terminal_tables import show

if TYPE_CHECKING:
    from ..batch.forecast import Forecast
    from ..batch.on_ray import OnRay
    from ..batch.spec import Batch


class Engines(StrEnum):
    """What runs a batch's jobs."""

    local = "local"
    ray = "ray"


Spec = Annotated[
    str,
    Argument(help="a file, or the name of one in papermill_runs or that comes with clipft: demo"),
]
Jobs = Annotated[
    int, Option(min=0, help="runs side by side; 0: one per GPU, or what the spec says")
]
Only = Annotated[
    list[str] | None, Option(help="only runs with this value, or word in the title; repeatable")
]
Small = Annotated[
    bool, Option("--small", help="as the spec's block small says, into out/NAME_small")
]
DryRun = Annotated[
    bool, Option("--dry-run", help="only say: jobs, what is missing, hours and disk")
]
Status = Annotated[
    bool, Option("--status", help="only say how it stands: what is done, runs, failed, waits")
]
ListJobs = Annotated[bool, Option("--list", help="only list: number, state and title of each job")]
OneJob = Annotated[
    int | None, Option("--job", help="run this one alone, what it needs being done: for job arrays")
]
RetryFailed = Annotated[
    bool, Option("--retry-failed", help="only what failed, and what needs it; else these too")
]
StopAfter = Annotated[
    str, Option(metavar="TIME", help="e.g. 3h50m: end what runs, exit with 75, go on later")
]
Engine = Annotated[
    Engines, Option(help="local: this machine; ray: a Ray cluster, see the spec's block ray")
]
Address = Annotated[
    str | None, Option(help="a running Ray cluster: auto, HOST:PORT, ray://HOST:PORT")
]
GpusPerJob = Annotated[float | None, Option(min=0, help="ray: of a job; 0.5 puts two on a GPU")]
CpusPerJob = Annotated[int | None, Option(min=1, help="ray: of a job")]
Retries = Annotated[int | None, Option(min=0, help="ray: of a job whose worker or node was lost")]
SHOWN = 20  # jobs that `batch --status` shows of each kind


def batch(
    spec: Spec,
    out: Annotated[Path | None, Option(help="default: papermill_runs/out/NAME")] = None,
    jobs: Jobs = 0,
    gpus: Annotated[str, Option(help="ids, e.g. 0,1; default: all that are visible")] = "",
    only: Only = None,
    small: Small = False,
    dry_run: DryRun = False,
    status: Status = False,
    list_jobs: ListJobs = False,
    job: OneJob = None,
    retry_failed: RetryFailed = False,
    stop_after: StopAfter = "",
    engine: Engine = Engines.local,
    address: Address = None,
    gpus_per_job: GpusPerJob = None,
    cpus_per_job: CpusPerJob = None,
    retries: Retries = None,
    plugin: Plugin = None,
) -> None:
    """Run notebooks over a grid of parameters. What is done is skipped, what failed runs again."""
    from ..methods import use_plugins

    use_plugins(plugin or ())
    looks = {"--dry-run": dry_run, "--status": status, "--list": list_jobs}
    check_alone(looks | {"--job": job is not None, "--retry-failed": retry_failed})
    seconds = read_duration(stop_after) if stop_after else 0.0
    if seconds and (dry_run or status or list_jobs):
        raise ConfigError("--stop-after goes with running, which nothing is here")
    if only and (job is not None or status or list_jobs):
        raise ConfigError("--only goes with running and --dry-run alone; --list has the numbers")
    if dry_run:
        from ..batch.forecast import forecast

        _show_forecast(forecast(spec, out, only or (), small=small))
        return

    from ..batch.spec import open_batch

    given = {"address": address, "gpus": gpus_per_job, "cpus": cpus_per_job, "retries": retries}
    asked = _engine(engine, {name: value for name, value in given.items() if value is not None})
    opened = open_batch(spec, out, small=small)
    if status or list_jobs:
        _show_status(opened) if status else _list_jobs(opened)
        return

    from ..batch.engines import engine_of
    from ..batch.on_ray import as_options
    from ..batch.runner import Wish, command_of, run_job, work_off

    side_by_side = 1 if job is not None else jobs
    runner = engine_of(asked, opened, jobs=side_by_side, gpus=gpus)
    if job is not None:
        run_job(opened, job, runner, seconds)
        return
    about: dict[str, Any] = {"jobs": jobs, "gpus": gpus, "only": only or (), "small": small}
    command = command_of(spec, out, **about, plugins=plugin or ()) + as_options(asked)
    wish = Wish(only or (), retry_failed, seconds, command)
    work_off(opened, runner, wish)


def check_alone(given: dict[str, bool]) -> None:
    """Raise ConfigError where more than one of these options is given."""
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1:
        raise ConfigError(f"{' and '.join(names)} do not go together; choose one")


def _show_status(batch: Batch) -> None:
    """Counts, what runs, what failed and why, and how long it will take."""
    from ..batch.forecast import expected_seconds
    from ..batch.live import said
    from ..batch.record import STATES, read_record, reason, standing, unknown_kinds

    entries = read_record(batch.plan)
    expected = expected_seconds(batch, unknown_kinds(batch.plan, entries))
    now = standing(batch, expected, entries)
    counts = ", ".join(f"{now.counts[state]} {state}" for state in STATES if now.counts[state])
    print(f"{now.name}: {counts}")
    if now.driver is not None:
        print(f"its driver: {now.driver.where}; {said(now.seconds_left)}")
    elif now.counts["waiting"] or now.counts["failed"]:
        print("no driver is at work; the same command without --status goes on")
    rows: list[dict[str, Any]] = []
    for row in now.running[:SHOWN]:
        sign = row.entry.sign
        assert sign is not None  # it runs
        begun = datetime.fromtimestamp(sign.since).strftime("%Y-%m-%d %H:%M:%S")
        rows.append({"job": row.job.number, "running": row.job.title, "since": begun})
        rows[-1] |= {"done": row.done, "where": sign.where}
    _show_some(rows, len(now.running))
    rows = []
    for row in now.failed[:SHOWN]:
        rows.append({"job": row.job.number, "failed": row.job.title})
        rows[-1]["why"] = reason(row.job, row.entry.status)
    _show_some(rows, len(now.failed))


def _show_some(rows: list[dict[str, Any]], count: int) -> None:
    if rows:
        show(rows)
    if count > len(rows):
        print(f"and {count - len(rows)} more; all: --list")


def _list_jobs(batch: Batch) -> None:
    """A line a job: its number for `--job`, how it stands, and its title."""
    from ..batch.record import read_record

    entries = read_record(batch.plan)
    for job in batch.plan.jobs:
        print(f"{job.number:<6} {entries[job.number].state:8} {job.title}")


def _engine(engine: Engines, on_ray: dict[str, Any]) -> str | OnRay:
    """What runs the jobs; raises ConfigError for options of Ray without it."""
    from ..batch.on_ray import OPTIONS, OnRay

    if engine is Engines.ray:
        return OnRay(**on_ray)
    if on_ray:
        options = ", ".join(OPTIONS[name] for name in on_ray)
        raise ConfigError(f"{options} is of --engine ray; the engine here is local")
    return engine.value


def _show_forecast(ahead: Forecast) -> None:
    """A table of stages, what is missing, and what the numbers stand on."""
    rows: list[dict[str, Any]] = []
    for number, stage in enumerate(ahead.stages, start=1):
        row = {"stage": f"{number} {stage.notebook}", "jobs": stage.jobs, "done": stage.done}
        row |= {"to do": stage.to_do, "runs to train": stage.trainings}
        rows.append(row | _hours_and_disk(ahead, stage.seconds, stage.size))
    total: dict[str, Any] = {"stage": "all"}
    for key in ("jobs", "done", "to do", "runs to train"):
        total[key] = sum(row[key] for row in rows)
    seconds = sum(stage.seconds for stage in ahead.stages)
    rows.append(total | _hours_and_disk(ahead, seconds, ahead.size))
    show(rows, f"{ahead.name}: nothing is run")
    if ahead.missing:
        show(
            [
                {"missing": row.kind, "name": row.name, "what to do": row.line}
                for row in ahead.missing
            ]
        )
    else:
        print("nothing is missing")
    print(*ahead.notes, sep="\n")
    if seconds:
        print(_wall_clock(ahead))


def _wall_clock(ahead: Forecast) -> str:
    """How long all takes by jobs side by side, and the longest chain of jobs, their limit."""
    *some, (_, chain) = ahead.wall_clock.items()
    told = [f"{_hours(seconds)} with {width}" for width, seconds in some]
    return f"side by side, each on a GPU: {', '.join(told)}; never below {_hours(chain)}"


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f} h" if hours >= 100 else f"{hours:.3g} h"


def _hours_and_disk(ahead: Forecast, seconds: float, size: int) -> dict[str, str]:
    return {ahead.unit: f"{seconds / 3600:,.3g}", "GB": f"{size / 1e9:.3g}"}
