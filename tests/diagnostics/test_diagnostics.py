"""Diagnostics against NumPy and SciPy."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from scipy import stats

from clipft.diagnostics import energy_gap as diagnostics
from clipft.diagnostics.energies import second_moment, unit
from clipft.diagnostics.energy_gap import energy_gap, measure_gap
from clipft.diagnostics.feature_distortion import feature_distortion
from clipft.diagnostics.weight_path import layer_distances
from clipft.errors import ConfigError
from clipft.metrics.correlation import correlation, effective_robustness, leave_one_out
from clipft.metrics.curves import FINEST, barrier, kinks
from clipft.metrics.distortion_test import distortion_test
from clipft.metrics.intervals import bca

sizes = st.tuples(st.integers(1, 8), st.integers(1, 10), st.integers(2, 12))
seeds = st.integers(0, 2**32 - 1)


def embeddings(seed, *shape):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape) * 4)


def same_images(n, m, d, seed=0):
    """N images by the tuned and the zero-shot model, and M texts of length one."""
    return embeddings(seed, n, d), embeddings(seed + 1, n, d), unit(embeddings(seed + 2, m, d))


def rows_of_length_one(x):
    x = np.asarray(x)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@settings(deadline=None)
@given(sizes, seeds, st.floats(0.1, 100))
def test_energy_gap_by_texts_by_moment_and_by_hand(size, seed, scale):
    images, anchors, texts = same_images(*size, seed)
    change = rows_of_length_one(images) - rows_of_length_one(anchors)
    matrix = scale * change @ texts.numpy().T  # (N, M)
    by_texts = energy_gap(images, anchors, texts, scale)
    by_moment = energy_gap(images, anchors, moment=second_moment(texts, scale))
    np.testing.assert_allclose(by_texts, (matrix**2).mean(1), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(by_moment, (matrix**2).mean(1), rtol=1e-6, atol=1e-9)


@settings(deadline=None)
@given(sizes, seeds)
def test_feature_distortion(size, seed):
    images, anchors, _ = same_images(*size, seed)
    raw = np.linalg.norm(images.numpy() - anchors.numpy(), axis=1)
    normalised = np.linalg.norm(rows_of_length_one(images) - rows_of_length_one(anchors), axis=1)
    np.testing.assert_allclose(feature_distortion(images, anchors), raw, rtol=1e-9)
    np.testing.assert_allclose(
        feature_distortion(images, anchors, normalised=True), normalised, rtol=1e-7, atol=1e-9
    )


def test_length_alone_is_distortion_but_no_energy_gap():
    images = embeddings(0, 5, 8)
    texts = unit(embeddings(1, 6, 8))
    longer = 2 * images
    np.testing.assert_allclose(energy_gap(longer, images, texts, 100.0), 0, atol=1e-20)
    np.testing.assert_allclose(feature_distortion(longer, images), images.norm(dim=-1))
    np.testing.assert_allclose(feature_distortion(longer, images, normalised=True), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, t: energy_gap(x, x), "needs texts"),
        (lambda x, t: energy_gap(x, x, t[:, :-1]), "images have 8 dimensions, texts 7"),
        (lambda x, t: energy_gap(x, x[:-1], t), r"\(5, 8\) and \(4, 8\)"),
        (lambda x, t: feature_distortion(x, x[:-1]), r"\(5, 8\) and \(4, 8\)"),
    ],
)
def test_what_does_not_fit(call, words):
    with pytest.raises(ConfigError, match=words):
        call(embeddings(0, 5, 8), unit(embeddings(1, 6, 8)))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(*[st.floats(-1e3, 1e3).map(lambda v: round(v, 3))] * 2), min_size=4, max_size=40
    )
)
def test_correlation_is_pearsons(points):
    x, y = np.array(points).T
    assume(np.ptp(x) > 0.1 and np.ptp(y) > 0.1)
    theirs = stats.pearsonr(x, y)
    found = correlation(x, y)
    interval = theirs.confidence_interval(0.95)
    want = (theirs.statistic, interval.low, interval.high)
    assert (found.r, found.low, found.high) == pytest.approx(want, abs=1e-12)
    assert found.n == len(points)


def test_the_interval_is_fishers():
    x = np.arange(10.0)
    y = np.array([0, 2, 1, 3, 5, 4, 6, 9, 8, 7.0])
    found = correlation(x, y)
    z = np.arctanh(np.corrcoef(x, y)[0, 1])
    want = np.tanh(z + np.array([-1, 1]) * 1.959964 / np.sqrt(7))
    assert (found.low, found.high) == pytest.approx(tuple(want))
    assert str(found) == f"r = {found.r:.2f} [{found.low:.2f}, {found.high:.2f}], n = 10"


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([], []),
        ([1], [2]),
        ([1, 2], [1, 2]),
        ([1, 1, 1, 1], [1, 2, 3, 4]),
        ([1, 2, 3, 4], [0.1] * 4),
    ],
)
def test_correlation_that_does_not_exist(x, y):
    found = correlation(x, y)
    assert np.isnan([found.r, found.low, found.high]).all()
    assert str(found) == f"r undefined (n = {len(x)})"


def test_three_points_have_no_interval():
    found = correlation([1, 2, 3], [1, 2, 2])
    assert found.r == pytest.approx(np.sqrt(3) / 2)
    assert (found.low, found.high) == (-1, 1)


def test_correlation_wants_pairs():
    with pytest.raises(ConfigError, match="one y for each x"):
        correlation([1, 2, 3], [1, 2])
    with pytest.raises(ConfigError, match="2 groups for 3 points"):
        correlation([1, 2, 3], [1, 2, 2], ["a", "b"])


@given(st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=4, max_size=30))
def test_rank_correlations_are_scipys(points):
    x, y = np.array(points, float).T
    assume(np.ptp(x) > 0 and np.ptp(y) > 0)
    found = correlation(x, y)
    assert found.spearman == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.kendall == pytest.approx(stats.kendalltau(x, y).statistic)
    assert found.ranks == f"Spearman's rho {found.spearman:.2f}, Kendall's tau {found.kendall:.2f}"


def grouped_points(groups, each, seed=0, r=-0.8, within=0.2):
    """Points of groups that are far apart, each group's own near one another: x, y, group."""
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky([[1, r], [r, 1]])
    centres = rng.normal(size=(groups, 1, 2)) @ root.T
    points = centres + within * rng.normal(size=(groups, each, 2)) @ root.T
    x, y = points.reshape(-1, 2).T
    names = [f"{group:02d}" for group in range(groups)]
    return x, y, np.repeat(names, each).tolist()


