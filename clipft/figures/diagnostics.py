"""Diagnostics as figures: distortion, energy maps, calibration, the path through weight space, trade-offs, choices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import ConfigError
from ..runs.table import changes, title_of
from .style import COLOURS, GREY, LAYOUT, SYMBOLS, settings, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from ..data.splits import EnergyMap
    from ..diagnostics.energy_gap import Correlation
    from ..metrics.accuracy import Reliability

TALL = LAYOUT | {"margin": {"l": 70, "r": 20, "t": 110, "b": 60}}
BELOW = {"orientation": "h", "y": -0.2}


def distortion(table: pd.DataFrame, kind: str = "raw") -> go.Figure:
    """Feature distortion of reference against shifted images, a panel per shift, a point per run (`distortion_table`).

    The theory has every point below the dashed line; each title counts where Welch's interval says so.
    """
    rows = table[table.kind == kind]
    if rows.empty:
        raise ConfigError(f"no feature distortion of kind {kind!r} to draw; known: raw, normalised")
    splits, looks = sorted(rows.split.unique()), style(rows.method.unique())
    both = rows[["reference", "shifted"]].to_numpy()
    low, top = 0.92 * both.min(), 1.05 * both.max()
    counts = {split: part.verdict.value_counts() for split, part in rows.groupby("split")}
    titles = [
        f"{split.split('/')[0]}<br><sub>theory holds in {counts[split].get('holds', 0)}, "
        f"fails in {counts[split].get('fails', 0)}, open in {counts[split].get('open', 0)}</sub>"
        for split in splits
    ]
    figure = make_subplots(1, len(splits), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    for column, split in enumerate(splits, 1):
        for name, (title, colour, symbol, _) in looks.items():
            part = rows[(rows.split == split) & (rows.method == name)]
            figure.add_scatter(
                x=part.reference, y=part.shifted, mode="markers", name=title, legendgroup=name, row=1, col=column,
                showlegend=column == 1, marker={"color": colour, "symbol": symbol, "size": 10, "opacity": 0.8},
                hovertemplate=f"{title}<br>reference %{{x:.3f}}<br>shift %{{y:.3f}}<extra></extra>",
            )  # fmt: skip
        figure.add_scatter(
            x=[low, top], y=[low, top], mode="lines", line={"color": GREY, "dash": "dash"}, showlegend=False,
            hoverinfo="skip", row=1, col=column,
        )  # fmt: skip
    unit = "||f - f0||, unit rows" if kind == "normalised" else "||F - F0||"
    figure.update_xaxes(title_text=f"reference images: {unit}", range=[low, top])
    figure.update_yaxes(title_text=f"shifted images: {unit}", range=[low, top], row=1, col=1)
    runs = rows.run.nunique()
    title = {"text": f"Feature distortion ({kind}), {runs} runs", "y": 0.97}
    figure.update_layout(**TALL, height=500, legend=BELOW, title=title)
    return figure


def energy_map(found: EnergyMap) -> go.Figure:
    """t-SNE of energy vectors before and after tuning, coloured by split; the legend hides a split in both panels."""
    figure = make_subplots(1, 2, subplot_titles=["zero-shot", "tuned"], horizontal_spacing=0.03)
    splits = np.array(found.split)
    for number, split in enumerate(dict.fromkeys(found.split)):
        rows = splits == split
        hover = [f"{found.ids[row]}<br>class {found.label[row]}" for row in np.flatnonzero(rows)]
        for column, places in ((1, found.before), (2, found.after)):
            figure.add_scatter(
                x=places[rows, 0], y=places[rows, 1], mode="markers", name=split.split("/")[0], legendgroup=split,
                showlegend=column == 1, customdata=hover, hovertemplate="%{customdata}<extra></extra>",
                marker={"color": COLOURS[number % 8], "symbol": SYMBOLS[number % 8], "size": 7, "opacity": 0.75},
                row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(showticklabels=False, zeroline=False)
    figure.update_yaxes(showticklabels=False, zeroline=False)
    title = {"text": f"t-SNE of energy vectors, {len(splits)} images (axes have no unit)", "y": 0.96}
    figure.update_layout(
        **LAYOUT | {"margin": {"l": 20, "r": 20, "t": 90, "b": 60}}, height=520, legend=BELOW, title=title
    )
    return figure


def reliability(diagrams: Mapping[str, Reliability], title: str = "") -> go.Figure:
    """Accuracy against confidence in equal-width bins, a line per model; below, how many images each bin has."""
    figure = make_subplots(2, 1, row_heights=[0.75, 0.25], shared_xaxes=True, vertical_spacing=0.04)
    for number, (name, one) in enumerate(diagrams.items()):
        colour, full = COLOURS[number % 8], one.count > 0
        middle = (one.low + one.high) / 2
        figure.add_scatter(
            x=one.confidence[full], y=one.accuracy[full], mode="lines+markers", name=name, legendgroup=name,
            line={"color": colour}, marker={"symbol": SYMBOLS[number % 8], "size": 8}, customdata=one.count[full],
            hovertemplate="confidence %{x:.3f}<br>accuracy %{y:.3f}<br>%{customdata} images<extra></extra>",
            row=1, col=1,
        )  # fmt: skip
        figure.add_bar(
            x=middle, y=one.count, marker_color=colour, name=name, legendgroup=name, showlegend=False, row=2, col=1
        )
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "dash": "dash"}, name="calibrated", row=1, col=1
    )
    figure.update_yaxes(title_text="accuracy (fraction)", range=[0, 1.02], row=1, col=1)
    figure.update_yaxes(title_text="images", row=2, col=1)
    figure.update_xaxes(title_text="confidence of the predicted class (fraction)", range=[0, 1], row=2, col=1)
    figure.update_layout(**LAYOUT, height=560, barmode="group", title=title or "Reliability")
    return figure


def path(table: pd.DataFrame) -> go.Figure:
    """Accuracy and NLL along alpha on every split: WiSE (solid) against the output-space ensemble (dotted)."""
    rows = table[table.role != "val"]
    figure = make_subplots(1, 2, subplot_titles=["accuracy (%)", "NLL (nats)"], horizontal_spacing=0.09)
    for number, (split, part) in enumerate(rows.groupby("split")):
        part, colour = part.sort_values("alpha"), COLOURS[number % 8]
        for kind, dash in (("wise", "solid"), ("ensemble", "dot")):
            for column, (metric, factor) in enumerate((("accuracy", 100), ("nll", 1)), 1):
                figure.add_scatter(
                    x=part.alpha, y=factor * part[f"{kind}_{metric}"], mode="lines+markers", row=1, col=column,
                    line={"color": colour, "dash": dash}, marker={"size": 5, "symbol": SYMBOLS[number % 8]},
                    name=f"{split.split('/')[0]}, {'WiSE' if kind == 'wise' else 'ensemble'}",
                    legendgroup=f"{split} {kind}", showlegend=column == 1,
                )  # fmt: skip
    figure.update_xaxes(title_text="alpha: 0 zero-shot ... 1 tuned")
    figure.update_layout(**LAYOUT, height=460, title="The linear path, in weights and in logits")
    return figure


def layers(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Relative distance moved by each layer (`layer_table`), a line per method; layers that stayed are not drawn."""
    figure, looks = go.Figure(), style(list(tables))
    for name, (title, colour, symbol, dash) in looks.items():
        rows = tables[name].query("relative > 0").sort_values("layer", key=lambda layer: layer == "head", kind="stable")
        figure.add_scatter(
            x=rows.layer.str.replace("visual.", ""), y=100 * rows.relative, mode="lines+markers", name=title,
            line={"color": colour, "dash": dash}, marker={"symbol": symbol, "size": 8},
        )  # fmt: skip
    figure.update_yaxes(title_text="distance moved, % of the layer's norm (log)", type="log")
    margin = {"l": 70, "r": 20, "t": 70, "b": 150}
    figure.update_layout(**LAYOUT | {"margin": margin}, height=560, title="How far each layer moved")
    return figure


