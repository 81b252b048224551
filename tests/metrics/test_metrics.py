"""Metrics against scikit-learn, torchmetrics, statsmodels and plain Python, at their limits, and on resamples."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from scipy import sparse
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    recall_score,
)
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from torchmetrics.functional.classification import multiclass_calibration_error

from clipft.errors import ConfigError
from clipft.metrics import accuracy as metrics
from clipft.metrics.calibration import calibration_error, ece, reliability
from clipft.metrics.comparison import mcnemar
from clipft.metrics.intervals import Statistic, interval, resampled

ANY_SIZE = (st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 12))


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


STATISTICS = ["mean", "calibration_error", "f1", "class_mean"]


def plain(name, p, y, c):
    """The four statistics as one would write them down, image by image."""
    if name == "mean":
        return sum(a == b for a, b in zip(p, y, strict=True)) / len(y)
    if name == "calibration_error":
        place = np.minimum(np.floor(c * 15), 14)
        return sum(abs((p == y)[place == b].sum() - c[place == b].sum()) for b in range(15)) / len(
            y
        )
    found = []
    for k in np.unique(y):
        hit, missed, wrong = (
            ((p == k) & (y == k)).sum(),
            ((p != k) & (y == k)).sum(),
            ((p == k) & (y != k)).sum(),
        )
        found.append(2 * hit / (2 * hit + missed + wrong) if name == "f1" else hit / (hit + missed))
    return np.mean(found)


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
    assume(rows.astype(np.float32).max() < 1)  # torchmetrics puts exactly 1 into a bin of its own
    theirs = multiclass_calibration_error(
        torch.tensor(rows).float(), torch.tensor(label), classes, 15, norm="l1"
    )
    assert ece(rows.max(-1), best == label) == pytest.approx(float(theirs), abs=1e-5)
    found = reliability(rows.max(-1), best == label)
    gaps = np.nansum(found.count / n * np.abs(found.accuracy - found.confidence))
    assert gaps == pytest.approx(float(theirs), abs=1e-5)


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
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.floats(0, 1), st.floats(0, 1))
def test_mcnemar_is_statsmodels(seed, n, one, other):
    rng = np.random.default_rng(seed)
    first, second = rng.random(n) < one, rng.random(n) < other
    found = mcnemar(first, second)
    table = np.array(
        [[((first == a) & (second == b)).sum() for b in (True, False)] for a in (True, False)]
    )
    assert found.p == pytest.approx(their_mcnemar(table, exact=True).pvalue)
    assert (found.n, found.only_first, found.only_second) == (n, table[0, 1], table[1, 0])
    assert (found.first, found.second) == pytest.approx((first.mean(), second.mean()))
    assert found.difference == pytest.approx(second.mean() - first.mean())
    assert found.low <= found.high


@settings(deadline=None)
@given(*ANY_SIZE)
def test_worst_group_is_pandas(seed, n, groups):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"right": rng.random(n) < 0.5, "group": rng.integers(0, groups, n).astype(str)}
    )
    means = frame.groupby("group").right.mean()
    name, value = metrics.worst_group(frame.right.to_numpy(), frame.group)
    assert value == means.min() == means[name]
    assume(len(means) > 1)
    rest = means.drop(name)
    other, value = metrics.worst_group(frame.right.to_numpy(), frame.group, ignore=[name])
    assert (other in rest.index, value) == (True, rest.min())


def test_worst_group_by_hand():
    right = np.array([1, 0, 1, 1, 0, 0], bool)
    groups = ["a", "a", "b", "b", "Other", "Other"]
    assert metrics.worst_group(right, groups) == ("Other", 0.0)
    assert metrics.worst_group(right, groups, ["Other"]) == ("a", 0.5)
    assert metrics.worst_group(np.array([1, 0, 0, 1]), [2, 2, 1, 1]) == (
        1,
        0.5,
    )  # of equals the first by name
    with pytest.raises(ConfigError, match="no image is in a group"):
        metrics.worst_group(right, groups, ["a", "b", "Other"])


# --- by hand


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
    "worst_group": metrics.worst_group,
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


def test_models_on_other_images_are_not_compared():
    with pytest.raises(ConfigError, match="3 and 2 values") as caught:
        mcnemar(np.ones(3, bool), np.ones(2, bool))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="unpack"):
        resampled({"a": metrics.mean(np.ones(3)), "b": metrics.mean(np.ones(2))})


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


# --- statistics and their resamples


@settings(deadline=None)
@given(*ANY_SIZE, st.sampled_from(STATISTICS))
def test_a_statistic_is_its_plain_form(seed, n, classes, name):
    given_ = draw(seed, n, classes)
    statistic = of_all_classes(name)(*given_)
    assert statistic.value == pytest.approx(plain(name, *given_))
    assert statistic.of(np.ones((1, n))).tolist() == [statistic.value]


@settings(deadline=None, max_examples=40)
@given(*ANY_SIZE, st.sampled_from(STATISTICS), st.integers(0, 5))
def test_resampling_is_picking_rows(seed, n, classes, name, draws):
    given_ = draw(seed, n, classes)
    found = resampled({"it": of_all_classes(name)(*given_)}, 6, draws)["it"]
    picks = np.random.default_rng([draws, n]).integers(0, n, (6, n))
    want = [plain(name, *(part[rows] for part in given_)) for rows in picks]
    np.testing.assert_allclose(found, want, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(*ANY_SIZE, st.sampled_from(STATISTICS))
def test_an_image_may_count_several_times_or_not_at_all(seed, n, classes, name):
    given_ = draw(seed, n, classes)
    counts = np.random.default_rng(seed).multinomial(
        n, np.random.default_rng(seed + 1).dirichlet([0.3] * n), 3
    )
    want = [plain(name, *(np.repeat(part, row) for part in given_)) for row in counts]
    np.testing.assert_allclose(
        of_all_classes(name)(*given_).of(counts.astype(float)), want, atol=1e-12
    )


def test_holding_fewer_resamples_changes_none(monkeypatch):
    given_ = draw(0, 30, 5)
    every = {name: of_all_classes(name)(*given_) for name in STATISTICS}
    whole = resampled(every, 50)
    assert {len(values) for values in whole.values()} == {50}
    for held in (1, 30, 200):  # one, one, and six resamples of 30 images
        monkeypatch.setattr(metrics, "AT_ONCE", held)
        for name, values in resampled(every, 50).items():
            np.testing.assert_allclose(values, whole[name], rtol=1e-12)


def test_parts_may_be_dense_or_sparse():
    given_ = draw(1, 40, 4)
    statistic = metrics.f1(*given_[:2])
    assert sparse.issparse(statistic.parts)
    dense = Statistic(statistic.parts.toarray(), statistic.finish)
    found = resampled({"dense": dense, "sparse": statistic}, 30)
    np.testing.assert_allclose(found["dense"], found["sparse"])


def test_resamples_of_one_seed_are_paired():
    rng = np.random.default_rng(0)
    a, b = rng.random(60), rng.random(60)
    apart = [resampled({"x": metrics.mean(values)}, 100)["x"] for values in (a, b)]
    together = resampled({"change": metrics.mean(b - a), "a": metrics.mean(a)}, 100)
    np.testing.assert_allclose(apart[1] - apart[0], together["change"])
    np.testing.assert_array_equal(apart[0], together["a"])
    assert (resampled({"x": metrics.mean(a)}, 100, seed=1)["x"] != apart[0]).any()


@pytest.mark.parametrize("name", STATISTICS)
def test_a_model_differs_from_itself_in_no_resample(name):
    given_ = draw(3, 50, 6)
    one, same = (of_all_classes(name)(*given_) for _ in range(2))
    draws = resampled({"one": one, "same": same}, 200)
    assert (draws["one"] == draws["same"]).all()
    assert np.ptp(draws["one"]) > 0
    right = given_[0] == given_[1]
    found = mcnemar(right, right)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_a_paired_interval_is_narrower():
    """Two models that err on the same images differ more surely than their own intervals tell."""
    rng = np.random.default_rng(0)
    first = rng.random(400) < 0.5
    second = first | (rng.random(400) < 0.05)
    found = mcnemar(first, second)
    alone = interval(resampled({"": metrics.mean(first)})[""])
    assert found.low > 0 and found.p < 0.05
    assert found.high - found.low < (alone[1] - alone[0]) / 2


def test_the_interval_of_a_mean_is_the_textbooks():
    values = np.random.default_rng(5).normal(3, 2, 500)
    low, high = interval(resampled({"": metrics.mean(values)})[""])
    error = values.std(ddof=1) / np.sqrt(500)
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.25 * error
    )


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(0)
    sets = {number: metrics.mean(rng.normal(0, 1, 60)) for number in range(400)}
    draws = resampled(sets, 400)
    covered = [low <= 0 <= high for low, high in map(interval, draws.values())]
    assert 0.90 < np.mean(covered) < 0.98
    fewer = [low <= 0 <= high for low, high in (interval(values, 0.5) for values in draws.values())]
    assert 0.42 < np.mean(fewer) < 0.58
