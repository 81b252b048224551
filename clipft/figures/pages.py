"""Figures and pages on disk: self-contained HTML that opens offline, images where a Chromium is found, an index."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..disk.files import write_json, write_text
from ..errors import unknown
from .style import CONFIG, paper

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go

PLOTLYJS = "plotly.min.js"  # its name where pages share one
VIEW = "application/vnd.jupyter.widget-view+json"  # the part of a cell's output that needs a kernel
KINDS = ("png", "svg", "pdf")
IN_LAB = CONFIG | {
    "responsive": False
}  # there a click on a slider would give a responsive figure the height 0
STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 Helvetica, Arial, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.6rem } figure { margin: 0 0 2.5rem } figcaption { color: #555; max-width: 60rem }
a { color: #0072B2 } footer { border-top: 1px solid #ddd; padding-top: 1rem; color: #555 }
@media (prefers-color-scheme: dark) {
  body { background: #181a1b; color: #ddd } figcaption, footer { color: #aaa } a { color: #56B4E9 }
  footer { border-color: #444 } .plotly-graph-div { background: #fff; border-radius: 6px; overflow: hidden }
}
"""


def save_figure(figure: go.Figure, folder: Path | str, name: str, caption: str = "") -> Path:
    """Write NAME.html (self-contained, opens offline) and NAME.json (for the index and for images) into a folder."""
    folder = Path(folder)
    spec = {"figure": json.loads(figure.to_json()), "caption": caption}
    write_json(folder / f"{name}.json", spec)
    page = _page(caption or name, [_div(spec, plotlyjs=True)])
    write_text(folder / f"{name}.html", page)
    return folder / f"{name}.html"


def bundle(figure: go.Figure) -> dict[str, Any]:
    """A figure as the output of a notebook's cell, without the button that would send it away."""
    import plotly.io as pio

    found = pio.renderers["plotly_mimetype"].to_mimebundle(figure.to_dict())
    next(part for name, part in found.items() if "plotly" in name)["config"] = IN_LAB
    return found


def show(figure: go.Figure, folder: Path | str = "", name: str = "", caption: str = "") -> None:
    """Show a figure in a notebook, without the button that would send it away; save it too where a folder is given."""
    if folder:
        save_figure(figure, folder, name, caption)
    figure.show(renderer="plotly_mimetype", config=IN_LAB)


def write_images(folder: Path | str, kinds: Sequence[str] = ("png",)) -> str:
    """An image of each kind beside every saved figure that has none newer; returns one line that says what came of it.

    PNGs are as wide as a page, SVG and PDF as both columns of a paper (`figures.paper`). Raises ConfigError for a kind
    that is not png, svg or pdf.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of image", kind, KINDS)
    names, missing = ", ".join(kind.upper() for kind in kinds) or "images", []
    for spec in sorted(Path(folder).glob("*.json")):
        for image in [spec.with_suffix(f".{kind}") for kind in kinds]:
            if not image.exists() or image.stat().st_mtime < spec.stat().st_mtime:
                missing.append((spec, image))
    if not missing:
        return f"{names}: nothing to write"
    try:
        import plotly.io as pio

        figures = [
            pio.from_json(json.dumps(json.loads(spec.read_text())["figure"])) for spec, _ in missing
        ]
        screen = [image.suffix == ".png" for _, image in missing]
        figures = [
            figure.update_layout(width=1100) if png else paper(figure)
            for figure, png in zip(figures, screen, strict=True)
        ]
        scales = [2 if png else 1 for png in screen]  # pixels for a sharp screen
        pio.write_images(figures, [image for _, image in missing], scale=scales)
    except (
        RuntimeError,
        ImportError,
        ValueError,
    ) as error:  # no kaleido or no browser: plain RuntimeErrors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"{names}: none written ({reason}). The HTML files are complete; for {names} install a Chromium"
    return f"{names}: {len(missing)} written"


def write_index(
    target: Path | str, title: str, figures: Sequence[Path], links: Sequence[tuple[str, str]]
) -> Path:
    """One self-contained page of saved figures (their .json files, in this order), then links (text, address)."""
    specs = [json.loads(Path(file).read_text()) for file in figures]
    parts = [_div(spec, plotlyjs=number == 0) for number, spec in enumerate(specs)]
    rows = "".join(
        f'<li><a href="{html.escape(url)}">{html.escape(text)}</a></li>' for text, url in links
    )
    write_text(
        target,
        _page(
            title, [f"<h1>{html.escape(title)}</h1>", *parts, f"<footer><ul>{rows}</ul></footer>"]
        ),
    )
    return Path(target)


def write_plotlyjs(folder: Path | str) -> None:
    """Write the plotly.min.js that the pages of a folder share."""
    from plotly.offline import get_plotlyjs

    write_text(Path(folder) / PLOTLYJS, get_plotlyjs())


def draw(figure: dict, plotlyjs: bool | str) -> str:
    """A figure as HTML, without the button that would send it away; plotlyjs: whether to embed it, or its address."""
    import plotly.io as pio

    return pio.to_html(
        figure,
        config=CONFIG,
        validate=False,
        full_html=False,
        include_plotlyjs=plotlyjs,
        include_mathjax=False,
        auto_play=False,
    )


def _div(spec: dict, plotlyjs: bool) -> str:
    return f"<figure>{draw(spec['figure'], plotlyjs)}<figcaption>{html.escape(spec['caption'])}</figcaption></figure>"


def _page(title: str, parts: Sequence[str]) -> str:
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return (
        f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"
    )
