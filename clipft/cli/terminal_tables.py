"""Tables on the terminal."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import plain

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from ..config import RunConfig

# metric -> its column; what the data set is scored by goes before them
COLUMNS = {
    "relative_accuracy": "relative", "nll": "nll", "ece": "ece",
    "energy_gap": "gap", "feature_distortion": "distortion",
}  # fmt: skip
CHOSEN = {
    "holdout": "on held-out reference images",
    "loss": "by the loss on held-out reference images",
    "paper": "on the REPORTED test split",
    "last": "the last ones",
}


def show(rows: Sequence[dict[Any, Any]], title: str = "", as_markdown: bool = False) -> None:
    """Print rows as a table; as Markdown, or into a file or pipe, as wide as it must be."""
    console(as_markdown).print(table_of(rows, title, as_markdown))


def console(as_markdown: bool = False) -> Console:
    """The terminal; of a file, a pipe or Markdown one as wide as it must be."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 240
    return Console(width=1000 if as_markdown else width)


def table_of(rows: Sequence[dict[Any, Any]], title: str = "", as_markdown: bool = False) -> Table:
    """Rows as a table that is yet to be printed."""
    from rich.box import MARKDOWN, SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    # Text: [brackets] are not markup
    heading = Text(plain(title), "table.title") if title else None
    table = Table(title=heading, title_justify="left", box=SIMPLE_HEAD)
    table.padding = (0, 1, 0, 0)
    if as_markdown:
        table.box = MARKDOWN
        table.padding = (0, 1)

    for column in rows[0]:
        table.add_column(Text(plain(str(column))), overflow="fold")
    for row in rows:
        cells = [
            Text(plain(str(value))) for value in row.values()
        ]  # Text: [brackets] are not markup
        table.add_row(*cells)
    return table


def show_frame(frame: pd.DataFrame, title: str, as_markdown: bool = False) -> None:
    """Print a data frame, numbers with four significant digits; without rows, an empty one."""
    rows = frame.to_dict("records") or [dict.fromkeys(frame.columns, "")]
    for row in rows:
        for column, value in row.items():
            if isinstance(value, float):
                row[column] = f"{value:.4g}"
    show(rows, title, as_markdown)


def print_scores(scores: pd.DataFrame, alphas: Sequence[float], config: RunConfig) -> None:
    """Print a run's scores at these alphas, a row per split, and how its weights were chosen."""
    from ..runs.table import scored_by

    told = scored_by(scores)
    scores = scores[scores["alpha"].isin(alphas)]
    index = ["alpha", "role", "split"]
    by_split = scores.pivot_table(index=index, columns="metric", values="mean").reset_index()

    rows = []
    for measured in by_split.to_dict("records"):
        row = {name: measured[name] for name in ("alpha", "split", "role")}
        row[told.title] = f"{100 * measured[told.on(row['role'])]:.1f} %"
        for name, column in COLUMNS.items():
            value = measured.get(name, math.nan)
            row[column] = "" if math.isnan(value) else f"{value:.3f}"
        rows.append(row)
    where = "" if config.steps else "elsewhere, as it was said "
    show(rows, f"weights chosen: {where}{CHOSEN[config.selection]}")


# metric -> its column in a table of zero-shot models, factor and digits
MEASURED = {
    "accuracy": ("accuracy", 100, 1),
    "class_accuracy": ("mean of classes", 100, 1),
    "macro_f1": ("macro F1", 100, 1),
    "worst_group": ("worst group", 100, 1),
    "relative_accuracy": ("relative", 1, 3),
    "nll": ("nll", 1, 3),
    "ece": ("ece", 1, 3),
}


def print_models(scores: pd.DataFrame, as_markdown: bool = False) -> None:
    """Print the table of `clipft.evaluate`: a row per model and split, with 95 % intervals."""
    metrics = set(scores.metric) | (set(MEASURED) - {"worst_group"})  # groups are rare
    columns = [column for metric, (column, _, _) in MEASURED.items() if metric in metrics]
    rows = []
    for (model, split), measured in scores.groupby(["run", "split"], sort=False):
        row = {"model": model, "split": split, "role": measured.role.iloc[0]}
        row |= dict.fromkeys(columns, "")
        for line in measured[measured.metric.isin(list(MEASURED))].to_dict("records"):
            column, factor, digits = MEASURED[line["metric"]]
            numbers = [factor * line[name] for name in ("mean", "low", "high")]
            mean, low, high = (f"{number:.{digits}f}" for number in numbers)
            row[column] = f"{mean} [{low}, {high}]"
        row["images"] = measured.n.iloc[0]
        rows.append(row)
    first = scores.iloc[0]
    title = f"zero-shot on {first.manifest}, reference {first.reference}"
    show(rows, f"{title}: accuracies and F1 in %, nll in nats", as_markdown)
