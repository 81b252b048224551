"""Numbers from predictions. All fractions, not percent; N images, C classes.

Most are a `Statistic`: a sum over images, and what is made of the sum. So one definition gives the value and, by
weighted sums, its bootstrap interval (`intervals`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

from ..errors import ConfigError

RESAMPLES, LEVEL = 1000, 0.95  # of bootstrap intervals
AT_ONCE = 4_000_000  # image counts of resamples held in memory


@dataclass(frozen=True)
class Statistic:
    """A number that depends on images through sums alone: parts (N, K), and finish: sums (B, K) and N to (B,)."""

    parts: np.ndarray | sparse.csr_array
    finish: Callable[[np.ndarray, int], np.ndarray]

    def of(self, counts: np.ndarray) -> np.ndarray:
        """Its value where image n stands counts[b, n] times: (B, N) -> (B,)."""
        return self.finish((self.parts.T @ counts.T).T, self.parts.shape[0])

    @property
    def value(self) -> float:
        """Its value on the images themselves."""
        return float(self.of(np.ones((1, self.parts.shape[0])))[0])


def mean(values: np.ndarray) -> Statistic:
    """The mean of N values."""
    return Statistic(_some(values).astype(float)[:, None], lambda sums, n: sums[:, 0] / n)


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> Statistic:
    """Expected calibration error, see `ece`."""
    gaps = np.asarray(correct, dtype=float) - _some(confidence, correct)
    return Statistic(_one_hot(_bin(confidence, bins), bins, gaps), lambda sums, n: np.abs(sums).sum(1) / n)


def f1(prediction: np.ndarray, label: np.ndarray) -> Statistic:
    """Macro F1, see `macro_f1`."""
    known, classes = _seen(prediction, label)
    hit = _one_hot(known[1], classes, prediction == label)
    parts = sparse.hstack([hit, _one_hot(known[0], classes), _one_hot(known[1], classes)], format="csr")

    def finish(sums: np.ndarray, n: int) -> np.ndarray:
        hits, predicted, labelled = np.split(sums, 3, axis=1)
        scores = 2 * hits / np.maximum(predicted + labelled, 1)
        return (scores * (labelled > 0)).sum(1) / (labelled > 0).sum(1)

    return Statistic(parts, finish)


def class_mean(prediction: np.ndarray, label: np.ndarray) -> Statistic:
    """Mean per-class accuracy over the classes that have images."""
    known, classes = _seen(prediction, label)
    parts = sparse.hstack([_one_hot(known[1], classes, prediction == label), _one_hot(known[1], classes)], format="csr")

    def finish(sums: np.ndarray, n: int) -> np.ndarray:
        hits, labelled = np.split(sums, 2, axis=1)
        return (hits / np.maximum(labelled, 1)).sum(1) / (labelled > 0).sum(1)

    return Statistic(parts, finish)


def accuracy(prediction: np.ndarray, label: np.ndarray) -> float:
    """Top-1 accuracy: the fraction of the N predictions that equal their label."""
    return float(np.mean(_some(prediction, label) == label))


def nll(values: np.ndarray) -> float:
    """Mean negative log-likelihood of the true classes, in nats."""
    return float(np.mean(_some(values)))


def ece(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: sum over equal-width bins of n_b / N * |accuracy_b - confidence_b|.

    confidence (N,) of the top-1 class, correct (N,) bool. Source: Guo et al., arXiv:1706.04599.
    """
    return calibration_error(confidence, correct, bins).value


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: per bin its edges, images, mean confidence and accuracy (nan where it is empty)."""

    low: np.ndarray
    high: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> Reliability:
    """Accuracy against confidence in equal-width bins, what `ece` sums up. Source: Guo et al., arXiv:1706.04599."""
    place, edges = _bin(_some(confidence, correct), bins), np.linspace(0, 1, bins + 1)
    count = np.bincount(place, minlength=bins)
    full = np.where(count, count, np.nan)
    means = (np.bincount(place, np.asarray(values, float), bins) / full for values in (confidence, correct))
    return Reliability(edges[:-1], edges[1:], count, *means)


def macro_f1(prediction: np.ndarray, label: np.ndarray) -> float:
    """Mean over the classes that have images of 2 TP / (2 TP + FP + FN), as iWildCam is scored."""
    return f1(prediction, label).value


def per_class(prediction: np.ndarray, label: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy of each class, nan where it has no image, and its number of images: (C,), (C,)."""
    label = _some(label, prediction)
    count = np.bincount(label, minlength=classes)
    right = np.bincount(label, np.asarray(prediction) == label, classes)
    return right / np.where(count, count, np.nan), count


