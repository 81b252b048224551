"""Tables of our runs beside a paper's, and a paper's numbers as points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pandas as pd

from ..config import TUNED, ZERO_SHOT
from ..data.splits import SplitName
from ..figures.panels import empty_figure
from ..figures.tables import tables_figure
from ..runs.names import MethodName
from ..runs.table import KIND, reference_first, wide
from .item import COMBINATIONS, Item, Made, Ours
from .published import published_rows

MEASURES = {  # title with the unit, factor to it, digits
    "accuracy": ("accuracy (%)", 100, 1),
    "nll": ("NLL (nats)", 1, 2),
    "ece": ("ECE (%)", 100, 1),
}
ROW = ["method", "variant", "again"]  # what tells the rows of a published table apart
ZERO_SHOT_NAME = "Zero-shot"  # as the paper and we call the model before tuning
TO_FIRST = "in brackets the difference to the first row"

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
            blocks |= _our_block(item, kind, recipes, measure, alphas)
    blocks |= _paper_blocks(item)
    empty = "no runs of ours, no published numbers"
    figure = tables_figure(blocks) if blocks else empty_figure(empty)
    return item.made(figure, used, command=item.missing(ours), rows=blocks)


def published_table(item: Item, ours: Ours) -> Made:
    """The published table alone."""
    rows = _paper_blocks(item)
    return item.made(tables_figure(rows), ours.of([]), command=item.command, rows=rows)


def _cell(measure: str, mean: float, std: float, first: float = math.nan) -> str:
    """`mean ± std` in the measure's unit, or `mean (difference to first)`; NaN is left out."""
    _, factor, digits = MEASURES[measure]
    text = f"{factor * mean:.{digits}f}"
    if not math.isnan(first):
        return f"{text} ({factor * (mean - first):+.{digits}f})"
    return text if math.isnan(std) else f"{text} ± {factor * std:.{digits}f}"


def _our_block(
    item: Item,
    kind: pd.DataFrame,
    recipes: Mapping[str, str],
    measure: str,
    alphas: Sequence[float],
) -> dict[str, pd.DataFrame]:
    """The block of one kind under its title: zero-shot, then a row per recipe and alpha."""
    first = kind.iloc[0]
    tests = wide(kind).query("role != 'val'")
    splits = reference_first(tests.split.unique(), first.reference)
    rows = []
    means = []
    for method, setting, scores in _our_rows(tests, recipes, alphas):
        row = {"source": "ours", "method": method, "setting": setting}
        rows.append(row | {"seeds": str(scores.run.nunique())})
        means.append(_our_means(scores, splits, measure, of_all=item.mean_of_all))
    title = f"Ours: {first.manifest}, {first.model}, reference {first.reference}"
    if first.selection != "holdout":
        title += f", selection {first.selection}"
    if item.differences == item.benchmarks:
        # As the paper has it: no row of zero-shot, which is compared with nothing here.
        return _block(title, measure, rows[1:], means[1:], differences=True)
    return _block(title, measure, rows, means)


def _block(
    title: str,
    measure: str,
    rows: Sequence[Mapping[str, str]],
    means: Sequence[Mapping[str, tuple[float, float]]],
    *,
    differences: bool = False,
) -> dict[str, pd.DataFrame]:
    """Rows with a cell of each mean and deviation, or of each mean and its change to row one."""
    title = f"{title}: {MEASURES[measure][0]}"
    frame = []
    for number, (row, of_row) in enumerate(zip(rows, means, strict=True)):
        cells = {}
        for name, (mean, std) in of_row.items():
            if not differences:
                cells[name] = _cell(measure, mean, std)
            elif number == 0:
                cells[name] = _cell(measure, mean, math.nan)
            else:
                cells[name] = _cell(measure, mean, math.nan, first=means[0][name][0])
        frame.append({**row, **cells})
    return {f"{title}, {TO_FIRST}" if differences else title: pd.DataFrame(frame)}


