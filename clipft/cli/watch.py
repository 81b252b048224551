"""The table of results of a batch in flight: looked at again and again, cheaply."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ClipftError
from ..stops import Interrupted
from .terminal_tables import console, table_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd
    from rich.console import RenderableType

    from ..runs.folder import RunFolder, Stamps

INTERVAL = 5.0  # seconds between two looks
REST = 3  # at least so many times as long as the last picture took


def groups(
    results: pd.DataFrame, *, calibration: bool = False, intervals: bool = False
) -> Iterator[tuple[list[dict[Any, Any]], str, str]]:
    """The rows and the title of the table of each kind of runs, and a line on what it mixes."""
    from ..runs.corruption import mce_lines
    from ..runs.table import KIND, results_table

    for (manifest, _, model, _, reference, selection), group in results.groupby(KIND):
        kind = f"{model} on {manifest}, reference {reference}, selection {selection}"
        table = results_table(group, calibration=calibration, intervals=intervals)
        over_seeds = "mean [95 % interval of it]" if intervals else "mean ± std"
        title = f"{kind}: %, {over_seeds} over seeds"
        yield table.to_dict("records"), title, table.attrs["mixture"]
        errors = mce_lines(group)
        if errors:
            yield errors, f"{kind}: mean corruption error, % of zero-shot's", ""


@dataclass(frozen=True)
class Look:
    """How the table is shown."""

    calibration: bool = False
    intervals: bool = False
    as_markdown: bool = False

    def watch(self, runs: Path | str, interval: float, until: int | None = None) -> None:
        """Show the table now and when a run's files change, until so many are scored, or Ctrl-C.

        On a terminal one picture that is drawn again; elsewhere one after the other.
        """
        with _until_ctrl_c():
            if sys.stdout.isatty() and not self.as_markdown:
                self._live(runs, interval, until)
            else:
                for picture in self._pictures(runs, interval, until):
                    console(self.as_markdown).print(picture)
                    sys.stdout.flush()

    def _live(self, runs: Path | str, interval: float, until: int | None) -> None:
        from rich.live import Live

        with Live(console=console(), auto_refresh=False) as live:
            for picture in self._pictures(runs, interval, until):
                live.update(picture, refresh=True)

    def _pictures(
        self, runs: Path | str, interval: float, until: int | None
    ) -> Iterator[RenderableType]:
        """A picture for each change; waits between two looks."""
        from ..runs.folder import stamps_of

        before: dict[RunFolder, Stamps] | None = None
        while True:
            begun = time.monotonic()
            now = stamps_of(runs)
            if now != before:
                before = now
                yield self._picture(runs, now)
            if until is not None and _scored(now) >= until:
                return
            time.sleep(max(interval, REST * (time.monotonic() - begun)))

    def _picture(self, runs: Path | str, stamps: dict[RunFolder, Stamps]) -> RenderableType:
        """Tables, and a line that counts runs; a fault of a run that comes or goes is a line."""
        from rich.console import Group
        from rich.text import Text

        from ..runs.table import results

        scored = _scored(stamps)
        count = f"{time.strftime('%H:%M:%S')}  {scored} runs scored, {len(stamps) - scored} not"
        parts: list[RenderableType] = [Text(count)]
        if scored:
            try:
                # `results_table` says itself what is mixed; here the picture does.
                with contextlib.redirect_stdout(io.StringIO()):
                    tables = self._groups(results(runs))
                for rows, title, mixture in tables:
                    parts += [Text(mixture)] if mixture else []
                    parts.append(table_of(rows, title, self.as_markdown))
            except ClipftError as error:
                parts.append(Text(str(error)))
        return Group(*parts)

    def _groups(self, scores: pd.DataFrame) -> list[tuple[list[dict[Any, Any]], str, str]]:
        return list(groups(scores, calibration=self.calibration, intervals=self.intervals))


def _scored(stamps: dict[RunFolder, Stamps]) -> int:
    """How many of these runs are scored."""
    from ..runs.folder import is_scored

    return sum(map(is_scored, stamps.values()))


@contextlib.contextmanager
def _until_ctrl_c() -> Iterator[None]:
    """Ctrl-C ends this block, and nothing else."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except Interrupted as stop:
        if stop.number != signal.SIGINT:
            raise
