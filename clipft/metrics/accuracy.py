"""Numbers from predictions. All fractions, not percent; N images, C classes.

Most are a `Statistic`: a sum over images, and what is made of the sum. So one definition gives the value and, by
weighted sums, its bootstrap interval (`intervals`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy import sparse

from ..errors import ConfigError
from .intervals import Statistic, _one_hot, _some


def mean(values: np.ndarray) -> Statistic:
    """The mean of N values."""
    return Statistic(_some(values).astype(float)[:, None], lambda sums, n: sums[:, 0] / n)


def f1(prediction: np.ndarray, label: np.ndarray) -> Statistic:
    """Macro F1, see `macro_f1`."""
    known, classes = _seen(prediction, label)
    hit = _one_hot(known[1], classes, prediction == label)
    parts = sparse.hstack(
        [hit, _one_hot(known[0], classes), _one_hot(known[1], classes)], format="csr"
    )

    def finish(sums: np.ndarray, n: int) -> np.ndarray:
        hits, predicted, labelled = np.split(sums, 3, axis=1)
        scores = 2 * hits / np.maximum(predicted + labelled, 1)
        return (scores * (labelled > 0)).sum(1) / (labelled > 0).sum(1)

    return Statistic(parts, finish)


def class_mean(prediction: np.ndarray, label: np.ndarray) -> Statistic:
    """Mean per-class accuracy over the classes that have images."""
    known, classes = _seen(prediction, label)
    parts = sparse.hstack(
        [_one_hot(known[1], classes, prediction == label), _one_hot(known[1], classes)],
        format="csr",
    )

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


def macro_f1(prediction: np.ndarray, label: np.ndarray) -> float:
    """Mean over the classes that have images of 2 TP / (2 TP + FP + FN), as iWildCam is scored."""
    return f1(prediction, label).value


def per_class(
    prediction: np.ndarray, label: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
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


def gzsl(
    prediction: np.ndarray, label: np.ndarray, unseen: Sequence[int]
) -> tuple[float, float, float]:
    """Generalised zero-shot S, U, H = 2 S U / (S + U): accuracy on images of seen and of unseen classes.

    Predictions are over all classes. unseen: labels of the classes that were not trained on. Raises ConfigError where
    either kind has no image.
    """
    new = np.isin(_some(label, prediction), np.asarray(unseen, dtype=int))
    if new.all() or not new.any():
        kind = "seen" if new.all() else "unseen"
        raise ConfigError(
            f"no image of an {kind} class; generalised zero-shot needs both".replace(
                "an seen", "a seen"
            )
        )
    right = np.asarray(prediction) == label
    s, u = float(right[~new].mean()), float(right[new].mean())
    return s, u, 2 * s * u / (s + u) if s + u else 0.0


def relative_accuracy(shift: float, reference: float) -> float:
    """Accuracy under shift as a fraction of the reference accuracy; raises ConfigError where that is zero."""
    if reference <= 0:
        raise ConfigError(
            "relative accuracy needs a reference accuracy above 0; this model gets nothing right"
        )
    return shift / reference


def _seen(prediction: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, int]:
    """Predictions and labels renumbered over the classes that occur: (2, N), and how many there are."""
    names, places = np.unique(np.stack([_some(prediction, label), label]), return_inverse=True)
    return places.reshape(2, -1), len(names)
