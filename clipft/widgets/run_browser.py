"""A browser of runs: filter them, and compare two on the same images."""

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import traitlets

from ..config import TUNED
from ..errors import ClipftError, ConfigError
from ..figures.style import called, domain_of
from ..figures.tables import table_figure
from ..figures.wise import curves_figure
from ..metrics.comparison import Comparison
from ..runs.folder import RunFolder, stamps_of
from ..runs.labels import LABEL_COLUMNS
from ..runs.names import title_of, told_of
from ..runs.run import read_sweep
from ..runs.scores import Scores, compare
from ..runs.sweep import Sweep
from ..runs.table import COMPARABLE, check_comparable, narrow, results, score_rows, scored_by, wide
from .base import Explorer, Plot, W, box, column, dropdown, results_of, text_panel
from .configs import config_diff
from .queries import Findable
from .refresh import Refresh
from .texts import heading, paragraph, table_html

NAMES = ["method", "lr", "steps", "seed", "run"]  # columns: what a run is called on pictures


class RunBrowser(Explorer):
    """All finished runs: filter them, and compare two: settings, accuracies, McNemar's p.

    The filter finds what pictures call a run, its id, and any setting: `lipsum lr 1e-3`, `seed=1`,
    `5f95`, and what people call it: its name and tags. A click on the second's curve makes that run
    the first. `refresh`, a button too, looks for runs that came, went, were scored or labelled; the
    filter and both runs stay.
    Traits: query (words that a run must have), first and second (run ids), every (seconds after
    which the page refreshes by itself; 0: never).

    Arguments:
        results: of `clipft.results`, or the runs themselves: their folder, or a list.
        runs: the folder of a table's runs.

    Raises:
        RunError: where there is no scored run.

    Example:
        >>> browser = clipft.RunBrowser("runs")
        >>> browser.query = "Lipsum-FT, lr 1e-4"
        >>> browser.first, browser.second = [run.id for run in clipft.open_runs("runs")]
    """

    query = traitlets.Unicode()
    first = traitlets.Unicode()
    second = traitlets.Unicode()
    every = traitlets.Float(0.0)

    def __init__(self, results: Any, runs: Path | str = ""):
        super().__init__()
        # What is looked at again: the runs as they were given, or the folder of a table's.
        self.source = runs if isinstance(results, pd.DataFrame) else results
        self.stamps = stamps_of(self.source) if self.source else {}
        results, runs = results_of(results, runs)
        self.folder = Path(runs)
        self.sweep_of = cache(read_sweep)  # by folder
        self.settings: dict[str, dict[str, Any]] = {}  # of runs, as their folders record them
        self._take(results)
        self.kind = results[COMPARABLE].iloc[0]

        self._add_widgets()
        self.observe(self._compare, ["first", "second"])
        self.observe(self._follow, ["first", "second"])
        self._filter()

    def _take(self, results: pd.DataFrame) -> None:
        """Show these results from now on."""
        self.table = tuned_accuracies(results)
        self.findable = [self._findable(run) for run in self.table.to_dict("records")]
        self.unfinished = results.attrs.get("unfinished", [])

    def _findable(self, run: dict[Any, Any]) -> Findable:
        """What the filter looks at: the table's row, and all settings where the folder is there."""
        name = run["run"]
        if name not in self.settings:
            folder = RunFolder(self.folder / name)
            self.settings[name] = folder.config() if folder.is_begun else {}
        told = {key: run[key] for key in ("lr", "steps", "seed", *LABEL_COLUMNS) if key in run}
        labels = (run.get(key, "") for key in LABEL_COLUMNS)
        names = (run["method"], title_of(run["method"]), *labels)
        return Findable(name, names, self.settings[name] | told)

    def refresh(self) -> None:
        """Look for runs that came, went, were scored or labelled; the filter and both runs stay.

        Runs of another kind, which cannot be compared, are left out. Where nothing changed nothing
        is read or sent; what cannot be read is said in the list.
        """
        if not self.source:
            return
        try:
            stamps = stamps_of(self.source)
            if stamps == self.stamps:
                return
            table = results(self.source)
            is_alike = (table[COMPARABLE] == self.kind).all(axis=1)
            alike = table if is_alike.all() else table[is_alike]
            alike.attrs = table.attrs
            self._take(alike)
        except ClipftError as error:
            self.list.value = paragraph(error)
            return
        self.stamps = stamps
        self.sweep_of.cache_clear()  # of runs that were scored again
        self._filter()
        self._compare()

    def _add_widgets(self) -> None:
        query = W.Text(placeholder="e.g. lipsum lr=0.001", description="filter")
        self.bind(self._filter, query=query.add_class("clipft-filter"))
        self.menus = {}
        for trait in ("first", "second"):
            self.menus[trait] = dropdown([], trait, None)
            self.menus[trait].observe(partial(self._choose, trait), "value")
        self.list = text_panel("runs")
        self.compared = text_panel("compared")
        self.plot = Plot()
        self.plot.observe(self._clicked, "chosen")
        menus = box(*self.menus.values())
        controls = [query]
        if self.source:
            self.refreshing = Refresh(self.refresh)
            traitlets.link((self, "every"), (self.refreshing, "value"))
            controls.append(self.refreshing)
        self.widget = column(box(*controls), self.list, menus, self.plot, self.compared)

    @property
    def matches(self) -> pd.DataFrame:
        """The runs that have every word of the query."""
        return self.table[[run.fits(self.query) for run in self.findable]]

    def figure(self):
        """The static twin: the table of the runs that match, which needs no kernel to be of use."""
        return table_figure(_as_shown(self.matches))

    def _filter(self, _change: object = None) -> None:
        matches = self.matches
        text = f"{len(matches)} of {len(self.table)} runs"
        if self.unfinished:
            text += f"; left out, not finished or not scored: {', '.join(self.unfinished)}"
        self.list.value = paragraph(text) + table_html(_as_shown(matches))

        options = [(_called(run), run["run"]) for run in matches.to_dict("records")]
        runs = matches.run.tolist()
        chosen = [self.first, self.second]
        # To give a menu other options chooses the first of them: nobody is told of that.
        with self.hold_trait_notifications():
            for place, menu in enumerate(self.menus.values()):
                with menu.hold_sync():
                    menu.options = options
                    if runs:
                        # The second menu begins at the second run.
                        first = runs[min(place, len(runs) - 1)]
                        menu.value = chosen[place] if chosen[place] in runs else first

    def _sweeps(self) -> list[Sweep]:
        return [self.sweep_of(self.folder / self.first), self.sweep_of(self.folder / self.second)]

    def _choose(self, trait: str, change: dict) -> None:
        setattr(self, trait, change["new"] or "")

    def _follow(self, change: dict) -> None:
        menu = self.menus[change["name"]]
        if change["new"] in dict(menu.options).values():
            menu.value = change["new"]

    def _clicked(self, change: dict) -> None:
        """The second run's curve was clicked: it is the first now, and the first the second."""
        if change["new"] < 1:
            return
        self.plot.chosen = -1  # else a click on the same number would be no change
        first, second = self.first, self.second
        with self.hold_trait_notifications():
            self.first = second
            self.second = first

    def _compare(self, _change: object = None) -> None:
        figure = None
        text = ""
        if self.first and self.second:
            try:
                figure, text = self._compared()
            except ClipftError as error:
                text = paragraph(error)
        self.plot.paint(figure)
        self.compared.value = text

    def _compared(self) -> tuple[Any, str]:
        """Both runs' curves, and in words where they differ."""
        sweeps = self._sweeps()
        if self.first == self.second:
            return curves_figure(sweeps[:1], alpha=None), paragraph("twice the same run")

        differ = config_diff(self.folder / self.first, self.folder / self.second)
        text = heading("Settings that differ") + table_html(differ)
        text += heading("Tuned models on the same images (p: McNemar, exact)")
        text += table_html(self.comparison())
        return curves_figure(sweeps, alpha=None), text

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


