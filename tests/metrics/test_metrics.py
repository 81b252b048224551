"""Metrics against scikit-learn and plain Python, by hand and at their limits."""

import numpy as np
import pandas as pd
import pytest
import torch
from drawn import ANY_SIZE, draw
from hypothesis import assume, given, settings, strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    recall_score,
)

from clipft.errors import ConfigError
from clipft.metrics import accuracy as metrics
from clipft.metrics.calibration import ece, reliability
from clipft.metrics.comparison import mcnemar
from clipft.metrics.intervals import resampled

# --- against other libraries


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(2, 20), st.floats(0.1, 4))
def test_against_other_libraries(seed, n, classes, sharpness):
    rng = np.random.default_rng(seed)
    rows = torch.tensor(sharpness * rng.standard_normal((n, classes))).softmax(-1).numpy()
    label, best = rng.integers(0, classes, n), rows.argmax(-1)
    assert metrics.accuracy(best, label) == accuracy_score(label, best)
    own = -np.log(rows[np.arange(n), label])
    assert metrics.nll(own) == pytest.approx(log_loss(label, rows, labels=range(classes)))
    sure = rows.max(-1)
    right, mean = calibration_curve(best == label, sure, n_bins=15)
    inside = np.histogram(sure, bins=15, range=(0, 1))[0]
    theirs = np.sum(inside[inside > 0] / n * np.abs(right - mean))
    assert ece(sure, best == label) == pytest.approx(theirs, abs=1e-12)
    found = reliability(sure, best == label)
    gaps = np.nansum(found.count / n * np.abs(found.accuracy - found.confidence))
    assert gaps == pytest.approx(theirs, abs=1e-12)


@pytest.mark.filterwarnings(
    "ignore:y_pred contains classes not in y_true", "ignore:A single label was found"
)
@settings(deadline=None)
@given(*ANY_SIZE)
def test_class_metrics_are_scikit_learns(seed, n, classes):
    prediction, label, _ = draw(seed, n, classes)
    want = f1_score(label, prediction, labels=np.unique(label), average="macro", zero_division=0)
    assert metrics.macro_f1(prediction, label) == pytest.approx(want)
    want = balanced_accuracy_score(label, prediction)
    assert metrics.class_mean(prediction, label).value == pytest.approx(want)
    found, count = metrics.per_class(prediction, label, classes)
    want = recall_score(
        label, prediction, labels=range(classes), average=None, zero_division=np.nan
    )
    np.testing.assert_allclose(found, want)
    assert count.tolist() == [(label == k).sum() for k in range(classes)]
    assert np.nanmean(found) == pytest.approx(metrics.class_mean(prediction, label).value)


@settings(deadline=None)
@given(*ANY_SIZE)
def test_worst_group_is_pandas(seed, n, groups):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"right": rng.random(n) < 0.5, "group": rng.integers(0, groups, n).astype(str)}
    )
    means = frame.groupby("group").right.mean()
    assert metrics.worst(frame.right.to_numpy(), frame.group).value == means.min()
    assume(len(means) > 1)
    left_out = means.idxmin()
    frame["group"] = frame.group.replace(left_out, "")
    worst = metrics.worst(frame.right.to_numpy(), frame.group)
    assert worst.value == means.drop(left_out).min()


# --- by hand


def test_relative_accuracy():
    assert metrics.relative_accuracy(0.3, 0.6) == 0.5
    with pytest.raises(ConfigError, match="above 0"):
        metrics.relative_accuracy(0.3, 0.0)


