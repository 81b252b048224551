"""Explorer of feature distortion: how far tuning moved reference images against shifted ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import traitlets

from ..boards.explorers import distortion_board
from ..boards.gap import Distortions
from ..figures.distortion import distortion_figure
from ..runs.reading import distortion_table
from .base import Explorer

if TYPE_CHECKING:
    import plotly.graph_objects as go


class DistortionExplorer(Explorer):
    """Feature distortion of reference against shifted images, a point per run.

    The theory has every point below the dashed line. A click on a point chooses its run.
    Traits: shift (a split), kind (raw, normalised), run (the id of the chosen one, or "").

    Arguments:
        table: of `distortion_table`, or the runs themselves: their folder, or a list.
        traits: what is shown at first.

    Raises:
        ConfigError: where there is nothing to draw.

    Example:
        >>> clipft.DistortionExplorer("runs", shift="sketch/test")
        DistortionExplorer(kind='raw', run='', shift='sketch/test')
    """

    shift: Any = traitlets.Unicode().tag(sync=True)
    kind: Any = traitlets.Unicode("raw").tag(sync=True)
    run: Any = traitlets.Unicode().tag(sync=True)

    def __init__(self, table: Any, **traits: Any):
        if not isinstance(table, pd.DataFrame):
            table = distortion_table(table)
        self.distortions = Distortions(table)
        super().__init__(distortion_board(self.distortions, **traits))

    @property
    def shown(self) -> pd.DataFrame:
        """The rows that are drawn."""
        return self.distortions.shown(self.shift, self.kind)

    def figure(self) -> go.Figure:
        """The static twin: the picture that is shown, the chosen run ringed."""
        table = self.distortions.table
        return distortion_figure(table, self.kind, shifts=[self.shift], run=self.run)
