"""Tables of scored runs as figures: WiSE curves, energy gap against robustness, training curves, tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..diagnostics.energy_gap import correlation
from ..errors import ConfigError
from ..runs.table import RECIPE, best_by_val, recipes, wide
from .style import COLOURS, GREY, LAYOUT, UNITS, settings, style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd


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
    best = {name: recipe for name, recipe in best.items() if swept[name] == swept.max()}  # those with a whole curve
    rows = rows[rows.recipe.isin(best.values())]
    alphas = sorted(set.intersection(*(set(part.alpha) for _, part in rows.groupby("method"))))
    if not {0.0, 1.0} <= set(alphas):
        raise ConfigError(f"a WiSE figure needs runs scored at alpha 0 and 1, got {alphas}: clipft wise RUN")
    rows = rows[rows.alpha.isin(alphas)]
    active = int(np.argmin(np.abs(np.array(alphas) - start)))
    looks = style(list(best))
    few = len(best) < 6
    numbers = {"texttemplate": "%{y:.0f}", "textposition": "outside", "cliponaxis": False} if few else {}
    figure = make_subplots(1, 2, column_widths=[0.58, 0.42], horizontal_spacing=0.12)
    moving: list[int] = []
    frames: list[list[dict]] = [[] for _ in alphas]
    for name, (title, colour, symbol, dash) in looks.items():
        path = rows[rows.method == name].sort_values("alpha")
        x, y = 100 * path.reference_accuracy.to_numpy(), 100 * path.shift_accuracy.to_numpy()
        lr, steps = path.lr.iloc[0], path.steps.iloc[0]
        figure.add_scatter(
            x=x, y=y, mode="lines+markers", name=f"{title} (lr {lr:g})", row=1, col=1,
            line={"color": colour, "dash": dash},
            marker={"size": 5}, legendgroup=name, customdata=path.alpha,
            hovertemplate=f"{title}, {steps} steps<br>alpha %{{customdata:.2f}}<br>reference %{{x:.1f}} %"
            "<br>mean shift %{y:.1f} %<extra></extra>",
        )  # fmt: skip
        bars = 100 * path[splits].to_numpy()
        moving += [len(figure.data), len(figure.data) + 1]
        figure.add_scatter(
            x=[x[active]], y=[y[active]], mode="markers", showlegend=False, legendgroup=name, row=1, col=1,
            marker={"size": 17, "color": colour, "symbol": symbol, "line": {"color": "white", "width": 2}},
            hoverinfo="skip",
        )  # fmt: skip
        figure.add_bar(
            x=domains, y=bars[active], marker_color=colour, name=title, row=1, col=2,
            showlegend=False, legendgroup=name, **numbers,
        )  # fmt: skip
        for i, frame in enumerate(frames):
            frame += [{"x": [x[i]], "y": [y[i]]}, {"x": domains, "y": bars[i].tolist()}]
    zero = rows[rows.alpha == 0].iloc[0]
    figure.add_scatter(
        x=[100 * zero.reference_accuracy], y=[100 * zero.shift_accuracy], mode="markers+text", text=["zero-shot"],
        textposition="bottom center", marker={"size": 11, "color": GREY, "symbol": "star"}, showlegend=False,
        hoverinfo="skip", cliponaxis=False, row=1, col=1,
    )  # fmt: skip
    figure.add_bar(
        x=domains, y=[100 * zero[split] for split in splits], name="zero-shot",
        marker_color=GREY, opacity=0.45, row=1, col=2, **numbers,
    )  # fmt: skip
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
            {"active": active, "currentvalue": {"prefix": "alpha = "}, "pad": {"t": 45}, "steps": steps, "len": 1.0}
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
    for name, lr, steps, recipe in sorted(paths, key=lambda key: ([*looks].index(key[0]), *key[1:])):
        path, (title, colour, symbol, dash) = paths[name, lr, steps, recipe], looks[name]
        figure.add_scatter(
            x=100 * path.reference_accuracy, y=100 * path.shift_accuracy, mode="lines+markers", name=title,
            legendgroup=name, showlegend=name not in shown, line={"color": colour, "width": 1.5, "dash": dash},
            marker={"size": [4] * (len(path) - 1) + [11], "symbol": symbol}, customdata=path.alpha,
            hovertemplate=f"{title}, lr {lr:g}, {steps} steps<br>alpha %{{customdata:.2f}}<br>reference %{{x:.1f}} %"
            "<br>mean shift %{y:.1f} %<extra></extra>",
        )  # fmt: skip
        shown.add(name)
    figure.update_layout(
        **LAYOUT, height=max(520, 200 + 31 * len(looks)),
        title=f"WiSE curves of every recipe (large marker: tuned), {_seeds(results)}",
        xaxis_title="reference accuracy (%)", yaxis_title="mean accuracy under shift (%)",
    )  # fmt: skip
    return figure


def _seeds(results: pd.DataFrame) -> str:
    return f"{results.run.nunique()} runs, seeds {', '.join(str(s) for s in sorted(results.seed.unique()))}"


def energy_gap(
    results: pd.DataFrame, x: str = "energy_gap", y: str = "relative_accuracy", alpha: float = 1.0
) -> go.Figure:
    """Energy gap (or another metric) against relative accuracy (or another) of every model, a panel per shift.

    Each title carries Pearson's r with its 95 % interval. Both are measured on the shift's own test images.
    """
    rows = wide(results)
    rows = rows[(rows.role == "shift") & (rows.alpha == alpha)]
    rows = rows.dropna(subset=[x]) if x in rows else rows.iloc[:0]
    if rows.empty or y not in rows:
        raise ConfigError(f"no run with {x} and {y.replace('_', ' ')}: none scored at alpha {alpha:g}, or none right")
    shifts, looks = sorted(rows.split.unique()), style(rows.method.unique())
    found = {split: correlation(part[x], part[y]) for split, part in rows.groupby("split")}
    captions = [f"{split.split('/')[0]}<br><sub>{found[split]}</sub>" for split in shifts]
    figure = make_subplots(1, len(shifts), subplot_titles=captions, shared_yaxes=True, horizontal_spacing=0.04)
    for column, split in enumerate(shifts, 1):
        for name, (title, colour, symbol, _) in looks.items():
            part = rows[(rows.split == split) & (rows.method == name)]
            figure.add_scatter(
                x=part[x], y=part[y], mode="markers", name=title, legendgroup=name, row=1, col=column,
                showlegend=column == 1, marker={"color": colour, "symbol": symbol, "size": 11, "opacity": 0.8},
                customdata=[settings(row) for _, row in part.iterrows()],
                hovertemplate=f"%{{customdata}}<br>x %{{x:.3f}}<br>{y.replace('_', ' ')} %{{y:.3f}}<extra></extra>",
            )  # fmt: skip
    label = UNITS.get(x, x)
    figure.update_xaxes(title_text=label)
    figure.update_yaxes(title_text=UNITS.get(y, y), row=1, col=1)
    figure.update_layout(
        **LAYOUT | {"margin": {"l": 70, "r": 20, "t": 120, "b": 60}}, height=480,
        legend={"orientation": "h", "y": -0.2},
        title={"text": f"{label.split(' (')[0].capitalize()} against robustness, {_seeds(results)}", "y": 0.96},
    )  # fmt: skip
    return figure


def training_curves(metrics: Sequence[Mapping]) -> go.Figure:
    """Loss (each term and the sum) and validation accuracy of one run over its steps."""
    figure = make_subplots(1, 2, subplot_titles=["loss", "reference validation accuracy (%)"], horizontal_spacing=0.1)
    losses = [row for row in metrics if "loss" in row]
    terms = [name for name in (losses[0] if losses else {}) if name not in ("step", "lr")]
    for colour, term in zip(COLOURS, terms, strict=False):
        figure.add_scatter(
            x=[row["step"] for row in losses], y=[row[term] for row in losses], name=term.replace("_", " "),
            line={"color": colour}, row=1, col=1,
        )  # fmt: skip
    val = [row for row in metrics if "val_accuracy" in row]
    figure.add_scatter(
        x=[row["step"] for row in val], y=[100 * row["val_accuracy"] for row in val], mode="lines+markers",
        line={"color": COLOURS[2]}, name="validation", row=1, col=2,
    )  # fmt: skip
    figure.update_xaxes(title_text="step")
    figure.update_layout(**LAYOUT, height=380, legend={"orientation": "h", "y": -0.25})
    return figure


def split_bars(scores: pd.DataFrame, alphas: Sequence[float] = (0.0, 0.5, 1.0)) -> go.Figure:
    """Accuracy of every split for a few alphas of one run: zero-shot, mixtures, tuned."""
    rows = scores[(scores.metric == "accuracy") & (scores.role != "val")]
    figure = go.Figure()
    for colour, alpha in zip((GREY, *COLOURS), alphas, strict=False):
        part = rows[rows.alpha == alpha]
        name = {0.0: "zero-shot", 1.0: "tuned"}.get(alpha, f"WiSE, alpha {alpha:g}")
        figure.add_bar(
            x=[split.split("/")[0] for split in part.split], y=100 * part["mean"], name=name, marker_color=colour,
            texttemplate="%{y:.0f}", textposition="outside", cliponaxis=False,
        )  # fmt: skip
    figure.update_layout(**LAYOUT, height=400, barmode="group", yaxis_title="accuracy (%)")
    return figure


def contact_sheet(tiles: Mapping[str, Sequence[np.ndarray]], names: Sequence[str], title: str = "") -> go.Figure:
    """Thumbnails as a grid: a row per domain, a column per class; tiles[domain][i] is uint8 (S, S, 3)."""
    size = next(iter(tiles.values()))[0].shape[0]
    grid = np.concatenate([np.concatenate(list(row), axis=1) for row in tiles.values()], axis=0)
    figure = go.Figure(go.Image(z=grid, hoverinfo="skip"))
    across, down = ([size * i + size / 2 for i in range(count)] for count in (len(names), len(tiles)))
    figure.update_xaxes(tickvals=across, ticktext=list(names), side="top", tickangle=-45, showgrid=False)
    figure.update_yaxes(tickvals=down, ticktext=list(tiles), showgrid=False)
    figure.update_layout(
        **LAYOUT | {"margin": {"l": 90, "r": 20, "t": 110, "b": 20}}, title=title, height=140 + 72 * len(tiles)
    )  # fmt: skip
    return figure


def table(frame: pd.DataFrame) -> go.Figure:
    """A data frame as a figure, so that it lies beside the others."""
    head = {"values": [f"<b>{name}</b>" for name in frame.columns], "align": "left", "fill_color": "#eeeeee"}
    cells = {"values": [frame[name] for name in frame.columns], "align": "left", "height": 26, "fill_color": "white"}
    figure = go.Figure(go.Table(header=head, cells=cells, columnwidth=[max(map(len, [n, *frame[n]])) for n in frame]))
    figure.update_layout(**LAYOUT | {"margin": {"l": 10, "r": 10, "t": 10, "b": 10}}, height=80 + 27 * len(frame))
    return figure
