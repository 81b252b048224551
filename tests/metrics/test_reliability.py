"""Expected calibration error and reliability diagrams, bin by bin and by hand."""

import numpy as np
import pytest
from drawn import ANY_SIZE, draw
from hypothesis import given, settings, strategies as st

from clipft.errors import ConfigError
from clipft.metrics.calibration import ece, reliability


@settings(deadline=None)
@given(*ANY_SIZE, st.integers(1, 30))
def test_reliability_is_what_numpy_finds_bin_by_bin(seed, n, classes, bins):
    prediction, label, confidence = draw(seed, n, classes)
    right = prediction == label
    found = reliability(confidence, right, bins)
    assert (found.low[0], found.high[-1], found.count.sum()) == (0, 1, n)
    assert found.low[1:].tolist() == found.high[:-1].tolist()
    for b in range(bins):
        inside = (confidence >= found.low[b]) & (confidence < found.high[b])
        want = (
            (confidence[inside].mean(), right[inside].mean()) if inside.any() else (np.nan, np.nan)
        )
        assert found.count[b] == inside.sum()
        np.testing.assert_allclose((found.confidence[b], found.accuracy[b]), want)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 20))
def test_mean_confidence_lies_in_its_bin(confidence, bins):
    found = reliability(np.array(confidence), np.zeros(len(confidence), bool), bins)
    full = found.count > 0
    assert (found.low[full] - 1e-9 <= found.confidence[full]).all()
    assert (found.confidence[full] <= found.high[full] + 1e-9).all()
    assert ece(np.array(confidence), np.zeros(len(confidence), bool), bins) == pytest.approx(
        np.mean(confidence), abs=1e-12
    )


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
    assert ece(np.array(confidence), np.array(correct)) == pytest.approx(want)


@pytest.mark.parametrize("measure", [ece, reliability])
@pytest.mark.parametrize(
    ("confidence", "words"),
    [
        ([0.5, 1.5], "a confidence is 1.5; expected probabilities"),
        ([-0.01, 0.5], "a confidence is -0.01;"),
        ([0.5, float("nan")], "a confidence is nan;"),
        ([float("inf"), 0.5], "a confidence is inf;"),
        ([70.0, 80.0], "a confidence is 70, and 1 more;"),
    ],
    ids=str,
)
def test_a_confidence_is_a_fraction(measure, confidence, words):
    with pytest.raises(ConfigError, match=words) as caught:
        measure(np.array(confidence), np.array([True, False]))
    assert "\n" not in str(caught.value)


def test_the_ends_are_fractions_too():
    assert ece(np.array([0.0, 1.0]), np.array([False, True])) == 0