def test_the_interval_of_groups_is_a_cluster_bootstraps_or_fishers_of_so_many_points():
    x, y, groups = grouped_points(12, 3, seed=2)
    found = correlation(x, y, groups)
    alone = correlation(x, y)
    assert (found.r, found.n, found.recipes, alone.recipes) == (alone.r, 36, 12, None)
    assert found.low < alone.low and alone.high < found.high
    assert str(found) == str(alone).split(" [")[0] + (
        f" [{found.low:.2f}, {found.high:.2f}], n = 36 of 12 recipes"
    )

    fishers = np.tanh(np.arctanh(found.r) + 1.959964 * np.array([-1, 1]) / 3)
    picks = np.random.default_rng([0, 12]).integers(0, 12, (1000, 12))
    rows = [np.concatenate([3 * group + np.arange(3) for group in some]) for some in picks]
    draws = np.array([np.corrcoef(x[some], y[some])[0, 1] for some in rows])
    kept = [np.array(groups) != group for group in sorted(set(groups))]
    without = np.array([np.corrcoef(x[some], y[some])[0, 1] for some in kept])
    clusters = bca(found.r, draws, [without])
    assert found.low == pytest.approx(min(fishers[0], clusters[0]))
    assert found.high == pytest.approx(max(fishers[1], clusters[1]))
    assert correlation(x, y, groups) == found  # the same draws each time
    turned = correlation(x[::-1], y[::-1], groups[::-1])
    assert (turned.low, turned.high) == pytest.approx((found.low, found.high))


def test_a_copy_of_every_point_says_nothing_new():
    x, y, _ = grouped_points(15, 1, seed=3)
    once = correlation(x, y, list(range(15)))
    assert once == correlation(x, y)  # each is a group of its own
    twice = correlation(np.repeat(x, 2), np.repeat(y, 2), np.repeat(np.arange(15), 2).tolist())
    assert twice.low <= once.low + 1e-9 and once.high - 1e-9 <= twice.high
    assert correlation(np.repeat(x, 2), np.repeat(y, 2)).high < once.high