def _called(run: dict[Any, Any]) -> str:
    """What a menu calls a run: as pictures do, and its own name where it has one."""
    name = run.get("name", "")
    return f"{called(run)}, {name}" if name else called(run)


def _as_shown(runs: pd.DataFrame) -> pd.DataFrame:
    """`tuned_accuracies` as texts, the parts of a run's name as pictures have them."""
    shown = runs.copy()
    shown["method"] = [title_of(method) for method in runs.method]
    told = list(map(told_of, runs.lr, runs.steps))
    for setting in ("lr", "steps"):
        shown[setting] = [of_run[setting] for of_run in told]
    for split in runs.columns.difference([*NAMES, *LABEL_COLUMNS]):
        shown[split] = [f"{accuracy:.1f}" for accuracy in runs[split]]
    return shown.astype(str)


def tuned_accuracies(results: pd.DataFrame) -> pd.DataFrame:
    """A row per run: its recipe and its accuracies (%) at alpha 1 on each test split.

    Raises ConfigError where no run is scored there.
    """
    check_comparable(results)
    scored_by(results)  # raises
    rows = score_rows(narrow(results))
    tuned = rows[(rows.alpha == TUNED) & (rows.role != "val")]
    if tuned.empty:
        raise ConfigError("no run is scored at alpha 1, the tuned model: clipft evaluate RUN")
    tuned = wide(tuned)
    accuracy = 100 * tuned.pivot_table(index=NAMES, columns="split", values="score")
    accuracy.columns = [f"{domain_of(split)} %" for split in accuracy.columns]
    return _with_labels(accuracy.round(1).reset_index(), results)


def _with_labels(runs: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """With a column for names and one for tags, where any of the runs has one."""
    there = results.columns.intersection(list(LABEL_COLUMNS))
    labels = results.drop_duplicates("run").set_index("run")[there]
    for label in there:
        of_run = runs.run.map(labels[label])
        if (of_run != "").any():
            runs[label] = of_run
    return runs


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
