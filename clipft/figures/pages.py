"""Figures on disk: HTML that opens offline, images where a Chromium is found, and an index."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..disk.files import write_json, write_text
from ..errors import unknown
from .style import CONFIG, paper

if TYPE_CHECKING:
    import plotly.graph_objects as go

PlotlyJs = bool | str  # whether plotly.js is embedded, or the address of one that is shared
PLOTLYJS = "plotly.min.js"  # its name where pages share one
VIEW = "application/vnd.jupyter.widget-view+json"  # the part of a cell's output that needs a kernel
KINDS = ("png", "svg", "pdf")
# In JupyterLab a click on a slider would give a responsive figure the height 0.
IN_LAB = CONFIG | {"responsive": False}
STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


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

    Example:
        >>> figure = clipft.wise_curve_figure(clipft.results("runs"))
        >>> print(clipft.save_figure(figure, "figures", "curves", "WiSE curves of two runs."))
        figures/curves.html
    """
    target = Path(folder) / f"{name}.html"
    spec = {"figure": json.loads(figure.to_json()), "caption": caption}
    write_json(target.with_suffix(".json"), spec)
    write_text(target, _page(caption or name, _div(spec, plotlyjs=True)))
    return target


def bundle(figure: go.Figure) -> dict[str, Any]:
    """A figure as the output of a notebook's cell, without the button that would send it away."""
    import plotly.io as pio

    output = pio.renderers["plotly_mimetype"].to_mimebundle(figure.to_dict())
    for kind, drawn in output.items():
        if "plotly" in kind:
            drawn["config"] = IN_LAB
    return output


def show(figure: go.Figure, folder: Path | str = "", name: str = "", caption: str = "") -> None:
    """Show a figure in a notebook, without the button that would send it away.

    Arguments:
        figure: any plotly figure.
        folder: where a folder is given, it is saved there, too, see `save_figure`.
        name: of the saved files.
        caption: below the saved figure.

    Example:
        >>> figure = clipft.wise_curve_figure(clipft.results("runs"))
        >>> clipft.show(figure, "figures", "curves")
        {'application/vnd.plotly.v1+json': ...
    """
    if folder:
        save_figure(figure, folder, name, caption)
    figure.show(renderer="plotly_mimetype", config=IN_LAB)


def write_images(folder: Path | str, kinds: Sequence[str] = ("png",)) -> str:
    """An image of each kind beside every saved figure that has none newer.

    Returns one line that says what came of it. PNGs are as wide as a page, SVG and PDF as both
    columns of a paper (`style.paper`). Raises ConfigError for a kind that is not png, svg or pdf.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of image", kind, KINDS)
    names = ", ".join(kinds).upper() or "images"
    missing = _missing_images(Path(folder), kinds)
    if not missing:
        return f"{names}: nothing to write"
    try:
        _draw_images(missing)
    except (RuntimeError, ImportError, ValueError) as error:
        # Without kaleido or a browser plotly raises any of these.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        remedy = f"The HTML files are complete; for {names} install a Chromium"
        return f"{names}: none written ({reason}). {remedy}"
    return f"{names}: {len(missing)} written"


def _missing_images(folder: Path, kinds: Sequence[str]) -> list[Path]:
    """Images that are absent, or older than the figure beside them."""
    missing = []
    for spec in sorted(folder.glob("*.json")):
        for kind in kinds:
            image = spec.with_suffix(f".{kind}")
            if not image.exists() or image.stat().st_mtime < spec.stat().st_mtime:
                missing.append(image)
    return missing


def _draw_images(images: Sequence[Path]) -> None:
    import plotly.io as pio

    figures = []
    scales = []
    for image in images:
        spec = json.loads(image.with_suffix(".json").read_text())
        figure = pio.from_json(json.dumps(spec["figure"]))
        is_png = image.suffix == ".png"
        figures.append(figure.update_layout(width=1100) if is_png else paper(figure))
        scales.append(2 if is_png else 1)  # twice the pixels for a sharp screen
    pio.write_images(figures, list(images), scale=scales)


def write_index(
    target: Path | str, title: str, figures: Sequence[Path], links: Sequence[tuple[str, str]]
) -> Path:
    """One self-contained page of saved figures, then links (text, address).

    figures: their .json files, in this order.
    """
    body = f"<h1>{html.escape(title)}</h1>"
    for number, file in enumerate(figures):
        # The first figure brings plotly.js for all of them.
        body += _div(json.loads(Path(file).read_text()), plotlyjs=number == 0)
    items = ""
    for text, address in links:
        items += f'<li><a href="{html.escape(address)}">{html.escape(text)}</a></li>'
    write_text(target, _page(title, f"{body}<footer><ul>{items}</ul></footer>"))
    return Path(target)


def write_plotlyjs(folder: Path | str) -> None:
    """Write the plotly.min.js that the pages of a folder share."""
    from plotly.offline import get_plotlyjs

    write_text(Path(folder) / PLOTLYJS, get_plotlyjs())


def draw(figure: dict, plotlyjs: PlotlyJs) -> str:
    """A figure as HTML, without the button that would send it away."""
    import plotly.io as pio

    scripts = {"include_plotlyjs": plotlyjs, "include_mathjax": False}
    options = {"config": CONFIG, "validate": False, "full_html": False, "auto_play": False}
    return pio.to_html(figure, **scripts, **options)


def _div(spec: dict, plotlyjs: PlotlyJs) -> str:
    caption = html.escape(spec["caption"])
    return f"<figure>{draw(spec['figure'], plotlyjs)}<figcaption>{caption}</figcaption></figure>"


def _page(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>\n{STYLE}</style>'
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{body}</body></html>\n"