def test_the_interval_of_groups_holds_the_truth_and_that_of_points_does_not():
    """400 trials of 8 recipes with 2 seeds: bounds as a true 95 % would have them once in 10^4."""
    held = {"groups": 0, "points": 0}
    for trial in range(400):
        x, y, groups = grouped_points(8, 2, seed=trial)
        for name, found in (("groups", correlation(x, y, groups)), ("points", correlation(x, y))):
            held[name] += found.low <= -0.8 <= found.high
    assert held["groups"] >= stats.binom.ppf(1e-4, 400, 0.95)
    assert held["points"] < stats.binom.ppf(1e-4, 400, 0.95)


@pytest.mark.parametrize("recipes", [1, 2, 3])
def test_few_groups_have_no_interval(recipes):
    x, y, groups = grouped_points(recipes, 4)
    found = correlation(x, y, groups)
    assert (found.low, found.high, found.recipes) == (-1, 1, recipes)


def test_groups_on_one_value_leave_an_interval():
    """Drawn over and over, or left alone, they have no r."""
    found = correlation([0, 0, 0, 0, 0, 0, 1, 2], [1, 1, 2, 2, 1, 1, 5, 6], list("aabbccdd"))
    assert -1 <= found.low <= found.r <= found.high <= 1


# --- the energy gap with its errors


def plain_gap(images, anchors, texts, scale):
    """The N x M matrix of squared changes of energy."""
    change = rows_of_length_one(images.numpy()) - rows_of_length_one(anchors.numpy())
    return (scale * change @ texts.numpy().T) ** 2


def plain_error(values):
    return np.sqrt(((values - values.mean()) ** 2).sum() / (len(values) - 1) / len(values))


many = st.tuples(st.integers(2, 23), st.integers(2, 23), st.integers(2, 9))


@settings(deadline=None)
@given(many, seeds, st.integers(1, 7))
def test_the_gap_in_parts_is_the_gap_of_the_matrix(size, seed, rows):
    n, m, d = size
    images = embeddings(seed, n, d).float()
    anchors = embeddings(seed + 1, n, d).float()
    texts = unit(embeddings(seed + 2, m, d).float())
    matrix = plain_gap(images.double(), anchors.double(), texts.double(), 14.0)
    with mock.patch.object(diagnostics, "ROWS", rows):
        per_image = energy_gap(images, anchors, texts, 14.0)
        gap = measure_gap(images, anchors, texts, 14.0)
    size = matrix.mean()
    np.testing.assert_allclose(per_image, matrix.mean(1), rtol=1e-5, atol=1e-5 * size)
    np.testing.assert_allclose(gap.per_image, matrix.mean(1), rtol=1e-5, atol=1e-5 * size)
    np.testing.assert_allclose(gap.per_text, matrix.mean(0), rtol=1e-5, atol=1e-5 * size)
    assert gap.mean == pytest.approx(size, rel=1e-5)


@settings(deadline=None)
@given(many, seeds, st.floats(0.1, 100))
def test_the_errors_of_the_gap(size, seed, scale):
    images, anchors, texts = same_images(*size, seed)
    matrix = plain_gap(images, anchors, texts, scale)
    gap = measure_gap(images, anchors, texts, scale)
    by_image = plain_error(matrix.mean(1))
    by_text = plain_error(matrix.mean(0))
    near = {"rel": 1e-6, "abs": 1e-9 * matrix.mean()}
    assert gap.mean == pytest.approx(matrix.mean(), rel=1e-9) and gap.scale == scale
    assert (gap.image_error, gap.text_error) == pytest.approx((by_image, by_text), **near)
    assert gap.error == pytest.approx((by_image**2 + by_text**2) ** 0.5, **near)


def test_twice_the_scale_is_four_times_the_gap():
    images, anchors, texts = same_images(7, 9, 5)
    once = measure_gap(images, anchors, texts, 3.0)
    twice = measure_gap(images, anchors, texts, 6.0)
    want = (4 * once.mean, 4 * once.image_error, 4 * once.text_error)
    assert (twice.mean, twice.image_error, twice.text_error) == pytest.approx(want)


