"""A browser of runs: filter them, and compare two on the same images."""

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import traitlets

from ..config import TUNED
from ..errors import ClipftError, ConfigError
from ..figures.style import COLOURS, GREY, domain_of
from ..figures.tables import table_figure
from ..metrics.comparison import Comparison
from ..runs.run import read_sweep
from ..runs.scores import Scores, compare
from ..runs.sweep import Sweep
from ..runs.table import wide
from .base import Chart, Explorer, W, box, dropdown, results_of, text_panel
from .configs import config_diff
from .texts import heading, paragraph, table_html
from .wise import wise_spec

LEGEND = [
    {"name": "zero-shot", "colour": GREY, "symbol": "star"},
    {"name": "first, to tuned", "colour": COLOURS[0], "symbol": "circle"},
    {"name": "second", "colour": GREY, "dash": "solid"},
]


class RunBrowser(Explorer):
    """All finished runs: filter them, and compare two: settings, accuracies, McNemar's p.

    Traits: query (words that a row must contain), first and second (run ids).

    Arguments:
        results: of `clipft.results`, or the runs themselves: their folder, or a list.
        runs: the folder of a table's runs.

    Raises:
        RunError: where there is no scored run.

    Example:
        >>> browser = clipft.RunBrowser("runs")
        >>> browser.query = "lipsum"
        >>> browser.first, browser.second = [run.id for run in clipft.open_runs("runs")]
    """

    query = traitlets.Unicode()
    first = traitlets.Unicode()
    second = traitlets.Unicode()

    def __init__(self, results: Any, runs: Path | str = ""):
        super().__init__()
        results, runs = results_of(results, runs)
        self.folder = Path(runs)
        self.sweep_of = cache(read_sweep)  # by folder
        self.table = tuned_accuracies(results)
        self.unfinished = results.attrs.get("unfinished", [])

        self._add_widgets()
        self.observe(self._compare, ["first", "second"])
        self.observe(self._follow, ["first", "second"])
        self._filter()

    def _add_widgets(self) -> None:
        query = W.Text(placeholder="e.g. lipsum 0.001", description="filter")
        self.bind(self._filter, query=query.add_class("clipft-filter"))
        self.menus = {}
        for trait in ("first", "second"):
            self.menus[trait] = dropdown([], trait, None)
            self.menus[trait].layout.width = "420px"
            self.menus[trait].observe(partial(self._choose, trait), "value")
        self.list = text_panel("runs")
        self.compared = text_panel("compared")
        self.chart = Chart()
        menus = box(*self.menus.values())
        self.widget = W.VBox([query, self.list, menus, self.chart, self.compared])

    @property
    def matches(self) -> pd.DataFrame:
        """The runs that contain every word of the query."""
        lines = self.table.astype(str).agg(" ".join, axis=1)
        for word in self.query.split():
            lines = lines[lines.str.contains(word, regex=False)]
        return self.table.loc[lines.index]

    def figure(self):
        """The static twin: the table of the runs that match."""
        return table_figure(self.matches.astype(str))

    def _filter(self, _change: object = None) -> None:
        matches = self.matches
        text = f"{len(matches)} of {len(self.table)} runs"
        if self.unfinished:
            text += f"; left out, not finished or not scored: {', '.join(self.unfinished)}"
        self.list.value = paragraph(text) + table_html(matches)

        options = [(_title(run), run.run) for run in matches.itertuples()]
        runs = matches.run.tolist()
        for place, (trait, menu) in enumerate(self.menus.items()):
            chosen = getattr(self, trait)
            menu.options = options
            if runs:
                # The second menu begins at the second run.
                menu.value = chosen if chosen in runs else runs[min(place, len(runs) - 1)]

    def _sweeps(self) -> list[Sweep]:
        return [self.sweep_of(self.folder / self.first), self.sweep_of(self.folder / self.second)]

    def _choose(self, trait: str, change: dict) -> None:
        setattr(self, trait, change["new"] or "")

    def _follow(self, change: dict) -> None:
        menu = self.menus[change["name"]]
        if change["new"] in dict(menu.options).values():
            menu.value = change["new"]

    def _compare(self, _change: object = None) -> None:
        self.chart.spec = {}
        if not self.first or not self.second:
            self.compared.value = ""
            return
        try:
            self.chart.spec = wise_spec(self._sweeps(), 0, bars=False) | {"legend": LEGEND}
            settings = config_diff(self.folder / self.first, self.folder / self.second)
            text = heading("Settings that differ") + table_html(settings)
            text += heading("Tuned models on the same images (p: McNemar, exact)")
            self.compared.value = text + table_html(self.comparison())
        except ClipftError as error:
            self.compared.value = paragraph(error)

    def comparison(self, alpha: float = TUNED) -> pd.DataFrame:
        """Accuracies (%) of both runs on each test split, and McNemar's p.

        Returns:
            A row per split; the difference comes with its 95 % interval.

        Raises:
            ConfigError: where the runs saw other images.
        """
        first, second = self._sweeps()
        rows = []
        for split in first.splits:
            if split not in second.splits:
                scored = f"{first.splits} and {second.splits}"
                raise ConfigError(f"the runs are scored on {scored}; use one data set")
            comparison = compare(_scores(first, split, alpha), _scores(second, split, alpha))
            rows.append({"split": split} | _in_words(comparison))
        return pd.DataFrame(rows)


def _title(run: Any) -> str:
    return f"{run.method}, lr {run.lr}, {run.steps} steps, seed {run.seed} ({run.run})"


def tuned_accuracies(results: pd.DataFrame) -> pd.DataFrame:
    """A row per run: its recipe and its accuracies (%) at alpha 1 on each test split.

    Raises ConfigError where no run is scored there.
    """
    rows = wide(results)
    tuned = rows[(rows.alpha == TUNED) & (rows.role != "val")]
    if tuned.empty:
        raise ConfigError("no run is scored at alpha 1, the tuned model: clipft evaluate RUN")
    keys = ["run", "method", "lr", "steps", "seed"]
    accuracy = 100 * tuned.pivot_table(index=keys, columns="split", values="accuracy")
    accuracy.columns = [f"{domain_of(split)} %" for split in accuracy.columns]
    return accuracy.round(1).reset_index()


def _in_words(comparison: Comparison) -> dict[str, object]:
    interval = f"[{100 * comparison.low:+.1f}, {100 * comparison.high:+.1f}]"
    return {
        "first %": f"{100 * comparison.first:.1f}",
        "second %": f"{100 * comparison.second:.1f}",
        "difference": f"{100 * comparison.difference:+.1f} {interval}",
        "only first right": comparison.only_first,
        "only second right": comparison.only_second,
        "p": f"{comparison.p:.2g}",
    }


def _scores(sweep: Sweep, split: str, alpha: float) -> Scores:
    """The scores of one split at the nearest alpha; a sweep holds no NLL, and none is asked for."""
    rows = sweep.rows[split]
    place = sweep.nearest(alpha)
    ids = tuple(sweep.ids[rows])
    told = (sweep.label[rows], sweep.prediction[place, rows], sweep.confidence[place, rows])
    return Scores(split, alpha, ids, *told, nll=np.zeros(len(rows)))
