"""Our runs beside a paper's numbers: the tables and panels that several items share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from ..config import TUNED, ZERO_SHOT
from ..data.splits import SplitName
from ..errors import ConfigError
from ..figures.panels import empty_figure, join_panels, line_figure
from ..figures.tables import tables_figure
from ..figures.trade_off import trade_off_figure
from ..methods import POSTHOC
from ..runs.names import MethodName, title_of
from ..runs.table import KIND, recipes as recipe_means, reference_first, wide
from .item import COMBINATIONS, Item, Made, Ours, is_combined
from .published import published_rows

if TYPE_CHECKING:
    import plotly.graph_objects as go

MEASURES = {  # title with the unit, factor to it, digits
    "accuracy": ("accuracy (%)", 100, 1),
    "nll": ("NLL (nats)", 1, 2),
    "ece": ("ECE (%)", 100, 1),
}
ROW = ["method", "variant", "again"]  # what tells the rows of a published table apart
GAIN_LABEL = "reference accuracy, against zero-shot (points)"
SHIFT_LABEL = "mean shift accuracy, against zero-shot (points)"

# --- tables


def table(item: Item, ours: Ours) -> Made:
    """Our best recipe of each method beside the published table, a block per kind and measure.

    Where combinations are compared, methods stand there with WiSE at every alpha.
    """
    recipes = item.recipes(ours)
    alphas = [TUNED]
    if item.across == COMBINATIONS:
        alphas = sorted(ours.results.alpha[ours.results.alpha > ZERO_SHOT].unique(), reverse=True)
    used = ours.of(recipes)
    blocks = {}
    for measure in item.measures:
        for _, kind in used.groupby(KIND):
            blocks |= _our_block(kind, recipes, measure, alphas)
    blocks |= _paper_blocks(item)
    empty = "no runs of ours, no published numbers"
    figure = tables_figure(blocks) if blocks else empty_figure(empty)
    return item.made(figure, used, command=item.missing(ours), rows=blocks)


def published_table(item: Item, ours: Ours) -> Made:
    """The published table alone."""
    rows = _paper_blocks(item)
    return item.made(tables_figure(rows), ours.of([]), command=item.command, rows=rows)


def _cell(measure: str, mean: float, std: float) -> str:
    """`mean ± std` in the measure's unit, the mean alone where there is no deviation (NaN)."""
    _, factor, digits = MEASURES[measure]
    text = f"{factor * mean:.{digits}f}"
    return text if math.isnan(std) else f"{text} ± {factor * std:.{digits}f}"


def _our_block(
    kind: pd.DataFrame, recipes: Mapping[str, str], measure: str, alphas: Sequence[float]
) -> dict[str, pd.DataFrame]:
    """The block of one kind under its title: zero-shot, then a row per recipe and alpha."""
    first = kind.iloc[0]
    tests = wide(kind).query("role != 'val'")
    splits = reference_first(tests.split.unique(), first.reference)
    rows = []
    for method, setting, scores in _our_rows(tests, recipes, alphas):
        row = {"source": "ours", "method": method, "setting": setting}
        rows.append(row | _our_cells(scores, splits, measure))
    title = f"Ours: {first.manifest}, {first.model}, reference {first.reference}"
    if first.selection != "holdout":
        title += f", selection {first.selection}"
    return {f"{title}: {MEASURES[measure][0]}": pd.DataFrame(rows)}


