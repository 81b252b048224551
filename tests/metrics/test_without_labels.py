"""Estimates without labels: against the releases' lines, transcribed, and where they are exact."""

import numpy as np
import pytest
from scipy import stats

from clipft.errors import ConfigError
from clipft.metrics import without_labels as estimators


def drawn(n=300, seed=0, accuracy=0.7):
    """Confidences and whether each is right, of a model that is calibrated."""
    random = np.random.default_rng(seed)
    confidence = random.beta(4 * accuracy, 4 * (1 - accuracy), n)
    return confidence, random.random(n) < confidence


def release_threshold(scores, labels):
    """Garg et al.'s `find_ATC_threshold` in words of NumPy: the score at which errors that are
    above it, and hits that are not, are as many.
    """
    order = np.argsort(scores)
    right = labels[order].astype(bool)
    false_above = (~right).sum() - np.cumsum(~right)
    true_below = np.cumsum(right)
    return scores[order][np.abs(false_above - true_below).argmin()]


@pytest.mark.parametrize("seed", range(5))
def test_atc_is_the_releases_but_for_one_image_of_val(seed):
    confidence, correct = drawn(seed=seed)
    shifted, _ = drawn(200, seed + 50, accuracy=0.5)
    tau = release_threshold(confidence, correct)
    following = np.sort(confidence)[np.searchsorted(np.sort(confidence), tau) + 1]
    found = estimators.average_thresholded_confidence(confidence, correct, shifted, 0)
    assert found.accuracy == pytest.approx(np.mean(shifted >= following))
    # The release's own threshold lets one more image of val through.
    assert np.mean(confidence >= tau) == pytest.approx(correct.mean() + 1 / len(correct))
    between = np.mean((shifted >= tau) & (shifted < following))
    assert np.mean(shifted >= tau) == pytest.approx(found.accuracy + between)


@pytest.mark.parametrize("digits", [1, 2, 9])
def test_without_a_shift_they_are_exact(digits):
    """With as many ties as one digit makes, too."""
    confidence, correct = drawn()
    confidence = confidence.round(digits)
    for estimate in (
        estimators.average_thresholded_confidence,
        estimators.difference_of_confidences,
    ):
        assert estimate(confidence, correct, confidence, 0).accuracy == pytest.approx(
            correct.mean()
        )


@pytest.mark.parametrize("all_right", [True, False])
def test_atc_at_its_ends(all_right):
    confidence, _ = drawn()
    correct = np.full(len(confidence), all_right)
    shifted = np.array([confidence.min(), confidence.max()])
    found = estimators.average_thresholded_confidence(confidence, correct, shifted, 50)
    assert found.accuracy == float(all_right)
    assert found.high == 1 if all_right else found.high == 0


def test_atc_asks_the_order_of_scores_alone():
    confidence, correct = drawn()
    shifted, _ = drawn(200, 9)
    plain = estimators.average_thresholded_confidence(confidence, correct, shifted, 100)
    cubed = estimators.average_thresholded_confidence(confidence**3, correct, shifted**3, 100)
    assert plain == cubed


def test_doc_and_mean_confidence_by_hand():
    confidence, correct = np.array([0.9, 0.5, 0.7, 0.7]), np.array([1, 0, 1, 1], bool)
    shifted = np.array([0.6, 0.5])
    found = estimators.difference_of_confidences(confidence, correct, shifted, 0)
    assert found.accuracy == pytest.approx(0.75 + 0.55 - 0.7)
    assert estimators.mean_confidence(shifted, 0).accuracy == pytest.approx(0.55)
    assert estimators.val_accuracy(correct, 0).accuracy == 0.75
    # No accuracy is above 1.
    sure = estimators.difference_of_confidences(confidence, correct, np.ones(2), 0)
    assert sure.accuracy == 1


@pytest.mark.parametrize(
    "name", ["average_thresholded_confidence", "difference_of_confidences", "mean_confidence"]
)
def test_intervals_are_the_spread_of_samples(name):
    """Half the interval against 1.96 standard deviations over 200 fresh samples of both sets."""

    def estimate(seed, resamples):
        confidence, correct = drawn(400, seed)
        shifted, _ = drawn(400, seed + 1000, 0.6)
        given = (shifted,) if name == "mean_confidence" else (confidence, correct, shifted)
        return getattr(estimators, name)(*given, resamples)

    spread = np.std([estimate(seed, 0).accuracy for seed in range(200)])
    found = estimate(0, 1000)
    assert found.low < found.accuracy < found.high
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * spread, rel=0.25)


def test_agreement_and_lowest_mean():
    first, second = np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])
    assert estimators.agreement(first, second).value == 0.75
    assert estimators.agreement(first, first).value == 1
    assert np.isnan(estimators.agreement(first, second).accuracy)
    assert estimators.lowest_mean(np.array([1.0, 3.0])).value == -2


# --- agreement on the line