def test_the_gap_of_each_class():
    images, anchors, texts = same_images(8, 9, 5)
    labels = np.array([3, 0, 3, 1, 0, 3, 1, 3])
    per_image = plain_gap(images, anchors, texts, 2.0).mean(1)
    found = measure_gap(images, anchors, texts, 2.0).per_class(labels, 6)
    want = [per_image[labels == c].mean() for c in (0, 1, 3)]
    np.testing.assert_allclose(found[[0, 1, 3]], want)
    assert len(found) == 6 and np.isnan(found[[2, 4, 5]]).all()


def test_one_image_has_no_error_over_images():
    gap = measure_gap(*same_images(1, 9, 5), 2.0)
    assert np.isnan(gap.image_error) and np.isnan(gap.error)
    assert gap.mean > 0 and gap.text_error > 0


@pytest.mark.parametrize("measure", [energy_gap, measure_gap])
def test_a_gap_of_no_images_or_of_others_is_refused(measure):
    x = embeddings(0, 5, 8)
    texts = unit(embeddings(1, 6, 8))
    for images, anchors, words in [
        (x[:0], x[:0], "no images"),
        (x, x[:4], r"\(5, 8\) and \(4, 8\)"),
        (x[:, :7], x[:, :7], "images have 7 dimensions, texts 8"),
    ]:
        with pytest.raises(ConfigError, match=words) as raised:
            measure(images, anchors, texts, 1.0)
        assert "\n" not in str(raised.value)


def test_no_features_have_no_distortion():
    with pytest.raises(ConfigError, match="no images"):
        feature_distortion(torch.zeros(0, 4), torch.zeros(0, 4))


# --- the prediction of feature-distortion theory

values = st.lists(st.floats(0, 50).map(lambda v: round(v, 2)), min_size=2, max_size=20).map(
    np.array
)


