"""Accuracy under shift guessed without its labels: formulas over scores of single images.

All know labelled held-out images of the reference (val) and images of a shift without labels. None
can know what a shift does to the meaning of a confidence, or of a disagreement: see the record of
`clipft.track_record`.

Intervals are of resampled images of both sets; they say nothing of the assumption that an estimate
is built on, which usually errs by more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError
from .accuracy import mean
from .intervals import AT_ONCE, RESAMPLES, Statistic, bca, checked, resample_counts, resampled

FEWEST_MODELS = 5  # through which a line of agreement is drawn
PAIRS = (0.05, 0.98)  # agreements outside say nothing: models of chance, and one model twice
SEEDS = (1, 2)  # of the resamples of val and of the shift, which do not hang together
WITHIN = 200  # resamples of a line through all pairs of models


@dataclass(frozen=True)
class Estimate:
    """A guess of accuracy under shift, a fraction, with its 95 % interval over images.

    value: what models are ordered by, larger is better; of what estimates it is the accuracy.
    accuracy: nan where the value only orders models. why: what is in the way where value is nan.
    """

    value: float = np.nan
    accuracy: float = np.nan
    low: float = np.nan
    high: float = np.nan
    why: str = ""


# --- confidence


def average_thresholded_confidence(
    score: np.ndarray, correct: np.ndarray, shifted: np.ndarray, resamples: int = RESAMPLES
) -> Estimate:
    """ATC: the share of shifted images whose score is above what the errors on val fill.

        tau: share(val score < tau) = val error,    estimate = share(shifted score >= tau)

    score (N,), correct (N,) bool, shifted (M,); scores rise with certainty: confidence, or minus
    entropy. Of scores that tie at tau that part counts which makes val exact. The interval is
    bias-corrected: a threshold has no jackknife. Source: Garg et al., arXiv:2201.04234; the release
    takes the score before tau, one image of val more.
    """
    score = checked(score, correct)
    threshold = _Threshold(score, np.asarray(correct, bool), checked(shifted))
    value = threshold.of(np.ones((1, len(score))), np.ones((1, len(shifted))))[0]
    draws = _of_both(threshold.of, len(score), len(shifted), resamples)
    return _within(float(value), draws, [])


class _Threshold:
    """ATC on resamples of both sets; scores that tie are one place."""

    def __init__(self, score: np.ndarray, correct: np.ndarray, shifted: np.ndarray):
        self._order = np.argsort(score, kind="stable")
        self._wrong = ~correct
        self._places, self._starts = np.unique(score[self._order], return_index=True)
        self._shifted_order = np.argsort(shifted, kind="stable")
        in_order = shifted[self._shifted_order]
        self._below = np.searchsorted(in_order, self._places, "left")
        self._to = np.searchsorted(in_order, self._places, "right")

    def of(self, counts: np.ndarray, shifted_counts: np.ndarray) -> np.ndarray:
        """(B, N) and (B, M), how often each image counts -> estimates (B,)."""
        errors = counts @ self._wrong  # (B,)
        filled = np.add.reduceat(counts[:, self._order], self._starts, axis=1).cumsum(1)
        place = (filled <= errors[:, None]).sum(1)  # of tau
        is_there = place < len(self._places)  # else all of val is wrong
        place = np.minimum(place, len(self._places) - 1)

        rows = np.arange(len(counts))
        before = np.where(place > 0, filled[rows, place - 1], 0)
        at_tau = np.where(is_there, filled[rows, place] - before, 1)
        part = (filled[rows, place] - errors) / at_tau
        summed = np.zeros((len(counts), shifted_counts.shape[1] + 1))
        shifted_counts[:, self._shifted_order].cumsum(1, out=summed[:, 1:])
        total = summed[:, -1]
        above = total - summed[rows, self._to[place]]
        at = summed[rows, self._to[place]] - summed[rows, self._below[place]]
        return np.where(is_there, (above + part * at) / total, 0.0)


def difference_of_confidences(
    confidence: np.ndarray, correct: np.ndarray, shifted: np.ndarray, resamples: int = RESAMPLES
) -> Estimate:
    """DoC: accuracy on val, less what mean confidence falls by.

        estimate = accuracy_val - (mean confidence_val - mean confidence_shift), within 0 ... 1

    confidence (N,), correct (N,) bool, shifted (M,) confidences. Source: Guillory et al.,
    arXiv:2107.03315.
    """
    lack = mean(np.asarray(correct, float) - checked(confidence, correct))
    return _of_sum([lack, mean(np.asarray(shifted, float))], resamples)


def mean_confidence(shifted: np.ndarray, resamples: int = RESAMPLES) -> Estimate:
    """Mean confidence (M,) on shifted images: accuracy, were the model calibrated there.

    Source: Hendrycks and Gimpel, arXiv:1610.02136.
    """
    return _of_sum([mean(np.asarray(shifted, float))], resamples)


def val_accuracy(correct: np.ndarray, resamples: int = RESAMPLES) -> Estimate:
    """Accuracy on val, as if there were no shift: correct (N,) bool."""
    return _of_sum([mean(np.asarray(correct, float))], resamples)


def _of_sum(statistics: Sequence[Statistic], resamples: int) -> Estimate:
    """The sum of means of independent samples, with its BCa interval."""
    value = sum(statistic.value for statistic in statistics)
    if not resamples:
        return _within(value, np.empty(0), [])
    draws = np.zeros(resamples)
    for seed, statistic in zip(SEEDS, statistics, strict=False):
        draws += resampled({"": statistic}, resamples, seed)[""]
    return _within(value, draws, [statistic.without_each() for statistic in statistics])


def _of_both(
    of: Callable[[np.ndarray, np.ndarray], np.ndarray], first: int, second: int, resamples: int
) -> np.ndarray:
    """A function of counts (B, N) and (B, M) on resamples of both sets: (resamples,)."""
    sizes = (first, second)
    random = [np.random.default_rng([seed, n]) for seed, n in zip(SEEDS, sizes, strict=True)]
    chunk = max(1, AT_ONCE // max(first, second))
    parts = [np.empty(0)]
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        counts = [resample_counts(draw, size, n) for draw, n in zip(random, sizes, strict=True)]
        parts.append(of(counts[0], counts[1]))
    return np.concatenate(parts)


def _within(value: float, draws: np.ndarray, without: Sequence[np.ndarray]) -> Estimate:
    """An accuracy with its interval, all within 0 ... 1; no interval without draws."""
    ends = (np.nan, np.nan)
    if len(draws):
        ends = bca(value, draws, without)
    accuracy, low, high = (float(end) for end in np.clip([value, *ends], 0, 1))
    return Estimate(accuracy, accuracy, low, high)


# --- what only orders models


def agreement(prediction: np.ndarray, other: np.ndarray) -> Estimate:
    """The share of shifted images (M,) that two models, a tuned and zero-shot, predict alike.

    It orders models: the more a model left zero-shot under shift, the more it usually lost there.
    The zero-shot model agrees with itself, so taken alone it says: do not tune.
    """
    same = checked(prediction, other) == other
    return Estimate(float(np.mean(same)))


def lowest_mean(values: np.ndarray) -> Estimate:
    """Minus the mean over shifted images (M,) of what is small for good models.

    An energy gap, say, or an entropy.
    """
    return Estimate(-float(np.mean(checked(values))))


# --- agreement on the line


@dataclass(frozen=True)
class Agreements:
    """How M models agree, and how good they are on val.

    accuracy (M,), on val; val and shift (K,): the share of images that both models of a pair
    predict alike; pairs (K, 2): which models. n: images of val.
    """

    accuracy: np.ndarray
    val: np.ndarray
    shift: np.ndarray
    pairs: np.ndarray
    n: int


@dataclass(frozen=True)
class AgreementLine:
    """The line of agreements, probit(shift) = slope probit(val) + bias, and what it says.

    r: of the K agreements that it is fitted through, in probits. simple, joint (M,): accuracies
    under shift by ALine-S and ALine-D.
    """

    slope: float
    bias: float
    r: float
    simple: np.ndarray
    joint: np.ndarray


def agreements(correct: np.ndarray, val: np.ndarray, shift: np.ndarray) -> Agreements:
    """Agreements of all pairs of models: correct, val (M, N) and shift (M, S), predictions."""
    (found,) = _counted_agreements(correct, val, shift, _once(val), _once(shift))
    return found


def _once(prediction: np.ndarray) -> np.ndarray:
    return np.ones((1, prediction.shape[1]))


def _counted_agreements(
    correct: np.ndarray,
    val: np.ndarray,
    shift: np.ndarray,
    val_counts: np.ndarray,
    shift_counts: np.ndarray,
) -> Iterator[Agreements]:
    """The same where image n counts counts[b, n] times: (B, N) and (B, S) -> B of them."""
    pairs = np.stack(np.triu_indices(len(val), 1), 1)
    shares = []
    for prediction, counts in ((val, val_counts), (shift, shift_counts)):
        weights = (counts / counts.sum(1, keepdims=True)).T  # (N, B)
        of_set = [np.empty((0, len(counts)))]
        for model in range(len(prediction) - 1):
            same = prediction[model + 1 :] == prediction[model]
            of_set.append(same.astype(float) @ weights)
        shares.append(np.concatenate(of_set))  # (K, B)
    accuracy = correct @ (val_counts / val_counts.sum(1, keepdims=True)).T  # (M, B)
    for of_accuracy, of_val, of_shift in zip(accuracy.T, *(of.T for of in shares), strict=True):
        yield Agreements(of_accuracy, of_val, of_shift, pairs, n=val.shape[1])


def line_of_accuracies(val: np.ndarray, shift: np.ndarray) -> float:
    """r of accuracies (M,) on val and under a shift, in probits; nan below three models, and where
    one of both is constant.
    """
    from scipy import special

    x, y = special.ndtri(np.clip(np.stack([val, shift]), 1e-3, 1 - 1e-3))
    if len(x) < 3 or not np.ptp(x) or not np.ptp(y):
        return np.nan
    return float(np.corrcoef(x, y)[0, 1])


def agreement_line(found: Agreements, accuracy_r: float = np.nan) -> AgreementLine:
    """ALine-S and ALine-D: agreement between models lies on a line, and accuracy on the same.

        z = Phi^-1,    z_agreement_shift = slope z_agreement_val + bias    (least squares)
        ALine-S    accuracy_shift = Phi(slope z_accuracy_val + bias)
        ALine-D    (z_i + z_j) / 2 = z_agreement_shift + slope ((a_i + a_j) / 2
                   - z_agreement_val) over all pairs, a on val: least squares for z_i on the shift

    Pairs with an agreement outside 0.05 ... 0.98 are left out. Source: Baek et al.,
    arXiv:2206.13089. Accuracies of 0 and 1 count as half an image from there.

    accuracy_r: r of the same models' accuracies, val against shift in probits, where labels of
    another shift told it. Raises ConfigError for fewer than 5 models, where no line can be drawn,
    and where either r is negative: the premise fails, and so would the estimate.
    """
    models = len(found.accuracy)
    if models < FEWEST_MODELS:
        wanted = f"at least {FEWEST_MODELS}"
        raise ConfigError(f"agreement on the line of {models} models; wanted: {wanted}")
    if accuracy_r < 0:
        lack = "accuracy is not on a line that rises: the better on val, the worse under shift"
        raise ConfigError(f"agreement on the line is refused: {lack} (r = {accuracy_r:.2f})")
    line = fitted_line(found)
    if line.r < 0:
        lack = f"agreement falls under shift where it rises on val (r = {line.r:.2f})"
        raise ConfigError(f"agreement on the line is refused: {lack}")
    return line


def fitted_line(found: Agreements) -> AgreementLine:
    """The line as it is, whether or not its premise holds; raises ConfigError without a line."""
    from scipy import special

    low, high = PAIRS
    of_both = np.stack([found.val, found.shift])
    is_told = ((of_both >= low) & (of_both <= high)).all(0)
    z_val, z_shift = special.ndtri(of_both[:, is_told])
    if len(z_val) < 3 or np.ptp(z_val) == 0:
        pairs = f"{len(z_val)} of {len(found.val)} pairs of models"
        wanted = f"agreements between {low:g} and {high:g} of at least three, not all equal"
        raise ConfigError(f"agreement on the line of {pairs}; wanted: {wanted}")

    half_an_image = 0.5 / found.n
    z_accuracy = special.ndtri(np.clip(found.accuracy, half_an_image, 1 - half_an_image))
    slope, bias = np.polyfit(z_val, z_shift, 1)
    r = np.nan if np.ptp(z_shift) == 0 else np.corrcoef(z_val, z_shift)[0, 1]

    pairs = found.pairs[is_told]
    told = z_shift + slope * (z_accuracy[pairs].mean(1) - z_val)
    # A model of no pair is on the line alone.
    simple = slope * z_accuracy + bias
    joint = simple + _of_pairs(pairs, told - simple[pairs].mean(1), len(simple))
    return AgreementLine(
        float(slope), float(bias), float(r), special.ndtr(simple), special.ndtr(joint)
    )


def _of_pairs(pairs: np.ndarray, means: np.ndarray, models: int) -> np.ndarray:
    """Numbers (M,) whose means over pairs (K, 2) are nearest to these (K,); of many the least."""
    gram = np.zeros((models, models))
    sums = np.zeros(models)
    for one, other in (pairs.T, pairs.T[::-1]):
        np.add.at(gram, (one, one), 0.25)
        np.add.at(gram, (one, other), 0.25)
        np.add.at(sums, one, means / 2)
    return np.linalg.lstsq(gram, sums)[0]


def line_draws(
    correct: np.ndarray, val: np.ndarray, shift: np.ndarray, resamples: int = WITHIN
) -> np.ndarray:
    """ALine-S and ALine-D of M models on resamples of both sets of images: (B, 2, M).

    A resample through which no line can be drawn is left out.
    """
    sizes = (val.shape[1], shift.shape[1])
    random = [np.random.default_rng([seed, n]) for seed, n in zip(SEEDS, sizes, strict=True)]
    chunk = max(1, AT_ONCE // max(*sizes))
    draws = []
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        counts = [resample_counts(of, size, n) for of, n in zip(random, sizes, strict=True)]
        for found in _counted_agreements(correct, val, shift, *counts):
            with contextlib.suppress(ConfigError):
                line = fitted_line(found)
                draws.append((line.simple, line.joint))
    return np.array(draws).reshape(-1, 2, len(val))
