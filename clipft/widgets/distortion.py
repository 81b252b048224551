"""Explorer of feature distortion: how far tuning moved reference images against shifted ones."""

from typing import Any

import pandas as pd
import traitlets

from ..errors import ConfigError, unknown
from ..figures.distortion import distortion_figure
from ..figures.style import called, domain_of
from ..runs.reading import distortion_table
from .base import Explorer, Plot, beside, column, dropdown, text_panel
from .texts import paragraph

HINT = "Click a point, or walk with the arrow keys and press Enter, to choose its run."


class DistortionExplorer(Explorer):
    """Feature distortion of reference against shifted images, a point per run.

    The theory has every point below the dashed line. A click on a point chooses its run.
    Traits: shift (a split), kind (raw, normalised), selection (a run's id, or "").

    Arguments:
        table: of `distortion_table`, or the runs themselves: their folder, or a list.
        traits: what is shown at first.

    Raises:
        ConfigError: where there is nothing to draw.

    Example:
        >>> clipft.DistortionExplorer("runs", shift="sketch/test")
        DistortionExplorer(kind='raw', selection='', shift='sketch/test')
    """

    shift = traitlets.Unicode()
    kind = traitlets.Unicode("raw")
    selection = traitlets.Unicode()

    def __init__(self, table: Any, **traits: object):
        if not isinstance(table, pd.DataFrame):
            table = distortion_table(table)
        if table.empty:
            raise ConfigError("no feature distortion to draw: these runs were scored on no shift")
        shifts = sorted(table.split.unique())
        kinds = sorted(table.kind.unique(), reverse=True)  # raw first
        self.table = table
        self.runs = sorted(table.run.unique())  # a point's number is its run's place in these
        super().__init__(**{"shift": shifts[0], "kind": kinds[0]} | traits)

        shift = dropdown(shifts, "shift", self.shift, called=domain_of)
        kind = dropdown(kinds, "kind", self.kind)
        self.note = text_panel("verdicts")
        self.plot = Plot()
        self.plot.observe(self._clicked, "chosen")
        self.widget = column(beside([shift, kind, self.note], self.plot))
        self.bind(self._draw, shift=shift, kind=kind)
        self.observe(self._draw, "selection")
        self._draw()

    @property
    def shown(self) -> pd.DataFrame:
        """The rows that are drawn."""
        return self.table[(self.table.split == self.shift) & (self.table.kind == self.kind)]

    def figure(self):
        """The static twin: the picture that is shown, the chosen run ringed."""
        return distortion_figure(self.table, self.kind, shifts=[self.shift], run=self.selection)

    @traitlets.validate("selection")
    def _is_a_run(self, proposal: dict) -> str:
        run = proposal["value"]
        if run and run not in self.runs:
            raise unknown("run", run, self.runs)
        return run

    def _clicked(self, change: dict) -> None:
        point = change["new"]
        self.selection = self.runs[point] if point >= 0 else ""

    def _draw(self, _change: object = None) -> None:
        with self.plot.hold_sync():
            self.plot.paint(self.figure())
            self.plot.chosen = self.runs.index(self.selection) if self.selection else -1

        count = self.shown.verdict.tolist().count
        theory = f"holds in {count('holds')}, fails in {count('fails')}, open in {count('open')}"
        all_runs = f"{len(self.shown)} runs; by 95 % intervals over images the theory {theory}"
        self.note.value = paragraph(all_runs) + self._said_of_choice()

    def _said_of_choice(self) -> str:
        """The chosen run and its numbers, or how to choose one."""
        chosen = self.shown[self.shown.run == self.selection]
        if chosen.empty:
            return paragraph(HINT)
        run = chosen.iloc[0]
        interval = f"{run.difference:+.3f} [{run.low:+.3f}, {run.high:+.3f}]"
        return (
            paragraph(called(run))
            + paragraph(f"reference {run.reference:.3f}, shift {run.shifted:.3f}")
            + paragraph(f"difference {interval}: {run.verdict}")
        )
