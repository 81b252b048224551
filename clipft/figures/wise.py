"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import ConfigError
from ..runs.table import RECIPE, best_by_val, recipes
from .energy_gap import _seeds
from .style import COLOURS, GREY, LAYOUT, style

if TYPE_CHECKING:
    import pandas as pd

    from ..runs.sweep import Sweep
    from ..runs.thumbnails import Thumbnails


def wise_slider(results: pd.DataFrame, start: float = 0.5) -> go.Figure:
    """WiSE-FT in the page: an alpha slider moves a marker on each method's curve and the bars of every split.

    One recipe per method, chosen on reference validation accuracy, mean over seeds; methods that were scored at fewer
    alphas than others are left out. The slider is plotly's own, so it
    works in an exported page without a kernel.
    """
    rows, best = recipes(results), best_by_val(results)
    rows = rows[rows.recipe.isin(best.values())]
    splits = [column for column in rows.columns if "/" in str(column)]
    reference = f"{results.reference.iloc[0]}/test"
    splits.sort(key=lambda name: (name != reference, name))
    domains = [split.split("/")[0] for split in splits]
    swept = rows.groupby("method").alpha.nunique()
    best = {
        name: recipe for name, recipe in best.items() if swept[name] == swept.max()
    }  # those with a whole curve
    rows = rows[rows.recipe.isin(best.values())]
    alphas = sorted(set.intersection(*(set(part.alpha) for _, part in rows.groupby("method"))))
    if not {0.0, 1.0} <= set(alphas):
        raise ConfigError(
            f"a WiSE figure needs runs scored at alpha 0 and 1, got {alphas}: clipft wise RUN"
        )
    rows = rows[rows.alpha.isin(alphas)]
    active = int(np.argmin(np.abs(np.array(alphas) - start)))
    looks = style(list(best))
    few = len(best) < 6
    numbers = (
        {"texttemplate": "%{y:.0f}", "textposition": "outside", "cliponaxis": False} if few else {}
    )
    figure = make_subplots(1, 2, column_widths=[0.58, 0.42], horizontal_spacing=0.12)
    moving: list[int] = []
    frames: list[list[dict]] = [[] for _ in alphas]
    for name, (title, colour, symbol, dash) in looks.items():
        path = rows[rows.method == name].sort_values("alpha")
        x, y = 100 * path.reference_accuracy.to_numpy(), 100 * path.shift_accuracy.to_numpy()
        lr, steps = path.lr.iloc[0], path.steps.iloc[0]
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines+markers",
            name=f"{title} (lr {lr:g})",
            row=1,
            col=1,
            line={"color": colour, "dash": dash},
            marker={"size": 5},
            legendgroup=name,
            customdata=path.alpha,
            hovertemplate=f"{title}, {steps} steps<br>alpha %{{customdata:.2f}}<br>reference %{{x:.1f}} %"
            "<br>mean shift %{y:.1f} %<extra></extra>",
        )
        bars = 100 * path[splits].to_numpy()
        moving += [len(figure.data), len(figure.data) + 1]
        figure.add_scatter(
            x=[x[active]],
            y=[y[active]],
            mode="markers",
            showlegend=False,
            legendgroup=name,
            row=1,
            col=1,
            marker={
                "size": 17,
                "color": colour,
                "symbol": symbol,
                "line": {"color": "white", "width": 2},
            },
            hoverinfo="skip",
        )
        figure.add_bar(
            x=domains,
            y=bars[active],
            marker_color=colour,
            name=title,
            row=1,
            col=2,
            showlegend=False,
            legendgroup=name,
            **numbers,
        )
        for i, frame in enumerate(frames):
            frame += [{"x": [x[i]], "y": [y[i]]}, {"x": domains, "y": bars[i].tolist()}]
    zero = rows[rows.alpha == 0].iloc[0]
    figure.add_scatter(
        x=[100 * zero.reference_accuracy],
        y=[100 * zero.shift_accuracy],
        mode="markers+text",
        text=["zero-shot"],
        textposition="bottom center",
        marker={"size": 11, "color": GREY, "symbol": "star"},
        showlegend=False,
        hoverinfo="skip",
        cliponaxis=False,
        row=1,
        col=1,
    )
    figure.add_bar(
        x=domains,
        y=[100 * zero[split] for split in splits],
        name="zero-shot",
        marker_color=GREY,
        opacity=0.45,
        row=1,
        col=2,
        **numbers,
    )
    steps = [
        {
            "label": f"{alpha:.2f}".rstrip("0").rstrip("."),
            "method": "restyle",
            "args": [_restyle(frame), moving],
        }
        for alpha, frame in zip(alphas, frames, strict=True)
    ]
    figure.update_layout(
        **LAYOUT | {"margin": {"l": 70, "r": 20, "t": 80, "b": 120}},
        title=f"WiSE-FT: slide alpha from zero-shot (0) to tuned (1); mean of {int(rows.seeds.max())} seeds",
        height=560 if few else 260 + 31 * len(best),
        barmode="group",
        legend={"orientation": "h", "y": 1.1, "x": 0} if few else {"x": 1.02},
        sliders=[
            {
                "active": active,
                "currentvalue": {"prefix": "alpha = "},
                "pad": {"t": 45},
                "steps": steps,
                "len": 1.0,
            }
        ],
    )
    top = max(100 * rows[splits].to_numpy().max() * 1.12, 1)
    figure.update_xaxes(title_text="reference accuracy (%)", row=1, col=1)
    figure.update_yaxes(title_text="mean accuracy under shift (%)", row=1, col=1)
    figure.update_yaxes(title_text="accuracy (%)", range=[0, min(top, 112)], row=1, col=2)
    return figure


