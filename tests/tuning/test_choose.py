"""The rule on rows, and the threshold at which to abstain, against plain loops."""

import numpy as np
import pandas as pd
import pytest

from clipft.runs.scores import Scores
from clipft.tuning.choose import choose, kept_above, threshold


def rows(*candidates, n=100):
    """alpha, accuracy on val, agreement of each."""
    table = pd.DataFrame(candidates, columns=["alpha", "val_accuracy", "agreement"])
    table["val_error"] = (table.val_accuracy * (1 - table.val_accuracy) / n) ** 0.5
    return table.assign(run="a", method="ft", val_n=n)


def test_the_best_on_val_of_those_that_agree_with_zero_shot():
    table = rows((0, 0.70, 1.0), (0.3, 0.77, 0.95), (0.6, 0.80, 0.82), (1, 0.85, 0.6))
    choice = choose(table)
    assert choice.row["alpha"] == 0.6
    assert choice.best["alpha"] == 1
    assert choice.agreeing == 3


def test_to_do_nothing_may_win():
    table = rows((0, 0.77, 1.0), (0.5, 0.76, 0.9), (1, 0.79, 0.7))
    assert choose(table).is_zero_shot
    assert choose(table).called == "the zero-shot model"
    assert not choose(table.assign(agreement=1.0)).is_zero_shot


def test_of_ties_the_smallest_alpha():
    table = rows((0, 0.5, 1.0), (0.2, 0.80, 0.9), (0.4, 0.80, 0.95))
    assert choose(table).row["alpha"] == 0.2


def scored(confidence, right):
    label = np.zeros(len(right), int)
    prediction = np.where(right, 0, 1)
    ids = tuple(map(str, range(len(right))))
    return Scores("a/val", 1.0, ids, label, prediction, np.array(confidence), nll=label * 1.0)


def by_hand(scores, precision):
    """The smallest confidence above which so many are right."""
    found = None
    for confidence in sorted(set(scores.confidence)):
        kept = scores.confidence >= confidence
        if (scores.prediction == scores.label)[kept].mean() >= precision and found is None:
            found = confidence, kept.mean()
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_keeps_as_many_as_it_can(seed):
    rng = np.random.default_rng(seed)
    confidence = rng.integers(20, 100, 60) / 100
    scores = scored(confidence, rng.random(60) < confidence)
    at = threshold(scores, 0.9)
    found = by_hand(scores, 0.9)
    assert (at is None) == (found is None)
    if at is not None:
        assert at.coverage == pytest.approx(found[1])
        # The number that a person types keeps the same images.
        assert kept_above(scores, at.confidence) == pytest.approx((at.coverage, at.precision))
        assert at.precision >= 0.9


def test_a_threshold_is_short_where_it_keeps_the_same_images():
    confidence = np.array([0.99998, 0.99996, 0.99991, 0.7], dtype=np.float32)
    scores = scored(confidence, [True, True, False, False])
    at = threshold(scores, 0.95)
    assert 0.99991 < at.confidence <= 0.99996
    assert kept_above(scores, at.confidence) == (0.5, 1.0) == (at.coverage, at.precision)
    assert threshold(scored(np.array([0.876, 0.3]), [True, False]), 0.95).confidence == 0.87


def test_where_nothing_is_right_it_always_abstains():
    assert threshold(scored([0.9, 0.8], [False, False]), 0.95) is None
