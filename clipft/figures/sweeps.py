"""The static twin of the WiSE explorer: one run's sweep with plotly's own slider, which needs no kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import COLOURS, GREY, LAYOUT

if TYPE_CHECKING:
    from ..runs.sweep import Sweep, Thumbnails

ENDS = {"zero-shot": 0.0, "tuned": 1.0}
MOST_STEPS, TILES = 21, 12  # beyond so many alphas, thumbnails would make the page heavy


def sweep(found: Sweep, alpha: float = 0.5, thumbnails: Thumbnails | None = None) -> go.Figure:
    """One run's WiSE curve, its splits and how many predictions flip, with an alpha slider over the scored alphas.

    thumbnails: also, for each alpha, images that zero-shot got right and the mixture does not, most confident first.
    """
    active, alphas = found.nearest(alpha), found.alphas
    table, shift, domains = 100 * found.accuracy, 100 * found.shift_accuracy, [s.split("/")[0] for s in found.splits]
    alone = np.isnan(shift).any()
    x, y = (100 * alphas, table[:, 0]) if alone else (table[:, 0], shift)
    flips = {name: np.array([len(found.flips(a, end)["all"]) for a in alphas]) for name, end in ENDS.items()}
    with_tiles = thumbnails is not None and len(alphas) <= MOST_STEPS
    figure = make_subplots(
        1, 3, column_widths=[0.36, 0.38, 0.26], horizontal_spacing=0.08,
        subplot_titles=["WiSE curve", "test accuracy (%)", "flipped predictions"],
    )  # fmt: skip
    figure.add_scatter(
        x=x, y=y, mode="lines+markers", line={"color": COLOURS[0]}, marker={"size": 5}, customdata=alphas, row=1, col=1,
        hovertemplate="alpha %{customdata:.2f}<br>%{x:.1f}, %{y:.1f}<extra></extra>", showlegend=False,
    )  # fmt: skip
    figure.add_scatter(
        x=[x[active]], y=[y[active]], mode="markers", marker={"size": 17, "color": COLOURS[0]}, hoverinfo="skip",
        row=1, col=1, showlegend=False,
    )  # fmt: skip
    figure.add_bar(x=domains, y=table[0], name="zero-shot", marker_color=GREY, row=1, col=2)
    figure.add_bar(x=domains, y=table[active], name="at alpha", marker_color=COLOURS[0], row=1, col=2)
    figure.add_bar(x=domains, y=table[-1], name="tuned", marker_color=COLOURS[1], row=1, col=2)
    for (name, count), colour, dash in zip(flips.items(), (GREY, COLOURS[1]), ("solid", "dash"), strict=True):
        figure.add_scatter(
            x=alphas, y=count, mode="lines", line={"color": colour, "dash": dash}, name=f"against {name}", row=1, col=3,
            showlegend=False, hovertemplate=f"against {name}: %{{y}}<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=[alphas[active]] * 2, y=[count[active] for count in flips.values()], mode="markers+text", row=1, col=3,
        marker={"size": 11, "color": [GREY, COLOURS[1]]}, text=[f"{n}: {c[active]}" for n, c in flips.items()],
        textposition=["bottom center", "top center"], showlegend=False, hoverinfo="skip", cliponaxis=False,
    )  # fmt: skip
    steps = []
    for i, value in enumerate(alphas):
        moved = {
            "x": [[x[i]], domains, [value, value]],
            "y": [[y[i]], table[i].tolist(), [int(count[i]) for count in flips.values()]],
            "text": [None, None, [f"{n}: {c[i]}" for n, c in flips.items()]],
        }
        moved["text"] = [part if part is not None else "" for part in moved["text"]]
        layout = {"images": _tiles(found, i, thumbnails)} if with_tiles else {}
        label = f"{value:.2f}".rstrip("0").rstrip(".")
        steps.append({"label": label, "method": "update", "args": [moved, layout, [1, 3, len(figure.data) - 1]]})
    figure.update_xaxes(title_text="100 alpha" if alone else "reference accuracy (%)", row=1, col=1)
    figure.update_yaxes(title_text=f"{'reference' if alone else 'mean shift'} accuracy (%)", row=1, col=1)
    figure.update_yaxes(range=[0, min(105, 1.15 * max(float(table.max()), 1))], row=1, col=2)
    figure.update_xaxes(title_text="alpha", range=[-0.4, 1.4], tickvals=[0, 0.5, 1], row=1, col=3)
    figure.update_yaxes(range=[0, 1.25 * max(max(count.max() for count in flips.values()), 1)], row=1, col=3)
    tested = sum(len(rows) for rows in found.rows.values())
    slider = {"active": active, "currentvalue": {"prefix": "alpha = "}, "pad": {"t": 50}, "steps": steps}
    if with_tiles:
        said = "Images that zero-shot gets right and this alpha does not, most confident first"
        figure.add_annotation(
            text=said, x=0, y=-0.62, xref="paper", yref="paper", showarrow=False, xanchor="left", font={"size": 12}
        )
        figure.update_layout(images=_tiles(found, active, thumbnails))
    figure.update_layout(
        **LAYOUT | {"margin": {"l": 70, "r": 20, "t": 110, "b": 300 if with_tiles else 150}},
        height=700 if with_tiles else 540, sliders=[slider], legend={"orientation": "h", "y": 1.17, "x": 0.4},
        title={"text": f"WiSE of {found.title}; {tested} test images", "y": 0.97},
    )  # fmt: skip
    return figure


def _tiles(found: Sweep, place: int, thumbnails: Thumbnails) -> list[dict]:
    """Layout images in a row below the slider: the most confident of those lost against zero-shot."""
    lost = found.flips(found.alphas[place], 0.0)["lost"]
    lost = lost[np.argsort(-found.confidence[place, lost], kind="stable")][:TILES]
    shown = [address for row in lost if (address := thumbnails[found.ids[row]])]
    return [
        {"source": address, "xref": "paper", "yref": "paper", "x": number / TILES, "y": -0.68, "sizex": 0.95 / TILES,
         "sizey": 0.3, "xanchor": "left", "yanchor": "top"}
        for number, address in enumerate(shown)
    ]  # fmt: skip
