"""How often a 95 % interval holds the truth: simulated worlds of known truth, a table of percent.

    python tests/metrics/coverage_table.py              # the table of tests/README.md
    python tests/metrics/coverage_table.py --trials 100

Every trial draws a split of N images and makes the interval as `runs.scores.table` does. Trials
share the resamples' draws, as the draws belong to N and the seed.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from zlib import crc32

import numpy as np
from scipy import optimize, special

from clipft.metrics import accuracy as metrics
from clipft.metrics.calibration import BINS, ErrorOfBins, bin_of, calibration_error
from clipft.metrics.intervals import Statistic, interval, interval_of_ratio, resampled

SIZES = (200, 1600, 10_000)
AT_ONCE = 50  # trials that share one draw of resamples
BOUNDS = (93, 97)  # percent; outside them an interval is approximate
CLASSES = 12

Draw = Callable[[np.random.Generator, int], Statistic]


@dataclass(frozen=True)
class World:
    """Where images come from, and the true value of a statistic there.

    below: of a ratio, what draws the statistic it is divided by.
    """

    statistic: str
    name: str
    truth: float
    draw: Draw
    below: Draw | None = None
    at_boundary: bool = False


def intervals_of(world: World, n: int, trials: int) -> Iterator[tuple[Statistic, float, float]]:
    """The statistic of each trial, and its interval."""
    random = np.random.default_rng([crc32(f"{world.statistic} {world.name}".encode()), n])
    for start in range(0, trials, AT_ONCE):
        some = range(min(AT_ONCE, trials - start))
        drawn = {trial: world.draw(random, n) for trial in some}
        draws = resampled(drawn, seed=crc32(b"sketch/test"))
        if world.below is None:
            for trial, statistic in drawn.items():
                yield statistic, *interval(statistic, draws[trial])
            continue
        divisors = {trial: world.below(random, n) for trial in some}
        divisor_draws = resampled(divisors, seed=crc32(b"real/test"))
        for trial, statistic in drawn.items():
            pairs = (statistic, draws[trial]), (divisors[trial], divisor_draws[trial])
            yield statistic, *interval_of_ratio(*pairs)


def covered(world: World, n: int, trials: int) -> np.ndarray:
    """Whether each trial's interval holds the truth: (trials,) bool."""
    ends = [(low, high) for _, low, high in intervals_of(world, n, trials)]
    low, high = np.array(ends).T
    rounding = 1e-9
    return (low <= world.truth + rounding) & (world.truth - rounding <= high)


# --- worlds


def accuracy(p: float) -> Draw:
    return lambda random, n: metrics.mean(random.random(n) < p)


def difference(only_first: float, only_second: float) -> Draw:
    """Second minus first model on the same images, each alone right on so many."""

    def draw(random: np.random.Generator, n: int) -> Statistic:
        place = random.random(n)
        second = (place < only_second).astype(float)
        first = place > 1 - only_first
        return metrics.mean(second - first)

    return draw


def nll(mean_logit: float) -> tuple[float, Draw]:
    """-log of a probability whose logit is normal around mean_logit with deviation 3."""
    nodes, weights = special.roots_hermitenorm(200)
    values = np.logaddexp(0, -(mean_logit + 3 * nodes))
    truth = float((weights * values).sum() / weights.sum())

    def draw(random: np.random.Generator, n: int) -> Statistic:
        return metrics.mean(np.logaddexp(0, -random.normal(mean_logit, 3, n)))

    return truth, draw


def gap(directions: int, spread: float, size: float) -> Draw:
    """Squared changes of energy: chi^2 of so many directions, times how far each image moved.

    Its mean is `size`; the factor of each image is log-normal with this spread.
    """

    def draw(random: np.random.Generator, n: int) -> Statistic:
        moved = random.lognormal(-(spread**2) / 2, spread, n)
        return metrics.mean(size * moved * random.chisquare(directions, n) / directions)

    return draw


@cache
def confusion(right: float) -> np.ndarray:
    """(C, C) chance of a prediction given the label; classes are of different difficulty."""
    random = np.random.default_rng(0)
    ease = random.normal(0, 0.7, CLASSES)
    found = optimize.brentq(lambda m: special.expit(m + ease).mean() - right, -20, 20)
    hit = special.expit(found + ease)
    wrong = random.dirichlet([0.5] * CLASSES, CLASSES)
    np.fill_diagonal(wrong, 0)
    wrong *= ((1 - hit) / wrong.sum(1))[:, None]
    return wrong + np.diag(hit)


def by_class(measure: Callable[..., Statistic], right: float) -> Draw:
    rising = confusion(right).cumsum(1)

    def draw(random: np.random.Generator, n: int) -> Statistic:
        label = random.integers(0, CLASSES, n)
        prediction = (random.random(n)[:, None] > rising[label]).sum(1)
        return measure(np.minimum(prediction, CLASSES - 1), label)

    return draw