def _our_rows(
    tests: pd.DataFrame, recipes: Mapping[str, str], alphas: Sequence[float]
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Title, setting and scores of zero-shot, then of each recipe; at several alphas it is WiSE."""
    zero_shot = tests[tests.alpha == ZERO_SHOT]
    if len(zero_shot):
        # It is the same model in every run.
        yield ZERO_SHOT_NAME, "", zero_shot[zero_shot.run == zero_shot.run.iloc[0]]
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


def _our_means(
    scores: pd.DataFrame, splits: Iterable[str], measure: str, *, of_all: bool
) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over seeds on each split, and of the mean over shifts.

    of_all: of the mean over all splits, the reference among them.
    """
    means = {}
    for split in splits:
        values = scores[scores.split == split][measure]
        means[SplitName.parse(split).domain] = (values.mean(), values.std())
    averaged = scores if of_all else scores[scores.role == "shift"]
    by_run = averaged.groupby("run")[measure].mean()
    return means | {_mean_name(of_all=of_all): (by_run.mean(), by_run.std())}


def _mean_name(*, of_all: bool) -> str:
    return "mean of all" if of_all else "mean shift"


def _paper_blocks(item: Item) -> dict[str, pd.DataFrame]:
    """A block per model and reference of the item's published table, if it has one."""
    blocks: dict[str, pd.DataFrame] = {}
    if not item.number:
        return blocks
    wanted = [(benchmark, True) for benchmark in item.differences]
    if item.differences != item.benchmarks:
        wanted += [(benchmark, False) for benchmark in item.benchmarks]
    for benchmark, differences in wanted:
        for measure in item.measures:
            published = _numbered_rows(item.number, benchmark, measure, item.paper)
            for (model, reference), kind in published.groupby(["model", "reference"], sort=False):
                title = f"Paper, table {item.number}: {benchmark}, {model}, reference {reference}"
                rows, means = _paper_means(kind, of_all=item.mean_of_all)
                blocks |= _block(title, measure, rows, means, differences=differences)
    return blocks


def _paper_means(
    kind: pd.DataFrame, *, of_all: bool
) -> tuple[list[dict[str, str]], list[dict[str, tuple[float, float]]]]:
    """Published rows and their numbers, with the mean over shifts, which we take here."""
    rows = []
    means = []
    for (method, variant, _), numbers in kind.groupby(ROW, sort=False):
        rows.append({"source": "paper", "method": method, "setting": setting_of(variant)})
        on_reference = numbers.split == numbers.reference
        ordered = pd.concat([numbers[on_reference], numbers[~on_reference]])
        of_row = {
            split: (mean, std)
            for split, mean, std in ordered[["split", "mean", "std"]].itertuples(index=False)
        }
        if (numbers.benchmark != "cub").all():
            # There, seen, unseen and their harmonic mean are no shifts.
            averaged = numbers if of_all else numbers[~on_reference]
            of_row[_mean_name(of_all=of_all)] = (averaged["mean"].mean(), math.nan)
        means.append(of_row)
    if not any(row["setting"] for row in rows):
        for row in rows:
            del row["setting"]
    return rows, means


def setting_of(variant: str) -> str:
    """A published row's variant as it is shown; the alphas of WiSE are not in the text we have."""
    inferred = " (inferred)" if variant.startswith("alpha") else ""
    return variant.replace(";", ", ") + inferred


def _numbered_rows(
    number: str, benchmark: str, measure: str = "accuracy", paper: str = "lipsum_ft"
) -> pd.DataFrame:
    """`published_rows` with `again`: 1 where a row stands there twice, as table 8's default."""
    rows = published_rows(number, benchmark, paper, metric=measure)
    same = rows.groupby(["model", "reference", "method", "variant", "split"])
    return rows.assign(again=same.cumcount())


# --- points of figures


def paper_points(number: str, benchmark: str, shift: str = "") -> pd.DataFrame:
    """A published table as method, variant, model, domain (tuned on), reference and shift.

    Fractions; shift: one split alone, else the mean of all. Each kind has its row Zero-shot, from
    table 4 where the table has none: it does not depend on what is tuned on.
    """
    zero_shot = _numbered_rows("4", benchmark).query("method == @ZERO_SHOT_NAME")
    tuned = _numbered_rows(number, benchmark).query("method != @ZERO_SHOT_NAME")
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
