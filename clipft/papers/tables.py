"""Tables of our runs beside a paper's, and what is ours minus the paper's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from ..config import TUNED, ZERO_SHOT
from ..data.splits import SplitName
from ..figures.panels import empty_figure
from ..figures.tables import tables_figure
from ..methods import POSTHOC
from ..metrics.accuracy import harmonic_mean
from ..runs.names import MethodName
from ..runs.table import KIND, of_means, reference_first, wide
from .item import ALL, BOTH, HARMONIC, SHIFTS, ZERO_SHOT_NAME, Blocks, Item, Made, Ours
from .published import DATA_SETS, OF_WILDS, called, rows_of

if TYPE_CHECKING:
    import plotly.graph_objects as go


class Measure(NamedTuple):
    """A measure of a table: its title with the unit, the factor to it, digits, and its metrics."""

    title: str
    factor: float
    digits: int
    metrics: tuple[str, ...]  # in the CSV; the first of them is what ours are
    scores: bool = False  # of the paper's own data set ours are by which that is scored


MEASURES = {
    "accuracy": Measure("accuracy (%)", 100, 1, ("accuracy",), scores=True),
    "nll": Measure("NLL (nats)", 1, 2, ("nll",)),
    "ece": Measure("ECE (%)", 100, 1, ("ece",)),
    # Of iWildCam macro F1; of FMoW accuracy, under shift that of the worst region.
    "wilds": Measure(
        "as WILDS is scored (%)",
        factor=100,
        digits=1,
        metrics=("macro_f1", "accuracy", "worst_region_accuracy"),
        scores=True,
    ),
}
ROW = ["method", "variant", "again"]  # what tells the rows of a published table apart
INFERRED = " (inferred)"
LIKELY = " (likely)"
MEAN_SHIFT = "mean_shift"  # a split of the CSV where the paper gives the mean alone
ON_REFERENCE = "id_test"  # and one that is of the reference whatever that is called
TO_FIRST = "(difference to the first row)"

Means = Mapping[str, tuple[float, float]]  # column -> mean and standard deviation


@dataclass(frozen=True)
class Side:
    """Rows of one side, ours or the paper's, of one kind and measure, before they are texts."""

    title: str
    kind: tuple[str, str, str]  # data set, model, reference
    measure: str
    rows: Sequence[Mapping[str, str]]
    means: Sequence[Means]  # of each row, the reference first
    differences: bool = False  # whether rows are compared with the first

    def block(self) -> dict[str, pd.DataFrame]:
        """Its title and its frame: a cell of each mean and deviation, or change to row one."""
        title = f"{self.title}: {MEASURES[self.measure].title}"
        frame = []
        for number, (row, of_row) in enumerate(zip(self.rows, self.means, strict=True)):
            cells = {}
            for name, (mean, std) in of_row.items():
                if not self.differences:
                    cells[name] = _cell(self.measure, mean, std)
                elif number == 0:
                    cells[name] = _cell(self.measure, mean, math.nan)
                else:
                    first = self.means[0][name][0]
                    cells[name] = _cell(self.measure, mean, math.nan, first=first)
            frame.append({**row, **cells})
        return {f"{title} {TO_FIRST}" if self.differences else title: pd.DataFrame(frame)}

    def places(self) -> dict[tuple[str, str], int]:
        """(method, setting) -> the place of its row, named as ours are."""
        found: dict[tuple[str, str], int] = {}
        for place, row in enumerate(self.rows):
            method = of_ft(row["method"].removesuffix(LIKELY))
            setting = row.get("setting", "").removesuffix(INFERRED)
            found.setdefault((method, setting), place)
        return found

    def reach(self, place: int, column: str) -> float:
        """How far the 95 % interval of a mean over our seeds reaches; 0 for one that has no spread.

        t s / sqrt(n), as `metrics.comparison.paired_difference` has it; not a number for one seed.
        """
        from scipy import stats

        row = self.rows[place]
        if row["method"] == ZERO_SHOT_NAME:
            return 0.0
        seeds = int(row["seeds"])
        std = self.means[place][column][1]
        return float(stats.t.ppf(0.975, seeds - 1) * std / math.sqrt(seeds))


def of_ft(method: str) -> str:
    """A published WiSE or TPGM without a method is of FT."""
    alone = method in [posthoc.title for posthoc in POSTHOC.values()]
    return f"FT + {method}" if alone else method


