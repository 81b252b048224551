"""Explorer of many runs: energy gap, or another measure, against robustness."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from pandas import DataFrame

from ..config import TUNED
from ..errors import ClipftError, ConfigError, unknown
from ..figures.energy_gap import Choice, correlation_of_runs, energy_gap_figure, without_two
from ..figures.panels import empty_figure
from ..figures.style import UNITS, called, domain_of, style
from ..figures.wise import curves_figure
from ..metrics.correlation import Correlation
from ..runs.run import read_sweep
from ..runs.scores import SHIFT
from ..runs.sweep import Sweep
from ..runs.table import wide
from ..runs.thumbnails import Thumbnails
from .base import Explorer, Plot, W, beside, column, dropdown, results_of, text_panel
from .configs import changed_settings, settings_table
from .texts import heading, paragraph, table_html, tiles_html

HINT = "Click a point, or walk with the arrow keys and press Enter, to see its run."


class EnergyGapExplorer(Explorer):
    """Energy gap, or another measure, against robustness: a point per run; r follows what is shown.

    It opens on the run that is furthest to the right, the one of the largest gap; a click on a
    point chooses another, Escape none.
    Traits: shift (a split), methods (shown), x, y (metrics), selection (a run's id, or "").

    Arguments:
        results: of `clipft.results`, or the runs themselves: their folder, or a list.
        runs: the folder of a table's runs; with it the chosen run's settings, WiSE curve and
            most-moved images are shown.
        alpha: of all models.
        traits: what is shown at first.

    Raises:
        ConfigError: where no run is scored on a shift at this alpha, or runs cannot be compared.

    Example:
        >>> explorer = clipft.EnergyGapExplorer("runs")
        >>> explorer.methods
        ('ft', 'lipsum')
        >>> explorer.selection = clipft.open_runs("runs")[0].id  # as a click does
    """

    shift = traitlets.Unicode()
    methods = traitlets.Tuple()
    x = traitlets.Unicode("energy_gap")
    y = traitlets.Unicode("relative_accuracy")
    selection = traitlets.Unicode()

    def __init__(self, results: Any, runs: Path | str = "", alpha: float = TUNED, **traits):
        results, runs = results_of(results, runs)
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
        self.alpha = alpha
        self.folder = runs
        self.open_run = cache(self._open_run)

        shifts = sorted(rows.split.unique())
        metrics = [name for name in UNITS if name in rows]
        x = traits.get("x", metrics[0])
        measured = rows.dropna(subset=rows.columns.intersection([x]))  # an ensemble has no gap
        self.looks = style(measured.method.unique())
        self.runs = sorted(results.run.unique())  # a point's number is its run's place in these
        super().__init__(**{"shift": shifts[0], "methods": tuple(self.looks), "x": x} | traits)
        if "selection" not in traits:
            self.selection = self._furthest()

        self._add_widgets(shifts, metrics)
        self.observe(self._paint, "selection")
        self.observe(self._show_run, ["selection", "shift"])
        self._draw()
        self._show_run()

    def _furthest(self) -> str:
        """The run with the largest x; "" where none is drawn."""
        shown = self.shown
        return "" if shown.empty else shown.run[shown[self.x].idxmax()]

    def _add_widgets(self, shifts: list[str], metrics: list[str]) -> None:
        titles = [(look.title, method) for method, look in self.looks.items()]
        methods = W.SelectMultiple(options=titles, value=self.methods, description="methods")
        methods.rows = min(8, len(titles))
        methods.layout.width = "auto"
        menus = {
            "shift": dropdown(shifts, "shift", self.shift, called=domain_of),
            "x": dropdown(metrics, "x", self.x, called=_measure),
            "y": dropdown(metrics, "y", self.y, called=_measure),
            "methods": methods.add_class("clipft-methods"),
        }
        self.bind(self._draw, **menus)

        self.plot = Plot()
        self.plot.observe(self._clicked, "chosen")
        self.curve = Plot(alpha=self.alpha)
        self.note = text_panel("r")
        self.about = text_panel("about")
        self.tiles = text_panel("moved")
        many = beside([*menus.values(), self.note], self.plot)
        self.widget = column(many, beside([self.about], self.curve, self.tiles))

    @property
    def shown(self) -> DataFrame:
        """The rows of the runs that are drawn."""
        rows = self.rows[(self.rows.split == self.shift) & self.rows.method.isin(self.methods)]
        return rows.dropna(subset=[self.x, self.y])

    @property
    def correlation(self) -> Correlation:
        """Pearson's r of what is drawn, with its 95 % interval over recipes."""
        return correlation_of_runs(self.shown, self.x, self.y)

    def figure(self):
        """The static twin: the picture that is shown, the chosen run ringed."""
        choice = Choice([self.shift], self.methods, self.selection)
        try:
            return energy_gap_figure(self.results, self.x, self.y, self.alpha, choice)
        except ConfigError as error:
            return empty_figure(str(error))  # no method is chosen

    @traitlets.validate("selection")
    def _is_a_run(self, proposal: dict) -> str:
        run = proposal["value"]
        if run and run not in set(self.rows.run):
            raise unknown("run", run, set(self.rows.run))
        return run

    def _clicked(self, change: dict) -> None:
        point = change["new"]
        self.selection = self.runs[point] if point >= 0 else ""

    def _draw(self, _change: object = None) -> None:
        r = self.correlation
        over = "runs" if r.recipes is None else "recipes, each with all its seeds"
        note = paragraph(f"Pearson's {r}, 95 % interval over the {over}")
        if not np.isnan(r.r):
            note += paragraph(r.ranks)
        left_out = without_two(self.shown, self.x, self.y)
        if left_out is not None:
            two, without = left_out
            named = " and ".join(called(run) for _, run in two.iterrows())
            note += paragraph(f"Without {named}, which make it most: {without}")
        self.note.value = note
        self._paint()

    def _paint(self, _change: object = None) -> None:
        with self.plot.hold_sync():
            self.plot.paint(None if self.shown.empty else self.figure())
            self.plot.chosen = self.runs.index(self.selection) if self.selection else -1

    def _open_run(self, run: str) -> tuple[Sweep, Thumbnails]:
        sweep = read_sweep(Path(self.folder) / run)
        return sweep, Thumbnails(sweep)

    def _show_run(self, _change: object = None) -> None:
        self.curve.paint(None)
        self.tiles.value = ""
        if not self.selection:
            self.about.value = paragraph(HINT)
            return

        row = self.rows[self.rows.run == self.selection].iloc[0]
        about = heading(called(row))
        self.about.value = about
        if not self.folder:
            return
        try:
            changed = changed_settings(Path(self.folder) / self.selection)
            about += table_html(settings_table(changed))
            self.about.value = about
            sweep, thumbnails = self.open_run(self.selection)
            self.curve.paint(curves_figure([sweep], self.alpha))
            self.tiles.value = moved_html(sweep, self.shift, thumbnails)
        except ClipftError as error:
            self.about.value = about + paragraph(error)


def _measure(metric: str) -> str:
    return UNITS[metric].split(" (")[0]


def moved_html(sweep: Sweep, split: str, thumbnails: Thumbnails) -> str:
    """The images of one split whose energies moved most from zero-shot to tuned."""
    if sweep.energy_gap is None:
        return paragraph("no energy gap of single images: an ensemble has none")

    rows = sweep.rows[split]
    most_moved = rows[np.argsort(-sweep.energy_gap[-1, rows], kind="stable")]
    title = paragraph("Most moved images: energy gap, zero-shot prediction, tuned prediction.")
    return title + tiles_html(sweep, most_moved, thumbnails, places=[0, -1], gap=True)
