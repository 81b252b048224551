"""Which of the papers' claims hold on runs of ours: each a number with its 95 % interval.

    a  FT trades shift for reference                              Lipsum-FT, WiSE-FT
    b  tuning does not move reference features more               Lipsum-FT
    c  the energy gap goes with relative accuracy                 Lipsum-FT
    d  at equal reference accuracy Lipsum-FT keeps more           Lipsum-FT
    e  WiSE lifts reference and shifts above the tuned model      WiSE-FT
    f  at equal reference accuracy FLYP keeps more than FT        FLYP
    g  squares and random texts both matter                       Lipsum-FT

Differences are taken seed by seed (Student's t), the correlation keeps the seeds of a recipe
together. How methods are compared at equal reference accuracy: `ahead_along_curves`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..config import TUNED, ZERO_SHOT
from ..data.splits import SplitName
from ..metrics.comparison import PairedDifference, paired_difference
from ..metrics.correlation import FEWEST, correlation
from ..metrics.curves import ahead
from .names import title_of
from .scores import REFERENCE, SHIFT, VAL
from .table import (
    best_by_val,
    changes,
    check_comparable,
    narrow,
    of_means,
    of_tuned_shifts,
    paths,
    score_rows,
)

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["holds", "fails", "open"]
POINTS = "points"
ACCURACIES = ["reference_accuracy", "shift_accuracy"]


@dataclass(frozen=True)
class Evidence:
    """One number that speaks for a claim where it is above 0, or below.

    unit: points (value, low and high are fractions), or empty. n: over how many seeds, or models.
    """

    what: str
    value: float
    low: float
    high: float
    n: int
    expected: Literal["above", "below"] = "above"
    unit: str = ""

    @property
    def verdict(self) -> Verdict:
        """Holds or fails where the whole interval lies on one side of 0; else open."""
        low, high = self.low, self.high
        if self.expected == "below":
            low, high = -high, -low
        if low > 0:
            return "holds"
        return "fails" if high < 0 else "open"

    def __str__(self) -> str:
        factor, digits = (100, 1) if self.unit == POINTS else (1, 2)
        value = f"{factor * self.value:+.{digits}f}"
        reach = f"{factor * self.low:.{digits}f}, {factor * self.high:.{digits}f}"
        number = f"{value} {self.unit}".rstrip()
        return f"{self.what}: {number} [{reach}], n = {self.n}: {self.verdict}"


@dataclass(frozen=True)
class Question:
    """A sentence of the papers, and how runs of ours are asked whether it holds.

    needs: what to train where they cannot be asked.
    """

    letter: str
    text: str
    paper: str
    test: Callable[[pd.DataFrame], Iterator[Evidence]]
    needs: str


@dataclass(frozen=True)
class Claim:
    """A question and its answer: the evidence, none where the runs are not there."""

    question: Question
    evidence: tuple[Evidence, ...]

    @property
    def verdict(self) -> str:
        """Holds, fails or open where all its evidence is so; how often each; or not tested."""
        found = [each.verdict for each in self.evidence]
        if not found:
            return "not tested"
        if len(set(found)) == 1:
            return found[0]
        counts = {word: found.count(word) for word in ("holds", "fails", "open")}
        some = [f"{word} in {count}" for word, count in counts.items() if count]
        return f"{', '.join(some)} of {len(found)}"

    @property
    def said(self) -> str:
        """The evidence in words, or what it needs."""
        if self.evidence:
            return "; ".join(map(str, self.evidence))
        return f"needs {self.question.needs}"

    def __str__(self) -> str:
        asked = self.question
        return f"{asked.letter}. {asked.text}: {self.verdict}. {self.said}"


def claims(results: pd.DataFrame) -> tuple[Claim, ...]:
    """The seven claims of the papers, each tested on these runs.

    A claim is tested where its runs are there, with two seeds or more. Intervals are over seeds:
    the test images are the same. None is widened for the number of claims.

    Arguments:
        results: of `clipft.results`; one data set, model and reference.

    Returns:
        The claims in their order. Each has a question, evidence and a verdict, and reads as a line.

    Raises:
        ConfigError: where runs cannot be compared.

    Example:
        >>> found = clipft.claims(clipft.results("runs"))
        >>> print(found[5])  # there is no FLYP
        f. FLYP keeps more than FT at equal reference accuracy: not tested. needs both ...
    """
    check_comparable(results)
    asked = narrow(results)
    return tuple(Claim(question, tuple(question.test(asked))) for question in QUESTIONS)


# --- the tests, each of a table of results


def trades(results: pd.DataFrame) -> Iterator[Evidence]:
    """FT's recipe best on held-out reference images, against zero-shot."""
    runs = _of_best(results, "ft")
    if not _ends(runs):
        return
    changed = changes(runs)
    zeros = np.zeros(len(changed))
    gained = paired_difference(zeros, changed.reference)
    lost = paired_difference(zeros, changed["shift"])
    yield from _seeds("reference", gained)
    yield from _seeds("mean shift", lost, expected="below")


