"""Figures on disk: HTML that opens offline, images where a Chromium is found, and an index."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..disk.files import read_large_json, write_json, write_text
from ..disk.inside import check_file_name
from ..errors import unknown
from .markup import with_plain_names
from .style import THEMES, paper

if TYPE_CHECKING:
    import plotly.graph_objects as go

PlotlyJs = bool | str  # whether plotly.js is embedded, or the address of one that is shared
PLOTLYJS = "plotly.min.js"  # its name where pages share one
FIGURE = "application/vnd.plotly.v1+json"  # a figure as a part of a cell's output
KINDS = ("png", "svg", "pdf")
PNG_WIDTH = 1100  # of a figure, in its own pixels
# Nothing leaves the page. A click on a slider would give a responsive figure the height 0. A name
# with two dollars is no formula.
IN_LAB = {
    "displaylogo": False, "showSendToCloud": False, "responsive": False, "typesetMath": False,
}  # fmt: skip
TAGS = re.compile("<[^>]*>")
NUMBER = re.compile("^[0-9]+[a-z]?_")  # what sorts a figure's name
HERE = Path(__file__).parent
STYLE = (HERE / "page.css").read_text(encoding="utf-8")


def save_figure(figure: go.Figure, folder: Path | str, name: str, caption: str = "") -> Path:
    """Write a figure as NAME.html, which holds all it needs and opens offline.

    NAME.json lies beside it, for the index and for images.

    Arguments:
        figure: any plotly figure.
        folder: made where it is missing.
        name: of the files, without an ending.
        caption: below the figure.

    Returns:
        The HTML file.

    Raises:
        ConfigError: for a name that would leave the folder.

    Example:
        >>> figure = clipft.wise_curve_figure(clipft.results("runs"))
        >>> print(clipft.save_figure(figure, "figures", "curves", "WiSE curves of two runs."))
        figures/curves.html
    """
    target = Path(folder) / f"{check_file_name(name, of='a figure')}.html"
    spec = {"figure": json.loads(with_plain_names(figure.to_json())), "caption": caption}
    write_json(target.with_suffix(".json"), spec)
    body = scripts_of(True) + _figure_html(spec, draw(spec["figure"]), name=name, level=1)
    write_text(target, _page(caption or name, body))
    return target


def packed_js() -> str:
    """What unpacks scripts that lie in a page."""
    return (HERE / "packed.js").read_text(encoding="utf-8")


def painter() -> str:
    """What lays out figures and paints them in every page, with the house's themes in it."""
    parts = (HERE / name for name in ("fit.js", "painter.js"))
    script = "".join(part.read_text(encoding="utf-8") for part in parts)
    themes = {name: THEMES[name] for name in ("light", "dark")}
    return packed_js() + script.replace("{/* put here by pages.py */}", json.dumps(themes))


def library() -> str:
    """plotly.js, the script that the plotly package brings."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


@cache
def packed_library() -> bytes:
    """The same, gzip: two fifths as large."""
    return gzip.compress(library().encode(), compresslevel=9, mtime=0)


def bundle(figure: go.Figure) -> dict[str, Any]:
    """A figure as the output of a notebook's cell, without the button that would send it away."""
    from plotly.io.json import to_json_plotly

    spec = figure.to_dict()
    spec["layout"]["template"] = THEMES["either"]
    text = with_plain_names(to_json_plotly(spec))
    drawn = json.loads(text, object_pairs_hook=_sharing())
    return {FIGURE: drawn | {"config": IN_LAB}}


