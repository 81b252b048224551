"""What a board shows of many runs: energy gap against robustness, and feature distortion."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import TUNED
from ..errors import ClipftError, ConfigError, unknown
from ..figures.distortion import distortion_figure
from ..figures.energy_gap import Choice, correlation_of_runs, energy_gap_figure, without_two
from ..figures.style import UNITS, called, domain_of, style
from ..figures.wise import curves_figure
from ..runs.run import read_sweep
from ..runs.scores import SHIFT
from ..runs.table import reference_first, wide
from .configs import changed_settings, settings_table
from .desk import Answer, Desk, Question, painted, said

if TYPE_CHECKING:
    import pandas as pd

    from ..metrics.correlation import Correlation

ACROSS = ("energy_gap", "feature_distortion", "feature_distortion_normalised")
HINT = "Click a point, or walk with the arrow keys and press Enter, to see its run."


class Gaps:
    """Energy gap, or another measure, against robustness: a point per run.

    Arguments:
        results: of `clipft.results`.
        folder: of the runs; "": not at hand.
        alpha: of all models.

    Raises:
        ConfigError: where no run is scored on a shift at this alpha.
    """

    def __init__(self, results: pd.DataFrame, folder: Path | str = "", alpha: float = TUNED):
        self.alpha = alpha
        self.folder = folder
        self.take(results)
        self.shifts = reference_first(self.rows.split.unique(), "")
        self.metrics = [name for name in UNITS if name in self.rows]

    def take(self, results: pd.DataFrame) -> None:
        """Answer of these results from now on."""
        alpha = self.alpha
        rows = wide(results)
        if SHIFT not in set(rows.role):
            instead = "clipft.explore(RUN) shows one run, clipft.RunBrowser(RUNS) their table"
            raise ConfigError(
                f"no run is scored on a shift, as where its data set has none: {instead}"
            )
        rows = rows[(rows.role == SHIFT) & (rows.alpha == alpha)].reset_index(drop=True)
        if rows.empty:
            command = f"clipft wise RUN --alpha {alpha:g}"
            raise ConfigError(f"no run is scored on a shift at alpha {alpha:g}: {command}")
        self.results = results
        self.rows = rows
        self.runs = sorted(results.run.unique())  # a point's number is its run's place in these

    def looks(self, x: str) -> dict[str, Any]:
        """Method -> its look, of those that have this measure: an ensemble has no gap."""
        measured = self.rows.dropna(subset=self.rows.columns.intersection([x]))
        return style(measured.method.unique())

    def shown(self, shift: str, x: str, y: str, methods: Any) -> pd.DataFrame:
        """The rows of the runs that are drawn. Raises ConfigError for what is not there."""
        if shift not in self.shifts:
            raise unknown("split", shift, self.shifts)
        for metric in (x, y):
            if metric not in self.metrics:
                raise unknown("measure", metric, self.metrics)
        rows = self.rows[(self.rows.split == shift) & self.rows.method.isin(list(methods))]
        return rows.dropna(subset=[x, y])

    def correlation(self, shift: str, x: str, y: str, methods: Any) -> Correlation:
        """Pearson's r of what is drawn, with its 95 % interval over recipes."""
        return correlation_of_runs(self.shown(shift, x, y, methods), x, y)

    def state(self, x: str = "") -> dict[str, Any]:
        """What its menus begin with; x: "" for the first measure."""
        x = x or self.metrics[0]
        chosen = {"shift": self.shifts[0], "x": x, "y": "relative_accuracy"}
        return chosen | {"methods": list(self.looks(x))}

    def chart(self, x: str) -> dict[str, Any]:
        """The menus of its picture, see `ChartView` in chart.js."""
        methods = [(look.title, method) for method, look in self.looks(x).items()]
        measures = [(measure(name), name) for name in self.metrics]
        across, upwards = self._saved_measures()
        menus = [
            _menu("shift", "shift", [(domain_of(shift), shift) for shift in self.shifts]),
            _menu("x", "x", measures) | {"saved": across},
            _menu("y", "y", measures) | {"saved": upwards},
            _menu("methods", "methods", methods) | {"many": True},
        ]
        return {"menus": menus, "runs": self.runs, "note": "r", "curves": bool(self.folder)}

    def _saved_measures(self) -> tuple[list[str], list[str]]:
        """What a saved page offers to the right, and upwards; all pairs would be 50 a shift."""
        return (
            [name for name in self.metrics if name in ACROSS],
            [name for name in self.metrics if name not in ACROSS][:2],
        )

    def teach(self, desk: Desk, state: dict[str, Any]) -> None:
        """Let a desk answer for this picture; a saved page keeps the methods of `state`."""
        desk.teach("figure gap", self.answer, saved=lambda: self._choices(state))
        runs = self.rows.run.unique().tolist()
        desk.teach("about", self.about, saved=[{"run": run} for run in ["", *runs]])

    def _choices(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        """What a saved page offers, and what `state` has when it is saved."""
        across, upwards = self._saved_measures()
        across = dict.fromkeys([*across, state["x"]])
        upwards = dict.fromkeys([*upwards, state["y"]])
        choices = []
        for shift, x, y in product(self.shifts, across, upwards):
            choices.append({"shift": shift, "x": x, "y": y, "methods": list(state["methods"])})
        return choices

    def answer(self, question: Question) -> Answer:
        """The picture of a choice, and what is to be said of r."""
        shift, x, y = question["shift"], question["x"], question["y"]
        methods = question["methods"]
        shown = self.shown(shift, x, y, methods)
        if shown.empty:
            raise ConfigError("no run of these methods has both measures: choose others")
        figure = energy_gap_figure(self.results, x, y, self.alpha, Choice([shift], methods))
        return painted(figure, said=said(*self.said(shift, x, y, methods)))

    def said(self, shift: str, x: str, y: str, methods: Any) -> list[str]:
        """r with its interval, by ranks, and without the two runs that make it most."""
        r = self.correlation(shift, x, y, methods)
        over = "runs" if r.recipes is None else "recipes, each with all its seeds"
        lines = [f"Pearson's {r}, 95 % interval over the {over}"]
        if not np.isnan(r.r):
            lines.append(r.ranks)
        left_out = without_two(self.shown(shift, x, y, methods), x, y)
        if left_out is not None:
            two, without = left_out
            named = " and ".join(called(run) for _, run in two.iterrows())
            lines.append(f"Without {named}, which make it most: {without}")
        return lines

    def about(self, question: Question) -> Answer:
        """A run's name and what differs in it from the defaults."""
        run = question["run"]
        rows = self.rows[self.rows.run == run]
        if rows.empty:
            return Answer({"said": said(HINT)})
        heading = called(rows.iloc[0])
        if not self.folder:
            return Answer({"said": said(heading=heading)})
        try:
            changed = settings_table(changed_settings(Path(self.folder) / run))
        except ClipftError as error:
            return Answer({"said": said(error, heading=heading)})
        return Answer({"said": said(heading=heading, table=changed)})

    def curve(self, question: Question) -> Answer:
        """A run's WiSE curve."""
        if question["run"] not in self.runs:
            raise unknown("run", question["run"], self.runs)
        sweep = read_sweep(Path(self.folder) / question["run"])
        return painted(curves_figure([sweep], self.alpha))


def measure(metric: str) -> str:
    """A metric without its unit."""
    return UNITS[metric].split(" (")[0]


def _menu(name: str, title: str, options: list[tuple[str, Any]]) -> dict[str, Any]:
    return {"name": name, "title": title, "options": [list(option) for option in options]}


class Distortions:
    """Feature distortion of reference against shifted images, a point per run.

    Arguments:
        table: of `distortion_table`.

    Raises:
        ConfigError: where there is nothing to draw.
    """

    def __init__(self, table: pd.DataFrame):
        if table.empty:
            raise ConfigError("no feature distortion to draw: these runs were scored on no shift")
        self.table = table
        self.shifts = reference_first(table.split.unique(), "")
        self.kinds = sorted(table.kind.unique(), reverse=True)  # raw first
        self.runs = sorted(table.run.unique())  # a point's number is its run's place in these

    def shown(self, shift: str, kind: str) -> pd.DataFrame:
        """The rows that are drawn."""
        return self.table[(self.table.split == shift) & (self.table.kind == kind)]

    @property
    def chart(self) -> dict[str, Any]:
        """The menus of its picture."""
        menus = [
            _menu("shift", "shift", [(domain_of(shift), shift) for shift in self.shifts]),
            _menu("kind", "kind", [(kind, kind) for kind in self.kinds]),
        ]
        return {"menus": menus, "runs": self.runs, "note": "verdicts"}

    def teach(self, desk: Desk) -> None:
        """Let a desk answer for this picture."""
        choices = [{"shift": shift, "kind": kind} for shift in self.shifts for kind in self.kinds]
        desk.teach("figure distortion", self.answer, saved=choices)

    def answer(self, question: Question) -> Answer:
        """The picture of a choice, and how many runs the theory holds in."""
        shift, kind = question["shift"], question["kind"]
        figure = distortion_figure(self.table, kind, shifts=[shift])
        of_run = {run.run: _lines_of(run) for run in self.shown(shift, kind).itertuples()}
        return painted(figure, said=said(self.said(shift, kind)), of_run=of_run, hint=HINT)

    def said(self, shift: str, kind: str) -> str:
        """In how many runs the theory holds."""
        shown = self.shown(shift, kind)
        count = shown.verdict.tolist().count
        theory = f"holds in {count('holds')}, fails in {count('fails')}, open in {count('open')}"
        return f"{len(shown)} runs; by 95 % intervals over images the theory {theory}"


def _lines_of(run: Any) -> list[str]:
    """A run and its numbers."""
    interval = f"{run.difference:+.3f} [{run.low:+.3f}, {run.high:+.3f}]"
    return [
        called(run._asdict()),
        f"reference {run.reference:.3f}, shift {run.shifted:.3f}",
        f"difference {interval}: {run.verdict}",
    ]
