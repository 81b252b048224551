"""What all explorers share: a chart in the page, controls, and a way to be shown live or not."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import traitlets

from ..errors import MissingExtra
from ..figures.markup import moves_with_plain_names, with_plain_names
from ..figures.moves import moves_of
from ..figures.pages import bundle, library, painter, save_figure
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


def file_text(name: str) -> str:
    """A file beside this one. anywidget would keep every widget in memory for a path's sake."""
    return (HERE / name).read_text(encoding="utf-8")


STYLE = file_text("explorer.css")
LIBRARY = file_text("library.js")


class Library(anywidget.AnyWidget):
    """plotly.js, sent to a page once for all of its charts, which reads it when it comes."""

    _esm = LIBRARY + "export default {initialize({model}) { plotlyOf(model); }};"
    packed = traitlets.Bytes().tag(sync=True)  # gzip

    @classmethod
    @cache
    def shared(cls) -> Library:
        """The kernel's own."""
        return cls(packed=gzip.compress(library().encode(), compresslevel=4, mtime=0))


class Plot(anywidget.AnyWidget):
    """A plotly figure, live: see `paint`.

    alpha moves what the figure's slider moves, in the page; chosen is the number of the point that
    was clicked (-1: none), selection the numbers of those inside the lasso. A trace gives its
    points numbers in `meta.id`. Arrow keys walk over the points, Enter chooses, Escape clears.
    """

    _esm = painter() + LIBRARY + file_text("plot.js")
    _css = STYLE
    library = traitlets.Instance(Library).tag(sync=True, **W.widget_serialization)
    figure = traitlets.Unicode().tag(sync=True)
    moves = traitlets.Dict().tag(sync=True)
    alpha = traitlets.Float(1.0).tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)
    selection = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, figure: go.Figure | None = None, **traits: Any):
        super().__init__(library=Library.shared(), **traits)
        self.paint(figure)

    def paint(self, figure: go.Figure | None) -> None:
        """Show this figure, or none; its slider's place is taken by `alpha`."""
        still, moves = (None, {}) if figure is None else moves_of(figure)
        text = "" if still is None else with_plain_names(still.to_json())
        moves = moves_with_plain_names(moves)
        with self.hold_sync():  # else the page would draw one with the other's moves
            self.moves = moves
            self.figure = text


class Html(anywidget.AnyWidget):
    """A text, table or tiles as HTML, in the explorers' style; nothing in it is typeset."""

    _esm = file_text("text.js")
    _css = STYLE
    value = traitlets.Unicode().tag(sync=True)


class Stage(anywidget.AnyWidget):
    """Puts a widget into the place that a cell's output keeps for it; see stage.js."""

    _esm = file_text("stage.js")
    _css = STYLE
    child = traitlets.Instance(W.Widget).tag(sync=True, **W.widget_serialization)
    place = traitlets.Unicode().tag(sync=True)


