"""One run at a glance, in tabs; or all runs of a folder in linked views."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from ..boards.explorers import run_board
from ..figures.wise import sweep_figure
from ..runs.confusion import confusion_table
from ..runs.run import Run, open_runs
from ..runs.thumbnails import Thumbnails
from .base import Explorer
from .energy_gap import EnergyGapExplorer

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


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
        >>> clipft.explore(run, alpha=0.3).alpha
        0.3
    """
    opened = open_runs(runs)
    if len(opened) == 1:
        return RunExplorer(opened[0], alpha)
    return EnergyGapExplorer(runs if isinstance(runs, str | Path) else opened)


class RunExplorer(Explorer):
    """One scored run in tabs: WiSE, classes, confusions, calibration, training; they are linked.

    Traits: alpha (0 ... 1), split (of the lists; "": every one), selection (ids of images).

    Arguments:
        run: a Run, its folder, or the first letters of its id.
        alpha: where the slider stands at first; None: at the scored alpha nearest to a half.

    Raises:
        RunError: where there is no such run, or it was not scored.

    Example:
        >>> explorer = clipft.RunExplorer(clipft.open_runs("runs")[0])
        >>> explorer.alpha = 0.3
        >>> explorer.confusions("sketch/test").columns.tolist()
        ['class', 'taken for', 'zero_shot', 'here', 'change', 'n']
    """

    alpha: Any = traitlets.Float(0.5, min=0, max=1).tag(sync=True)
    run: Any = traitlets.Unicode().tag(sync=True)
    selection: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    against: Any = traitlets.Enum((0, 1), 0).tag(sync=True)
    kind: Any = traitlets.Enum(("lost", "gained", "all"), "lost").tag(sync=True)
    split: Any = traitlets.Unicode().tag(sync=True)
    shown_split: Any = traitlets.Unicode().tag(sync=True)

    def __init__(self, run: Any, alpha: float | None = None):
        self.opened = Run.open(run)
        self.sweep = self.opened.sweep()
        super().__init__(run_board(self.sweep, self.sweep.middle if alpha is None else alpha))

    def figure(self) -> go.Figure:
        """The static twin: the slider alone; it works without a kernel."""
        return sweep_figure(self.sweep, self.alpha, Thumbnails(self.sweep))

    def confusions(self, split: str) -> pd.DataFrame:
        """What the model at this alpha takes for what, see `confusion_table`."""
        return confusion_table(self.sweep, split, self.alpha)