def _restyle(frame: list[dict]) -> dict[str, list]:
    """Per-trace updates as plotly's restyle wants them: one list per property (a null would delete it)."""
    return {key: [part[key] for part in frame] for key in ("x", "y")}


def wise_curves(results: pd.DataFrame) -> go.Figure:
    """Every recipe's WiSE curve, reference accuracy against mean shift accuracy, mean over seeds."""
    rows = recipes(results)
    looks, figure, shown = style(rows.method.unique()), go.Figure(), set()
    paths = dict(list(rows.sort_values("alpha").groupby(RECIPE)))
    for name, lr, steps, recipe in sorted(
        paths, key=lambda key: ([*looks].index(key[0]), *key[1:])
    ):
        path, (title, colour, symbol, dash) = paths[name, lr, steps, recipe], looks[name]
        figure.add_scatter(
            x=100 * path.reference_accuracy,
            y=100 * path.shift_accuracy,
            mode="lines+markers",
            name=title,
            legendgroup=name,
            showlegend=name not in shown,
            line={"color": colour, "width": 1.5, "dash": dash},
            marker={"size": [4] * (len(path) - 1) + [11], "symbol": symbol},
            customdata=path.alpha,
            hovertemplate=f"{title}, lr {lr:g}, {steps} steps<br>alpha %{{customdata:.2f}}<br>reference %{{x:.1f}} %"
            "<br>mean shift %{y:.1f} %<extra></extra>",
        )
        shown.add(name)
    figure.update_layout(
        **LAYOUT,
        height=max(520, 200 + 31 * len(looks)),
        title=f"WiSE curves of every recipe (large marker: tuned), {_seeds(results)}",
        xaxis_title="reference accuracy (%)",
        yaxis_title="mean accuracy under shift (%)",
    )
    return figure


ENDS = {"zero-shot": 0.0, "tuned": 1.0}
MOST_STEPS, TILES = 21, 12  # beyond so many alphas, thumbnails would make the page heavy