@settings(deadline=None)
@given(values, values)
def test_distortion_is_compared_by_welchs_interval(reference, shift):
    assume(np.ptp(reference) > 0.05 and np.ptp(shift) > 0.05)
    found = distortion_test(reference, shift)
    theirs = stats.ttest_ind(reference, shift, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert (found.reference, found.shifted) == pytest.approx((reference.mean(), shift.mean()))
    assert found.difference == pytest.approx(reference.mean() - shift.mean())
    assert found.low <= found.difference <= found.high


@pytest.mark.parametrize(("by", "verdict"), [(5.0, "holds"), (-5.0, "fails"), (0.1, "open")])
def test_the_verdict_is_where_the_interval_lies(by, verdict):
    shift = np.random.default_rng(0).normal(10, 1, 30)
    found = distortion_test(shift[::-1] + by, shift)
    assert found.verdict == verdict
    lies = {"holds": found.low > 0, "fails": found.high < 0, "open": found.low <= 0 <= found.high}
    assert lies[verdict]


@pytest.mark.parametrize(("reference", "verdict"), [(3.0, "holds"), (1.0, "fails"), (2.0, "open")])
def test_distortion_without_spread(reference, verdict):
    found = distortion_test(np.full(4, reference), np.full(3, 2.0))
    assert (found.reference, found.shifted, found.difference) == (reference, 2.0, reference - 2.0)
    assert (found.low, found.high, found.verdict) == (found.difference, found.difference, verdict)


def test_distortion_without_spread_on_one_side():
    shift = np.array([1.0, 2.0, 4.0, 5.0])
    found = distortion_test(np.full(6, 3.5), shift)
    # Welch's degrees of freedom: those of the one that varies
    width = stats.t.ppf(0.975, 3) * shift.std(ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((0.5 - width, 0.5 + width))


@pytest.mark.parametrize(("n", "m"), [(1, 5), (5, 1), (0, 5)])
def test_one_image_cannot_be_tested(n, m):
    with pytest.raises(ConfigError, match=f"{n} reference and {m} shifted images"):
        distortion_test(np.arange(n, dtype=float), np.arange(m, dtype=float))


# --- correlation without a group


def test_without_each_group_in_turn():
    draw = np.random.default_rng(1)
    x = draw.normal(size=15)
    y = draw.normal(size=15)
    groups = list("bbbbbaaaacccccc")
    found = leave_one_out(x, y, groups)
    assert list(found) == ["a", "b", "c"]
    for name, one in found.items():
        rest = [(a, b) for a, b, group in zip(x, y, groups, strict=True) if group != name]
        theirs = stats.pearsonr(*zip(*rest, strict=True))
        interval = theirs.confidence_interval(0.95)
        want = (theirs.statistic, interval.low, interval.high)
        assert (one.r, one.low, one.high) == pytest.approx(want)
        assert one.n == len(rest)


def test_without_the_only_group_nothing_is_left():
    (one,) = leave_one_out([1.0, 2, 3, 4], [1.0, 3, 2, 4], ["ft"] * 4).values()
    assert np.isnan(one.r) and one.n == 0


def test_each_point_needs_a_group():
    with pytest.raises(ConfigError, match="2 groups for 3 points"):
        leave_one_out([1.0, 2, 3], [1.0, 2, 3], ["a", "b"])


# --- effective robustness

fractions = st.floats(0.02, 0.98).map(lambda v: round(v, 3))
pairs = st.lists(st.tuples(fractions, fractions), min_size=2, max_size=12).map(np.array)


@settings(deadline=None)
@given(pairs, st.lists(st.tuples(fractions, fractions), min_size=1, max_size=6).map(np.array))
def test_effective_robustness_is_the_height_above_the_line_in_logits(base, models):
    assume(np.ptp(base[:, 0]) > 0.05)
    x, y = (np.log(column / (1 - column)) for column in base.T)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    logits = y.mean() + slope * (np.log(models[:, 0] / (1 - models[:, 0])) - x.mean())
    found = effective_robustness(models[:, 1], models[:, 0], base[:, 1], base[:, 0])
    np.testing.assert_allclose(found, models[:, 1] - 1 / (1 + np.exp(-logits)), atol=1e-9)


def test_a_model_on_the_line_has_no_effective_robustness():
    logits = np.array([-1.0, 0.2, 0.9, 2.0])
    reference = 1 / (1 + np.exp(-logits))
    shift = 1 / (1 + np.exp(-(0.7 * logits - 0.5)))
    np.testing.assert_allclose(
        effective_robustness(shift, reference, shift[:2], reference[:2]), 0, atol=1e-12
    )


@pytest.mark.parametrize("place", [1, 2, 3])  # not 0: the measured accuracy is in no logit
@pytest.mark.parametrize("value", [0.0, 1.0, 1.2, float("nan")])
def test_effective_robustness_needs_accuracies_inside(place, value):
    fitted = [
        np.array([0.5, 0.6]),
        np.array([0.6, 0.7]),
        np.array([0.4, 0.6]),
        np.array([0.5, 0.8]),
    ]
    fitted[place][0] = value
    with pytest.raises(ConfigError, match="between 0 and 1"):
        effective_robustness(*fitted)


@pytest.mark.parametrize("base", [[0.5], [0.5, 0.5, 0.5]])
def test_a_line_needs_two_baselines(base):
    with pytest.raises(ConfigError, match=f"{len(base)} baseline"):
        effective_robustness(
            np.array([0.5]), np.array([0.6]), np.full(len(base), 0.4), np.array(base)
        )


# --- where a path bends


@settings(deadline=None)
@given(st.integers(2, 9), st.integers(1, 4), seeds)
def test_a_straight_line_has_no_kinks(count, curves, seed):
    draw = np.random.default_rng(seed)
    alphas = np.cumsum(draw.uniform(0.05, 0.4, count))
    line = draw.normal(size=curves) + alphas[:, None] * draw.normal(size=curves)
    assert kinks(list(alphas), line, 1e-9) == []


def test_the_bend_of_any_curve_is_found():
    alphas = [0.0, 0.25, 0.5, 0.75, 1.0]
    flat = np.zeros(5)
    bent = np.maximum(0, np.array(alphas) - 0.5)
    assert kinks(alphas, np.stack([flat, bent], 1), 0.01) == [0.375, 0.625]
    assert kinks(alphas, np.stack([flat, bent], 1), 0.13) == []  # it is 0.125 from the line
    assert kinks(alphas, np.array([0, 1.0, 0, 0, 0])[:, None], 0.01) == [0.125, 0.375, 0.625]
    # uneven steps, straight
    assert kinks([0.0, 0.2, 1.0], np.array([0.0, 0.2, 1.0])[:, None], 1e-6) == []


def test_kinks_come_closer_and_stop():
    alphas = [0.0, 0.25, 0.5, 0.75, 1.0]
    for _ in range(20):
        more = kinks(alphas, np.abs(np.array(alphas) - 0.3)[:, None], 1e-6)
        assert not set(more) & set(alphas)
        alphas = sorted({*alphas, *more})
    assert more == []
    steps = np.diff(alphas)
    assert steps.min() == FINEST and steps.max() == 0.25
    around = np.searchsorted(alphas, 0.3)
    assert steps[around - 1] == FINEST


@pytest.mark.parametrize("tolerance", [0, -0.1, float("nan")])
def test_kinks_need_a_tolerance(tolerance):
    with pytest.raises(ConfigError, match="fraction above 0"):
        kinks([0.0, 0.5, 1.0], np.zeros((3, 1)), tolerance)


# --- the barrier on the path


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9), st.randoms())
def test_the_barrier_is_the_highest_rise_above_the_line(losses, order):
    alphas = [k / (len(losses) - 1) for k in range(len(losses))]
    rises = [
        loss - ((1 - a) * losses[0] + a * losses[-1])
        for a, loss in zip(alphas, losses, strict=True)
    ]
    want = max([0.0, *rises[1:-1]])
    rows = list(zip(alphas, losses, strict=True))
    order.shuffle(rows)
    found = barrier(*zip(*rows, strict=True))
    assert found.height == pytest.approx(want, abs=1e-9) and found.height >= 0
    assert rises[alphas.index(found.alpha)] == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("alphas", [[0.0, 0.5], [0.5, 1.0], [0.5], []])
