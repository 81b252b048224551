"""The papers' numbers as they lie in `data_manifests/published/`, under our names of methods."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from ..data.manifests import manifests_folder
from ..errors import ConfigError, unknown

PUBLISHED = {  # names of the papers' tables -> our titles
    "L2SP": "L2-SP",
    "Linear-probed": "LP",
    # The paper names the columns, loss and guidance, but not the rows: each row that changes one
    # of the two has the pattern of the other rows with that loss or that guidance.
    "ablation-row-2": "MSE, context (likely)",
    "ablation-row-3": "KLD, random texts (likely)",
}

# benchmark of a CSV -> our data set, where that is called otherwise
DATA_SETS = {"cub": "cub_gzsl"}
OF_WILDS = {"id_test": "id", "test": "ood"}  # split of iWildCam and FMoW in a CSV -> our domain

TABLES = {"slides-sota": "slides", "alpha (wise_ft.csv)": "alpha table"}  # names there -> in texts


def called(table: str) -> str:
    """How a table of `published_rows` is called in texts: `table 1`, `slides`."""
    return f"table {table}" if table.isdigit() else TABLES.get(table, table)


def published_rows(
    table: str, benchmark: str = "domainnet", paper: str = "lipsum_ft", metric: str = "accuracy"
) -> pd.DataFrame:
    """One table of a paper, a row per number.

    How it was read says `data_manifests/published/README.md`.

    Arguments:
        table: its number there, as a text.
        benchmark: domainnet, imagenet ...
        paper: the name of its CSV: lipsum_ft, flyp or additional.
        metric: accuracy, ece, nll ...

    Returns:
        The columns of the CSV, methods by our titles; fractions or nats, `std` is NaN where the
        paper has none.

    Raises:
        ConfigError: where there is no such table.

    Example:
        >>> rows = clipft.published_rows("1")
        >>> rows[(rows.method == "Lipsum-FT") & (rows.split == "sketch")]["mean"].item()
        0.562
    """
    return rows_of(table, benchmark, paper, (metric,))


def rows_of(table: str, benchmark: str, paper: str, metrics: Collection[str]) -> pd.DataFrame:
    """`published_rows` of several metrics, in the order of the file; raises as that does."""
    file = manifests_folder() / "published" / f"{paper}.csv"
    if not file.is_file():
        raise unknown("paper", paper, [csv.stem for csv in file.parent.glob("*.csv")])
    rows = pd.read_csv(file, dtype={"table": str}, keep_default_na=False)
    rows = rows[(rows.table == table) & (rows.benchmark == benchmark) & rows.metric.isin(metrics)]
    if rows.empty:
        sought = f"{', '.join(metrics)} of {benchmark} in table {table} of {paper}"
        raise ConfigError(f"no {sought}; see data_manifests/published/")
    numbers = {column: pd.to_numeric(rows[column]) for column in ("mean", "std")}
    return rows.assign(method=rows.method.replace(PUBLISHED), **numbers)


def published(
    table: str, benchmark: str = "domainnet", paper: str = "lipsum_ft", metric: str = "accuracy"
) -> pd.DataFrame:
    """One table of a paper, a row per method: accuracy on what it was tuned on, and on the shifts.

    Arguments:
        table: its number there, as a text.
        benchmark: domainnet, imagenet ...
        paper: the name of its CSV: lipsum_ft, flyp or additional.
        metric: accuracy, ece, nll ...

    Returns:
        Columns method, variant, model, domain (what was tuned on), reference (on its own test
        images) and shift (mean of all others), as fractions.

    Raises:
        ConfigError: where there is no such table.

    Example:
        >>> clipft.published("1").set_index("method").loc["Lipsum-FT", "reference"].item()
        0.89
    """
    rows = published_rows(table, benchmark, paper, metric).rename(columns={"reference": "domain"})
    keys = ["method", "variant", "model", "domain"]
    on_own_images = (rows.split == rows.domain) | (rows.split == "id_test")
    reference = rows[on_own_images].groupby(keys, sort=False)["mean"].mean().rename("reference")
    shift = rows[~on_own_images].groupby(keys)["mean"].mean().rename("shift")
    return reference.to_frame().join(shift).reset_index()
