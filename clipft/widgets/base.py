"""What all explorers share: a chart in the page, controls, and a way to be shown live or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import traitlets

from ..boards import scripts
from ..boards.desk import Board, key_of
from ..boards.page import BOARD, record_of, save_board, save_explorer
from ..boards.scripts import style
from ..errors import ClipftError, MissingExtra, unknown
from ..figures.pages import bundle, heading_of, packed_js
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


STYLE = style()
LIBRARY = packed_js() + file_text("library.js")


class Library(anywidget.AnyWidget):
    """plotly.js, sent to a page once for all of its charts, which reads it when it comes."""

    _esm = LIBRARY + "export default {initialize({model}) { plotlyOf(model); }};"
    packed = traitlets.Bytes().tag(sync=True)  # gzip

    @classmethod
    @cache
    def shared(cls) -> Library:
        """The kernel's own."""
        return cls(packed=scripts.packed("plotly"))


class Stage(anywidget.AnyWidget):
    """Puts a widget into the place that a cell's output keeps for it; see stage.js."""

    _esm = file_text("stage.js")
    _css = STYLE
    child = traitlets.Instance(W.Widget).tag(sync=True, **W.widget_serialization)
    place = traitlets.Unicode().tag(sync=True)


class Displayed:
    """A cell's last line: widgets in a live page, the static twin elsewhere.

    `widget` is what a live page shows, itself where it is one.
    """

    widget: Any = None
    stage: Stage | None = None
    close: Callable[[], None]

    def figure(self) -> go.Figure:
        """The static twin: the picture that is shown, for batches, pages and papers."""
        raise NotImplementedError

    def record(self) -> dict[str, Any] | None:
        """What a saved page needs to show it without a kernel; None where it needs one."""
        return None

    def save(self, folder: Path | str, name: str, caption: str = "") -> None:
        """Save it as NAME.html, which needs no kernel, and its static twin as NAME.json, for
        images and for the page of a batch; "" saves nothing.
        """
        if folder:
            save_explorer(self.figure(), self.record(), folder, name, caption)

    def show(self) -> None:
        """Display it, from anywhere in a cell."""
        from IPython.display import display

        display(self)

    def bundle(self) -> dict[str, object]:
        """The static twin as a cell's output, where nobody looks with what a saved page needs."""
        text = {"text/plain": repr(self)}
        record = self.record() if headless() else None
        board = {} if record is None else {BOARD: record}
        return bundle(self.figure()) | board | text

    def keep_a_place(self) -> None:
        """Put a place for the widgets above the static twin, which they hide while they live.

        A cell's output with the widgets themselves would show an error in a saved notebook that is
        opened without its kernel.
        """
        from IPython.display import HTML, display

        if self.stage is None:
            self.stage = Stage(child=self.widget or self, place=f"clipft-place-{uuid4().hex[:12]}")
        shown.now(self)
        display(HTML(f"<div class='{self.stage.place}'></div>"))


