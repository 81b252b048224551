"""Reference accuracy upwards, shift accuracy to the right: how Lipsum-FT draws a trade-off.

Better is up and to the right. The star is the zero-shot model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from ..config import TUNED, ZERO_SHOT
from ..data.splits import SplitName
from ..errors import ConfigError
from ..figures.panels import empty_figure, join_panels, line_figure
from ..figures.style import GREY
from ..runs.names import recipe_in_words, title_of
from ..runs.scores import SHIFT, VAL
from ..runs.table import recipes as recipe_means
from .item import ZERO_SHOT_NAME, Item, Made, Ours, is_combined
from .tables import ROW, numbered_rows, of_ft, setting_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

CSV = "lipsum_ft"
X_TITLE = "mean shift accuracy (%)"
Y_TITLE = "reference accuracy (%)"
FAMILIES = {"lr": "learning rate varied", "steps": "steps varied"}
STAR = {"marker": {"size": 14, "color": GREY}, "mode": "markers"}

# --- points


def our_points(results: pd.DataFrame, shift: str = "") -> pd.DataFrame:
    """Means over seeds in percent: a row per recipe and alpha; the zero-shot model once.

    Arguments:
        results: of one kind.
        shift: the split to the right; empty: the mean of all shifts.

    Returns:
        name, label, published, x and y as `plane` wants them, beside the columns of `recipes`, the
        ids of the runs and n, the test images of all splits.

    Raises:
        ConfigError: where no run is scored.
    """
    rows = recipe_means(results).sort_values(["method", "lr", "steps", "alpha"])
    if rows.empty:
        raise ConfigError("no run is scored: clipft evaluate RUN")
    runs = results.groupby("recipe").run.unique().map(" ".join)
    rows["runs"] = rows.recipe.map(runs)
    tests = results[results.role != VAL].drop_duplicates(["recipe", "split"])
    rows["n"] = rows.recipe.map(tests.groupby("recipe").n.sum())
    rows["x"] = 100 * rows[shift or "shift_accuracy"]
    rows["y"] = 100 * rows.reference_accuracy
    rows["name"] = rows.method.map(title_of)
    rows["label"] = list(map(recipe_in_words, rows.lr, rows.steps))
    rows["label"] += ", alpha " + rows.alpha.map("{:g}".format)
    rows["published"] = False
    start = rows[rows.alpha == ZERO_SHOT].head(1).assign(name=ZERO_SHOT_NAME, label="")
    return pd.concat([start, rows[rows.alpha != ZERO_SHOT]], ignore_index=True)


def published_points(number: str, benchmark: str, shift: str = "") -> pd.DataFrame:
    """A table of Lipsum-FT in percent, as `our_points` has ours, with its number.

    shift: one split alone, else the mean of all. Each kind has its row Zero-shot, from table 4
    where the table has none: it does not depend on what is tuned on.
    """
    zero_shot = numbered_rows("4", benchmark, CSV).query("method == @ZERO_SHOT_NAME")
    tuned = numbered_rows(number, benchmark, CSV).query("method != @ZERO_SHOT_NAME")
    rows = []
    for (model, domain), kind in tuned.groupby(["model", "reference"], sort=False):
        start = zero_shot[zero_shot.model == model]
        for (method, variant, _), numbers in pd.concat([start, kind]).groupby(ROW, sort=False):
            accuracy = 100 * numbers.set_index("split")["mean"]
            others = accuracy.drop(domain)
            point = {"method": method, "variant": variant, "model": model, "domain": domain}
            point |= {"name": of_ft(method), "label": setting_of(variant, CSV)}
            point |= {"x": others[shift] if shift else others.mean(), "y": accuracy[domain]}
            rows.append(point)
    return pd.DataFrame(rows).assign(published=True, table=number)


# --- figures


def plane(points: pd.DataFrame, names: Sequence[str] = (), x: str = X_TITLE) -> go.Figure:
    """The points of each name, joined in their order; the zero-shot model is a star.

    names: all names of a set of figures, so that each looks the same in all of them.
    """
    is_star = points.name == ZERO_SHOT_NAME
    figure = line_figure(points[~is_star], x, Y_TITLE, names=names)
    for published, stars in points[is_star].groupby("published"):
        name = f"{ZERO_SHOT_NAME}, published" if published else ZERO_SHOT_NAME
        text = f"{name}<br>x %{{x:.1f}}<br>y %{{y:.1f}}<extra></extra>"
        figure.add_scatter(x=stars.x, y=stars.y, name=name, hovertemplate=text, **STAR)
        figure.data[-1].marker.symbol = "star-open" if published else "star"
    return figure


def _planes(
    item: Item, ours: Ours, parts: Mapping[str, pd.DataFrame], title: str, command: str
) -> Made:
    """A plane of each part; a name looks the same in all of them."""
    drawn = pd.concat([points.assign(panel=part) for part, points in parts.items()])
    names = list(drawn.name[drawn.name != ZERO_SHOT_NAME].unique())
    figures = {part: plane(points, names) for part, points in parts.items()}
    used = ours.of(drawn.recipe.dropna().unique()) if "recipe" in drawn else ours.of([])
    figure = join_panels(figures, title, columns=2)
    return item.made(figure, used, command=command, drawn=drawn)


def families(item: Item, ours: Ours) -> Made:
    """FT over its learning rates and over its numbers of steps, and the zero-shot star."""
    (benchmark,) = item.benchmarks
    results = item.runs(ours)
    parts = {}
    if len(results):
        parts[f"ours: {results.manifest.iloc[0]}"] = family_points(results)
    published = published_points(item.number, benchmark)
    parts[f"paper: {benchmark}"] = published[published.name.isin([ZERO_SHOT_NAME, "FT"])]
    title = f"More tuning: reference against shift, as on {benchmark}"
    return _planes(item, ours, parts, title, command=_more_tuning(item, results))


def family_points(results: pd.DataFrame, shift: str = "") -> pd.DataFrame:
    """`our_points` of the tuned models in two families: of lr and steps, one varies in each."""
    points = our_points(results, shift)
    is_star = points.name == ZERO_SHOT_NAME
    tuned = points[(points.alpha == TUNED) & ~is_star]
    parts = [points[is_star]]
    for varied, fixed in (("lr", "steps"), ("steps", "lr")):
        # The other of the two is at its most frequent value.
        family = tuned[tuned[fixed] == tuned[fixed].mode()[0]].sort_values(varied)
        parts.append(family.assign(name=family.name + ", " + FAMILIES[varied]))
    return pd.concat(parts, ignore_index=True)


def _more_tuning(item: Item, results: pd.DataFrame) -> str:
    """What makes a family where our runs are of one learning rate or of one number of steps."""
    enough = len(results) and results.lr.nunique() > 1 and results.steps.nunique() > 1
    return "" if enough else item.command


def each_shift(item: Item, ours: Ours) -> Made:
    """`families` on each shift; below it the feature distortion of that shift, the same models."""
    results = item.runs(ours)
    command = _more_tuning(item, results)
    if results.empty:
        return item.made(empty_figure("no run of FT"), results, command=command)
    above: dict[str, go.Figure] = {}
    below: dict[str, go.Figure] = {}
    drawn = []
    tuned = results[results.alpha == TUNED]
    moved = tuned[tuned.metric == "feature_distortion"].groupby(["split", "recipe"])["mean"].mean()
    for split in sorted(results[results.role == SHIFT].split.unique()):
        domain = SplitName.parse(split).domain
        x_title = f"accuracy on {domain} (%)"
        points = family_points(results, split).assign(panel=domain)
        points["distortion"] = points.recipe.map(moved.get(split, pd.Series(dtype=float)))
        drawn.append(points)
        above[domain] = plane(points, x=x_title)
        under = points[points.name != ZERO_SHOT_NAME]
        under = under.assign(y=under.distortion)
        below[f"{domain}: distortion"] = line_figure(under, x_title, "feature distortion")
    title = "Each shift: reference accuracy, and below it the feature distortion of that shift"
    figure = join_panels(above | below, title, columns=len(above))
    return item.made(figure, results, command=command, drawn=pd.concat(drawn))


def posthoc(item: Item, ours: Ours) -> Made:
    """WiSE along alpha and TPGM-C along mu, of FT and of Lipsum-FT; Lipsum-FT alone."""
    (benchmark,) = item.benchmarks
    used = ours.of(item.recipes(ours))
    parts = {}
    if len(used):
        points = our_points(used)
        is_star = points.name == ZERO_SHOT_NAME
        combined = points.method.map(is_combined)
        wise = points[~combined & ~is_star].sort_values("alpha", ascending=False, kind="stable")
        wise = wise.assign(name=wise.name + " + WiSE")
        alone = points[(points.alpha == TUNED) & (combined | (points.method == "lipsum"))]
        parts[f"ours: {used.manifest.iloc[0]}"] = pd.concat([wise, alone, points[is_star]])
    table = published_points(item.number, benchmark)
    alone = published_points("1", benchmark).query("name == 'Lipsum-FT'")
    parts[f"paper: {benchmark}"] = pd.concat([table, alone])
    # TPGM-C alone: it has a curve as WiSE has.
    parts = {
        part: points[~points.name.isin(["FT + TPGM", "Lipsum-FT + TPGM"])]
        for part, points in parts.items()
    }
    title = f"After training, as on {benchmark}"
    return _planes(item, ours, parts, title, command=item.missing(ours))


def soups(item: Item, ours: Ours) -> Made:
    """Greedy soups and ensembles of FT and of Lipsum-FT, beside FT and Lipsum-FT."""
    results = item.runs(ours)
    command = item.missing(ours)
    if command:
        empty = empty_figure("no soup and no greedy ensemble among these runs")
        return item.made(empty, results, command=command)
    points = our_points(results)
    points = points[(points.alpha == TUNED) | (points.name == ZERO_SHOT_NAME)]
    parts = {f"ours: {results.manifest.iloc[0]}": points}
    return _planes(item, ours, parts, "Soups and ensembles", command=command)