@settings(deadline=None)
@given(*ANY_SIZE)
def test_gzsl_is_its_formula(seed, n, classes):
    prediction, label, _ = draw(seed, n, classes + 1)
    unseen = [int(k) for k in np.unique(label)[::2]]
    assume(len(np.unique(label)) > 1)
    rows = list(zip(prediction.tolist(), label.tolist(), strict=True))
    seen_hits = [p == y for p, y in rows if y not in unseen]
    unseen_hits = [p == y for p, y in rows if y in unseen]
    s, u = sum(seen_hits) / len(seen_hits), sum(unseen_hits) / len(unseen_hits)
    want = (s, u, 2 * s * u / (s + u) if s + u > 0 else 0)
    assert metrics.gzsl(prediction, label, unseen) == pytest.approx(want)


@settings(deadline=None)
@given(*ANY_SIZE)
def test_gzsl_by_class_is_the_mean_of_recalls(seed, n, classes):
    prediction, label, _ = draw(seed, n, classes + 1)
    names = np.unique(label)
    assume(len(names) > 1)
    recalls = dict(
        zip(names, recall_score(label, prediction, labels=names, average=None), strict=True)
    )
    s = np.mean([recalls[name] for name in names[1::2]])
    u = np.mean([recalls[name] for name in names[::2]])
    want = (s, u, 2 * s * u / (s + u) if s + u > 0 else 0)
    found = metrics.gzsl(prediction, label, names[::2].tolist(), by_class=True)
    assert found == pytest.approx(want)


def test_gzsl_by_hand():
    """Class 0 has three images, one right; class 1 one, right; the unseen class 2 half of two."""
    prediction, label = np.array([0, 1, 2, 1, 2, 0]), np.array([0, 0, 0, 1, 2, 2])
    assert metrics.gzsl(prediction, label, [2]) == pytest.approx((0.5, 0.5, 0.5))
    by_class = metrics.gzsl(prediction, label, [2], by_class=True)
    assert by_class == pytest.approx((2 / 3, 0.5, 4 / 7))


@pytest.mark.parametrize(
    ("unseen", "words"), [([], "an unseen class"), ([7], "an unseen class"), ([0, 1], "a seen")]
)
def test_gzsl_needs_both_kinds(unseen, words):
    with pytest.raises(ConfigError, match=f"no image of {words}"):
        metrics.gzsl(np.array([0, 1]), np.array([0, 1]), unseen)


# --- limits

ONE = np.array([2, 2, 2])
PAIRS = {
    "accuracy": metrics.accuracy,
    "ece": ece,
    "reliability": reliability,
    "macro_f1": metrics.macro_f1,
    "class_mean": lambda a, b: metrics.class_mean(a, b).value,
    "per_class": lambda a, b: metrics.per_class(a, b, 3),
    "worst": metrics.worst,
    "gzsl": lambda a, b: metrics.gzsl(a, b, [1]),
    "mcnemar": mcnemar,
}


@pytest.mark.parametrize("measure", PAIRS.values(), ids=PAIRS)
def test_nothing_to_measure(measure):
    with pytest.raises(ConfigError, match="no images"):
        measure(np.array([], int), np.array([], int))


def test_nothing_to_average():
    for measure in (metrics.nll, metrics.mean):
        with pytest.raises(ConfigError, match="no images"):
            measure(np.array([]))


@pytest.mark.parametrize("sizes", [(2, 3), (3, 2), (1, 3), (3, 1)])
@pytest.mark.parametrize("measure", PAIRS.values(), ids=PAIRS)
def test_lengths_that_differ_are_refused(measure, sizes):
    first, second = (np.arange(size) % 2 for size in sizes)
    with pytest.raises((ConfigError, ValueError)):
        measure(first, second)


@pytest.mark.parametrize("right", [True, False])
def test_one_class_alone(right):
    label = ONE if right else ONE + 1
    for found in (
        metrics.macro_f1(ONE, label),
        metrics.class_mean(ONE, label).value,
        metrics.accuracy(ONE, label),
    ):
        assert found == float(right)
    draws = resampled({"f1": metrics.f1(ONE, label), "class": metrics.class_mean(ONE, label)}, 20)
    assert set(draws["f1"]) == set(draws["class"]) == {float(right)}
