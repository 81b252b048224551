"""Accuracy and its relatives, from predictions. All fractions, not percent; N images, C classes.

Most are a `Statistic`: a sum over images, and what is made of the sum. So one definition gives
the value and, by weighted sums, its bootstrap interval (`intervals`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ConfigError
from .intervals import Statistic, checked, one_hot, side_by_side

# --- statistics: values with an interval


def mean(values: np.ndarray) -> Statistic:
    """The mean of N values; of N truths, the fraction that is true."""
    values = checked(values)
    of_one_kind = values.dtype == bool and bool(values.all() or not values.any())
    own = _interval_at_the_end if of_one_kind else None
    return Statistic(values[:, None], _mean_of_sums, own)


def f1(prediction: np.ndarray, label: np.ndarray) -> Statistic:
    """Macro F1, see `macro_f1`."""
    predicted, labelled, classes = renumbered(prediction, label)
    hits = one_hot(labelled, classes, predicted == labelled)
    parts = side_by_side(hits, one_hot(predicted, classes), one_hot(labelled, classes))
    return Statistic(parts, _f1_of_sums)


def class_mean(prediction: np.ndarray, label: np.ndarray) -> Statistic:
    """Mean per-class accuracy over the classes that have images."""
    predicted, labelled, classes = renumbered(prediction, label)
    hits = one_hot(labelled, classes, predicted == labelled)
    return Statistic(side_by_side(hits, one_hot(labelled, classes)), _class_mean_of_sums)


def worst(correct: np.ndarray, group: np.ndarray) -> Statistic:
    """The accuracy of the worst group; images of group "" count in none: FMoW's "Other".

    In a resample the groups that it missed do not count. Raises ConfigError where no image is in a
    group.
    """
    named, places = np.unique(checked(group, correct).astype(str), return_inverse=True)
    counted = named[places] != ""
    if not counted.any():
        raise ConfigError("no image is in a group, so there is no worst one")
    hits = one_hot(places, len(named), counted & np.asarray(correct, bool))
    return Statistic(side_by_side(hits, one_hot(places, len(named), counted)), _worst_of_sums)


def renumbered(prediction: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Predictions (N,) and labels (N,) over the classes that occur, and how many those are."""
    stacked = np.stack([checked(prediction, label), label])
    names, places = np.unique(stacked, return_inverse=True)
    predicted, labelled = places.reshape(2, -1)
    return predicted, labelled, len(names)


def _mean_of_sums(sums: np.ndarray, images: int) -> np.ndarray:
    return sums[:, 0] / images


def _interval_at_the_end(statistic: Statistic, level: float) -> tuple[float, float]:
    """One-sided and exact, where all of N images are right, or none: all resamples are alike.

    Were the accuracy below low = (1 - level)^(1/N), all N would be right with a chance below
    1 - level. Source: Clopper and Pearson, Biometrika 1934; Hanley and Lippman-Hand's rule of
    three, JAMA 1983, is its approximation 1 - 3/N.
    """
    reach = 1 - (1 - level) ** (1 / statistic.parts.shape[0])
    return (1 - reach, 1.0) if statistic.value else (0.0, reach)


def _f1_of_sums(sums: np.ndarray, _images: int) -> np.ndarray:
    hits, predicted, labelled = np.split(sums, 3, axis=1)
    scores = 2 * hits / np.maximum(predicted + labelled, 1)
    return (scores * (labelled > 0)).sum(1) / (labelled > 0).sum(1)


def _class_mean_of_sums(sums: np.ndarray, _images: int) -> np.ndarray:
    hits, labelled = np.split(sums, 2, axis=1)
    return (hits / np.maximum(labelled, 1)).sum(1) / (labelled > 0).sum(1)


def _worst_of_sums(sums: np.ndarray, _images: int) -> np.ndarray:
    hits, images = np.split(sums, 2, axis=1)
    return np.where(images > 0, hits / np.maximum(images, 1), np.inf).min(1)


# --- plain values


def accuracy(prediction: np.ndarray, label: np.ndarray) -> float:
    """Top-1 accuracy: the fraction of the N predictions that equal their label."""
    return float(np.mean(checked(prediction, label) == label))


def nll(values: np.ndarray) -> float:
    """Mean negative log-likelihood of the true classes, in nats."""
    return float(np.mean(checked(values)))


def macro_f1(prediction: np.ndarray, label: np.ndarray) -> float:
    """Mean of 2 TP / (2 TP + FP + FN) over the classes that have images, as iWildCam is scored."""
    return f1(prediction, label).value


def per_class(
    prediction: np.ndarray, label: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy of each class, nan where it has no image, and its number of images: (C,), (C,)."""
    label = checked(label, prediction)
    images = np.bincount(label, minlength=classes)
    hits = np.bincount(label, np.asarray(prediction) == label, classes)
    return hits / np.where(images, images, np.nan), images


def harmonic_mean(seen: ArrayLike, unseen: ArrayLike) -> Any:
    """2 S U / (S + U) of accuracies on seen and unseen classes: generalised zero-shot learning.

    0 where both are. Xian et al., arXiv:1707.00600.
    """
    total = np.add(seen, unseen)
    return 2 * np.multiply(seen, unseen) / np.where(total == 0, 1, total)


def gzsl(
    prediction: np.ndarray, label: np.ndarray, unseen: Sequence[int], *, by_class: bool = False
) -> tuple[float, float, float]:
    """Generalised zero-shot S, U, H = 2 S U / (S + U): accuracy on seen and on unseen classes.

    Predictions are over all classes. unseen: labels of the classes that were not trained on.
    by_class: S and U are means over classes instead of images, the protocol of the field (Xian et
    al., arXiv:1707.00600). Raises ConfigError where either kind has no image.
    """
    is_unseen = np.isin(checked(label, prediction), np.asarray(unseen, dtype=int))
    for kind, rows in (("a seen", ~is_unseen), ("an unseen", is_unseen)):
        if not rows.any():
            raise ConfigError(f"no image of {kind} class; generalised zero-shot needs both")

    predicted = np.asarray(prediction)
    labelled = np.asarray(label)

    def mean_of(rows: np.ndarray) -> float:
        if by_class:
            return class_mean(predicted[rows], labelled[rows]).value
        return accuracy(predicted[rows], labelled[rows])

    s = mean_of(~is_unseen)
    u = mean_of(is_unseen)
    return s, u, float(harmonic_mean(s, u))


def relative_accuracy(shift: float, reference: float) -> float:
    """Accuracy under shift as a fraction of the reference accuracy.

    Raises ConfigError where the latter is zero.
    """
    if reference <= 0:
        raise ConfigError(
            "relative accuracy needs a reference accuracy above 0; this model gets nothing right"
        )
    return shift / reference
