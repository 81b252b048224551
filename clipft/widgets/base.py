"""What all explorers share: a chart drawn in the page, thumbnails, and a way to be shown live or not."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from ..errors import MissingExtra
from ..figures.pages import VIEW, bundle, save_figure
from ..progress import headless

try:
    import anywidget
    import ipywidgets as W
except ImportError as error:
    raise MissingExtra(error.name or "ipywidgets", "notebooks") from None

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    import plotly.graph_objects as go

    from ..runs.sweep import Sweep
    from ..runs.thumbnails import Thumbnails

HERE = Path(__file__).parent
TILES = 24  # thumbnails shown at once


class Chart(anywidget.AnyWidget):
    """Panels of lines, points, bars and arrows as SVG; see chart.js for the spec.

    alpha moves markers and bars in the page; chosen is the id of the point that was clicked (-1: none), selection the
    ids inside the lasso. Arrow keys walk over the points, Enter chooses, Escape clears.
    """

    _esm = HERE / "chart.js"
    _css = HERE / "chart.css"
    spec = traitlets.Dict().tag(sync=True)
    alpha = traitlets.Float(1.0).tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)
    selection = traitlets.List(traitlets.Int()).tag(sync=True)


class Html(anywidget.AnyWidget):
    """A text, table or tiles as HTML, in the explorers' style; nothing in it is typeset."""

    _esm = """export default { render({model, el}) {
      const show = () => { el.innerHTML = model.get("value"); };
      model.on("change:value", show);
      show();
      return () => model.off("change:value", show);
    } }"""
    _css = HERE / "chart.css"
    value = traitlets.Unicode().tag(sync=True)


class Explorer(traitlets.HasTraits):
    """An explorer as a cell's last line: widgets where a page is live, the static twin figure everywhere else."""

    widget: W.Widget

    def figure(self) -> go.Figure:
        """The static twin: the same data as a plotly figure, for batches, exported pages and papers."""
        raise NotImplementedError

    def save(self, folder: Path | str, name: str, caption: str = "") -> None:
        """Save the static twin as NAME.html and NAME.json into a folder; "" saves nothing."""
        if folder:
            save_figure(self.figure(), folder, name, caption)

    def show(self) -> None:
        """Display it, from anywhere in a cell."""
        from IPython.display import display

        display(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        found = bundle(self.figure()) | {"text/plain": repr(self)}
        return found if headless() else found | {VIEW: self.widget._repr_mimebundle_()[VIEW]}

    def __repr__(self) -> str:
        shown = {
            k: f"{len(v)} items" if isinstance(v, tuple) else repr(v)
            for k, v in self.trait_values().items()
        }
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in sorted(shown.items()))})"


def padded(low: float, high: float, share: float = 0.06) -> list[float]:
    """A range for an axis with some room at both ends."""
    room = share * (high - low) or 0.5
    return [float(low - room), float(high + room)]


def box(*children: W.Widget) -> W.Widget:
    """Controls beside each other, wrapped where the page is narrow."""
    return W.HBox(children, layout=W.Layout(flex_flow="row wrap"))


def dropdown(options: Sequence, title: str, value: Any = None, name: str = "") -> W.Dropdown:
    """A menu with room for its title; `name` is a CSS class to find it by."""
    made = W.Dropdown(options=options, description=title, style={"description_width": "initial"})
    if value is not None:
        made.value = value
    return made.add_class(f"clipft-{name or title.replace(' ', '-')}")


def alpha_slider(value: float) -> W.FloatSlider:
    """Alpha from 0 to 1 in hundredths: mouse, arrow keys, or a typed number."""
    made = W.FloatSlider(
        value=value,
        min=0,
        max=1,
        step=0.01,
        description="alpha",
        readout_format=".2f",
        continuous_update=True,
        layout=W.Layout(width="min(880px, 95%)"),
    )
    return made.add_class("clipft-alpha")


def said(text: object) -> str:
    """A sentence as HTML."""
    return f"<p>{html.escape(str(text))}</p>"


def text_panel(name: str) -> Html:
    """A place for a text or table; `name` is a CSS class to find it by."""
    return Html().add_class(f"clipft-{name}")


def table_html(frame: pd.DataFrame) -> str:
    """A data frame as an HTML table, values as given; columns of numbers stand to the right."""
    right = [
        " class='clipft-number'"
        if all(str(value).lstrip("+-")[:1].isdigit() for value in frame[name])
        else ""
        for name in frame.columns
    ]
    lines = [("th", frame.columns), *(("td", row) for row in frame.itertuples(index=False))]
    rows = (
        "".join(
            f"<{tag}{look}>{html.escape(str(v))}</{tag}>"
            for look, v in zip(right, line, strict=True)
        )
        for tag, line in lines
    )
    return f"<table class='clipft-table'>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def tiles_html(
    sweep: Sweep,
    rows: Sequence[int],
    thumbnails: Thumbnails,
    caption: Callable[[int], str],
    of: int = 0,
) -> str:
    """Images of a sweep at these rows, each with a caption (HTML); a grey tile stands for an image not at hand."""
    tiles = []
    for row in rows[:TILES]:
        address, name = thumbnails[sweep.ids[row]], html.escape(sweep.name_of(sweep.label[row]))
        grey = f"<div class='clipft-grey' title='no image at hand: {html.escape(sweep.ids[row])}'></div>"
        image = (
            f"<img src='{address}' alt='{name}' title='{html.escape(sweep.ids[row])}'>"
            if address
            else grey
        )
        tiles.append(
            f"<figure>{image}<figcaption><b>{name}</b><br>{caption(row)}</figcaption></figure>"
        )
    whole = of or len(rows)
    count = said(f"{min(TILES, len(rows))} of {whole} images" if whole else "no image")
    return f"{count}<div class='clipft-tiles'>{''.join(tiles)}</div>"


def verdict(sweep: Sweep, row: int, prediction: int) -> str:
    """A prediction with a mark that says whether it is right, not by colour alone."""
    right = prediction == sweep.label[row]
    return f"{'✓' if right else '✗'} {html.escape(sweep.name_of(prediction))}"