class Explorer(Displayed, anywidget.AnyWidget):
    """Some views of runs, which draw themselves in the page; see clipft/boards.

    What its views share are traits, e.g. alpha and `selection`, the ids of the selected images. In
    JupyterLab the static twin is kept below it in the notebook.
    """

    _esm = scripts.live()
    _css = STYLE
    about: Any = traitlets.Dict().tag(sync=True)
    given: Any = traitlets.Dict().tag(sync=True)  # answers to what is asked first
    library: Any = traitlets.Unicode().tag(sync=True)  # the id of `Library`
    _record: dict[str, Any] | None = None  # saved and shown in a batch it is asked for twice
    shared: tuple[str, ...] = ("alpha", "run", "selection")  # what `link` makes one with others
    links: Sequence[Any] = ()  # to other explorers; closed with it

    def __init__(self, board: Board):
        # Ahead: a page takes a second to read it, while the kernel draws.
        library = Library.shared()
        self.board = board
        given = {}
        for question in board.first:
            answer = board.desk.answer(question)
            told = {"json": answer.json, "kinds": answer.kinds, "arrays": answer.buffers()}
            given[key_of(question)] = told
        named = {name: value for name, value in board.state.items() if self.has_trait(name)}
        super().__init__(about=board.about, given=given, library=library.model_id, **named)
        self.on_msg(self._asked)

    @property
    def title(self) -> str:
        """Of its page: what its picture says first."""
        return heading_of(self.figure(), type(self).__name__)

    @traitlets.validate("run")
    def _is_known(self, proposal: dict[str, Any]) -> str:
        run = proposal["value"]
        known = self.known_runs
        if known and run not in known:
            raise unknown("run", run, known)
        return run

    @property
    def known_runs(self) -> set[str]:
        """The ids that `run` may have; see `link`."""
        return self.board.known_runs

    @property
    def state(self) -> dict[str, Any]:
        """What the board begins with in a saved page: as it is here and now."""
        for name in self.board.state:
            if self.has_trait(name):
                self.board.state[name] = getattr(self, name)  # what is saved depends on it, too
        return dict(self.board.state)

    def record(self) -> dict[str, Any] | None:
        """See `Displayed.record`."""
        if self._record is None or self._record["state"] != self.state:
            self._record = record_of(replace(self.board, state=self.state))
        return self._record

    def export(self, target: Path | str) -> Path:
        """Write one self-contained page that opens offline and needs no kernel.

        Its controls do what they do here, but for those that ask a model, which are not in it. What
        does not fit into a page (7 MB of scores and images) is left out, and its view says so.

        Arguments:
            target: the HTML file.

        Returns:
            The file.

        Raises:
            StorageError: where it cannot be written.

        Example:
            >>> slider = clipft.WiseExplorer("runs")
            >>> print(slider.export("wise.html"))
            wise.html
        """
        return save_board(replace(self.board, state=self.state), target, self.title)

    def close(self) -> None:
        """End it, here and in the page; it then holds nothing that takes memory.

        IPython keeps what a cell gave (`Out`), and so the explorer itself.
        """
        for link in list(self.links):
            link.close()
        if self.stage is not None:
            self.stage.layout.close()
            self.stage.close()
        self.unobserve_all()
        self.layout.close()
        super().close()
        self.set_trait("given", {})
        self._record = None
        for name in [name for name in vars(self) if not name.startswith("_") and name != "keys"]:
            delattr(self, name)

    def _asked(self, _widget: object, message: dict[str, Any], _buffers: object) -> None:
        """A page asks: see `Kernel` in store.js."""
        number = message.get("ask")
        try:
            answer = self.board.desk.answer(message["question"])
        except ClipftError as error:
            self.send({"answer": number, "error": str(error)})
            return
        except BaseException as error:  # an interrupt, too: the page waits
            self.send({"answer": number, "error": f"{type(error).__name__}: {error}"})
            raise
        buffers = list(answer.buffers().values())
        self.send({"answer": number, "json": answer.json, "kinds": answer.kinds}, buffers)

    def _repr_mimebundle_(self, **_: object) -> Any:
        if not headless():
            self.keep_a_place()
        return self.bundle()

    def __repr__(self) -> str:
        told = []
        names = sorted(self.board.state) if "board" in vars(self) else []  # none when closed
        for name in names:
            if self.has_trait(name):
                value = getattr(self, name)
                many = isinstance(value, list) and len(value) > 3
                told.append(f"{name}={len(value)} items" if many else f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(told)})"


class Shown:
    """Which explorers each cell shows: those that its next execution takes away are closed.

    Not where another cell shows them too, or a name of the user's still holds them.
    """

    def __init__(self) -> None:
        self.executions: dict[str, str] = {}  # cell -> its last execution
        self.explorers: dict[str, list[Displayed]] = {}  # cell -> what that showed

    def now(self, explorer: Displayed) -> None:
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
