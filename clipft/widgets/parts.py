"""Parts of the form: a chart that is drawn while it trains, texts, and fields of ipywidgets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import traitlets

from ..boards.scripts import late
from ..figures.markup import with_plain_names
from ..figures.pages import painter
from .base import STYLE, Library, W, anywidget, file_text

if TYPE_CHECKING:
    import plotly.graph_objects as go


class Plot(anywidget.AnyWidget):
    """A plotly figure that is painted anew whenever it is another one."""

    _esm = painter() + late() + file_text("library.js") + file_text("plot.js")
    _css = STYLE
    library = traitlets.Instance(Library).tag(sync=True, **W.widget_serialization)
    figure = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__(library=Library.shared())

    def paint(self, figure: go.Figure) -> None:
        """Show this figure."""
        self.figure = with_plain_names(figure.to_json())


class Html(anywidget.AnyWidget):
    """A text, table or tiles as HTML, in the explorers' style; nothing in it is typeset."""

    _esm = file_text("text.js")
    _css = STYLE
    value = traitlets.Unicode().tag(sync=True)


def parts(widget: W.Widget) -> Iterator[W.Widget]:
    """A widget and all that it is made of, its layouts and styles too."""
    yield widget
    for name in widget.keys:
        value = getattr(widget, name)
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, W.Widget) and not isinstance(part, Library):
                yield from parts(part)


def box(*children: W.Widget) -> W.HBox:
    """Controls beside each other, wrapped where the page is narrow."""
    return W.HBox(children, layout=W.Layout(flex_flow="row wrap"))


def column(*children: W.Widget) -> W.VBox:
    """The parts of an explorer, one below the other, as wide as the page."""
    return W.VBox(children).add_class("clipft-explorer")


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
    menu.layout.max_width = "calc(100% - 4px)"  # its margins are beside it
    menu.layout.width = "auto"
    return menu.add_class(f"clipft-{title}")


def text_panel(name: str) -> Html:
    """A place for a text or table; `name` is a CSS class to find it by."""
    return Html().add_class(f"clipft-{name}")
