"""Tables on the terminal."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


def show(rows: list[dict], title: str = "", as_markdown: bool = False) -> None:
    """Print rows as a table; as Markdown, or into a file or pipe, it is as wide as it needs to be."""
    from rich.box import MARKDOWN, SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title or None, title_justify="left", box=MARKDOWN if as_markdown else SIMPLE_HEAD
    )
    table.padding = (0, 1) if as_markdown else (0, 1, 0, 0)
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(
            *(Text(str(value)) for value in row.values())
        )  # Text: [brackets] are not markup
    Console(width=1000 if as_markdown else None if sys.stdout.isatty() else 240).print(table)


def show_frame(frame: pd.DataFrame, title: str) -> None:
    """Print a data frame, numbers with four significant digits."""
    rows = frame.to_dict("records") or [dict.fromkeys(frame.columns, "")]
    show(
        [{k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows],
        title,
    )


def print_scores(scores: pd.DataFrame, alphas: Sequence[float], selection: str) -> None:
    """Print a run's scores at these alphas, a row per split, and by which images its weights were chosen."""
    chosen = scores[scores["alpha"].isin(alphas)]
    table = chosen.pivot_table(
        index=["alpha", "split", "role"], columns="metric", values="mean"
    ).reset_index()
    measured = {
        "relative_accuracy": "relative",
        "nll": "nll",
        "ece": "ece",
        "energy_gap": "gap",
        "feature_distortion": "distortion",
    }
    rows = []
    for row in table.sort_values(["alpha", "role", "split"]).to_dict("records"):
        shown = {name: row[name] for name in ("alpha", "split", "role")} | {
            "accuracy": f"{100 * row['accuracy']:.1f} %"
        }
        for name, title in measured.items():
            value = row.get(name, float("nan"))
            shown[title] = "" if math.isnan(value) else f"{value:.3f}"
        rows.append(shown)
    chosen = {
        "holdout": "on held-out reference images",
        "paper": "on the REPORTED test split",
        "last": "the last ones",
    }
    show(rows, f"weights chosen: {chosen[selection]}")
