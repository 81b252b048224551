"""What all explorers share: a chart in the page, controls, and a way to be shown live or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from ..errors import MissingExtra
from ..figures.pages import VIEW, bundle, save_figure
from ..progress import headless
from ..runs.folder import folders_of
from ..runs.table import results

try:
    import anywidget
    import ipywidgets as W
except ImportError as error:
    raise MissingExtra(error.name or "ipywidgets", "notebooks") from None

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

HERE = Path(__file__).parent


class Chart(anywidget.AnyWidget):
    """Panels of lines, points, bars and arrows as SVG; see chart.js for the spec.

    alpha moves markers and bars in the page; chosen is the id of the point that was clicked (-1:
    none), selection the ids inside the lasso. Arrow keys walk over the points, Enter chooses,
    Escape clears.
    """

    _esm = HERE / "chart.js"
    _css = HERE / "chart.css"
    spec = traitlets.Dict().tag(sync=True)
    alpha = traitlets.Float(1.0).tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)
    selection = traitlets.List(traitlets.Int()).tag(sync=True)


class Html(anywidget.AnyWidget):
    """A text, table or tiles as HTML, in the explorers' style; nothing in it is typeset."""

    _esm = HERE / "text.js"
    _css = HERE / "chart.css"
    value = traitlets.Unicode().tag(sync=True)


class Explorer(traitlets.HasTraits):
    """An explorer as a cell's last line: widgets in a live page, the static twin elsewhere."""

    widget: W.Widget

    def figure(self) -> go.Figure:
        """The static twin: the same data as a plotly figure, for batches, pages and papers."""
        raise NotImplementedError

    def save(self, folder: Path | str, name: str, caption: str = "") -> None:
        """Save the static twin as NAME.html and NAME.json into a folder; "" saves nothing."""
        if folder:
            save_figure(self.figure(), folder, name, caption)

    def show(self) -> None:
        """Display it, from anywhere in a cell."""
        from IPython.display import display

        display(self)

    def bind(self, update: Callable[..., None], **controls: W.Widget) -> None:
        """Make each trait one with the value of its control; call `update` where it changes."""
        for trait, control in controls.items():
            traitlets.link((self, trait), (control, "value"))
        self.observe(update, list(controls))

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        output = bundle(self.figure()) | {"text/plain": repr(self)}
        if not headless():
            output[VIEW] = self.widget._repr_mimebundle_()[VIEW]
        return output

    def __repr__(self) -> str:
        traits = []
        for name, value in sorted(self.trait_values().items()):
            shown = f"{len(value)} items" if isinstance(value, tuple) else repr(value)
            traits.append(f"{name}={shown}")
        return f"{type(self).__name__}({', '.join(traits)})"


def results_of(given: Any, runs: Path | str) -> tuple[pd.DataFrame, Path | str]:
    """The table of results and the folder of the runs, from either: a table, or runs.

    The folder is "" where the runs lie in several. Raises RunError for what is neither.
    """
    import pandas as pd

    if isinstance(given, pd.DataFrame):
        return given, runs
    parents = {folder.path.parent for folder in folders_of(given)}
    if not runs and len(parents) == 1:
        runs = parents.pop()
    return results(given), runs


def box(*children: W.Widget) -> W.HBox:
    """Controls beside each other, wrapped where the page is narrow."""
    return W.HBox(children, layout=W.Layout(flex_flow="row wrap"))


def dropdown(
    options: Sequence, title: str, value: object, called: Callable[..., str] | None = None
) -> W.Dropdown:
    """A menu with room for its title; its CSS class is `clipft-` and the title.

    options: values, or pairs of a name and a value; `called` gives the name of a value.
    """
    if called is not None:
        options = [(called(option), option) for option in options]
    style = {"description_width": "initial"}
    menu = W.Dropdown(options=options, value=value, description=title, style=style)
    return menu.add_class(f"clipft-{title}")


def alpha_slider(value: float) -> W.FloatSlider:
    """Alpha from 0 to 1 in hundredths: mouse, arrow keys, or a typed number."""
    slider = W.FloatSlider(value=value, min=0, max=1, step=0.01, description="alpha")
    slider.layout.width = "min(880px, 95%)"
    return slider.add_class("clipft-alpha")


def text_panel(name: str) -> Html:
    """A place for a text or table; `name` is a CSS class to find it by."""
    return Html().add_class(f"clipft-{name}")