def leave_one_out(found: Mapping[str, tuple[Correlation, Mapping[str, Correlation]]]) -> go.Figure:
    """Pearson's r with 95 % intervals of all runs, and without each method in turn; found: panel -> (whole, without).

    A correlation that is undefined (too few points, a constant) is named and not drawn.
    """
    figure = make_subplots(1, len(found), subplot_titles=list(found), shared_yaxes=True, horizontal_spacing=0.04)
    for column, (whole, without) in enumerate(found.values(), 1):
        rows = {"all methods": whole} | {f"without {title_of(name)}": one for name, one in without.items()}
        names = [name + (" (undefined)" if np.isnan(one.r) else "") for name, one in rows.items()]
        colours = [COLOURS[1], *[COLOURS[0]] * (len(rows) - 1)]
        r = [None if np.isnan(one.r) else one.r for one in rows.values()]
        spans = [
            [None if np.isnan(end) else abs(end - one.r) for end, one in zip(ends, rows.values(), strict=True)]
            for ends in ([one.high for one in rows.values()], [one.low for one in rows.values()])
        ]
        figure.add_scatter(
            x=r, y=names, mode="markers", marker={"color": colours, "size": 9}, showlegend=False, row=1, col=column,
            error_x={"type": "data", "array": spans[0], "arrayminus": spans[1], "color": GREY},
            hovertemplate="%{y}<br>r %{x:.2f}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="Pearson's r", range=[-1.05, 1.05])
    figure.update_yaxes(autorange="reversed", automargin=True)
    rows = max(len(without) for _, without in found.values())
    figure.update_layout(**LAYOUT, height=200 + 28 * rows, title="Does the correlation hang on one method?")
    return figure


def classes(table: pd.DataFrame, labels: int = 5) -> go.Figure:
    """Every class: mean energy gap against its change of accuracy (`class_table`); the most moved are named."""
    if "energy_gap" not in table:
        raise ConfigError("these classes have no energy gap: an ensemble has none; use its members")
    rows = table.dropna().sort_values("energy_gap", ascending=False, ignore_index=True)
    text = [name if place < labels else "" for place, name in enumerate(rows["class"])]
    figure = go.Figure()
    figure.add_scatter(
        x=rows.energy_gap, y=100 * rows.change, mode="markers+text", text=text, textposition="top center",
        marker={"color": COLOURS[0], "size": 8, "opacity": 0.6}, customdata=rows[["class", "n"]],
        hovertemplate="%{customdata[0]}, %{customdata[1]} images<br>gap %{x:.2f}<br>%{y:+.1f} points<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=0, line={"color": GREY, "dash": "dash"})
    figure.update_layout(
        **LAYOUT, height=460, xaxis_title="mean energy gap of the class (squared logits)",
        yaxis_title="accuracy, tuned minus zero-shot (points)", title=f"Which classes moved, {len(rows)} classes",
    )  # fmt: skip
    return figure


def trade_off(results: pd.DataFrame, published: pd.DataFrame | None = None, alpha: float = 1.0) -> go.Figure:
    """What each run gained on the reference and lost under shift, in points against its zero-shot model.

    One point per run; lines join the learning rates and lengths of one method (means over seeds). published: columns
    method, reference, shift (fractions) with a row Zero-shot, drawn hollow, from another data set and model.
    """
    rows = changes(results, alpha)
    looks, figure = style(rows.method.unique()), go.Figure()
    by_title = {title: (name, colour, symbol) for name, (title, colour, symbol, _) in looks.items()}
    for name, (title, colour, symbol, dash) in looks.items():
        part = rows[rows.method == name]
        means = part.groupby(["lr", "steps"])[["reference", "shift"]].mean()
        if len(means) > 1:
            figure.add_scatter(
                x=100 * means.reference, y=100 * means["shift"], mode="lines",
                line={"color": colour, "dash": dash, "width": 1}, legendgroup=name, showlegend=False, hoverinfo="skip",
            )  # fmt: skip
        figure.add_scatter(
            x=100 * part.reference, y=100 * part["shift"], mode="markers", name=title, legendgroup=name,
            marker={"color": colour, "symbol": symbol, "size": 11, "opacity": 0.85},
            customdata=[settings(row) for _, row in part.iterrows()],
            hovertemplate="%{customdata}<br>reference %{x:+.1f}<br>mean shift %{y:+.1f}<extra></extra>",
        )  # fmt: skip
    if published is not None:
        zeros = published[published.method == "Zero-shot"].drop_duplicates(keys := ["model", "domain"]).set_index(keys)
        tuned = published[published.method != "Zero-shot"]
        for number, (_, row) in enumerate(tuned.iterrows()):
            if (row.model, row.domain) not in zeros.index:
                raise ConfigError(f"the published table has no zero-shot row of {row.model}; choose another table")
            zero = zeros.loc[(row.model, row.domain)]
            name, colour, symbol = by_title.get(row.method, (row.method, GREY, SYMBOLS[number % 8]))
            figure.add_scatter(
                x=[100 * (row.reference - zero.reference)], y=[100 * (row["shift"] - zero["shift"])], mode="markers",
                name=f"{row.method}, published", legendgroup=name,
                marker={"color": colour, "symbol": f"{symbol}-open", "size": 12, "line": {"width": 2}},
                hovertemplate="published<br>reference %{x:+.1f}<br>mean shift %{y:+.1f}<extra></extra>",
            )  # fmt: skip
    figure.add_hline(y=0, line={"color": GREY, "dash": "dash"})
    figure.add_vline(x=0, line={"color": GREY, "dash": "dash"})
    figure.update_layout(
        **LAYOUT, height=max(520, 160 + 24 * len(figure.data)),
        xaxis_title="reference accuracy, against zero-shot (points)",
        yaxis_title="mean accuracy under shift, against zero-shot (points)",
        title=f"The trade-off, {rows.run.nunique()} runs" + (" (hollow: published)" if published is not None else ""),
    )  # fmt: skip
    return figure


def choices(table: pd.DataFrame, caption: str = "") -> go.Figure:
    """Mean shift accuracy of the alpha (or model) that accuracy takes against that which the energy gap takes."""
    looks = style(table.method.unique()) if "method" in table else {"": ("models", COLOURS[0], "circle", "")}
    figure = go.Figure()
    for name, (title, colour, symbol, _) in looks.items():
        part = table[table.method == name] if "method" in table else table
        figure.add_scatter(
            x=100 * part["accuracy: shift"], y=100 * part["energy_gap: shift"], mode="markers", name=title,
            marker={"color": colour, "symbol": symbol, "size": 10, "opacity": 0.8},
        )  # fmt: skip
    both = 100 * table[["accuracy: shift", "energy_gap: shift"]].to_numpy()
    ends = [both.min() - 2, both.max() + 2]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": GREY, "dash": "dash"}, name="equal", hoverinfo="skip"
    )
    figure.update_layout(
        **TALL, height=540, xaxis_title="shift accuracy (%), chosen by reference accuracy",
        yaxis_title="shift accuracy (%), chosen by energy gap",
        title={"text": f"Choosing without shift labels<br><sub>{caption}</sub>", "y": 0.95},
    )  # fmt: skip
    return figure