# --- tables


def table(item: Item, ours: Ours) -> Made:
    """Our best recipe of each method beside the published table, a block per kind and measure.

    Below them is what is ours minus the paper's, where both have the same rows.
    """
    recipes = item.recipes(ours)
    used = ours.of(recipes)
    of_ours = _our_sides(item, used, recipes)
    of_paper = _paper_sides(item)
    blocks: dict[str, pd.DataFrame] = {}
    for side in [*of_ours, *of_paper]:
        blocks |= side.block()
    for measure in item.measures:
        blocks |= _differences(
            [side for side in of_ours if side.measure == measure],
            [side for side in of_paper if side.measure == measure and not side.differences],
            item,
        )
    empty = "no runs of ours, no published numbers"
    figure = _drawn(blocks) if blocks else empty_figure(empty)
    return item.made(figure, used, command=item.missing(ours), rows=blocks)


def _drawn(blocks: Blocks) -> go.Figure:
    """The blocks as a figure; whose rows they are say their titles."""
    frames = {title: rows.drop(columns="source", errors="ignore") for title, rows in blocks.items()}
    return tables_figure(frames)


def _cell(measure: str, mean: float, std: float, first: float = math.nan) -> str:
    """`mean ± std` in the measure's unit, or `mean (difference to first)`; NaN is left out."""
    _, factor, digits, *_ = MEASURES[measure]
    text = f"{factor * mean:.{digits}f}"
    if not math.isnan(first):
        return f"{text} ({factor * (mean - first):+.{digits}f})"
    return text if math.isnan(std) else f"{text} ± {factor * std:.{digits}f}"


# --- ours


def _our_sides(item: Item, used: pd.DataFrame, recipes: Mapping[str, str]) -> list[Side]:
    """Zero-shot, then a row per recipe and alpha; a side of each kind and measure."""
    alphas = [TUNED]
    if item.alphas:
        alphas = sorted(used.alpha[used.alpha > ZERO_SHOT].unique(), reverse=True)
    sides = []
    for measure in item.measures:
        for _, kind in used.groupby(KIND):
            sides += [
                _our_side(item, rows, recipes, measure, alphas) for rows in _blocks_of(item, kind)
            ]
    return sides


def _blocks_of(item: Item, kind: pd.DataFrame) -> list[pd.DataFrame]:
    """The results of each block of a kind: all together, or method by method."""
    if not item.blocks:
        return [kind]
    return [kind[kind.method == method] for method in item.blocks if method in set(kind.method)]


def _our_side(
    item: Item,
    kind: pd.DataFrame,
    recipes: Mapping[str, str],
    measure: str,
    alphas: Sequence[float],
) -> Side:
    first = kind.iloc[0]
    tests = wide(kind).query("role != 'val'")
    splits = reference_first(tests.split.unique(), first.reference)
    measured = MEASURES[measure]
    is_papers = first.manifest in [DATA_SETS.get(name, name) for name in item.benchmarks]
    metric = "score" if measured.scores and is_papers else measured.metrics[0]
    rows = []
    means = []
    for method, setting, scores in _our_rows(tests, recipes, alphas, mixed=item.alphas):
        row = {"source": "ours", "method": method, "setting": setting}
        rows.append(row | {"seeds": str(scores.run.nunique())})
        means.append(_our_means(scores, splits, metric, item.means))
    title = f"Ours: {first.manifest}, {first.model}, reference {first.reference}"
    if item.blocks:
        title += f", {item.blocks[first.method]}"
    if first.selection != "holdout":
        title += f", selection {first.selection}"
    differences = item.differences == item.benchmarks
    if differences:
        # As the paper has it: no row of zero-shot, which is compared with nothing here.
        rows = rows[1:]
        means = means[1:]
    named = (first.manifest, first.model, first.reference)
    return Side(title, named, measure, rows, means, differences=differences)