def _our_rows(
    tests: pd.DataFrame, recipes: Mapping[str, str], alphas: Sequence[float]
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Title, setting and scores of zero-shot, then of each recipe; at several alphas it is WiSE."""
    zero_shot = tests[tests.alpha == ZERO_SHOT]
    if len(zero_shot):
        # It is the same model in every run.
        yield "Zero-shot", "", zero_shot[zero_shot.run == zero_shot.run.iloc[0]]
    for recipe, setting in recipes.items():
        for alpha in alphas:
            scores = tests[(tests.recipe == recipe) & (tests.alpha == alpha)]
            if scores.empty:
                continue
            name = MethodName.parse(scores.method.iloc[0])
            if len(alphas) > 1 and not name.after:
                yield name.then("wise").title, f"alpha={alpha}", scores
            elif alpha == TUNED:
                yield name.title, setting, scores


def _our_cells(scores: pd.DataFrame, splits: Iterable[str], measure: str) -> dict[str, str]:
    """Mean ± standard deviation over seeds on each split, and of the mean over shifts."""
    cells = {"seeds": str(scores.run.nunique())}
    for split in splits:
        values = scores[scores.split == split][measure]
        cells[SplitName.parse(split).domain] = _cell(measure, values.mean(), values.std())
    shift_by_run = scores[scores.role == "shift"].groupby("run")[measure].mean()
    cells["mean shift"] = _cell(measure, shift_by_run.mean(), shift_by_run.std())
    return cells


def _paper_blocks(item: Item) -> dict[str, pd.DataFrame]:
    """A block per model and reference of the item's published table, if it has one."""
    blocks: dict[str, pd.DataFrame] = {}
    if not item.number:
        return blocks
    for benchmark in item.benchmarks:
        for measure in item.measures:
            published = _numbered_rows(item.number, benchmark, measure)
            for (model, reference), kind in published.groupby(["model", "reference"], sort=False):
                title = f"Paper, table {item.number}: {benchmark}, {model}, reference {reference}"
                blocks[f"{title}: {MEASURES[measure][0]}"] = _paper_block(kind, measure)
    return blocks


def _paper_block(kind: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Published rows with the mean over shifts, which we take here."""
    rows = []
    for (method, variant, _), numbers in kind.groupby(ROW, sort=False):
        row = {"source": "paper", "method": method, "setting": variant.replace(";", ", ")}
        on_reference = numbers.split == numbers.reference
        ordered = pd.concat([numbers[on_reference], numbers[~on_reference]])
        for split, mean, std in zip(ordered.split, ordered["mean"], ordered["std"], strict=True):
            row[split] = _cell(measure, mean, std)
        if (numbers.benchmark != "cub").all():
            # There, seen, unseen and their harmonic mean are no shifts.
            row["mean shift"] = _cell(measure, numbers[~on_reference]["mean"].mean(), math.nan)
        rows.append(row)
    block = pd.DataFrame(rows)
    return block.drop(columns="setting") if (block.setting == "").all() else block


def _numbered_rows(number: str, benchmark: str, measure: str = "accuracy") -> pd.DataFrame:
    """`published_rows` with `again`: 1 where a row stands there twice, as table 8's default."""
    rows = published_rows(number, benchmark, metric=measure)
    same = rows.groupby(["model", "reference", "method", "variant", "split"])
    return rows.assign(again=same.cumcount())


# --- points of figures


def our_points(results: pd.DataFrame) -> pd.DataFrame:
    """`table.recipes` against zero-shot, x and y in points: a row per recipe and alpha.

    Raises ConfigError where no run is scored at both ends of alpha.
    """
    rows = recipe_means(results)
    zero_shot = rows[rows.alpha == ZERO_SHOT].set_index("recipe")
    rows = rows[rows.recipe.isin(zero_shot.index)].sort_values(["recipe", "alpha"])
    if rows.empty:
        raise ConfigError("no run is scored at alpha 0 and 1: clipft wise RUN")
    start = zero_shot.loc[rows.recipe]
    rows["x"] = 100 * (rows.reference_accuracy - start.reference_accuracy.to_numpy())
    rows["y"] = 100 * (rows.shift_accuracy - start.shift_accuracy.to_numpy())
    return rows.assign(published=False)


def paper_points(number: str, benchmark: str, shift: str = "") -> pd.DataFrame:
    """A published table as method, variant, model, domain (tuned on), reference and shift.

    Fractions; shift: one split alone, else the mean of all. Each kind has its row Zero-shot, from
    table 4 where the table has none: it does not depend on what is tuned on.
    """
    zero_shot = _numbered_rows("4", benchmark).query("method == 'Zero-shot'")
    tuned = _numbered_rows(number, benchmark).query("method != 'Zero-shot'")
    rows = []
    for (model, domain), kind in tuned.groupby(["model", "reference"], sort=False):
        start = zero_shot[zero_shot.model == model]
        for (method, variant, _), numbers in pd.concat([start, kind]).groupby(ROW, sort=False):
            accuracy = numbers.set_index("split")["mean"]
            others = accuracy.drop(domain)
            shifted = others[shift] if shift else others.mean()
            rows.append((method, variant, model, domain, accuracy[domain], shifted))
    columns = ["method", "variant", "model", "domain", "reference", "shift"]
    return pd.DataFrame(rows, columns=columns)


def hollow(points: pd.DataFrame) -> pd.DataFrame:
    """`paper_points` of tuned models against their zero-shot, as `line_figure` wants them."""
    is_tuned = points.method != "Zero-shot"
    zero_shot = points.loc[~is_tuned, ["model", "domain", "reference", "shift"]]
    rows = points[is_tuned].merge(zero_shot, on=["model", "domain"], suffixes=("", "_zero_shot"))
    rows["x"] = 100 * (rows["reference"] - rows["reference_zero_shot"])
    rows["y"] = 100 * (rows["shift"] - rows["shift_zero_shot"])
    return rows.assign(name=rows.method, label=rows.variant, published=True)


# --- figures


def shift_panels(item: Item, ours: Ours) -> Made:
    """The trade-off on each of our shifts and on their mean, a mark per run.

    The paper's points stand there where the split is the paper's too.
    """
    (benchmark,) = item.benchmarks
    results = item.runs(ours)
    panels = {}
    for split in sorted(results[results.role == "shift"].split.unique()):
        domain = SplitName.parse(split).domain
        is_papers = (results.manifest == benchmark).all()
        published = paper_points(item.number, benchmark, domain) if is_papers else None
        one_shift = results[(results.role != "shift") | (results.split == split)]
        label = f"accuracy on {domain}, against zero-shot (points)"
        panels[domain] = trade_off_figure(one_shift, published).update_yaxes(title=label)

    published = paper_points(item.number, benchmark)
    if len(results):
        mean = trade_off_figure(results, published)
    else:
        mean = line_figure(hollow(published), GAIN_LABEL, SHIFT_LABEL)
    panels["mean of shifts"] = mean.update_yaxes(title=SHIFT_LABEL)
    title = f"Reference against shift; hollow: {benchmark}, published"
    return item.made(join_panels(panels, title, columns=2), results)


def kind_panels(item: Item, ours: Ours) -> Made:
    """The trade-off of each kind of our runs, a mark per recipe, and of each of the paper's."""
    results = item.runs(ours)
    published = hollow(paper_points(item.number, *item.benchmarks))
    points_by_panel = {}
    for _, kind in results.groupby(KIND):
        points = our_points(kind).query("alpha == @TUNED").sort_values(["lr", "steps"])
        points["name"] = points.method.map(title_of)
        points["label"] = "lr " + points.lr.astype(str) + ", " + points.steps.astype(str) + " steps"
        points_by_panel[f"ours: {kind.model.iloc[0]}, {kind.reference.iloc[0]}"] = points
    for (model, domain), kind in published.groupby(["model", "domain"], sort=False):
        points_by_panel[f"paper: {model}, {domain}"] = kind
    title = "Reference against shift (hollow: DomainNet, published)"
    figure = _gain_panels(points_by_panel, title, published)
    return item.made(figure, results, command=item.missing(ours))


def posthoc_panels(item: Item, ours: Ours) -> Made:
    """WiSE curves and other post-hoc methods, ours and the paper's."""
    used = ours.of(item.recipes(ours))
    published = hollow(paper_points(item.number, *item.benchmarks))
    # The paper's WiSE and TPGM without a method are of FT.
    of_ft = published.name.isin([method.title for method in POSTHOC.values()])
    published["name"] = published.name.where(~of_ft, "FT + " + published.name)
    points = published
    if len(used):
        mine = our_points(used)
        combined = mine.method.map(is_combined)
        titles = mine.method.map(title_of)
        mine["name"] = titles.where(combined, titles + " + WiSE")
        mine["label"] = "alpha " + mine.alpha.astype(str)
        points = pd.concat([mine[(mine.alpha == TUNED) | ~combined], published])
    points_by_panel = {"ours and the paper's": points, "the paper's alone": published}
    title = f"After training (hollow: {item.benchmarks[0]}, published)"
    figure = _gain_panels(points_by_panel, title, points)
    return item.made(figure, used, command=item.missing(ours))


def _gain_panels(
    points_by_panel: Mapping[str, pd.DataFrame], title: str, named: pd.DataFrame
) -> go.Figure:
    """Shift against reference accuracy; each name looks as in the order of the points `named`."""
    names = list(named.name.unique())
    panels = {}
    for panel, points in points_by_panel.items():
        panels[panel] = line_figure(points, GAIN_LABEL, SHIFT_LABEL, names=names)
    return join_panels(panels, title, columns=2)
