"""Any plotly figure as a cell's output: live in the page's own colours, a static twin elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..figures.pages import save_figure
from .base import Explorer, Plot, W, alpha_slider, column

if TYPE_CHECKING:
    import plotly.graph_objects as go


class FigureView(Explorer):
    """A figure that follows the page's theme and width; where it has a slider, that of the page.

    Arguments:
        figure: any plotly figure; the static twin is the same one.
    """

    def __init__(self, figure: go.Figure):
        super().__init__()
        self.shown = figure
        self.plot = Plot(figure)
        controls: list[W.Widget] = []
        if self.plot.moves:
            slider = alpha_slider(self._start())
            self.plot.alpha = slider.value
            self.links = [W.jsdlink((slider, "value"), (self.plot, "alpha"))]
            controls.append(slider)
        self.widget = column(*controls, self.plot)

    def _start(self) -> float:
        (slider,) = self.shown.layout.sliders
        return float(slider.steps[slider.active or 0].value)

    def figure(self) -> go.Figure:
        """The figure itself."""
        return self.shown


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