def _our_rows(
    tests: pd.DataFrame, recipes: Mapping[str, str], alphas: Sequence[float], *, mixed: bool
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Title, setting and scores of zero-shot, then of each recipe; mixed: it is WiSE at alphas."""
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
            if mixed and not name.after:
                yield name.then("wise").title, f"alpha={alpha}", scores
            elif alpha == TUNED:
                yield name.title, setting, scores


def _our_means(
    scores: pd.DataFrame, splits: Iterable[str], metric: str, last: Iterable[str]
) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over seeds on each split, and of each mean over splits.

    last: which means over splits, e.g. SHIFTS.
    """
    means = {}
    for split in splits:
        values = scores[scores.split == split][metric]
        means[SplitName.parse(split).domain] = (values.mean(), values.std())
    scores = of_means(scores)
    shifts = scores[scores.role == "shift"].groupby("run")[metric].mean()
    reference = scores[scores.role == "reference"].groupby("run")[metric].mean()
    over = {
        SHIFTS: shifts,
        ALL: scores.groupby("run")[metric].mean(),
        BOTH: (reference + shifts) / 2,
        HARMONIC: harmonic_mean(reference, shifts),
    }
    return means | {name: (over[name].mean(), over[name].std()) for name in last}


# --- the paper's


def _paper_sides(item: Item) -> list[Side]:
    """A side per model and reference of the item's published table, if it has one."""
    sides: list[Side] = []
    if not item.number:
        return sides
    wanted = [(benchmark, True) for benchmark in item.differences]
    if item.differences != item.benchmarks:
        wanted += [(benchmark, False) for benchmark in item.benchmarks]
    for benchmark, differences in wanted:
        for measure in item.measures:
            published = numbered_rows(item.number, benchmark, item.csv, measure)
            if item.models_as_rows:
                published = published.assign(variant=published.model, model="")
            for (model, reference), kind in published.groupby(["model", "reference"], sort=False):
                named = [benchmark, model, f"reference {reference}"]
                title = f"Paper, {called(item.number)}: {', '.join(filter(None, named))}"
                rows, means = paper_means(kind, item.means)
                kind_of_side = (DATA_SETS.get(benchmark, benchmark), str(model), str(reference))
                sides.append(Side(title, kind_of_side, measure, rows, means, differences))
    return sides


def paper_means(
    kind: pd.DataFrame, last: Iterable[str]
) -> tuple[list[dict[str, str]], list[dict[str, tuple[float, float]]]]:
    """Published rows and their numbers, with means over splits, which we take here.

    The mean over shifts is the paper's where it gives it.
    """
    rows = []
    means = []
    for (method, variant, _), numbers in kind.groupby(ROW, sort=False):
        rows.append(
            {
                "source": "paper",
                "method": method,
                "setting": setting_of(variant, numbers.csv.iloc[0]),
            }
        )
        is_mean = numbers.split == MEAN_SHIFT
        on_reference = (numbers.split == numbers.reference) | (numbers.split == ON_REFERENCE)
        splits = pd.concat([numbers[on_reference], numbers[~on_reference & ~is_mean]])
        of_row = {
            OF_WILDS.get(split, split): (mean, std)
            for split, mean, std in splits[["split", "mean", "std"]].itertuples(index=False)
        }
        if (numbers.benchmark != "cub").all():
            # There, seen, unseen and their harmonic mean are no shifts.
            shifts = numbers[is_mean if is_mean.any() else ~on_reference]["mean"].mean()
            reference = numbers[on_reference]["mean"].mean()
            over = {SHIFTS: shifts, ALL: splits["mean"].mean(), BOTH: (reference + shifts) / 2}
            of_row |= {name: (over[name], math.nan) for name in last}
        means.append(of_row)
    if not any(row["setting"] for row in rows):
        for row in rows:
            del row["setting"]
    return rows, means


def setting_of(variant: str, csv: str) -> str:
    """A published row's variant as it is shown; Lipsum-FT's alphas are not in the text we have."""
    inferred = INFERRED if csv == "lipsum_ft" and variant.startswith("alpha") else ""
    return variant.replace(";", ", ") + inferred


def numbered_rows(number: str, benchmark: str, csv: str, measure: str = "accuracy") -> pd.DataFrame:
    """`published_rows` of a measure, with the CSV's name, and with `again`.

    That is 1 where a row stands there twice, as table 8's default.
    """
    rows = rows_of(number, benchmark, csv, MEASURES[measure].metrics)
    same = rows.groupby(["model", "reference", "method", "variant", "split"])
    return rows.assign(again=same.cumcount(), csv=csv)


# --- ours minus the paper's


def _differences(ours: Iterable[Side], papers: Iterable[Side], item: Item) -> Blocks:
    """What is ours minus the paper's, of one measure: of the same kind, and of changes in others.

    A change is that against the row `item.against`, on the reference and in the mean: of another
    model and data set the sizes say little, but the directions can be compared. Intervals are 95 %
    over our seeds, of changes against zero-shot alone; the paper's number is taken as it stands.
    """
    of_values: list[dict[str, str]] = []
    of_changes: list[dict[str, str]] = []
    unit = ""
    for mine, theirs in product(ours, papers):
        unit = MEASURES[mine.measure].title.replace("(%)", "(points)")
        if mine.kind == theirs.kind:
            of_values += _values(mine, theirs)
        else:
            of_changes += _changes(mine, theirs, item)

    base = " ".join(filter(None, item.against))
    blocks = {
        f"Ours minus paper: {unit}": of_values,
        f"Changes against {base}, ours | paper | difference: {unit}": of_changes,
    }
    return {title: _told_apart(rows) for title, rows in blocks.items() if rows}


def _pairs(ours: Side, paper: Side) -> Iterator[tuple[tuple[str, str], int, int]]:
    """(method, setting), the places of our row and of the paper's, of what both have.

    Where a published row has no setting, ours is the first of its method.
    """
    mine = ours.places()
    for (method, _), place in list(mine.items()):
        mine.setdefault((method, ""), place)
    for row, place in paper.places().items():
        if row in mine:
            yield row, mine[row], place


def _about(ours: Side, paper: Side, row: tuple[str, str]) -> dict[str, str]:
    """What a row of differences is of."""
    kinds = {"ours": ", ".join(ours.kind), "paper": ", ".join(filter(None, paper.kind))}
    return kinds | {"method": row[0], "setting": row[1]}


def _told_apart(rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Rows of differences, of what they are about only what tells them apart, and the method."""
    frame = pd.DataFrame(rows)
    same = [name for name in ("ours", "paper", "setting") if frame[name].nunique() == 1]
    return frame.drop(columns=same)


def _values(ours: Side, paper: Side) -> Iterator[dict[str, str]]:
    """A row per pair: ours minus the paper's in every column that both have."""
    for row, mine, theirs in _pairs(ours, paper):
        cells = {}
        for name, (published, _) in paper.means[theirs].items():
            if name in ours.means[mine]:
                difference = ours.means[mine][name][0] - published
                cells[name] = _within(ours.measure, difference, ours.reach(mine, name))
        yield _about(ours, paper, row) | cells


def _changes(ours: Side, paper: Side, item: Item) -> Iterator[dict[str, str]]:
    """A row per pair, with a cell of the reference and one of the mean: ours, paper, both."""
    pairs = {row: (mine, theirs) for row, mine, theirs in _pairs(ours, paper)}
    if item.against not in pairs:
        return
    base, their_base = pairs.pop(item.against)
    mean = item.means[0]
    for row, (mine, theirs) in pairs.items():
        # The reference is the first column of both.
        columns = {
            "reference": (next(iter(ours.means[mine])), next(iter(paper.means[theirs]))),
            mean: (mean, mean),
        }
        cells = {}
        for name, (my, their) in columns.items():
            change = ours.means[mine][my][0] - ours.means[base][my][0]
            published = paper.means[theirs][their][0] - paper.means[their_base][their][0]
            # Two rows that both spread share their seeds, and are not independent.
            reach = math.nan if ours.reach(base, my) else ours.reach(mine, my)
            three = (
                _signed(ours.measure, change),
                _signed(ours.measure, published),
                _within(ours.measure, change - published, reach),
            )
            cells[name] = " | ".join(three)
        yield _about(ours, paper, row) | cells


def _within(measure: str, difference: float, reach: float) -> str:
    """A difference with its interval over our seeds, where it has one: `+2.7 [1.2, 4.2]`.

    The paper's number is taken as it stands.
    """
    if math.isnan(reach):
        return _signed(measure, difference)
    ends = [_signed(measure, difference + end).removeprefix("+") for end in (-reach, reach)]
    return f"{_signed(measure, difference)} [{', '.join(ends)}]"


def _signed(measure: str, change: float) -> str:
    """A difference in the measure's unit, with its sign."""
    _, factor, digits, *_ = MEASURES[measure]
    return f"{factor * change:+.{digits}f}"
