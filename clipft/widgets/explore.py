"""One run at a glance: the alpha slider, how it was trained, and what it mixes up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import traitlets

from ..figures.training import training_figure
from ..runs.run import Run, open_runs
from ..runs.sweep import Sweep
from .base import Explorer, Plot, W, beside, column, dropdown, text_panel
from .energy_gap import EnergyGapExplorer
from .texts import paragraph, table_html
from .wise import WiseExplorer

if TYPE_CHECKING:
    import plotly.graph_objects as go

TABS = ("alpha", "training", "confusions")


def explore(runs: Any, alpha: float | None = None) -> Explorer:
    """The explorer that fits: a `RunExplorer` for one run, the `EnergyGapExplorer` for several.

    Arguments:
        runs: a Run, its folder, the first letters of its id; a list, or a folder of runs.
        alpha: where the slider of one run stands at first; None: at the scored alpha nearest to a
            half.

    Returns:
        The explorer, to be the last line of a cell.

    Raises:
        RunError: where there is no scored run.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> clipft.explore(run, alpha=0.3)
        RunExplorer(alpha=0.3, split=...)
    """
    opened = open_runs(runs)
    if len(opened) == 1:
        return RunExplorer(opened[0], alpha)
    return EnergyGapExplorer(runs if isinstance(runs, str | Path) else opened)


class RunExplorer(Explorer):
    """One scored run in three tabs: alpha, training, confusions.

    Traits: alpha (0 ... 1, that of the slider), split (whose confusions are listed).

    Arguments:
        run: a Run, its folder, or the first letters of its id.
        alpha: where the slider stands at first; None: at the scored alpha nearest to a half.

    Raises:
        RunError: where there is no such run, or it was not scored.

    Example:
        >>> explorer = clipft.RunExplorer(clipft.open_runs("runs")[0])
        >>> explorer.alpha = 0.3
        >>> explorer.confusions().columns.tolist()
        ['class', 'taken for', 'images', 'zero-shot']
    """

    alpha = traitlets.Float(0.5, min=0, max=1)
    split = traitlets.Unicode()

    def __init__(self, run: Any, alpha: float | None = None):
        self.run = Run.open(run)
        self.wise = WiseExplorer(self.run, alpha)
        super().__init__(alpha=self.wise.alpha, split=self.sweep.splits[-1])
        self.slider = self.wise.slider
        self.links = self.wise.links
        traitlets.link((self, "alpha"), (self.wise, "alpha"))

        self.training = Plot(self._curves())
        self.confused = text_panel("confusions")
        menu = dropdown(self.sweep.splits, "split", self.split)
        # The one slider stands in two tabs.
        confusions = beside([menu, self.slider], self.confused)
        self.tabs = W.Tab([self.wise.widget, self.training, confusions], titles=TABS)
        about = text_panel("run")
        about.value = paragraph(repr(self.run)) + table_html(self.run.accuracies())
        self.widget = column(about, self.tabs)

        self.bind(self._show_confusions, split=menu)
        self.observe(self._show_confusions, "alpha")
        self._show_confusions()

    @property
    def sweep(self) -> Sweep:
        """The run's scores."""
        return self.wise.sweep

    def figure(self):
        """The static twin: the slider alone; it works without a kernel."""
        return self.wise.figure()

    def _curves(self) -> go.Figure | None:
        """How it was trained; None of what was made of other runs."""
        history = self.run.folder.history()
        if not history:
            return None
        title = f"{self.run.title}, run {self.run.id}"
        return training_figure(history, title=title, last_step=self.run.config.steps)

    def confusions(self) -> pd.DataFrame:
        """What the model at this alpha takes for what, see `Sweep.confusions`."""
        return self.sweep.confusions(self.split, self.alpha)

    def _show_confusions(self, _change: object = None) -> None:
        table = self.confusions()
        nearest = self.sweep.alphas[self.sweep.nearest(self.alpha)]
        said = f"{self.split} at alpha {nearest:.2f}: the most frequent confusions"
        self.confused.value = paragraph(said) + table_html(table)
