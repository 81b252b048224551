"""What runs say, in words: sentences made of the numbers in a table of results, of nothing else.

`findings(results)` is what a batch's page begins with. A sentence whose numbers are not there is
left out; what speaks against a finding is said as well, under `limits`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import TUNED, ZERO_SHOT
from ..data.splits import SplitName
from ..metrics.comparison import PairedDifference, paired_difference
from ..metrics.correlation import FEWEST, Correlation, correlation
from .names import NOT_TRAINED, ordered, title_of
from .table import (
    COMPARABLE,
    RUN_KEYS,
    changes,
    counted,
    of_tuned_shifts,
    paths,
    recipes,
    score_rows,
    scored_by,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

PLAIN = "ft"  # what every other method is held against
SAME = ["lr", "steps"]  # recipes of two methods that can be held against each other
MEASURES = {"energy_gap": "Energy gap", "feature_distortion": "Feature distortion"}


@dataclass(frozen=True)
class Findings:
    """Sentences on a table of results: what was run, what it shows, what it does not show."""

    ran: tuple[str, ...]
    found: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


def findings(results: pd.DataFrame) -> Findings:
    """What runs say, in sentences made of their numbers; runs of several kinds are only counted.

    Accuracies are test accuracies in percent, changes are in points; both are means over the seeds
    of a recipe. Two recipes are held against each other seed by seed: the interval of a difference
    is that of its n pairs (`paired_difference`), and one seed has none. A sentence whose numbers
    are not there is left out.

    Arguments:
        results: the tidy table of `clipft.results`.

    Returns:
        A record of texts: ran (what was run), found (what it shows), limits (what it does not).

    Example:
        >>> said = clipft.findings(clipft.results("runs"))
        >>> said.ran[0].split(":")[0]
        '2 models'
    """
    if len(results[COMPARABLE].drop_duplicates()) > 1:
        kinds = results[["model", "manifest", "reference"]].drop_duplicates()
        several = [f"{row.model} on {row.manifest} ({row.reference})" for row in kinds.itertuples()]
        ran = f"{_count(results.run.nunique(), 'run')} of several kinds: {_and(several)}."
        apart = "Runs of several kinds are not held against each other here."
        return Findings((ran,), limits=(apart,))

    facts = _Facts(results)
    ran = (_what_was_run(facts), _what_was_scored(facts))
    found = (
        _zero_shot(facts),
        *_gains_and_losses(facts),
        _against_plain(facts),
        _ahead_of_mixtures(facts),
        _goes_with_robustness(facts, "energy_gap"),
    )
    limits = (
        _plain_mixtures(facts),
        _rival(facts),
        _gap_against_order(facts),
        _spread(facts),
        _one_of_each(facts),
    )
    return Findings(ran, found=_said(found), limits=_said(limits))


def tuned_runs(results: pd.DataFrame) -> pd.DataFrame:
    """A row per tuned run: its recipe and seed, reference and mean shift accuracy, energy gap.

    Accuracies are fractions; the gap is the mean over the shifts' test images, missing where a run
    has none. Runs of several kinds stand one kind after the other.
    """
    import pandas as pd

    tables = []
    for _, kind in results.groupby(COMPARABLE, sort=False):
        rows = paths(kind)
        tuned = rows[rows.alpha == TUNED]
        shifts = of_tuned_shifts(kind)
        if "energy_gap" in shifts:
            gaps = shifts.groupby("run").energy_gap.mean()
            tuned = tuned.assign(energy_gap=tuned.run.map(gaps))
        tables.append(tuned)
    columns = [*RUN_KEYS, "reference_accuracy", "shift_accuracy", "energy_gap"]
    table = pd.concat(tables, ignore_index=True).reindex(columns=columns)
    order = {name: place for place, name in enumerate(ordered(table.method.unique()))}
    return table.sort_values(["lr", "steps", "recipe", "seed"]).sort_values(
        "method", key=lambda column: column.map(order), kind="stable", ignore_index=True
    )


class _Facts:
    """What the sentences look at, computed once."""

    def __init__(self, results: pd.DataFrame):
        self.results = results
        self.reference = str(results.reference.iloc[0])
        self.told = scored_by(results)
        tests = score_rows(results)
        shifts = sorted(counted(tests).split.unique())
        self.shifts = [SplitName.parse(split).domain for split in shifts]
        # recipes are held against each other over the same seeds only
        seeds = results.groupby("recipe").seed.agg(frozenset)
        self.runs = paths(results)
        rows = recipes(results)
        self.by_recipe = rows.assign(of_seeds=rows.recipe.map(seeds))
        self.tuned = self.by_recipe[self.by_recipe.alpha == TUNED]

    @cached_property
    def changes(self) -> pd.DataFrame:
        """A row per run: the change of reference and of mean shift accuracy, in points."""
        alphas = self.results.groupby("run").alpha.agg(set)
        both = [run for run, scored in alphas.items() if {ZERO_SHOT, TUNED} <= scored]
        if not both:
            return self.tuned.iloc[:0].assign(run="", reference=0.0, shift=0.0)
        changed = changes(self.results[self.results.run.isin(both)])
        changed[["reference", "shift"]] *= 100
        return changed

    @cached_property
    def changes_by_recipe(self) -> pd.DataFrame:
        """Their means over the seeds of each recipe."""
        keys = ["method", *SAME, "recipe"]
        return self.changes.groupby(keys)[["reference", "shift"]].mean().reset_index()

    @cached_property
    def plain_mixtures(self) -> pd.DataFrame:
        """Plain fine-tuning at every alpha between the ends, where there are shifts."""
        rows = self.by_recipe
        inside = (rows.alpha > ZERO_SHOT) & (rows.alpha < TUNED)
        return rows[(rows.method == PLAIN) & inside & bool(self.shifts)]

    @cached_property
    def other_methods(self) -> pd.DataFrame:
        """The tuned recipes of other methods, of the seeds that plain fine-tuning has, too."""
        plain = set(self.tuned[self.tuned.method == PLAIN].of_seeds)
        is_other = self.tuned.method != PLAIN
        return self.tuned[is_other & self.tuned.of_seeds.isin(plain)]

    @cached_property
    def tuned_on_shifts(self) -> pd.DataFrame:
        """A row per tuned run and shift, with a column per metric."""
        return of_tuned_shifts(self.results)

    def called(self, row: Any) -> str:
        """A recipe in words, as short as tells it from the others: `FT (lr 1e-3, 120 steps)`."""
        words = [f"lr {_number(row.lr)}"]
        if not row.steps:
            words = [NOT_TRAINED]
        elif self.tuned.steps.nunique() > 1:
            words.append(f"{row.steps} steps")
        alike = self.tuned[(self.tuned[["method", *SAME]] == row[["method", *SAME]]).all(axis=1)]
        if len(alike) > 1:
            words.append(f"recipe {row.recipe}")
        return f"{title_of(row.method)} ({', '.join(words)})"

    def both(self, row: Any) -> str:
        """Reference and mean shift accuracy of a row of `recipes`: `76.2 / 44.0 %`."""
        return f"{100 * row.reference_accuracy:.1f} / {100 * row.shift_accuracy:.1f} %"

    def under_shift(self, row: Any, other: Any) -> PairedDifference:
        """Mean shift accuracy of a row of `recipes` minus that of another, paired by seed."""
        by_seed = []
        for one in (other, row):
            runs = self.runs[(self.runs.recipe == one.recipe) & (self.runs.alpha == one.alpha)]
            by_seed.append(runs.groupby("seed").shift_accuracy.mean())
        first, second = by_seed[0].align(by_seed[1], join="inner")
        return paired_difference(first.to_numpy(), second.to_numpy())

    def correlations(self, metric: str) -> dict[str, Correlation]:
        """Shift -> r of a metric with relative accuracy, over tuned runs; only where defined."""
        if not {metric, "relative_accuracy"} <= set(self.tuned_on_shifts):
            return {}
        found = {}
        rows = self.tuned_on_shifts.dropna(subset=[metric, "relative_accuracy"])
        for split, models in rows.groupby("split"):
            r = correlation(models[metric], models.relative_accuracy, models.recipe.tolist())
            if not np.isnan(r.r) and r.n >= FEWEST:  # fewer say nothing of the error
                found[SplitName.parse(str(split)).domain] = r
        return found


# --- what was run


def _what_was_run(facts: _Facts) -> str:
    first = facts.results.iloc[0]
    methods = []
    runs = facts.results.drop_duplicates("run")
    for method in ordered(runs.method.unique()):
        of_method = runs[runs.method == method]
        rates = sorted(of_method[of_method.steps > 0].lr.unique())
        told = f"lr {', '.join(map(_number, rates))}" if rates else NOT_TRAINED
        methods.append(f"{title_of(method)} ({told})")
    count = _count(runs.run.nunique(), "model")
    seeds = _and(str(seed) for seed in sorted(runs.seed.unique()))
    seeds = f"seed {seeds}" if runs.seed.nunique() == 1 else f"seeds {seeds}"
    tuned = f"{first.model}, tuned on {facts.reference} of {first.manifest}"
    return f"{count}: {tuned} by {_and(methods)}; {seeds}."


def _what_was_scored(facts: _Facts) -> str:
    alphas = facts.results.alpha.nunique()
    sentence = f"Each is scored on test images of {facts.reference} (the reference)"
    if facts.shifts:
        sentence += f" and of {_count(len(facts.shifts), 'shift')} ({_and(facts.shifts)})"
    if alphas > 2:
        sentence += f", mixed with the zero-shot model at up to {alphas} alphas"
    return f"{sentence}."


# --- what was found


def _zero_shot(facts: _Facts) -> str:
    rows = facts.by_recipe[facts.by_recipe.alpha == ZERO_SHOT]
    if rows.empty:
        return ""
    first = rows.iloc[0]
    sentence = f"Before tuning, zero-shot, the model has {100 * first.reference_accuracy:.1f} %"
    sentence += f" on {facts.reference}"
    if set(facts.told) != {"accuracy"}:
        sentence = f"In {facts.told.title}: {sentence[0].lower()}{sentence[1:]}"
    if facts.shifts:
        sentence += f" and {100 * first.shift_accuracy:.1f} % under shift"
        if len(facts.shifts) > 1:
            sentence += f" (mean of {_and(facts.shifts)})"
    return f"{sentence}."


def _gains_and_losses(facts: _Facts) -> list[str]:
    rows = facts.changes_by_recipe
    if rows.empty:
        return []
    most: Any = rows.loc[rows.reference.idxmax()]
    if not facts.shifts:
        return [f"{facts.called(most)} did best on {facts.reference}: {_moved(most.reference)}."]

    if len(rows) == 1:
        sentence = f"{facts.called(most)} {_moved(most.reference)} on {facts.reference}"
        return [f"{sentence} and {_moved(most['shift'])} under shift."]

    runs = facts.changes
    better = f"{(runs.reference > 0).sum()} of {_count(len(runs), 'tuned model')}"
    better += f" {_is(len(runs))} better than zero-shot on {facts.reference},"
    better += f" {(runs['shift'] > 0).sum()} under shift."
    sentences = [better]

    best = f"{facts.called(most)} did best on {facts.reference}"
    best += f": there it {_moved(most.reference)}, and under shift it {_moved(most['shift'])}."
    sentences.append(best)
    robust: Any = rows.loc[rows["shift"].idxmax()]
    if robust.recipe != most.recipe:
        kept = f"{facts.called(robust)} kept most under shift: there it {_moved(robust['shift'])}"
        sentences.append(f"{kept}, and on {facts.reference} it {_moved(robust.reference)}.")
    return sentences


def _against_plain(facts: _Facts) -> str:
    """The recipes of other methods against plain fine-tuning at the same rate and steps."""
    tuned = facts.tuned
    plain = tuned[tuned.method == PLAIN].drop_duplicates(SAME, keep=False)
    pairs = tuned[tuned.method != PLAIN].merge(
        plain, on=[*SAME, "of_seeds"], suffixes=("", "_plain")
    )
    if pairs.empty or not facts.shifts:
        return ""
    kept = []
    for _, pair in pairs.iterrows():
        plain = tuned[tuned.recipe == pair.recipe_plain].iloc[0]
        kept.append((facts.under_shift(pair, plain), pair, plain))
    most, best, beside = max(kept, key=lambda each: each[0].mean)
    title = title_of(PLAIN)
    more = sum(difference.mean > 0 for difference, *_ in kept)
    sure = sum(difference.low > 0 for difference, *_ in kept)
    sentence = f"At the same learning rate and steps {more} of {_count(len(pairs), 'recipe')} of"
    measure = facts.told.words["shift"]
    sentence += f" other methods {_has(more)} more {measure} under shift than {title}; the best"
    sentence += f" of them, {facts.called(best)}, has {facts.both(best)}"
    sentence += f" ({facts.reference} / shift), {title} {facts.both(beside)}."
    if most.n < 2:
        return f"{sentence} That is one seed of each (n = 1): chance is not told apart."
    sentence += f" Under shift that is {most.points} seeds, paired; {sure} of"
    return f"{sentence} {_count(len(pairs), 'such 95 % interval')} {_lies(sure)} above 0."


def _goes_with_robustness(facts: _Facts, metric: str) -> str:
    found = facts.correlations(metric)
    if not found:
        return ""
    listed, over = _listed(found)
    sentence = f"{MEASURES[metric]} against relative accuracy under shift: {listed}"
    sentence += f" (Pearson's r over {over}, 95 % intervals)."
    sentence += f" By ranks: {_and(f'{r.ranks} on {shift}' for shift, r in found.items())}."
    falling = [shift for shift, r in found.items() if r.high < 0]
    if len(falling) == len(found):
        return f"{sentence} The models that moved least kept most of their accuracy."
    if falling:
        return f"{sentence} Models that moved less kept more on {_and(falling)}; elsewhere open."
    return f"{sentence} No interval lies below 0: whether the two go together is open."


# --- what speaks against it, and what is not known


def _ahead_of_mixtures(facts: _Facts) -> str:
    """Where no mixture of plain fine-tuning reaches any other method."""
    if _plain_mixtures(facts) or facts.plain_mixtures.empty or facts.other_methods.empty:
        return ""
    return (
        f"No scored mixture of {title_of(PLAIN)} with zero-shot (WiSE) is as good on both the"
        " reference and the shifts as any tuned recipe of another method."
    )


def _plain_mixtures(facts: _Facts) -> str:
    """Tuned recipes of other methods that plain fine-tuning mixed with zero-shot (WiSE) reaches."""
    others = facts.other_methods
    mixtures = facts.plain_mixtures
    reached = []
    for _, other in others.iterrows():
        as_good = mixtures[
            (mixtures.of_seeds == other.of_seeds)
            & (mixtures.reference_accuracy >= other.reference_accuracy)
            & (mixtures.shift_accuracy >= other.shift_accuracy)
        ]
        if len(as_good):
            reached.append((other, as_good.loc[as_good.shift_accuracy.idxmax()]))
    if not reached:
        return ""
    other, mixture = max(reached, key=lambda pair: pair[1].shift_accuracy - pair[0].shift_accuracy)
    title = title_of(PLAIN)
    mixed = f"{facts.called(mixture)} has {facts.both(mixture)} at alpha {mixture.alpha:g}"
    ahead = facts.under_shift(mixture, other)
    return (
        f"{len(reached)} of {_count(len(others), 'tuned recipe')} of other methods"
        f" {_is(len(reached))} no better than {title} mixed with zero-shot (WiSE):"
        f" {mixed}, {facts.called(other)} {facts.both(other)}"
        f" ({ahead.points}, under shift, paired by seed)."
    )


def _rival(facts: _Facts) -> str:
    """Whether feature distortion goes with robustness as the energy gap does."""
    gap = facts.correlations("energy_gap")
    rival = facts.correlations("feature_distortion")
    if not gap or gap.keys() != rival.keys():
        return ""
    listed, _ = _listed(rival)
    apart = [s for s in gap if gap[s].high < rival[s].low or rival[s].high < gap[s].low]
    sentence = f"{MEASURES['feature_distortion']}, the older explanation, has {listed}"
    if apart:
        return f"{sentence}; its interval and that of the energy gap are apart on {_and(apart)}."
    return f"{sentence}: the intervals overlap, so these runs do not tell the two apart."


def _gap_against_order(facts: _Facts) -> str:
    """Pairs of recipes of which the one with the smaller gap has less accuracy under shift."""
    if "energy_gap" not in facts.tuned_on_shifts:
        return ""
    gaps = facts.tuned_on_shifts.groupby("recipe").energy_gap.mean()
    rows = facts.tuned.assign(gap=facts.tuned.recipe.map(gaps)).dropna(subset=["gap"])
    rows = rows.sort_values("gap", kind="stable").reset_index(drop=True)
    if len(rows) < 2:
        return ""
    pairs = 0
    against = []
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            pairs += 1
            ahead = rows.shift_accuracy[j] - rows.shift_accuracy[i]
            if ahead > 0:
                against.append((ahead, i, j))
    if not against:
        return ""
    _, i, j = max(against)
    smaller, larger = rows.loc[i], rows.loc[j]
    sentence = f"A smaller gap is no promise: of {_count(pairs, 'pair')} of recipes {len(against)}"
    sentence += f" {_is(len(against))} ordered the other way under shift. With a gap of"
    sentence += f" {smaller.gap:.2f} {facts.called(smaller)} has"
    sentence += f" {100 * smaller.shift_accuracy:.1f} %, with {larger.gap:.2f}"
    return f"{sentence} {facts.called(larger)} has {100 * larger.shift_accuracy:.1f} %."


def _spread(facts: _Facts) -> str:
    runs = paths(facts.results)
    tuned = runs[runs.alpha == TUNED]
    counts = tuned.groupby("recipe").run.nunique()
    if counts.empty:
        return ""
    if counts.max() == 1:
        return "One seed of each recipe: how far chance moves these numbers is not known."
    accuracies = ["reference_accuracy", *(["shift_accuracy"] if facts.shifts else [])]
    spread = 100 * tuned.groupby("recipe")[accuracies].std(ddof=1).max().max()
    seeds = str(counts.min()) if counts.nunique() == 1 else f"{counts.min()} to {counts.max()}"
    return (
        f"Numbers are means over {seeds} seeds; their standard deviation over seeds is at most"
        f" {spread:.1f} points."
    )


def _one_of_each(facts: _Facts) -> str:
    first = facts.results.iloc[0]
    sentence = f"One model ({first.model}) on one data set ({first.manifest}):"
    sentence += " how large these effects are elsewhere is not measured here."
    if first.selection == "paper":
        sentence += " Weights were chosen on the test images themselves (selection: paper)."
    return sentence


# --- words


def _said(sentences: Iterable[str]) -> tuple[str, ...]:
    return tuple(sentence for sentence in sentences if sentence)


def _and(words: Iterable[str]) -> str:
    """`a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _lies(number: int) -> str:
    return "lies" if number == 1 else "lie"


def _has(number: int) -> str:
    return "has" if number == 1 else "have"


def _moved(points: float) -> str:
    """A change of accuracy as a verb: `gained 15.8 points`."""
    if abs(points) < 0.05:
        return "stayed where it was"
    return f"{'gained' if points > 0 else 'lost'} {abs(points):.1f} points"


def _number(value: float) -> str:
    """A learning rate as papers write it: 1e-3."""
    return np.format_float_scientific(value, trim="-", exp_digits=1)


def _listed(found: dict[str, Correlation]) -> tuple[str, str]:
    """r of each shift with its interval, and over how many models of how many recipes."""
    listed = []
    for shift, r in found.items():
        listed.append(f"r = {r.r:.2f} [{r.low:.2f}, {r.high:.2f}] on {shift}")
    over = f"{_range(r.n for r in found.values())} tuned models"
    recipes = [r.recipes for r in found.values() if r.recipes is not None]
    if recipes:
        over += f" of {_range(recipes)} recipes, each with all its seeds"
    return _and(listed), over


def _range(counts: Iterable[int]) -> str:
    """`6`, or `6 to 9` where they differ."""
    rising = sorted(set(counts))
    return str(rising[0]) if len(rising) == 1 else f"{rising[0]} to {rising[-1]}"
