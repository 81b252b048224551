"""Metrics against scikit-learn and torchmetrics, and at their limits."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from clipft import metrics
from clipft.errors import ConfigError


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(2, 20), st.floats(0.1, 4))
def test_against_other_libraries(seed, n, classes, sharpness):
    rng = np.random.default_rng(seed)
    rows = torch.tensor(sharpness * rng.standard_normal((n, classes))).softmax(-1).numpy()
    label, best = rng.integers(0, classes, n), rows.argmax(-1)
    assert metrics.accuracy(best, label) == accuracy_score(label, best)
    own = -np.log(rows[np.arange(n), label])
    assert metrics.nll(own) == pytest.approx(log_loss(label, rows, labels=range(classes)))
    assume(rows.astype(np.float32).max() < 1)  # torchmetrics puts exactly 1 into a bin of its own
    theirs = multiclass_calibration_error(torch.tensor(rows).float(), torch.tensor(label), classes, 15, norm="l1")
    assert metrics.ece(rows.max(-1), best == label) == pytest.approx(float(theirs), abs=1e-5)


@pytest.mark.parametrize(
    ("confidence", "correct", "want"),
    [
        ([1.0, 1.0], [True, True], 0.0),  # sure and right
        ([1.0, 1.0], [False, False], 1.0),  # sure and wrong
        ([0.0, 1.0], [False, True], 0.0),  # both ends of the range have a bin
        ([0.5, 0.5], [True, False], 0.0),
        ([0.9, 0.9, 0.1], [True, False, False], (2 * 0.4 + 0.1) / 3),
        ([0.61, 0.65], [True, False], 0.13),  # one bin of 15 (0.6 ... 0.667): |0.5 - 0.63|
    ],
)
def test_ece_by_hand(confidence, correct, want):
    assert metrics.ece(np.array(confidence), np.array(correct)) == pytest.approx(want)


def test_relative_accuracy():
    assert metrics.relative_accuracy(0.3, 0.6) == 0.5
    with pytest.raises(ConfigError, match="above 0"):
        metrics.relative_accuracy(0.3, 0.0)


@pytest.mark.parametrize(
    "measure",
    [lambda none: metrics.accuracy(none, none), metrics.nll, lambda none: metrics.ece(none, none)],
)
def test_nothing_to_measure(measure):
    with pytest.raises(ConfigError, match="no images"):
        measure(np.array([]))
