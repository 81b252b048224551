"""The JavaScript and the style of boards, joined of a file a view."""

from __future__ import annotations

import gzip
import importlib.util
from functools import cache
from pathlib import Path

from ..errors import MissingExtra
from ..figures.pages import packed_library, painter

HERE = Path(__file__).parent
# In the order in which they use each other.
PARTS = (
    "store",
    "parts",
    "sweep",
    "tiles",
    "chart",
    "wise",
    "map_groups",
    "map",
    "classes",
    "runs",
    "board",
)


def file_text(name: str) -> str:
    """A file beside this one."""
    return (HERE / name).read_text(encoding="utf-8")


@cache
def script() -> str:
    """All that draws boards; what opens them, live or in a page, comes below it."""
    return painter() + "".join(file_text(f"{part}.js") for part in PARTS)


@cache
def live() -> str:
    """The module of a board that is a widget."""
    return script() + late() + file_text("live.js")


def late() -> str:
    """What lets a widget hear what came before its script did."""
    return file_text("late.js")


@cache
def saved() -> str:
    """The script of a page's boards."""
    return f"(() => {{\n{script()}{file_text('saved.js')}}})();"


@cache
def style() -> str:
    """The style sheet."""
    return file_text("board.css")


@cache
def style_of_page() -> str:
    """That of a page of one board, which follows the reader's theme."""
    return style() + file_text("page.css")


@cache
def packed(name: str) -> bytes:
    """A library's script, gzip: plotly, or datatables, which the itables package brings.

    Raises MissingExtra where it is not installed.
    """
    if name == "plotly":
        return packed_library()
    return gzip.compress(_datatables().encode(), compresslevel=9, mtime=0)


def _datatables() -> str:
    found = importlib.util.find_spec("itables")
    if found is None or found.origin is None:
        raise MissingExtra("itables", "notebooks")
    return (Path(found.origin).parent / "html" / "dt_bundle.js").read_text(encoding="utf-8")
