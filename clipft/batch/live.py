"""How a batch is seen while it runs: a table on a terminal, a line per event elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .attempt import STOPPED, log_of, percent
from .record import DONE, FAILED, RUNNING, Ahead
from .spec import Job

OFTEN = 0.5  # seconds between two pictures
ROWS = 30  # jobs that a terminal shows at most


class Show:
    """Jobs that run, counts of all, and the seconds that are left."""

    def __init__(self, name: str, counts: Counter[str], ahead: Ahead):
        self._name = name
        self._counts = counts
        self._ahead = ahead
        self._running: dict[int, tuple[Job, float]] = {}
        self._console = Console()
        self._live: Live | None = None
        self._drawn = 0.0
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def begun(self, job: Job) -> None:
        """A job was handed out."""
        self._running[job.number] = (job, time.monotonic())
        self._ahead.waits(job, -1)
        if self._live is None:
            self._say(f"{'begun':17}  {job.title}")

    def ended(self, job: Job, state: str, seconds: float) -> None:
        """A job has ended, well or not."""
        del self._running[job.number]
        if state == "ok":
            self._ahead.ended(job, seconds)
        self._counts[DONE if state == "ok" else FAILED] += state != STOPPED
        self._say(f"{state:7} {seconds:6.1f} s  {job.title}")

    def refresh(self, width: int) -> None:
        """Draw the table again, where the last one is old: jobs may end by the thousand.

        width: how many run at once.
        """
        now = time.monotonic()
        if self._live is not None and now > self._drawn + OFTEN:
            self._drawn = now
            self._live.update(Group(*self._parts(width)), refresh=True)

    def _say(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def _parts(self, width: int) -> list[Table | Text]:
        now = time.monotonic()
        running = list(self._running.values())
        at_it = [(job, now - begun) for job, begun in running]
        left = self._ahead.seconds(at_it, width)
        counts = self._counts | Counter({RUNNING: len(running)})
        told = [f"{counts[state]} {state}" for state in (RUNNING, DONE, FAILED)]
        table = Table.grid(padding=(0, 2))
        for job, elapsed in at_it[:ROWS]:
            done = percent(log_of(job))
            bar = "" if done is None else f"{done} %"
            table.add_row(Text(job.title), Text(f"{elapsed:.0f} s"), Text(bar))
        if len(running) > ROWS:
            table.add_row(Text(f"and {len(running) - ROWS} more"))
        return [Text(f"{self._name}: {', '.join(told)}, {said(left)}", style="bold"), table]


def said(left: float | None) -> str:
    """The seconds that are left, in words."""
    if left is None:
        return "nobody knows how long it will take"
    if left < 120:
        return f"{left:.0f} s left"
    return f"{left / 60:.0f} min left" if left < 7200 else f"{left / 3600:.1f} h left"
