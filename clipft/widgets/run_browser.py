"""A browser of runs: filter them, and compare two: settings, WiSE curves, accuracies on the same images."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import traitlets

from .. import figures
from ..disk.files import read_json
from ..errors import ClipftError, ConfigError
from ..figures.style import COLOURS, GREY
from ..runs.scores import Scores, compare
from ..runs.sweep import Sweep, read_sweep
from ..runs.table import wide
from .base import Chart, Explorer, W, box, dropdown, said, table_html, text_panel
from .wise import wise_spec

if TYPE_CHECKING:
    import plotly.graph_objects as go


LEGEND = [
    {"name": "zero-shot", "colour": GREY, "symbol": "star"},
    {"name": "first, to tuned", "colour": COLOURS[0], "symbol": "circle"},
    {"name": "second", "colour": GREY, "dash": "solid"},
]


class RunBrowser(Explorer):
    """All finished runs: filter them, and compare two side by side: configurations, accuracies, McNemar's p.

    results: `store.results(runs)`; runs: their folder. Traits: query (words that a row must contain), first and second
    (run ids).
    """

    query = traitlets.Unicode()
    first = traitlets.Unicode()
    second = traitlets.Unicode()

    def __init__(self, results: pd.DataFrame, runs: Path | str):
        super().__init__()
        self.folder, self.sweep_of = Path(runs), cache(lambda run: read_sweep(self.folder / run))
        rows = wide(results)
        tuned = rows[(rows.alpha == 1.0) & (rows.role != "val")]
        if tuned.empty:
            raise ConfigError("no run is scored at alpha 1, the tuned model: clipft evaluate RUN")
        keys = ["run", "method", "lr", "steps", "seed"]
        percent = (100 * tuned.pivot_table(index=keys, columns="split", values="accuracy")).round(1)
        self.table = percent.rename(columns=lambda name: f"{name.split('/')[0]} %").reset_index()
        self.unfinished = results.attrs.get("unfinished", [])
        words = W.Text(
            placeholder="e.g. lipsum 0.001", description="filter", continuous_update=True
        )
        self.menus = {name: dropdown([], name) for name in ("first", "second")}
        for menu in self.menus.values():
            menu.layout.width = "420px"
        self.list, self.compared, self.chart = text_panel("runs"), text_panel("compared"), Chart()
        traitlets.link((self, "query"), (words.add_class("clipft-filter"), "value"))
        self.observe(lambda _: self._filter(), "query")
        self.observe(lambda _: self._compare(), ["first", "second"])
        for name, menu in self.menus.items():
            menu.observe(
                lambda change, name=name: setattr(self, name, change["new"] or ""), "value"
            )
            self.observe(lambda change, menu=menu: self._follow(menu, change["new"]), name)
        self.widget = W.VBox(
            [words, self.list, box(*self.menus.values()), self.chart, self.compared]
        )
        self._filter()

    @property
    def matches(self) -> pd.DataFrame:
        """The runs that contain every word of the query."""
        text = self.table.astype(str).agg(" ".join, axis=1)
        keep = [all(word in line for word in self.query.split()) for line in text]
        return self.table[keep]

    def figure(self) -> go.Figure:
        """The static twin: the table of the runs that match."""
        return figures.table(self.matches.astype(str))

    def _filter(self) -> None:
        found = self.matches
        left = (
            f"; left out, not finished or not scored: {', '.join(self.unfinished)}"
            if self.unfinished
            else ""
        )
        self.list.value = said(f"{len(found)} of {len(self.table)} runs{left}") + table_html(found)
        options = [
            (f"{r.method}, lr {r.lr}, {r.steps} steps, seed {r.seed} ({r.run})", r.run)
            for r in found.itertuples()
        ]
        known = [run for _, run in options]
        for number, (name, menu) in enumerate(self.menus.items()):
            before = getattr(self, name)
            menu.options = options
            if options:
                menu.value = before if before in known else known[min(number, len(options) - 1)]

    @staticmethod
    def _follow(menu: W.Dropdown, run: str) -> None:
        if run in [value for _, value in menu.options]:
            menu.value = run

    def _compare(self) -> None:
        self.chart.spec = {}
        if not (self.first and self.second):
            self.compared.value = ""
            return
        try:
            sweeps = [self.sweep_of(run) for run in (self.first, self.second)]
            self.chart.spec = wise_spec(sweeps, 0, bars=False) | {"legend": LEGEND}
            self.compared.value = (
                f"<h4>Settings that differ</h4>{table_html(config_diff(*self._folders))}"
                f"<h4>Tuned models on the same images (p: McNemar, exact)</h4>{table_html(self.comparison())}"
            )
        except ClipftError as error:
            self.compared.value = said(error)

    @property
    def _folders(self) -> list[Path]:
        return [self.folder / self.first, self.folder / self.second]

    def comparison(self, alpha: float = 1.0) -> pd.DataFrame:
        """Accuracies (%) of both runs on each test split, their difference with its 95 % interval, and McNemar's p.

        Raises ConfigError where they saw other images.
        """
        sweeps, rows = [self.sweep_of(run) for run in (self.first, self.second)], []
        for split in sweeps[0].splits:
            if split not in sweeps[1].splits:
                raise ConfigError(
                    f"the runs are scored on {sweeps[0].splits} and {sweeps[1].splits}; use one data set"
                )
            one, two = (_scores(sweep, split, alpha) for sweep in sweeps)
            found = compare(one, two)
            rows.append(
                {
                    "split": split,
                    "first %": f"{100 * found.first:.1f}",
                    "second %": f"{100 * found.second:.1f}",
                    "difference": f"{100 * found.difference:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]",
                    "only first right": found.only_first,
                    "only second right": found.only_second,
                    "p": f"{found.p:.2g}",
                }
            )
        return pd.DataFrame(rows)


def _scores(sweep: Sweep, split: str, alpha: float) -> Scores:
    rows, place = sweep.rows[split], sweep.nearest(alpha)
    nothing = np.zeros(len(rows))
    columns = (
        sweep.label[rows],
        sweep.prediction[place, rows],
        sweep.confidence[place, rows],
        nothing,
    )
    return Scores(split, alpha, tuple(sweep.ids[rows]), *columns)


def config_diff(first: Path, second: Path) -> pd.DataFrame:
    """The settings in which two runs differ."""
    both = [read_json(folder / "config.json") for folder in (first, second)]
    keys = [
        key for key in dict.fromkeys([*both[0], *both[1]]) if both[0].get(key) != both[1].get(key)
    ]
    return pd.DataFrame(
        [(key, *(str(one.get(key, "")) for one in both)) for key in keys],
        columns=["setting", "first", "second"],
    )
