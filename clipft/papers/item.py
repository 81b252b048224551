"""What an item of a paper is: a table or a figure, its caption, and the runs of ours in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..runs.folder import RunFolder
from ..runs.names import MethodName, ordered, recipe_in_words, title_of
from ..runs.table import best_by_val, check_comparable
from .published import DATA_SETS, published_rows

if TYPE_CHECKING:
    import plotly.graph_objects as go

Blocks = Mapping[str, pd.DataFrame]

COMBINATIONS = "combinations"  # values of `Item.across` that are no column of the results
SETTINGS = "settings"
ZERO_SHOT_NAME = "Zero-shot"  # as the papers and we call the model before tuning
# What the last columns of a table are means of.
SHIFTS = "mean shift"
ALL = "mean of all"
BOTH = "mean of both"  # of the reference and of the mean over shifts
HARMONIC = "harmonic"  # the same mean, but the harmonic one

# Parts of captions.
MEANS = (
    " Mean ± standard deviation over seeds; of each method the recipe best on held-out reference"
    " images."
)


@dataclass(frozen=True)
class Made:
    """One item: its figure, its caption, and what stands in it.

    rows: of a table, by block. drawn: of a figure, a row per point, ours with their runs' ids.
    """

    figure: go.Figure
    caption: str
    rows: Blocks = field(default_factory=dict)
    drawn: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class Ours:
    """Our finished runs: their tidy results, and the folder that they lie in."""

    results: pd.DataFrame
    folder: Path

    def of(self, recipes: Collection[str]) -> pd.DataFrame:
        """The results of these recipes."""
        return self.results[self.results.recipe.isin(recipes)]

    def config(self, run: str) -> dict[str, Any]:
        """A run's configuration, which holds more than the results; empty without its folder."""
        folder = RunFolder(self.folder / run)
        return folder.config() if folder.is_begun else {}


