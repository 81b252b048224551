"""Are shifted images told from those of the reference? Along alpha, for each shift and score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from ..runs.table import reference_first
from .given import check_table
from .marks import CUSTOM, DASHED, FIRST, hover_of_run, in_panel
from .panels import panel_row
from .style import BELOW, domains_of, layout, runs_and_seeds, style, titled

if TYPE_CHECKING:
    import pandas as pd

SCORES = {"energy": ("energy", "solid"), "max_softmax": ("maximum softmax", "dot")}
MEASURES = {"auroc": "AUROC", "fpr": "FPR at 95 % TPR"}
COLUMNS = ("run", "method", "lr", "steps", "seed", "alpha", "split", "score", *MEASURES)


def detection_figure(table: pd.DataFrame, measure: str = "auroc") -> go.Figure:
    """AUROC, or FPR at 95 % TPR, against alpha: a panel per shift, a line per run and score.

    Solid: by energy; dotted: by maximum softmax. Bars are 95 % intervals over images. At the dashed
    line a score says nothing. A line that falls: tuning hurts detection.

    Arguments:
        table: of `detection_table`.
        measure: auroc or fpr.

    Returns:
        The figure.

    Raises:
        ConfigError: for another table, or one without a row.

    Example:
        >>> figure = clipft.detection_figure(clipft.detection_table("runs", alphas=[0, 1]))
        >>> figure.layout.yaxis.title.text
        'AUROC'
    """
    check_table(table, (*COLUMNS, measure, f"{measure}_low"), "clipft.detection_table")
    splits = reference_first(table.split.unique(), "")
    figure = panel_row(domains_of(splits))
    looks = style(table.method.unique())
    for column, split in enumerate(splits, start=1):
        named: set[str] = set()
        of_split = table[table.split == split].sort_values("alpha")
        for method, look in looks.items():
            for key, rows in of_split[of_split.method == method].groupby(["score", "run"]):
                score, dash = SCORES[str(key[0])]
                group = f"{look.title}, {score}"
                place = in_panel(column, group)
                place["showlegend"] = column == 1 and group not in named
                named.add(group)
                line: dict[str, Any] = {"color": look.colour, "dash": dash, "width": 1.5}
                texts = [_hover(row, measure, score) for _, row in rows.iterrows()]
                figure.add_scatter(
                    x=rows.alpha, y=rows[measure], error_y=_bars(rows, measure, look.colour),
                    mode="lines+markers", line=line, marker={"size": 5, "symbol": look.symbol},
                    name=group, customdata=texts, hovertemplate=CUSTOM, **place,
                )  # fmt: skip
    chance = 0.5 if measure == "auroc" else 0.95
    figure.add_hline(y=chance, line=DASHED)
    figure.update_xaxes(title_text="alpha")
    figure.update_yaxes(title_text=MEASURES[measure], **FIRST)
    details = (runs_and_seeds(table), "reference test against each shift's")
    title = titled("Does tuning hurt out-of-distribution detection?", *details)
    return figure.update_layout(**layout(t=145, b=130), height=520, legend=BELOW, title=title)


def _bars(rows: pd.DataFrame, measure: str, colour: str) -> dict[str, Any]:
    """The intervals of a line's points."""
    above = rows[f"{measure}_high"] - rows[measure]
    below = rows[measure] - rows[f"{measure}_low"]
    thin = {"color": colour, "thickness": 1, "width": 0}
    return {"type": "data", "array": above, "arrayminus": below} | thin


def _hover(row: pd.Series, measure: str, score: str) -> str:
    interval = f"[{row[f'{measure}_low']:.3f}, {row[f'{measure}_high']:.3f}]"
    line = f"{MEASURES[measure]} by {score} {row[measure]:.3f} {interval}"
    return hover_of_run(row, f"alpha {row['alpha']:g}", line)