def test_a_barrier_needs_both_ends(alphas):
    with pytest.raises(ConfigError, match="needs alpha 0 and 1"):
        barrier(alphas, [1.0] * len(alphas))


# --- how far layers moved


@pytest.fixture
def students(model_folder, checkpoint):
    """Both kinds of student of the miniature CLIP."""
    from clipft.models.load import load_clip
    from clipft.models.students import Classifier, TwoTowers

    clip = load_clip(f"local-dir:{model_folder}", checkpoint)
    prompts = torch.zeros(4, 1, 16, dtype=torch.long)
    return Classifier(clip, unit(torch.randn(4, 16)).T, "absorbed"), TwoTowers(clip, prompts)


@pytest.mark.parametrize("kind", [0, 1])
def test_layers_move_as_torch_says(students, kind):
    anchor = students[kind].state_dict()
    draw = torch.Generator().manual_seed(0)
    tuned = {name: x + 0.1 * torch.randn(x.shape, generator=draw) for name, x in anchor.items()}
    for name in tuned:
        if "visual.transformer.resblocks.1." in name:
            tuned[name] = anchor[name].clone()
    found = layer_distances(anchor, tuned)

    def flat(weights, part):
        tensors = [x.flatten() for name, x in weights.items() if part in f".{name}"]
        if part == "head":
            tensors = [weights["weight"].flatten(), weights["bias"]]
        return torch.cat(tensors).double()

    blocks = [name for name in found if name.startswith("visual.transformer.resblocks.")]
    parts = {name: f".{name}." for name in (*blocks, "visual.conv1", "visual.ln_post")}
    parts["visual.proj"] = ".visual.proj"
    if kind == 0:
        parts["head"] = "head"
    else:
        parts["token_embedding"] = ".token_embedding."
    for name, part in parts.items():
        before = flat(anchor, part)
        after = flat(tuned, part)
        moved = (after - before).norm()
        assert found[name] == pytest.approx((float(moved), float(moved / before.norm())))
    assert found["visual.transformer.resblocks.1"] == (0.0, 0.0)
    whole = sum(float((tuned[name] - x).double().square().sum()) for name, x in anchor.items())
    # every tensor counts once
    assert sum(distance**2 for distance, _ in found.values()) == pytest.approx(whole)


def test_both_kinds_of_student_name_vision_layers_alike(students):
    names = [list(layer_distances(one.state_dict(), one.state_dict())) for one in students]
    vision = [[name for name in found if name.startswith("visual.")] for found in names]
    assert vision[0] == vision[1] and len(vision[0]) > 5
    assert "head" in names[0] and "logit_scale" in names[1]


def test_a_layer_that_was_zero_has_no_relative_distance():
    found = layer_distances({"a.weight": torch.zeros(3)}, {"a.weight": torch.ones(3)})
    assert found["a"][0] == pytest.approx(3**0.5) and np.isnan(found["a"][1])
