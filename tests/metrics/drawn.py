"""What the tests of metrics share: random predictions, and statistics in their plainest form."""

import numpy as np
from hypothesis import strategies as st

from clipft.metrics import accuracy as metrics
from clipft.metrics.calibration import calibration_error

ANY_SIZE = (st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 12))
STATISTICS = ["mean", "calibration_error", "f1", "class_mean"]


def draw(seed, n, classes, skill=0.5):
    """Predictions and labels (N,), some classes without an image, and confidences (N,)."""
    rng = np.random.default_rng(seed)
    label = rng.choice(rng.permutation(classes)[: rng.integers(1, classes + 1)], n)
    prediction = np.where(rng.random(n) < skill, label, rng.integers(0, classes, n))
    return prediction, label, rng.random(n)


def of_all_classes(measure):
    """A metric's value on what `draw` gives, whatever of it the metric takes."""
    return {
        "mean": lambda p, y, c: metrics.mean(p == y),
        "calibration_error": lambda p, y, c: calibration_error(c, p == y),
        "f1": lambda p, y, c: metrics.f1(p, y),
        "class_mean": lambda p, y, c: metrics.class_mean(p, y),
    }[measure]


def plain(name, p, y, c):
    """The four statistics as one would write them down, image by image."""
    if name == "mean":
        return sum(a == b for a, b in zip(p, y, strict=True)) / len(y)
    if name == "calibration_error":
        place = np.minimum(np.floor(c * 15), 14)
        gaps = [abs((p == y)[place == b].sum() - c[place == b].sum()) for b in range(15)]
        return sum(gaps) / len(y)

    scores = []
    for k in np.unique(y):
        hit = ((p == k) & (y == k)).sum()
        missed = ((p != k) & (y == k)).sum()
        wrong = ((p == k) & (y != k)).sum()
        if name == "f1":
            scores.append(2 * hit / (2 * hit + missed + wrong))
        else:
            scores.append(hit / (hit + missed))
    return np.mean(scores)
