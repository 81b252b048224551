"""The record of a batch: what is done, runs, failed and waits. It is read from the batch's folder
alone, so from any shell, and from any host that sees the folder.

A job's folder holds status.json when a try has ended, and running.json as long as one is under way.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..disk.files import names_in
from . import life
from .attempt import STOPPED, Status, log_of, percent, tail
from .graph import behind
from .life import Sign, read_sign
from .spec import Batch, Job, Plan

DONE, RUNNING, FAILED, WAITING, NOT_RUN = "done", "running", "failed", "waiting", "not run"
STATES = (DONE, RUNNING, FAILED, NOT_RUN, WAITING)  # not run: a job that it needs failed


@dataclass(frozen=True)
class Entry:
    """How a job stands; `status` of its last try, `sign` of the one that is under way."""

    state: str
    status: Status = field(default_factory=dict)
    sign: Sign | None = None

    @property
    def seconds(self) -> float:
        """What its last try took."""
        return self.status.get("seconds", 0.0)


def read_record(plan: Plan) -> dict[int, Entry]:
    """How every job stands, by its number."""
    entries = {}
    there: dict[Path, set[str]] = {}
    for job in plan.jobs:
        place = job.folder.parent
        if place not in there:
            there[place] = names_in(place)
        is_there = job.folder.name in there[place]
        entries[job.number] = _entry(job) if is_there else Entry(WAITING)

    left = {number: gate for number, gate in plan.gates.items() if entries[number].state != DONE}
    failed = [number for number, entry in entries.items() if entry.state == FAILED]
    for number in behind(left, failed):
        if entries[number].state == WAITING:
            entries[number] = Entry(NOT_RUN, entries[number].status)
    return entries


def _entry(job: Job) -> Entry:
    names = names_in(job.folder)
    sign = read_sign(job.folder / life.RUNNING) if life.RUNNING in names else None
    if sign is not None and sign.lives:
        return Entry(RUNNING, sign=sign)
    if "status.json" not in names:
        return Entry(WAITING)
    status = job.status
    if status is None:  # begun again since
        return Entry(WAITING)
    if status["state"] == "ok":
        return Entry(DONE, status)
    return Entry(WAITING if status["state"] == STOPPED else FAILED, status)


def reason(job: Job, status: Status) -> str:
    """Why a try failed, in one line."""
    return status.get("why") or [*tail(log_of(job)), "no output"][0]


# --- how long it will take


@dataclass
class _Kind:
    """Jobs of one notebook: how many wait, what is foreseen of them, and what others took."""

    waiting: int = 0
    foreseen: float = 0.0
    unforeseen: int = 0
    ended: int = 0
    took: float = 0.0

    @property
    def left(self) -> float | None:
        """Seconds of those that wait; None where nobody knows."""
        if self.ended:
            return self.waiting * self.took / self.ended
        return None if self.unforeseen else self.foreseen


class Ahead:
    """Seconds that are left of a batch: by what jobs of the same notebook took, else as foreseen.

    It is told without a look at every job.
    """

    def __init__(self, expected: Mapping[int, float]):
        self._expected = expected
        self._kinds: dict[str, _Kind] = {}

    def waits(self, job: Job, count: int = 1) -> None:
        """One more job is to be run, or with -1 one less."""
        kind = self._of(job)
        kind.waiting += count
        if job.number in self._expected:
            kind.foreseen += count * self._expected[job.number]
        else:
            kind.unforeseen += count

    def ended(self, job: Job, seconds: float) -> None:
        """Note what a job took."""
        kind = self._of(job)
        kind.ended += 1
        kind.took += seconds

    def seconds(self, running: Iterable[tuple[Job, float]], width: int) -> float | None:
        """Seconds until all is done; None where nobody knows.

        running: jobs and for how many seconds they have been at it. width: jobs side by side.
        """
        parts = [kind.left for kind in self._kinds.values() if kind.waiting]
        longest = 0.0
        for job, elapsed in running:
            kind = self._of(job)
            whole = kind.took / kind.ended if kind.ended else self._expected.get(job.number)
            left = None if whole is None else max(0.0, whole - elapsed)
            longest = max(longest, left or 0.0)
            parts.append(left)
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return max(longest, sum(known) / max(1, width))

    def _of(self, job: Job) -> _Kind:
        return self._kinds.setdefault(job.notebook.stem, _Kind())


def ahead_of(plan: Plan, entries: Mapping[int, Entry], expected: Mapping[int, float]) -> Ahead:
    """What is left of a batch that stands so."""
    ahead = Ahead(expected)
    for job in plan.jobs:
        entry = entries[job.number]
        if entry.state == DONE:
            ahead.ended(job, entry.seconds)
        elif entry.state == WAITING:
            ahead.waits(job)
    return ahead


def unknown_kinds(plan: Plan, entries: Mapping[int, Entry]) -> list[Job]:
    """The jobs to be run of notebooks of which none has ended: a forecast may know them."""
    ended = {job.notebook for job in plan.jobs if entries[job.number].state == DONE}
    jobs = []
    for job in plan.jobs:
        if job.notebook not in ended:
            jobs.append(job)
    return jobs


# --- as it is shown


@dataclass(frozen=True)
class Row:
    """A job that runs or failed, as a table shows it."""

    job: Job
    entry: Entry
    done: str = ""  # how far it is


@dataclass(frozen=True)
class Standing:
    """A batch as it stands: how many jobs are in each state, and those that are worth a line.

    seconds_left: None where nobody knows. driver: its sign, where it lives.
    """

    name: str
    counts: Mapping[str, int]
    running: Sequence[Row]
    failed: Sequence[Row]
    seconds_left: float | None
    driver: Sign | None


def standing(batch: Batch, expected: Mapping[int, float], entries: Mapping[int, Entry]) -> Standing:
    """A batch as it stands; expected: seconds of jobs by their numbers, where they are foreseen."""
    running = []
    failed = []
    for job in batch.plan.jobs:
        entry = entries[job.number]
        if entry.state == RUNNING:
            done = percent(log_of(job))
            running.append(Row(job, entry, "" if done is None else f"{done} %"))
        if entry.state == FAILED:
            failed.append(Row(job, entry))
    driver = read_sign(batch.out / life.DRIVER)
    if driver is not None and not driver.lives:
        driver = None

    ahead = ahead_of(batch.plan, entries, expected)
    at_it = []
    for row in running:
        if row.entry.sign is not None:
            at_it.append((row.job, time.time() - row.entry.sign.since))
    width = driver.width if driver is not None else len(running)
    counts = Counter(entry.state for entry in entries.values())
    left = ahead.seconds(at_it, width)
    return Standing(batch.spec.name, counts, running, failed, left, driver)