def _sharing() -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """Makes JSON's objects; equal texts are one in memory, as a thumbnail at many alphas is.

    IPython keeps every output of a session.
    """
    texts: dict[str, str] = {}

    def make(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = {}
        for name, value in pairs:
            made[name] = texts.setdefault(value, value) if isinstance(value, str) else value
        return made

    return make


@dataclass(frozen=True)
class _Image:
    """An image to be made: of which saved figure, and as wide as so many columns; 0: as a page."""

    figure: Path
    kind: str
    columns: int = 0

    @property
    def file(self) -> Path:
        """Beside the figure; what is not of both columns says so in its name."""
        narrow = "_1column" if self.columns == 1 else ""
        return self.figure.with_name(f"{self.figure.stem}{narrow}.{self.kind}")

    @property
    def is_missing(self) -> bool:
        """Whether it is absent, or older than its figure."""
        file = self.file
        return not file.exists() or file.stat().st_mtime < self.figure.stat().st_mtime

    def job(self) -> dict[str, Any]:
        """What kaleido is to draw."""
        figure = read_large_json(self.figure)["figure"]
        size: dict[str, Any] = {"width": PNG_WIDTH, "scale": 2}  # for a sharp screen
        if self.columns:
            figure, size = paper(figure, self.columns)
        return {"fig": figure, "path": self.file, "opts": size | {"format": self.kind}}


def write_images(
    folder: Path | str, kinds: Sequence[str] = ("png",), columns: Sequence[int] = (2,)
) -> str:
    """An image of each kind beside every saved figure that has none newer.

    Returns one line that says what came of it. PNGs are as wide as a page, SVG and PDF as each of
    these numbers of columns of a paper (`style.paper`); those of one column are called
    NAME_1column. Raises ConfigError for a kind that is not png, svg or pdf, and for more columns.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of image", kind, KINDS)
    names = ", ".join(kinds).upper() or "images"
    missing = []
    for figure in sorted(Path(folder).glob("*.json")):
        for kind in kinds:
            missing += [_Image(figure, kind, n) for n in ((0,) if kind == "png" else columns)]
    jobs = [image.job() for image in missing if image.is_missing]
    if not jobs:
        return f"{names}: nothing to write"
    try:
        errors = _draw_images(jobs)
    except (RuntimeError, ImportError, ValueError) as error:
        # Without kaleido or a browser it is any of these.
        remedy = f"The HTML files are complete; for {names} install a Chromium"
        return f"{names}: none written ({_reason(error)}). {remedy}"
    if errors:
        written = f"{len(jobs) - len(errors)} of {len(jobs)} written"
        return f"{names}: {written} ({_reason(errors[0])})"
    return f"{names}: {len(jobs)} written"


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class _Page:
    """The page that kaleido draws in: its own, with what lays out figures in all others."""

    def generate_index(self) -> str:
        """The page, as kaleido asks for it; nothing in it is loaded from outside."""
        from kaleido import PageGenerator

        index = PageGenerator(mathjax=False).generate_index()
        images = (HERE / "images.js").read_text(encoding="utf-8")
        script = f"<script>(() => {{\n{painter()}{images}}})();</script>"
        return index.replace("</head>", f"{script}</head>")


def _draw_images(jobs: Sequence[dict[str, Any]]) -> Sequence[Exception]:
    """Draw all that can be drawn; returns what went wrong with the others."""
    import kaleido

    drawn = kaleido.write_fig_from_object_sync(list(jobs), kopts={"page_generator": _Page()})
    return drawn or ()


@dataclass(frozen=True)
class Table:
    """Texts in rows; a row can be linked to by its anchors, and its first cell can be a link."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    anchors: tuple[tuple[str, ...], ...]  # of each row
    links: tuple[str, ...]  # of each row's first cell; "": none


@dataclass(frozen=True)
class Section:
    """A part of a page: its heading, and below it what there is of the rest, in this order."""

    heading: str
    paragraphs: tuple[str, ...] = ()
    points: tuple[str, ...] = ()  # of a list
    facts: tuple[tuple[str, str], ...] = ()  # name, value
    code: str = ""  # lines of a program
    table: Table | None = None
    links: tuple[tuple[str, str], ...] = ()  # text, address
    figures: tuple[Path, ...] = ()  # saved ones, their .json files


@dataclass(frozen=True)
class Insteads:
    """What stands in a page in place of figures that have it, and brings its own scripts.

    Arguments:
        place: a figure's spec -> HTML; "" where the figure itself is drawn.
        last: HTML below all of them.
        style: of the page.
    """

    place: Callable[[dict[str, Any]], str] = lambda _: ""
    last: Callable[[], str] = lambda: ""
    style: str = ""


def write_index(
    target: Path | str, title: str, sections: Sequence[Section], insteads: Insteads = Insteads()
) -> Path:
    """One self-contained page of sections, with a table of contents.

    A click on a figure's point that says where it leads goes there (`marks.lead_to`).
    """
    contents = _contents([section.heading for section in sections])
    body = f"<h1>{html.escape(title)}</h1>{contents}"
    is_first = True
    for number, section in enumerate(sections):
        body += _section_html(section, number)
        for file in section.figures:
            spec = read_large_json(file)
            # The first figure brings plotly.js for all of them.
            drawn = insteads.place(spec) or draw(spec["figure"])
            body += scripts_of(is_first) + _figure_html(spec, drawn, name=file.stem, level=3)
            is_first = False
    write_text(target, _page(title, body + insteads.last(), insteads.style))
    return Path(target)


def _contents(headings: Sequence[str]) -> str:
    """Links to the sections of a page."""
    links = "".join(_item(_link(text, f"#part-{n}")) for n, text in enumerate(headings))
    return f"<nav aria-label='contents'><ul>{links}</ul></nav>"


def _item(content: str) -> str:
    return f"<li>{content}</li>"


def _section_html(section: Section, number: int) -> str:
    text = f"<h2 id='part-{number}'>{html.escape(section.heading)}</h2>"
    for paragraph in section.paragraphs:
        text += f"<p>{html.escape(paragraph)}</p>"
    if section.points:
        items = "".join(f"<li>{html.escape(point)}</li>" for point in section.points)
        text += f"<ul>{items}</ul>"
    if section.facts:
        pairs = ""
        for name, value in section.facts:
            pairs += f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"
        text += f"<dl>{pairs}</dl>"
    if section.code:
        text += f"<pre class='wide' tabindex='0'>{html.escape(section.code)}</pre>"
    if section.table is not None:
        text += _table_html(section.table, called=section.heading)
    if section.links:
        items = "".join(f"<li>{_link(*link)}</li>" for link in section.links)
        text += f"<ul>{items}</ul>"
    return text


def _table_html(table: Table, called: str) -> str:
    head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in table.head)
    rows = ""
    for cells, anchors, address in zip(table.rows, table.anchors, table.links, strict=True):
        marks = "".join(f"<a id='{html.escape(anchor)}'></a>" for anchor in anchors)
        first = _link(cells[0], address) if address else html.escape(cells[0])
        rows += f"<tr><th scope='row'>{marks}{first}</th>"
        rows += "".join(f"<td>{html.escape(cell)}</td>" for cell in cells[1:]) + "</tr>"
    label = html.escape(called)
    return (
        f"<div class='wide' role='region' aria-label='{label}' tabindex='0'>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _link(text: str, address: str) -> str:
    return f'<a href="{html.escape(address)}">{html.escape(text)}</a>'


def write_plotlyjs(folder: Path | str) -> None:
    """Write the plotly.min.js that the pages of a folder share."""
    write_text(Path(folder) / PLOTLYJS, library())


def draw(figure: dict) -> str:
    """A figure as HTML; above the first of a page stand `scripts_of`."""
    text = json.dumps(figure).replace("<", "\\u003c")  # nothing in it ends the script
    place = "<div class='clipft-figure'></div>"
    return f"{place}<script type='application/json'>{text}</script>"


def packed_plotly() -> str:
    """plotly.js as a part of a page that unpacks it."""
    packed = base64.b64encode(packed_library()).decode()
    return f"<script type='application/octet-stream' id='clipft-plotly'>{packed}</script>"


def scripts_of(plotlyjs: PlotlyJs) -> str:
    """What paints all figures of a page, plotly.js or its address with it; False: nothing."""
    if not plotlyjs:
        return ""
    first = f"<script src='{html.escape(str(plotlyjs))}'></script>"
    if plotlyjs is True:
        first = packed_plotly()
    page = (HERE / "page.js").read_text(encoding="utf-8")
    return f"{first}<script>(() => {{\n{painter()}{page}}})();</script>"


def _figure_html(spec: dict, drawn: str, *, name: str, level: int) -> str:
    """A saved figure under its heading and caption, which is also its name for a screen reader."""
    heading = html.escape(heading_of(spec["figure"], name))
    caption = html.escape(spec["caption"])
    return (
        f"<h{level}>{heading}</h{level}><figure aria-label='{heading}'>"
        f"<figcaption>{caption}</figcaption>{drawn}</figure>"
    )


def heading_of(figure: go.Figure | dict[str, Any], name: str) -> str:
    """The first line of a figure's title, without its tags; of one without, its name in words."""
    spec: Any = figure if isinstance(figure, dict) else figure.to_dict()
    title = spec.get("layout", {}).get("title", {}).get("text") or ""
    first = html.unescape(TAGS.sub("", title.partition("<br>")[0]))
    return first or NUMBER.sub("", name).replace("_", " ").capitalize()


def _page(title: str, body: str, style: str = "") -> str:
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f"<title>{html.escape(title)}</title><style>\n{STYLE}{style}</style>"
    return (
        f"<!doctype html><html lang='en'><head>{head}</head>"
        f"<body><main>{body}</main></body></html>\n"
    )
