"""Explorer of many runs: energy gap, or another measure, against robustness."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from ..boards.explorers import gap_board
from ..boards.gap import Gaps
from ..config import TUNED
from ..errors import ConfigError
from ..figures.energy_gap import Choice, energy_gap_figure
from ..figures.panels import empty_figure
from .base import Explorer, results_of

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..metrics.correlation import Correlation


class EnergyGapExplorer(Explorer):
    """Energy gap, or another measure, against robustness: a point per run; r follows what is shown.

    It opens on the run that is furthest to the right, the one of the largest gap; a click on a
    point chooses another, Escape none.
    Traits: shift (a split), methods (shown), x, y (metrics), run (the id of the chosen one, or "").

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
        ['ft', 'lipsum']
        >>> explorer.run = clipft.open_runs("runs")[0].id  # as a click does
    """

    shift: Any = traitlets.Unicode().tag(sync=True)
    methods: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    x: Any = traitlets.Unicode("energy_gap").tag(sync=True)
    y: Any = traitlets.Unicode("relative_accuracy").tag(sync=True)
    run: Any = traitlets.Unicode().tag(sync=True)
    selection: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    alpha: Any = traitlets.Float(TUNED).tag(sync=True)
    shared: tuple[str, ...] = ("run", "selection")  # its points are models of one alpha

    def __init__(self, results: Any, runs: Path | str = "", alpha: float = TUNED, **traits: Any):
        results, runs = results_of(results, runs)
        self.gaps = Gaps(results, runs, alpha)
        if "run" not in traits:
            traits["run"] = self._furthest(traits)
        super().__init__(gap_board(self.gaps, alpha=alpha, **traits))

    def _furthest(self, traits: dict[str, Any]) -> str:
        """The run with the largest x; "" where none is drawn."""
        x = traits.get("x", self.gaps.metrics[0])
        y = traits.get("y", "relative_accuracy")
        methods = traits.get("methods", self.gaps.looks(x))
        shown = self.gaps.shown(traits.get("shift", self.gaps.shifts[0]), x, y, methods)
        return "" if shown.empty else shown.run[shown[x].idxmax()]

    @property
    def shown(self) -> DataFrame:
        """The rows of the runs that are drawn."""
        return self.gaps.shown(self.shift, self.x, self.y, self.methods)

    @property
    def correlation(self) -> Correlation:
        """Pearson's r of what is drawn, with its 95 % interval over recipes."""
        return self.gaps.correlation(self.shift, self.x, self.y, self.methods)

    def figure(self):
        """The static twin: the picture that is shown, the chosen run ringed."""
        choice = Choice([self.shift], self.methods, self.run)
        try:
            return energy_gap_figure(self.gaps.results, self.x, self.y, self.gaps.alpha, choice)
        except ConfigError as error:
            return empty_figure(str(error))  # no method is chosen