def models_on_a_line(skill, n=4000, classes=5, seed=0):
    """Predictions (M, n) of models that are right where a common difficulty is below their skill
    and some noise of their own; wrong classes are drawn.
    """
    random = np.random.default_rng(seed)
    difficulty = random.normal(size=n)
    label = random.integers(0, classes, n)
    predictions = []
    for own in skill:
        right = difficulty + random.normal(size=n) < own
        wrong = (label + random.integers(1, classes, n)) % classes
        predictions.append(np.where(right, label, wrong))
    return np.array(predictions), label


def plain_line(val, val_label, shift):
    """Baek et al.'s algorithm pair by pair, from its paper; (slope, bias, S, D)."""
    pairs = []
    for i in range(len(val)):
        for j in range(i):
            both = np.mean(val[i] == val[j]), np.mean(shift[i] == shift[j])
            if all(0.05 <= share <= 0.98 for share in both):
                pairs.append((i, j, *stats.norm.ppf(both)))
    z_val, z_shift = np.array([pair[2:] for pair in pairs]).T
    slope, bias = stats.linregress(z_val, z_shift)[:2]
    z_accuracy = stats.norm.ppf((val == val_label).mean(1))
    rows, told = [], []
    for i, j, of_val, of_shift in pairs:
        row = np.zeros(len(val))
        row[[i, j]] = 0.5
        rows.append(row)
        told.append(of_shift + slope * ((z_accuracy[i] + z_accuracy[j]) / 2 - of_val))
    z_joint = np.linalg.lstsq(np.array(rows), np.array(told), rcond=None)[0]
    simple = stats.norm.cdf(slope * z_accuracy + bias)
    return slope, bias, simple, stats.norm.cdf(z_joint)


def test_the_line_is_the_papers_pair_by_pair():
    skill = np.linspace(-0.5, 1.5, 8)
    val, label = models_on_a_line(skill)
    shift, shift_label = models_on_a_line(0.8 * skill - 0.6, seed=1)
    found = estimators.agreement_line(estimators.agreements(val == label, val, shift))
    slope, bias, simple, joint = plain_line(val, label, shift)
    assert (found.slope, found.bias) == pytest.approx((slope, bias))
    assert found.simple == pytest.approx(simple) and found.joint == pytest.approx(joint)
    assert found.r > 0.9
    # Here the premise holds, and both are near the truth.
    truth = (shift == shift_label).mean(1)
    assert np.abs(found.joint - truth).mean() < 0.06
    assert np.corrcoef(found.simple, truth)[0, 1] > 0.95


def test_without_a_shift_the_line_is_the_diagonal():
    val, label = models_on_a_line(np.linspace(-0.5, 1.5, 6))
    found = estimators.agreement_line(estimators.agreements(val == label, val, val))
    accuracy = (val == label).mean(1)
    assert (found.slope, found.bias) == pytest.approx((1, 0))
    assert found.simple == pytest.approx(accuracy) and found.joint == pytest.approx(accuracy)


def test_a_model_that_agrees_with_all_twice_is_on_the_line_alone():
    skill = np.linspace(-0.5, 1.5, 6)
    val, label = models_on_a_line(skill)
    shift, _ = models_on_a_line(0.8 * skill - 0.6, seed=1)
    never = np.full(val.shape[1], -7)  # agrees with none
    more = estimators.agreements(
        np.vstack([val == label, val[:1] == label]),
        np.vstack([val, never]),
        np.vstack([shift, never]),
    )
    found = estimators.agreement_line(more)
    assert found.joint[-1] == pytest.approx(found.simple[-1])


def test_draws_of_the_line_are_around_it():
    skill = np.linspace(-0.5, 1.5, 6)
    val, label = models_on_a_line(skill, 500)
    shift, _ = models_on_a_line(0.8 * skill - 0.6, 500, seed=1)
    found = estimators.fitted_line(estimators.agreements(val == label, val, shift))
    draws = estimators.line_draws(val == label, val, shift, 40)
    assert draws.shape == (40, 2, 6)
    low, high = np.quantile(draws, [0.01, 0.99], axis=0)
    for ends, value in zip(
        np.moveaxis(np.array([low, high]), 1, 0), (found.simple, found.joint), strict=True
    ):
        assert ((ends[0] - 0.03 < value) & (value < ends[1] + 0.03)).all()


def test_the_line_is_refused_where_its_premise_fails():
    skill = np.linspace(-0.5, 1.5, 6)
    val, label = models_on_a_line(skill)
    found = estimators.agreements(val == label, val, val)
    with pytest.raises(ConfigError, match=r"the worse under shift \(r = -0.93\)"):
        estimators.agreement_line(found, accuracy_r=-0.93)
    against, _ = models_on_a_line(-skill, seed=2)
    with pytest.raises(ConfigError, match="agreement falls under shift"):
        estimators.agreement_line(estimators.agreements(val == label, val, against))
    with pytest.raises(ConfigError, match="of 4 models; wanted: at least 5"):
        estimators.agreement_line(estimators.agreements(val[:4] == label, val[:4], val[:4]))
    same = np.repeat(val[:1], 6, axis=0)
    with pytest.raises(ConfigError, match="0 of 15 pairs"):
        estimators.agreement_line(estimators.agreements(same == label, same, same))