def distorts(results: pd.DataFrame) -> Iterator[Evidence]:
    """FT's feature distortion: on the reference minus on the shifts' mean."""
    rows = _of_best(results, "ft")
    rows = of_means(rows[(rows.alpha == TUNED) & (rows.metric == "feature_distortion")])
    by_role = rows.groupby(["seed", "role"])["mean"].mean().unstack()
    if {REFERENCE, SHIFT} <= set(by_role):
        more = paired_difference(by_role[SHIFT], by_role[REFERENCE])
        yield from _seeds("distortion, reference - shifts", more, expected="below", unit="")


def correlates(results: pd.DataFrame) -> Iterator[Evidence]:
    """Pearson's r of energy gap and relative accuracy on each shift, over all tuned models."""
    tuned = of_tuned_shifts(results)
    if not {"energy_gap", "relative_accuracy"} <= set(tuned):
        return
    for split, models in tuned.dropna(subset=["energy_gap"]).groupby("split"):
        r = correlation(models.energy_gap, models.relative_accuracy, models.recipe.tolist())
        recipes = r.n if r.recipes is None else r.recipes
        if not np.isnan(r.r) and recipes >= FEWEST:
            what = f"r on {SplitName.parse(str(split)).domain}"
            yield Evidence(what, r.r, r.low, r.high, n=r.n, expected="below")


def lipsum_keeps(results: pd.DataFrame) -> Iterator[Evidence]:
    """Lipsum-FT against each other regulariser."""
    for other in ("kd", "car", "l2sp", "ema"):
        yield from ahead_along_curves(results, "lipsum", other)


def wise_lifts(results: pd.DataFrame) -> Iterator[Evidence]:
    """FT mixed with zero-shot, against FT; of the alphas between, the best on validation."""
    runs = _of_best(results, "ft")
    val = score_rows(runs[runs.role == VAL])
    inner = val[(val.alpha > ZERO_SHOT) & (val.alpha < TUNED)]
    if inner.empty:
        return
    alpha = inner.groupby("alpha")["mean"].mean().idxmax()
    of_ft = paths(runs)
    at = {mixed: of_ft[of_ft.alpha == mixed].set_index("seed") for mixed in (alpha, TUNED)}
    for column in ACCURACIES:
        first, second = at[TUNED][column].align(at[alpha][column], join="inner")
        name = column.removesuffix("_accuracy")
        yield from _seeds(f"{name} at alpha {alpha:g}", paired_difference(first, second))


def flyp_keeps(results: pd.DataFrame) -> Iterator[Evidence]:
    """FLYP against FT."""
    yield from ahead_along_curves(results, "flyp", "ft")


def both_matter(results: pd.DataFrame) -> Iterator[Evidence]:
    """Lipsum-FT against divergence in place of squares, and contexts in place of random texts."""
    for other in ("kld_random", "mse_context"):
        yield from ahead_along_curves(results, "lipsum", other)


def ahead_along_curves(results: pd.DataFrame, method: str, other: str) -> Iterator[Evidence]:
    """Mean shift accuracy of a method above another's at equal reference accuracy, by seed.

    A method's curve goes from zero-shot through its tuned models in the order of learning rates,
    those that both methods have; at least two. Single models are at different reference accuracies
    and cannot be held against each other: see `metrics.curves.ahead`.
    """
    curves = _curves(results, method)
    others = _curves(results, other)
    pairs = []
    for seed in sorted(curves.keys() & others.keys()):
        rates = curves[seed].index.intersection(others[seed].index)
        if len(rates) >= 3:  # zero-shot and two rates
            pairs.append((curves[seed].loc[rates], others[seed].loc[rates]))
    yield from _ahead(f"{title_of(method)} above {title_of(other)}", pairs)


