"""TODO: docstring."""

from __future__ import annotations

from typing import Any

from ..data.manifests import manifests_folder
from ..errors import ConfigError, unknown

PUBLISHED = {"L2SP": "L2-SP", "Linear-probed": "LP"}  # names of the papers' tables -> our titles


def published_rows(
    table: str, benchmark: str = "domainnet", paper: str = "lipsum_ft", metric: str = "accuracy"
) -> Any:
    """One table of a paper as a DataFrame, a row per number: the columns of the CSV, methods called as we call them.

    Fractions or nats; `std` is NaN where the paper has none. `data_manifests/published/README.md` says how it was
    read. Raises ConfigError where there is no such table.
    """
    import pandas as pd

    file = manifests_folder() / "published" / f"{paper}.csv"
    if not file.is_file():
        raise unknown("paper", paper, [one.stem for one in file.parent.glob("*.csv")])
    rows = pd.read_csv(file, dtype={"table": str}, keep_default_na=False)
    rows = rows[(rows.table == table) & (rows.benchmark == benchmark) & (rows.metric == metric)]
    if rows.empty:
        raise ConfigError(
            f"no {metric} of {benchmark} in table {table} of {paper}; see data_manifests/published/"
        )
    numbers = {column: pd.to_numeric(rows[column]) for column in ("mean", "std")}
    return rows.assign(method=rows.method.replace(PUBLISHED), **numbers)


def published(
    table: str, benchmark: str = "domainnet", paper: str = "lipsum_ft", metric: str = "accuracy"
) -> Any:
    """`published_rows` as method, variant, model, domain, reference and shift (mean), fractions.

    domain is what was tuned on, reference the accuracy (or other metric) on its own test images, shift on all others.
    """
    rows = published_rows(table, benchmark, paper, metric)
    rows = rows.assign(domain=rows.reference)
    keys = ["method", "variant", "model", "domain"]
    own = (rows.split == rows.reference) | (rows.split == "id_test")
    reference = rows[own].groupby(keys, sort=False)["mean"].mean().rename("reference")
    return (
        reference.to_frame()
        .join(rows[~own].groupby(keys)["mean"].mean().rename("shift"))
        .reset_index()
    )
