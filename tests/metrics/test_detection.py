"""Detection against scikit-learn and plain loops, and at its ends."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from clipft.errors import ConfigError
from clipft.metrics.detection import detections


def detected(inside, outside, **how):
    return detections({"score": (np.asarray(inside), np.asarray(outside))}, **how)["score"]


def fpr_of_the_loop(inside, outside):
    """The largest threshold that takes 95 % of those inside, tried one by one."""
    for threshold in sorted(inside, reverse=True):
        taken = sum(score >= threshold for score in inside)
        if 100 * taken >= 95 * len(inside):
            return sum(score >= threshold for score in outside) / len(outside)
    raise AssertionError


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 7), (20, 31), (40, 40), (101, 60)])
@pytest.mark.parametrize("digits", [0, 8])
def test_numbers_are_those_of_other_code(n, m, digits):
    rng = np.random.default_rng(n)
    inside, outside = rng.normal(1, 1, n).round(digits), rng.normal(0, 1, m).round(digits)
    found = detected(inside, outside, resamples=20)
    labels = [1] * n + [0] * m
    assert found.auroc == pytest.approx(roc_auc_score(labels, [*inside, *outside]))
    assert found.fpr == fpr_of_the_loop(inside, outside)


def test_equal_sets_are_not_told_apart_and_separate_ones_are():
    values = np.random.default_rng(0).normal(size=40)
    assert detected(values, values).auroc == 0.5
    apart = detected(values + 100, values)
    assert (apart.auroc, apart.fpr) == (1, 0)
    assert (apart.auroc_high, apart.fpr_low) == (1, 0)
    # Exact at the ends: of 40 all went one way, which a chance of 1 - reach does in 5 % of cases.
    assert apart.auroc_low == 1 - apart.fpr_high == pytest.approx(0.05 ** (1 / 40))
    other_way = detected(values, values + 100)
    assert (other_way.auroc, other_way.fpr) == (0, 1)


def test_a_rising_change_of_the_score_changes_nothing_and_a_turn_mirrors_it():
    rng = np.random.default_rng(1)
    inside, outside = rng.normal(1, 1, 50), rng.normal(0, 1, 30)
    found = detected(inside, outside)
    assert vars(detected(np.exp(inside), np.exp(outside))) == pytest.approx(vars(found))
    assert detected(-inside, -outside).auroc == pytest.approx(1 - found.auroc)
    assert detected(outside, inside).auroc == pytest.approx(1 - found.auroc)


def test_resamples_are_measured_as_the_samples_are():
    """Each resample, spelled out image by image, by scikit-learn and the loop."""
    from clipft.metrics.detection import _Ranked, _resamples

    rng = np.random.default_rng(2)
    inside, outside = rng.normal(1, 1, 25).round(1), rng.normal(0, 1, 18).round(1)
    ranked = _Ranked(inside, outside)
    for some_inside, some_outside in _resamples(25, 18, 8, seed=0):
        measured = ranked.measured(some_inside, some_outside)
        for column, counts in enumerate(zip(some_inside, some_outside, strict=True)):
            drawn = (np.repeat(inside, counts[0]), np.repeat(outside, counts[1]))
            labels = [1] * 25 + [0] * 18
            want = (roc_auc_score(labels, np.concatenate(drawn)), fpr_of_the_loop(*drawn))
            assert measured[:, column] == pytest.approx(want)


def test_values_without_each_image_are_those_of_the_other_images():
    from clipft.metrics import detection

    rng = np.random.default_rng(3)
    inside, outside = rng.normal(2, 1, 23), rng.normal(0, 1, 12)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection, "bca", lambda _, __, without: seen.append(without) or (0, 1))
        detected(inside, outside, resamples=2)
    for without, measure in zip(seen, ("auroc", "fpr"), strict=True):
        rest = [detected(np.delete(inside, i), outside, resamples=2) for i in range(23)]
        rest_outside = [detected(inside, np.delete(outside, i), resamples=2) for i in range(12)]
        for values, others in zip(without, (rest, rest_outside), strict=True):
            assert sorted(values) == pytest.approx(sorted(getattr(it, measure) for it in others))


def test_intervals_hold_the_truth():
    """AUROC of N(1, 1) against N(0, 1) is Phi(1 / sqrt 2)."""
    rng = np.random.default_rng(4)
    truth = 0.7602499
    held = 0
    for _ in range(100):
        found = detected(rng.normal(1, 1, 60), rng.normal(0, 1, 50), resamples=200)
        held += found.auroc_low <= truth <= found.auroc_high
    assert held >= 88


def test_two_scores_are_resampled_alike():
    rng = np.random.default_rng(5)
    pair = (rng.normal(size=30), rng.normal(size=20))
    found = detections({"a": pair, "b": pair})
    assert found["a"] == found["b"] == detections({"a": pair})["a"]


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"a": ([], [1.0])}, "no images"),
        ({"a": ([1.0], [np.nan])}, "finite"),
        ({"a": ([1.0], [1.0]), "b": ([1.0], [1.0, 2.0])}, "the same images"),
    ],
)
def test_what_cannot_be_measured_is_refused(scores, said):
    with pytest.raises(ConfigError, match=said):
        detections(scores)
