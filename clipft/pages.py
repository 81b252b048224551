"""Figures and pages on disk: self-contained HTML that opens offline, PNG where a Chromium is found, an index."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .figures import CONFIG
from .store import write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go

STYLE = """
body { font: 16px/1.5 Helvetica, Arial, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.6rem } figure { margin: 0 0 2.5rem } figcaption { color: #555; max-width: 60rem }
a { color: #0072B2 } footer { border-top: 1px solid #ddd; padding-top: 1rem; color: #555 }
"""


def save_figure(figure: go.Figure, folder: Path | str, name: str, caption: str = "") -> Path:
    """Write NAME.html (self-contained, opens offline) and NAME.json (for the index and for PNG) into a folder."""
    folder = Path(folder)
    spec = {"figure": json.loads(figure.to_json()), "caption": caption}
    write_json(folder / f"{name}.json", spec)
    page = _page(caption or name, [_div(spec, plotlyjs=True)])
    write_text(folder / f"{name}.html", page)
    return folder / f"{name}.html"


def show(figure: go.Figure, folder: Path | str = "", name: str = "", caption: str = "") -> None:
    """Show a figure in a notebook, without the button that would send it away; save it too where a folder is given."""
    if folder:
        save_figure(figure, folder, name, caption)
    figure.show(renderer="plotly_mimetype", config=CONFIG)


def write_pngs(folder: Path | str) -> str:
    """A PNG beside every saved figure that has none newer than itself; returns one line that says what came of it."""
    missing = []
    for spec in sorted(Path(folder).glob("*.json")):
        png = spec.with_suffix(".png")
        if not png.exists() or png.stat().st_mtime < spec.stat().st_mtime:
            missing.append((spec, png))
    if not missing:
        return "PNG: nothing to write"
    try:
        import plotly.io as pio

        figures = [pio.from_json(json.dumps(json.loads(spec.read_text())["figure"])) for spec, _ in missing]
        heights = [figure.layout.height for figure in figures]
        pio.write_images(figures, [png for _, png in missing], scale=2, width=1100, height=heights)
    except (RuntimeError, ImportError, ValueError) as error:  # no kaleido or no browser: plain RuntimeErrors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"PNG: none written ({reason}). The HTML files are complete; for PNG install a Chromium"
    return f"PNG: {len(missing)} written"


def write_index(target: Path | str, title: str, figures: Sequence[Path], links: Sequence[tuple[str, str]]) -> Path:
    """One self-contained page of saved figures (their .json files, in this order), then links (text, address)."""
    specs = [json.loads(Path(file).read_text()) for file in figures]
    parts = [_div(spec, plotlyjs=number == 0) for number, spec in enumerate(specs)]
    rows = "".join(f'<li><a href="{html.escape(url)}">{html.escape(text)}</a></li>' for text, url in links)
    write_text(target, _page(title, [f"<h1>{html.escape(title)}</h1>", *parts, f"<footer><ul>{rows}</ul></footer>"]))
    return Path(target)


def _div(spec: dict, plotlyjs: bool) -> str:
    import plotly.io as pio

    drawn = pio.to_html(
        spec["figure"], config=CONFIG, validate=False, full_html=False, include_plotlyjs=plotlyjs, include_mathjax=False
    )
    return f"<figure>{drawn}<figcaption>{html.escape(spec['caption'])}</figcaption></figure>"


def _page(title: str, parts: Sequence[str]) -> str:
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"
