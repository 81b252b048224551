"""Any plotly figure as a cell's output: live in the page's own colours, a static twin elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from ..boards.explorers import figure_board
from ..figures.pages import save_figure
from .base import Explorer

if TYPE_CHECKING:
    import plotly.graph_objects as go


class FigureView(Explorer):
    """A figure that follows the page's theme and width; where it has a slider, that of the page.

    Arguments:
        figure: any plotly figure; the static twin is the same one.
    """

    alpha: Any = traitlets.Float(1.0, min=0, max=1).tag(sync=True)

    def __init__(self, figure: go.Figure):
        self.shown = figure
        super().__init__(figure_board(figure))

    def figure(self) -> go.Figure:
        """The figure itself."""
        return self.shown

    def record(self) -> None:
        """A figure's own page needs nothing more."""


def show(figure: go.Figure, folder: Path | str = "", name: str = "", caption: str = "") -> None:
    """Show a figure in a notebook, in the page's own colours and as wide as it.

    Arguments:
        figure: any plotly figure.
        folder: where a folder is given, it is saved there, too, see `save_figure`.
        name: of the saved files.
        caption: below the saved figure.

    Example:
        >>> figure = clipft.wise_curve_figure(clipft.results("runs"))
        >>> clipft.show(figure, "figures", "curves")
        FigureView()
    """
    if folder:
        save_figure(figure, folder, name, caption)
    FigureView(figure).show()