@dataclass(frozen=True)
class Item:
    """One table or figure: how it is drawn, what it shows, and which numbers stand in it."""

    draw: Callable[[Item, Ours], Made]
    number: str  # of the published table beside ours; empty: no numbers were published
    what: str  # the first sentence of its caption
    benchmarks: tuple[str, ...] = ("domainnet", "imagenet")  # of the paper's numbers
    measures: tuple[str, ...] = ("accuracy",)
    methods: tuple[str, ...] = ()  # ours, by name; empty: all that a published table has too ...
    methods_of: str = ""  # ... this one, or that of `number`
    only: Callable[[dict[str, Any]], bool] | None = None  # configuration -> whether a run is in it
    setting: Callable[[str, dict[str, Any]], str] | None = None  # method, configuration -> setting
    across: str = ""  # what is compared: a column of the results, COMBINATIONS or SETTINGS
    command: str = ""  # what makes the runs that are missing
    lacks: Callable[[Item, Ours], bool] | None = None  # whether runs are; None: as `missing` says
    csv: str = ""  # of its published numbers; empty: the paper's own
    models_as_rows: bool = False  # the models of a published table stand in one block
    alphas: bool = False  # a row for every alpha of ours, as WiSE, not for the tuned model alone
    blocks: Mapping[str, str] = field(default_factory=dict)  # method -> its own block of a table
    differences: tuple[str, ...] = ()  # benchmarks whose rows are compared with the first
    against: tuple[str, str] = (ZERO_SHOT_NAME, "")  # method and setting of which changes are told
    means: tuple[str, ...] = (SHIFTS,)  # last columns of a table
    has_numbers: bool = True  # a drawing and a sheet of images have none
    unknown: str = ""  # what of the paper's drawing is not known, for the caption

    def runs(self, ours: Ours) -> pd.DataFrame:
        """The results of this item's methods; raises ConfigError for kinds it does not compare."""
        results = ours.results
        if self.only is not None:
            runs = [run for run in results.run.unique() if self.only(ours.config(run))]
            results = results[results.run.isin(runs)]
        if self.across not in results:
            check_comparable(results)
        if len(self.benchmarks) == 1:
            own = DATA_SETS.get(self.benchmarks[0], self.benchmarks[0])
            if own in set(results.manifest):
                results = results[results.manifest == own]
        methods = self.methods
        if not methods:
            table = self.methods_of if self.methods_of else self.number
            titles = set(published_rows(table, self.benchmarks[0], self.csv).method)
            methods = [name for name in results.method.unique() if title_of(name) in titles]
        return results[results.method.isin(methods)]

    def recipes(self, ours: Ours) -> dict[str, str]:
        """Recipe -> its setting in a table: of each kind, method and setting the best of our runs.

        The best is that by reference validation. A setting without a name is told by lr and steps.
        There are none where our runs are too few to be compared.
        """
        results = self.runs(ours)
        recipes: dict[str, str] = {}
        if self.across in results and ours.results[self.across].nunique() == 1:
            return recipes
        for _, kind in results.groupby(["manifest", "model", "reference"]):
            methods = ordered(kind.method.unique())
            if self.setting is not None and self.methods:
                methods = sorted(methods, key=self.methods.index)
            for method in methods:
                recipes |= self._best_recipes(method, kind[kind.method == method], ours)
        if self.across == SETTINGS and len(recipes) == 1:
            return {}
        return recipes

    def _best_recipes(self, method: str, results: pd.DataFrame, ours: Ours) -> dict[str, str]:
        setting_by_run = dict.fromkeys(results.run, "")
        if self.setting is not None:
            for run in setting_by_run:
                setting_by_run[run] = self.setting(method, ours.config(run))
        settings = results.run.map(setting_by_run)
        recipes = {}
        for setting in sorted(sorted(set(setting_by_run.values())), key=len):
            recipe = best_by_val(results[settings == setting])[method]
            first = results[results.recipe == recipe].iloc[0]
            recipes[recipe] = setting or recipe_in_words(first.lr, first.steps)
        return recipes

    def missing(self, ours: Ours) -> str:
        """The command that makes what is compared, where our runs do not have it."""
        if self.lacks is not None:
            enough = not self.lacks(self, ours)
        elif self.across == COMBINATIONS:
            enough = self.runs(ours).method.map(is_combined).any()
        elif self.across == SETTINGS:
            enough = len(self.recipes(ours)) > 0
        elif self.across:
            enough = ours.results[self.across].nunique() > 1
        else:
            enough = self.has_every_method(self.runs(ours))
        return "" if enough else self.command

    def has_every_method(self, results: pd.DataFrame) -> bool:
        """Whether each method of the item is among these results."""
        return set(self.methods) <= set(results.method)

    def made(
        self,
        figure: go.Figure,
        used: pd.DataFrame | None,
        command: str = "",
        rows: Blocks | None = None,
        drawn: pd.DataFrame | None = None,
    ) -> Made:
        """The item with its caption: what it shows, how many runs are ours, what makes the rest.

        used: results of the runs in it, None where it has no data; command: what makes the runs
        that are missing; rows: a table; drawn: the points of a figure.
        """
        text = self.what
        if self.unknown:
            text += f" The paper's text does not say {self.unknown}: that is ours."
        if used is None:
            return Made(figure, text)
        if rows is not None and len(used):
            text += MEANS
        text += f" {_count(used)}"
        if command:
            purpose = "For the rest" if len(used) else "To make them"
            text += f" {purpose}: {command}."
        if drawn is None:
            drawn = used
        drawn = drawn.assign(command=command if command else self.command)
        return Made(figure, text, rows if rows is not None else {}, drawn)


def is_combined(method: str) -> bool:
    """Whether something was done after training."""
    return bool(MethodName.parse(method).after)


def _count(used: pd.DataFrame) -> str:
    """How many runs, of which models on which data, with how many seeds and images."""
    if used.empty:
        return "Ours: none (n = 0 runs, no seeds)."
    kinds = used[["model", "manifest"]].drop_duplicates().to_numpy()
    names = "; ".join(f"{model} on {manifest}" for model, manifest in kinds)
    seeds = _span(used.groupby("recipe").seed.nunique())
    images = _span(used[used.role != "val"].n)
    runs = f"Ours: n = {used.run.nunique()} runs ({names})"
    return f"{runs}, seeds a recipe: {seeds}, test images a split: {images}."


def _span(values: pd.Series) -> str:
    low = values.min()
    high = values.max()
    return f"{low}" if low == high else f"{low} to {high}"