def mixtures_above_rates(results: pd.DataFrame, method: str = "ft") -> Iterator[Evidence]:
    """A method mixed with zero-shot (WiSE) above the same method at smaller learning rates.

    Both are curves from zero-shot to the recipe best on held-out reference images, by seed.
    """
    runs = _of_best(results, method)
    if runs.empty:
        return
    mixed = paths(runs).sort_values("alpha")
    largest = mixed.lr.iloc[0]
    pairs = []
    for seed, curve in _curves(results, method).items():
        pairs.append((mixed[mixed.seed == seed][ACCURACIES], curve.loc[:largest]))
    yield from _ahead(f"{title_of(method)} + WiSE above smaller rates", pairs)


def _ahead(what: str, pairs: Sequence[tuple[pd.DataFrame, pd.DataFrame]]) -> Iterator[Evidence]:
    """How far the first curve of each pair lies above the second, of pairs that meet."""
    found = [ahead(curve.to_numpy(), other.to_numpy()) for curve, other in pairs]
    heights = [height for height in found if not np.isnan(height)]
    if heights:
        yield from _seeds(what, paired_difference(np.zeros(len(heights)), heights))


# --- what they look at


def _curves(results: pd.DataFrame, method: str) -> dict[int, pd.DataFrame]:
    """Seed -> reference and mean shift accuracy by learning rate; at rate 0 of zero-shot.

    Of families of recipes, alike but for the rate, the one with the most rates, then the one best
    on held-out reference images.
    """
    runs = results[results.method == method]
    runs = runs[runs.run.isin(runs.run[runs.alpha == TUNED])]
    if not _ends(runs):
        return {}
    val = score_rows(runs[(runs.role == VAL) & (runs.alpha == TUNED)])
    families = val.groupby("family").agg(rates=("lr", "nunique"), best=("mean", "max"))
    family = families.sort_values(["rates", "best"]).index[-1]
    rows = paths(runs[runs.family == family])
    ends = rows[rows.alpha.isin([ZERO_SHOT, TUNED])]
    # Zero-shot, which is the same in every run of a seed, has rate 0.
    ends = ends.assign(rate=ends.lr * ends.alpha).drop_duplicates(["seed", "rate"])
    by_seed = ends.sort_values("rate").groupby("seed")
    return {int(str(seed)): models.set_index("rate")[ACCURACIES] for seed, models in by_seed}


def _of_best(results: pd.DataFrame, method: str) -> pd.DataFrame:
    """The results of a method's recipe best on held-out reference images; empty without one."""
    runs = results[results.method == method]
    if not _ends(runs):
        return runs.iloc[:0]
    return runs[runs.recipe == best_by_val(runs)[method]]


def _ends(runs: pd.DataFrame) -> bool:
    """Whether both ends of alpha are scored, on reference, shift and validation images."""
    return {ZERO_SHOT, TUNED} <= set(runs.alpha) and {REFERENCE, SHIFT, VAL} <= set(runs.role)


def _seeds(
    what: str,
    difference: PairedDifference,
    expected: Literal["above", "below"] = "above",
    unit: str = POINTS,
) -> Iterator[Evidence]:
    """A difference over seeds as evidence; one seed is none."""
    if difference.n > 1:
        ends = (difference.low, difference.high)
        yield Evidence(what, difference.mean, *ends, difference.n, expected, unit)


QUESTIONS = (
    Question(
        "a",
        "FT trades shift for reference",
        "Lipsum-FT, WiSE-FT",
        trades,
        needs="FT with two seeds",
    ),
    Question(
        "b",
        "FT does not move reference features more than shifted ones",
        "Lipsum-FT",
        distorts,
        needs="FT with two seeds",
    ),
    Question(
        "c",
        "The larger the energy gap, the smaller the relative accuracy",
        "Lipsum-FT",
        correlates,
        needs=f"{FEWEST} recipes",
    ),
    Question(
        "d",
        "Lipsum-FT keeps more than KD, CAR-FT, L2-SP and EMA at equal reference accuracy",
        "Lipsum-FT",
        lipsum_keeps,
        needs="these methods at the same two learning rates or more, with two seeds",
    ),
    Question(
        "e",
        "WiSE lifts FT on the reference and under shift",
        "WiSE-FT",
        wise_lifts,
        needs="FT at alphas between 0 and 1, with two seeds",
    ),
    Question(
        "f",
        "FLYP keeps more than FT at equal reference accuracy",
        "FLYP",
        flyp_keeps,
        needs="both at the same two learning rates or more, with two seeds",
    ),
    Question(
        "g",
        "Squares and random texts both matter to Lipsum-FT, at equal reference accuracy",
        "Lipsum-FT",
        both_matter,
        needs="kld_random and mse_context at two learning rates of Lipsum-FT, with two seeds",
    ),
)
