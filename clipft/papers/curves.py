"""Curves of mixtures, reference accuracy to the right: how FLYP and WiSE-FT draw a trade-off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..config import TUNED
from ..errors import ConfigError
from ..figures.curves import BASELINE, CHOSEN, END, MIXTURE, START, Drawing, curves_figure
from ..figures.panels import empty_figure, join_panels
from ..figures.style import Look, domain_of, look_of, style
from ..metrics.correlation import expected_shift
from ..runs.names import recipe_in_words, title_of
from ..runs.scores import VAL
from ..runs.table import SAME_DATA, baselines_of, paths_of_models, read_baselines, wide
from .item import SHIFTS, ZERO_SHOT_NAME, Item, Made, Ours
from .planes import X_TITLE, Y_TITLE, our_points
from .tables import numbered_rows, of_ft, paper_means, setting_of

BASELINES = "baselines.csv"  # in a folder of runs: what `clipft evaluate --csv` wrote

# --- points


def our_curves(results: pd.DataFrame, shift: str = "") -> pd.DataFrame:
    """Means over seeds in percent: of each recipe the mixtures, its end and what validation chose.

    Arguments:
        results: of one kind.
        shift: the split upwards; empty: the mean of all shifts.

    Returns:
        What `curves_figure` takes, and the columns of `our_points`.
    """
    points = our_points(results, shift).rename(columns={"x": "shift", "y": "reference"})
    points["mark"] = points.alpha.map(lambda alpha: END if alpha == TUNED else MIXTURE)
    points.loc[points.name == ZERO_SHOT_NAME, "mark"] = START
    points = points.sort_values("alpha", kind="stable")
    chosen = points.merge(_chosen(results), on=["recipe", "alpha"])
    chosen = chosen[chosen.mark != START].assign(mark=CHOSEN)
    curves = pd.concat([points, chosen], ignore_index=True)
    return curves.assign(expected=np.nan, shift_of=shift)


def _chosen(results: pd.DataFrame) -> pd.DataFrame:
    """recipe and alpha of best mean accuracy on held-out reference images; the lowest of equals."""
    rows = wide(results).query("role == 'val'")
    means = rows.groupby(["recipe", "alpha"]).accuracy.agg(["mean", "size"]).reset_index()
    means = means[means["size"] == means.groupby("recipe")["size"].transform("max")]
    best = means.loc[means.groupby("recipe")["mean"].idxmax()]
    return best[["recipe", "alpha"]]


def published_curve(item: Item, benchmark: str) -> pd.DataFrame:
    """The item's published rows in percent, as `our_curves` has ours, with their table and CSV."""
    points = []
    kind = numbered_rows(item.number, benchmark, item.csv)
    rows, means = paper_means(kind, [SHIFTS])
    variants = kind.drop_duplicates(["method", "variant"])
    for row, of_row, variant in zip(rows, means, variants.variant, strict=True):
        method = row["method"]
        mark = MIXTURE
        if method == ZERO_SHOT_NAME:
            mark = START
        elif not variant or variant == f"alpha={TUNED}":
            mark = END
        point = {"name": of_ft(method), "method": method, "variant": variant, "mark": mark}
        point |= {"label": setting_of(variant, item.csv), "benchmark": benchmark}
        point |= {
            "reference": 100 * next(iter(of_row.values()))[0],
            "shift": 100 * of_row[SHIFTS][0],
        }
        points.append(point)
    about = {"published": True, "table": item.number, "csv": item.csv, "expected": np.nan}
    return pd.DataFrame(points).assign(**about, shift_of="")


# --- models of the reference alone


def is_pretrained(config: Mapping[str, Any]) -> bool:
    """Whether a run began with weights that were learnt, not with random ones."""
    return config.get("pretrained") != "none"


def baselines(ours: Ours, used: pd.DataFrame) -> pd.DataFrame:
    """Tidy results of tuned models that learnt the classes from the reference alone.

    Those that began with random weights, and those whose head began at zero. Of the same data and
    reference as the runs in use. Where baselines.csv of `clipft evaluate` lies beside the runs, the
    models in it are the baselines.
    """
    if (ours.folder / BASELINES).is_file():
        return baselines_of(used, read_baselines(ours.folder / BASELINES))
    results = ours.results[ours.results.alpha == TUNED]
    for same in SAME_DATA:
        results = results[results[same].isin(used[same].unique())]
    runs = []
    for run, method in results[["run", "method"]].drop_duplicates().itertuples(index=False):
        if method == "scratch_ft" or not is_pretrained(ours.config(run)):
            runs.append(run)
    return results[results.run.isin(runs)]


def with_line(points: pd.DataFrame, base: pd.DataFrame, shift: str = "") -> pd.DataFrame:
    """Points, and those of baselines, each with what the baselines' line has there.

    There is no line below two of them.
    """
    if base.empty:
        return points
    images = base[base.role != VAL].drop_duplicates(["run", "split"]).groupby("run").n.sum()
    each = paths_of_models(base)
    trained = pd.Series(list(map(recipe_in_words, each.lr, each.steps)), index=each.index)
    rows = pd.DataFrame(
        {
            "name": each.method.map(title_of),
            "label": trained.where(each.steps > 0, each.run),
            "method": each.method,
            "recipe": each.recipe,
            "runs": each.run,
            "n": each.run.map(images),
            "alpha": each.alpha,
            "reference": 100 * each.reference_accuracy,
            "shift": 100 * each[shift or "shift_accuracy"],
        }
    )
    rows = rows.assign(mark=BASELINE, published=False, seeds=1, expected=np.nan, shift_of=shift)
    every = pd.concat([points, rows], ignore_index=True)
    try:
        line = expected_shift(every.reference / 100, rows["shift"] / 100, rows.reference / 100)
    except ConfigError:
        return every
    return every.assign(expected=100 * line)


# --- figures


def draw(
    item: Item, ours: Ours, parts: Mapping[str, pd.DataFrame], drawing: Drawing, title: str
) -> Made:
    """Curves of each part, a panel each; a name looks the same in all of them.

    A part of a single shift says which in its column `shift_of`.
    """
    if not parts:
        return item.made(empty_figure("no run of these methods"), ours.of([]), command=item.command)
    drawn = pd.concat([points.assign(panel=part) for part, points in parts.items()])
    looks = _looks(drawn)
    figures = {}
    for part, points in parts.items():
        shift = points.shift_of.iloc[0]
        titles = (Y_TITLE, f"accuracy on {domain_of(shift)} (%)" if shift else X_TITLE)
        figures[part] = curves_figure(points, drawing, looks, titles)
    used = ours.of(drawn.recipe.dropna().unique()) if "recipe" in drawn else ours.of([])
    figure = join_panels(figures, title, columns=2)
    return item.made(figure, used, command=item.missing(ours), drawn=drawn)


def _looks(drawn: pd.DataFrame) -> dict[str, Look]:
    """Name of a curve -> its look: that of its method everywhere, as far as we have it."""
    curves = drawn[~drawn.mark.isin([START, BASELINE])]
    ours = curves[~curves.published.astype(bool)].drop_duplicates("method")
    looks = {}
    for method, look in style(ours.method).items():
        name = ours.name[ours.method == method].iloc[0]
        looks[name] = look._replace(title=name)
    for number, name in enumerate(curves.name[~curves.name.isin(looks)].unique()):
        looks[name] = look_of(number, name)
    return looks