class Explorer(traitlets.HasTraits):
    """An explorer as a cell's last line: widgets in a live page, the static twin elsewhere.

    `widget` is what a live page shows.
    """

    widget: W.Widget
    slider: W.FloatSlider  # of those that have an alpha
    links: Sequence[Any] = ()  # between widgets, in the page; closed with it
    stage: Stage | None = None

    def __new__(cls, *arguments: Any, **traits: Any) -> Self:
        """Send plotly.js ahead: a page takes a second to read it, while the kernel draws."""
        Library.shared()
        return super().__new__(cls, *arguments, **traits)

    def figure(self) -> go.Figure:
        """The static twin: the picture that is shown, for batches, pages and papers."""
        raise NotImplementedError

    def save(self, folder: Path | str, name: str, caption: str = "") -> None:
        """Save the static twin as NAME.html and NAME.json into a folder; "" saves nothing."""
        if folder:
            save_figure(self.figure(), folder, name, caption)

    def show(self) -> None:
        """Display it, from anywhere in a cell."""
        from IPython.display import display

        display(self)

    def close(self) -> None:
        """End it, here and in the page; it then holds nothing that takes memory.

        IPython keeps what a cell gave (`Out`), and so the explorer itself.
        """
        whole = self.widget if self.stage is None else self.stage
        for part in [*self.links, *parts(whole)]:
            part.close()
        self.unobserve_all()
        for name in [name for name in vars(self) if not name.startswith("_")]:
            delattr(self, name)

    def bind(self, update: Callable[..., None], **controls: W.Widget) -> None:
        """Make each trait one with the value of its control; call `update` where it changes."""
        for trait, control in controls.items():
            traitlets.link((self, trait), (control, "value"))
        self.observe(update, list(controls))

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        if not headless():
            self._keep_a_place()
        return bundle(self.figure()) | {"text/plain": repr(self)}

    def _keep_a_place(self) -> None:
        """Put a place for the widgets above the static twin, which they hide while they live.

        A cell's output with the widgets themselves would show an error in a saved notebook that is
        opened without its kernel.
        """
        from IPython.display import HTML, display

        if self.stage is None:
            self.stage = Stage(child=self.widget, place=f"clipft-place-{uuid4().hex[:12]}")
        shown.now(self)
        display(HTML(f"<div class='{self.stage.place}'></div>"))

    def __repr__(self) -> str:
        traits = []
        for name, value in sorted(self.trait_values().items()):
            many = f"{len(value)} items" if isinstance(value, tuple) else repr(value)
            traits.append(f"{name}={many}")
        return f"{type(self).__name__}({', '.join(traits)})"


class Shown:
    """Which explorers each cell shows: those that its next execution takes away are closed.

    Not where another cell shows them too, or a name of the user's still holds them.
    """

    def __init__(self) -> None:
        self.executions: dict[str, str] = {}  # cell -> its last execution
        self.explorers: dict[str, list[Explorer]] = {}  # cell -> what that showed

    def now(self, explorer: Explorer) -> None:
        """The cell that runs shows this explorer."""
        kernel, request = kernel_and_request()
        cell = request.get("metadata", {}).get("cellId")  # JupyterLab says it
        if not cell:
            return

        execution = request["header"]["msg_id"]
        before = self.explorers.get(cell, []) if self.executions.get(cell) != execution else []
        if before or cell not in self.explorers:
            self.explorers[cell] = []
        self.executions[cell] = execution
        self.explorers[cell].append(explorer)

        needed = {id(one) for several in self.explorers.values() for one in several}
        names = kernel.shell.user_ns.items()
        needed |= {id(value) for name, value in names if not name.startswith("_")}
        for old in before:
            if id(old) not in needed:
                old.close()


shown = Shown()


def kernel_and_request() -> tuple[Any, dict[str, dict]]:
    """This kernel, and the message that it answers now: a cell to run, a widget that was moved.

    None, and nothing, outside of a notebook.
    """
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    return kernel, kernel.get_parent() if kernel is not None else {}


def parts(widget: W.Widget) -> Iterator[W.Widget]:
    """A widget and all that it is made of, its layouts and styles too."""
    yield widget
    for name in widget.keys:
        value = getattr(widget, name)
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, W.Widget) and not isinstance(part, Library):
                yield from parts(part)


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


def column(*children: W.Widget) -> W.VBox:
    """The parts of an explorer, one below the other, as wide as the page."""
    return W.VBox(children).add_class("clipft-explorer")


def beside(controls: Sequence[W.Widget], *pictures: W.Widget) -> W.HBox:
    """Controls to the left of the pictures that they move, or above them in a narrow page."""
    left = W.VBox(controls).add_class("clipft-controls")
    right = W.VBox(pictures).add_class("clipft-pictures")
    return W.HBox([left, right]).add_class("clipft-beside")


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


def alpha_slider(value: float) -> W.FloatSlider:
    """Alpha from 0 to 1 in hundredths: mouse, arrow keys, or a typed number."""
    slider = W.FloatSlider(value=value, min=0, max=1, step=0.01, description="alpha")
    slider.layout.width = "auto"
    return slider.add_class("clipft-alpha")


def text_panel(name: str) -> Html:
    """A place for a text or table; `name` is a CSS class to find it by."""
    return Html().add_class(f"clipft-{name}")