def macro_f1(right: float) -> float:
    joint = confusion(right) / CLASSES
    hits = np.diag(joint)
    return float((2 * hits / (joint.sum(0) + joint.sum(1))).mean())


def calibration(chance: Callable[[np.ndarray], np.ndarray]) -> tuple[float, Draw]:
    """Confidences of Beta(5, 2), right with a chance that depends on them; true ECE, and draws."""
    grid = (np.arange(1_000_000) + 0.5) / 1_000_000
    weight = grid**4 * (1 - grid)
    gaps = np.bincount(bin_of(grid, BINS), weight * (chance(grid) - grid), BINS)
    truth = float(np.abs(gaps).sum() / weight.sum())

    def draw(random: np.random.Generator, n: int) -> Statistic:
        confidence = random.beta(5, 2, n)
        return calibration_error(confidence, random.random(n) < chance(confidence))

    return truth, draw


def overconfident(size: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda confidence: np.clip(confidence - size, 0, 1)


def in_two_bins(size: float) -> Callable[[np.ndarray], np.ndarray]:
    """Wrong confidences in two of fifteen bins only."""
    return lambda confidence: confidence - size * np.isin(bin_of(confidence, BINS), (10, 12))


def worlds() -> list[World]:
    found = []
    for p in (0.5, 0.8, 0.97):
        found.append(World("accuracy", f"{p}", p, accuracy(p)))
    for few, more in ((0.05, 0.05), (0.02, 0.05), (0.05, 0.2)):
        change = more - few
        found.append(World("difference", f"{change:.2f}", change, difference(few, more)))
    for mean_logit in (0, 3, 6):
        truth, draw = nll(mean_logit)
        found.append(World("NLL", f"{truth:.2f}", truth, draw))
    for p in (0.5, 0.8, 0.97):
        found.append(World("class mean", f"{p}", p, by_class(metrics.class_mean, p)))
    for p in (0.5, 0.8, 0.97):
        truth = macro_f1(p)
        found.append(World("macro F1", f"{truth:.2f}", truth, by_class(metrics.f1, p)))
    for shift, reference in ((0.3, 0.8), (0.5, 0.8), (0.8, 0.97)):
        truth = shift / reference
        name = f"{shift} / {reference}"
        world = World("relative accuracy", name, truth, accuracy(shift), accuracy(reference))
        found.append(world)
    for directions, spread, size in ((1, 0, 0.5), (4, 0.5, 5), (4, 1, 20)):
        name = f"{size}, spread {spread}"
        found.append(World("energy gap", name, size, gap(directions, spread, size)))
    chances = {
        "calibrated": lambda confidence: confidence,
        "all bins": overconfident(0.05),
        "all bins, far": overconfident(0.2),
        "two bins": in_two_bins(0.15),
    }
    for name, chance in chances.items():
        truth, draw = calibration(chance)
        at_boundary = name == "calibrated"
        world = World("ECE", f"{truth:.3f} {name}", truth, draw, at_boundary=at_boundary)
        found.append(world)
    return found


# --- tables


def cell(percent: float, *, at_boundary: bool) -> str:
    if at_boundary:
        return f"{percent:.1f} one-sided"
    low, high = BOUNDS
    return f"{percent:.1f}" + ("" if low <= percent <= high else " approx.")


def print_coverage(trials: int) -> None:
    print("| statistic | truth |", " | ".join(f"N = {n}" for n in SIZES), "|")
    print("| --- | --- |" + " --- |" * len(SIZES))
    for world in worlds():
        percents = [100 * covered(world, n, trials).mean() for n in SIZES]
        cells = [cell(percent, at_boundary=world.at_boundary) for percent in percents]
        print(f"| {world.statistic} | {world.name} |", " | ".join(cells), "|", flush=True)


def print_debiased(trials: int) -> None:
    print("| true ECE |", " | ".join(f"N = {n}" for n in SIZES), "|")
    print("| --- |" + " --- |" * len(SIZES))
    for world in worlds():
        if world.statistic != "ECE":
            continue
        cells = []
        for n in SIZES:
            random = np.random.default_rng(n)
            errors = [ErrorOfBins.of(world.draw(random, n)) for _ in range(trials)]
            plain = np.median([error.value for error in errors])
            debiased = np.median([error.debiased for error in errors])
            cells.append(f"{plain:.3f} / {debiased:.3f}")
        print(f"| {world.name} |", " | ".join(cells), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    started = time.monotonic()
    print_coverage(trials)
    print()
    print_debiased(trials)
    print(f"\n{trials} trials, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