def sweep(found: Sweep, alpha: float = 0.5, thumbnails: Thumbnails | None = None) -> go.Figure:
    """One run's WiSE curve, its splits and how many predictions flip, with an alpha slider over the scored alphas.

    thumbnails: also, for each alpha, images that zero-shot got right and the mixture does not, most confident first.
    """
    active, alphas = found.nearest(alpha), found.alphas
    table, shift, domains = (
        100 * found.accuracy,
        100 * found.shift_accuracy,
        [s.split("/")[0] for s in found.splits],
    )
    alone = np.isnan(shift).any()
    x, y = (100 * alphas, table[:, 0]) if alone else (table[:, 0], shift)
    flips = {
        name: np.array([len(found.flips(a, end)["all"]) for a in alphas])
        for name, end in ENDS.items()
    }
    with_tiles = thumbnails is not None and len(alphas) <= MOST_STEPS
    figure = make_subplots(
        1,
        3,
        column_widths=[0.36, 0.38, 0.26],
        horizontal_spacing=0.08,
        subplot_titles=["WiSE curve", "test accuracy (%)", "flipped predictions"],
    )
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines+markers",
        line={"color": COLOURS[0]},
        marker={"size": 5},
        customdata=alphas,
        row=1,
        col=1,
        hovertemplate="alpha %{customdata:.2f}<br>%{x:.1f}, %{y:.1f}<extra></extra>",
        showlegend=False,
    )
    figure.add_scatter(
        x=[x[active]],
        y=[y[active]],
        mode="markers",
        marker={"size": 17, "color": COLOURS[0]},
        hoverinfo="skip",
        row=1,
        col=1,
        showlegend=False,
    )
    figure.add_bar(x=domains, y=table[0], name="zero-shot", marker_color=GREY, row=1, col=2)
    figure.add_bar(
        x=domains, y=table[active], name="at alpha", marker_color=COLOURS[0], row=1, col=2
    )
    figure.add_bar(x=domains, y=table[-1], name="tuned", marker_color=COLOURS[1], row=1, col=2)
    for (name, count), colour, dash in zip(
        flips.items(), (GREY, COLOURS[1]), ("solid", "dash"), strict=True
    ):
        figure.add_scatter(
            x=alphas,
            y=count,
            mode="lines",
            line={"color": colour, "dash": dash},
            name=f"against {name}",
            row=1,
            col=3,
            showlegend=False,
            hovertemplate=f"against {name}: %{{y}}<extra></extra>",
        )
    figure.add_scatter(
        x=[alphas[active]] * 2,
        y=[count[active] for count in flips.values()],
        mode="markers+text",
        row=1,
        col=3,
        marker={"size": 11, "color": [GREY, COLOURS[1]]},
        text=[f"{n}: {c[active]}" for n, c in flips.items()],
        textposition=["bottom center", "top center"],
        showlegend=False,
        hoverinfo="skip",
        cliponaxis=False,
    )
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
        steps.append(
            {
                "label": label,
                "method": "update",
                "args": [moved, layout, [1, 3, len(figure.data) - 1]],
            }
        )
    figure.update_xaxes(title_text="100 alpha" if alone else "reference accuracy (%)", row=1, col=1)
    figure.update_yaxes(
        title_text=f"{'reference' if alone else 'mean shift'} accuracy (%)", row=1, col=1
    )
    figure.update_yaxes(range=[0, min(105, 1.15 * max(float(table.max()), 1))], row=1, col=2)
    figure.update_xaxes(title_text="alpha", range=[-0.4, 1.4], tickvals=[0, 0.5, 1], row=1, col=3)
    figure.update_yaxes(
        range=[0, 1.25 * max(max(count.max() for count in flips.values()), 1)], row=1, col=3
    )
    tested = sum(len(rows) for rows in found.rows.values())
    slider = {
        "active": active,
        "currentvalue": {"prefix": "alpha = "},
        "pad": {"t": 50},
        "steps": steps,
    }
    if with_tiles:
        said = "Images that zero-shot gets right and this alpha does not, most confident first"
        figure.add_annotation(
            text=said,
            x=0,
            y=-0.62,
            xref="paper",
            yref="paper",
            showarrow=False,
            xanchor="left",
            font={"size": 12},
        )
        figure.update_layout(images=_tiles(found, active, thumbnails))
    figure.update_layout(
        **LAYOUT | {"margin": {"l": 70, "r": 20, "t": 110, "b": 300 if with_tiles else 150}},
        height=700 if with_tiles else 540,
        sliders=[slider],
        legend={"orientation": "h", "y": 1.17, "x": 0.4},
        title={"text": f"WiSE of {found.title}; {tested} test images", "y": 0.97},
    )
    return figure


def _tiles(found: Sweep, place: int, thumbnails: Thumbnails) -> list[dict]:
    """Layout images in a row below the slider: the most confident of those lost against zero-shot."""
    lost = found.flips(found.alphas[place], 0.0)["lost"]
    lost = lost[np.argsort(-found.confidence[place, lost], kind="stable")][:TILES]
    shown = [address for row in lost if (address := thumbnails[found.ids[row]])]
    return [
        {
            "source": address,
            "xref": "paper",
            "yref": "paper",
            "x": number / TILES,
            "y": -0.68,
            "sizex": 0.95 / TILES,
            "sizey": 0.3,
            "xanchor": "left",
            "yanchor": "top",
        }
        for number, address in enumerate(shown)
    ]