def worst_group(
    correct: np.ndarray, group: Sequence[Hashable], ignore: Sequence[Hashable] = ()
) -> tuple[Hashable, float]:
    """The group (N) of lowest accuracy and that accuracy; groups in `ignore` do not count (FMoW's "Other")."""
    found = {name: [] for name in group if name not in ignore}
    for right, name in zip(_some(correct, group), group, strict=True):
        if name in found:
            found[name].append(right)
    if not found:
        raise ConfigError(f"no image is in a group, all are in {sorted(map(str, ignore))}")
    worst = min(found, key=lambda name: (np.mean(found[name]), str(name)))
    return worst, float(np.mean(found[worst]))


def gzsl(prediction: np.ndarray, label: np.ndarray, unseen: Sequence[int]) -> tuple[float, float, float]:
    """Generalised zero-shot S, U, H = 2 S U / (S + U): accuracy on images of seen and of unseen classes.

    Predictions are over all classes. unseen: labels of the classes that were not trained on. Raises ConfigError where
    either kind has no image.
    """
    new = np.isin(_some(label, prediction), np.asarray(unseen, dtype=int))
    if new.all() or not new.any():
        kind = "seen" if new.all() else "unseen"
        raise ConfigError(f"no image of an {kind} class; generalised zero-shot needs both".replace("an seen", "a seen"))
    right = np.asarray(prediction) == label
    s, u = float(right[~new].mean()), float(right[new].mean())
    return s, u, 2 * s * u / (s + u) if s + u else 0.0


def relative_accuracy(shift: float, reference: float) -> float:
    """Accuracy under shift as a fraction of the reference accuracy; raises ConfigError where that is zero."""
    if reference <= 0:
        raise ConfigError("relative accuracy needs a reference accuracy above 0; this model gets nothing right")
    return shift / reference


@dataclass(frozen=True)
class Comparison:
    """Two models on the same N images: accuracies, how many each alone gets right, McNemar's exact two-sided p.

    difference: second minus first, with its paired bootstrap interval.
    """

    n: int
    first: float
    second: float
    only_first: int
    only_second: int
    p: float
    difference: float
    low: float
    high: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> Comparison:
    """Compare two models on the same images: (N,), (N,) bool, whether each is right.

    p is the chance of so uneven a split of the images on which they differ, were either as likely (exact binomial
    test). Source: McNemar, Psychometrika 1947. Raises ConfigError where the numbers of images differ.
    """
    first, second = np.asarray(_some(first, second), bool), np.asarray(second, bool)
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    p = float(stats.binomtest(b, b + c).pvalue) if b + c else 1.0
    change = mean(second.astype(float) - first)
    low, high = interval(resampled({"": change})[""])
    return Comparison(len(first), float(first.mean()), float(second.mean()), b, c, p, change.value, low, high)


def resampled(
    statistics: Mapping[Hashable, Statistic], resamples: int = RESAMPLES, seed: int = 0
) -> dict[Hashable, np.ndarray]:
    """Each statistic on the same resamples of its N images, drawn with replacement: name -> (B,).

    All must be of the same images; the draws depend on N and the seed alone, so statistics of two models on one split
    are paired.
    """
    (n,) = {statistic.parts.shape[0] for statistic in statistics.values()}
    draw, found = np.random.default_rng([seed, n]), {name: [] for name in statistics}
    for start in range(0, resamples, max(1, AT_ONCE // n)):
        size = min(max(1, AT_ONCE // n), resamples - start)
        picks = draw.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(picks.reshape(-1), minlength=size * n).reshape(size, n).astype(float)
        for name, statistic in statistics.items():
            found[name].append(statistic.of(counts))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of resampled values. Source: Efron, The Jackknife, the Bootstrap ..., 1982."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _bin(confidence: np.ndarray, bins: int) -> np.ndarray:
    return np.minimum((np.asarray(confidence) * bins).astype(int), bins - 1)


def _one_hot(place: np.ndarray, size: int, values: np.ndarray | None = None) -> sparse.csr_array:
    n = len(place)
    values = np.ones(n) if values is None else np.asarray(values, dtype=float)
    return sparse.csr_array((values, place, np.arange(n + 1)), shape=(n, size))


def _seen(prediction: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, int]:
    """Predictions and labels renumbered over the classes that occur: (2, N), and how many there are."""
    names, places = np.unique(np.stack([_some(prediction, label), label]), return_inverse=True)
    return places.reshape(2, -1), len(names)


def _some(values: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """The values as an array; raises ConfigError where there is none, or not as many of the others."""
    if len(values) == 0:
        raise ConfigError("no images to measure: the split is empty or every image was skipped")
    for other in others:
        if len(other) != len(values):
            raise ConfigError(f"{len(values)} and {len(other)} values; wanted: one for each image")
    return np.asarray(values)
