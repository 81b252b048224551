"""DaWin, its output-space twin and VRF: formulas against NumPy and SciPy, and their limits."""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy import optimize, special, stats
from test_posthoc import property_test, seeds

from clipft.errors import ConfigError
from clipft.methods import POSTHOC
from clipft.posthoc.dawin import (
    DaWin,
    apply_dawin,
    apply_dawin_output,
    beta_means,
    entropy,
    expertise,
    offset_of,
)
from clipft.posthoc.per_image import PerImage, Seen, log_mixture, temperature
from clipft.posthoc.vrf import CENTRES, VRF, WIDTHS, apply_vrf, distances, neighbours, weight_of

INFINITE = float("inf")


def drawn(seed, *shape):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=torch.float32)


def warm(*values):
    return torch.tensor(values, dtype=torch.float64)


def seen(seed=0, images=20):
    features = torch.nn.functional.normalize(drawn(seed + 2, images, 5), dim=-1)
    return Seen(3 * drawn(seed, images, 4), 5 * drawn(seed + 1, images, 4), features)


class HeldOutLogits:
    """Held-out and training images of two models, which are called by their names."""

    def __init__(self, seed=0, images=40):
        self.labels = torch.randint(4, (images,), generator=torch.manual_seed(seed))
        right = 2 * torch.nn.functional.one_hot(self.labels, 4)
        self.of = {
            "start": drawn(seed, images, 4) + right,
            "end": drawn(seed + 1, images, 4) + 2 * right,
        }
        self.features = torch.nn.functional.normalize(drawn(seed + 2, images, 5), dim=-1)
        self.right = {"start": torch.arange(images) % 2 == 0, "end": torch.arange(images) % 3 > 0}

    def logits(self, weights):
        return self.of[weights]

    def outputs(self, weights):
        return self.features, self.of[weights]

    def train_features(self, weights):
        return self.features.flip(0), self.right[weights]


# --- temperature and mixture


@property_test
@given(seeds, st.floats(0.2, 5))
def test_temperature_is_that_of_scipy(seed, scale):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((50, 4)) * scale
    labels = np.array([rng.choice(4, p=special.softmax(row)) for row in logits])
    found = temperature(torch.tensor(logits), torch.tensor(labels))

    def nll(log_cold):
        logs = special.log_softmax(np.exp(log_cold) * logits, axis=1)
        return -logs[np.arange(50), labels].mean()

    best = optimize.minimize_scalar(nll, bounds=(-np.log(20), np.log(20)), method="bounded")
    assert nll(-np.log(found)) <= best.fun + 1e-9


def test_bounds_and_scale_of_a_temperature():
    held = HeldOutLogits()
    plain = temperature(held.of["start"], held.labels)
    assert temperature(3 * held.of["start"], held.labels) == pytest.approx(3 * plain)
    always = torch.nn.functional.one_hot(held.labels, 4).float()
    assert temperature(always, held.labels) == pytest.approx(1 / 20)
    assert temperature(-always, held.labels) == pytest.approx(20)


@property_test
@given(seeds, st.floats(0, 1), st.floats(0.5, 2), st.floats(0.5, 2))
def test_mixture_formula(seed, share, warm0, warm1):
    zero, tuned, _ = seen(seed % 1000)
    found = log_mixture(zero, tuned, torch.full((20,), share), warm(warm0, warm1))
    p0 = special.softmax(zero.double().numpy() / warm0, axis=1)
    p1 = special.softmax(tuned.double().numpy() / warm1, axis=1)
    np.testing.assert_allclose(found.exp(), (1 - share) * p0 + share * p1, rtol=1e-4, atol=1e-7)


def test_ends_of_a_mixture_and_masked_classes():
    zero, tuned, _ = seen()
    for share, end in ((0.0, zero / 2), (1.0, tuned / 3)):
        found = log_mixture(zero, tuned, torch.full((20,), share), warm(2, 3))
        torch.testing.assert_close(found, end.log_softmax(-1))
    masked = torch.tensor([0, -torch.inf, 0, 0])
    found = log_mixture(zero + masked, tuned + masked, torch.full((20,), 0.5), warm(1, 1))
    assert (found[:, 1] == -torch.inf).all()
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(20))


# --- DaWin


def released(zs_logits, ft_logits, temperatures, *, adjusts):
    """The release's lines on its coefficient, main_dawin.py, in NumPy."""
    found = []
    for logits, warmth in zip((zs_logits, ft_logits), temperatures, strict=True):
        chances = special.softmax(logits / warmth, axis=1)
        found.append(special.entr(chances).sum(1))
    zs_ent, ft_ent = found
    bias, biasw = 0.0, 2.0
    if adjusts:
        bias = (zs_ent.std(ddof=1) / zs_ent.mean() + ft_ent.std(ddof=1) / ft_ent.mean()) / 2
        biasw = (zs_ent.mean() + ft_ent.mean()) / zs_ent.mean()
    return (np.exp(-ft_ent) + bias / biasw) / (np.exp(-zs_ent) + np.exp(-ft_ent) + bias)


def rule(*, offset=True, components=0, points=11, temperatures=(0.96, 1.0066)):
    numbers = {"offset": offset, "components": components, "points": points}
    fitted = {name: torch.tensor(value) for name, value in numbers.items()}
    return DaWin(fitted | {"temperatures": warm(*temperatures)})


@pytest.mark.parametrize("offset", [True, False])
def test_coefficients_are_the_releases(offset):
    given_logits = seen()
    made = rule(offset=offset)
    measured = made.measure(given_logits)
    found = made.coefficients(measured, measured)
    numbers = [logits.double().numpy() for logits in given_logits[:2]]
    want = released(*numbers, (0.96, 1.0066), adjusts=offset)
    np.testing.assert_allclose(found, want, rtol=1e-10)
    assert made.sees_set == offset
    # of a part of the images by the offset of all
    torch.testing.assert_close(made.coefficients(measured[3:7], measured), found[3:7])


@property_test
@given(seeds, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.booleans())
def test_coefficients_are_fractions(seed, scale0, scale1, offset):
    zero, tuned, features = seen(seed % 1000)
    made = rule(offset=offset)
    measured = made.measure(Seen(scale0 * zero, scale1 * tuned, features))
    found = made.coefficients(measured, measured)
    assert found.isfinite().all() and ((found >= 0) & (found <= 1)).all()


def test_equal_entropies_are_mixed_evenly():
    zero, _, features = seen()
    for offset in (True, False):
        made = rule(offset=offset, temperatures=(1, 1))
        measured = made.measure(Seen(zero, zero.flip(-1), features))
        torch.testing.assert_close(made.coefficients(measured, measured), warm(*[0.5] * 20))


def test_entropies_and_offsets_at_their_limits():
    assert entropy(torch.zeros(1, 4), 2.0).item() == pytest.approx(np.log(4))
    alone = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    assert entropy(alone, 1.0).item() == 0
    assert offset_of(torch.ones(1, 2).double()) == (0, 0)
    assert offset_of(torch.zeros(5, 2).double()) == (0, 0)
    assert expertise(warm(0, 50)[None]).item() == pytest.approx(0, abs=1e-12)


def test_the_grid_rounds():
    wanted = warm(0, 0.04, 0.3, 0.449, 0.96, 1)
    np.testing.assert_allclose(rule().nearest(wanted), [0, 0, 0.3, 0.4, 1, 1])
    assert rule(points=2).nearest(wanted).tolist() == [0, 0, 0, 0, 1, 1]
    assert torch.equal(rule(components=3).nearest(wanted), wanted)


def in_numpy(values, rounds=300):
    """EM for three Beta distributions as in the release's mixturemodel.py, from thirds."""
    parts = np.array_split(np.sort(values), 3)
    edges = [(parts[0][-1] + parts[1][0]) / 2, (parts[1][-1] + parts[2][0]) / 2]
    shares = np.eye(3)[np.digitize(values, edges)]
    for _ in range(rounds):
        counts = shares.sum(0)
        mean = shares.T @ values / counts
        variance = np.minimum(shares.T @ values**2 / counts - mean**2, mean * (1 - mean) / 4)
        factor = mean * (1 - mean) / variance - 1
        logs = stats.beta.logpdf(values[:, None], mean * factor, (1 - mean) * factor)
        logs = logs + np.log(counts / counts.sum())
        shares = special.softmax(logs, axis=1)
    return mean[shares.argmax(1)]


def test_beta_mixture_is_that_of_numpy():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.beta(5, 40, 200), rng.beta(50, 50, 300), rng.beta(60, 6, 250)])
    found = beta_means(torch.tensor(values)).numpy()
    np.testing.assert_allclose(found, in_numpy(values), atol=2e-3)
    assert len(np.unique(found)) == 3
    np.testing.assert_allclose(np.unique(found), [5 / 45, 0.5, 60 / 66], atol=0.02)


@pytest.mark.parametrize("values", [[0.3] * 6, [0.0, 1.0, 1.0], [0.2, 0.7], [0.5]])
def test_few_values_are_their_own_components(values):
    found = beta_means(torch.tensor(values, dtype=torch.float64))
    np.testing.assert_allclose(found, values, atol=1e-4)


@property_test
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 5))
def test_beta_means_are_fractions(values, components):
    found = beta_means(torch.tensor(values, dtype=torch.float64), components)
    assert found.isfinite().all() and ((found >= 0) & (found <= 1)).all()
    assert len(found.unique()) <= components


def test_in_clusters_an_image_has_the_mean_of_its_component():
    made = rule(components=2)
    measured = made.measure(seen(images=60))
    found = made.coefficients(measured, measured)
    assert len(found.unique()) == 2
    assert torch.equal(made.coefficients(measured[10:30], measured), found[10:30])
    assert torch.equal(found, beta_means(expertise(measured, offset_of(measured)), 2))


def test_what_dawin_fits():
    held = HeldOutLogits()
    fitted = apply_dawin("start", ["end"], held)
    want = [temperature(held.of[name], held.labels) for name in ("start", "end")]
    assert fitted["temperatures"].tolist() == want
    numbers = {name: value.item() for name, value in fitted.items() if name != "temperatures"}
    assert numbers == {"points": 11, "offset": True, "components": 0}
    clusters = apply_dawin("start", ["end"], held, by="beta", components=5)
    assert clusters["components"].item() == 5
    twin = apply_dawin_output("start", ["end"], held, offset=False)
    assert not twin["offset"] and twin["temperatures"].tolist() == want
    with pytest.raises(ConfigError, match="a grid of 1 alphas"):
        apply_dawin("start", ["end"], held, points=1)
    with pytest.raises(ConfigError, match="a mixture of 0 components"):
        apply_dawin("start", ["end"], held, by="beta", components=0)


# --- VRF


@pytest.mark.parametrize(
    ("failures", "images", "want"), [(130, 1300, 100), (1, 10000, 1), (0, 100, 1), (8, 24, 8)]
)
def test_neighbours(failures, images, want):
    assert neighbours(failures, images) == want


@property_test
@given(seeds, st.integers(1, 7))
def test_distances_are_those_of_numpy(seed, count):
    features = torch.nn.functional.normalize(drawn(seed, 9, 5), dim=-1)
    failures = torch.nn.functional.normalize(drawn(seed + 1, 7, 5), dim=-1)
    squares = (features.double().numpy()[:, None] - failures.double().numpy()[None]) ** 2
    want = np.sort(squares.sum(-1), axis=1)[:, count - 1]
    np.testing.assert_allclose(distances(features, failures, count), want, atol=1e-5)


def vrf(**changes):
    numbers = {"a": 1.5, "b": 0.6, "neighbours": 2} | changes
    failures = torch.nn.functional.normalize(drawn(7, 6, 5), dim=-1)
    fitted = {name: torch.as_tensor(value) for name, value in numbers.items()}
    return VRF({"temperatures": warm(1.3, 0.7), "failures": failures} | fitted)


def test_vrf_is_the_releases():
    """main.py: z = -(x - a) / b, w = 1 / (1 + exp(-z)), (1 - w) p0 + w p1."""
    given_logits = seen()
    made = vrf()
    measured = made.measure(given_logits)
    found = made.mixed(*given_logits[:2], made.coefficients(measured, measured))
    x = distances(given_logits.features, made.fitted["failures"], 2).double().numpy()[:, None]
    z = -(x - 1.5) / 0.6
    w = 1 / (1 + np.exp(-z))
    zs_probs = (1 - w) * special.softmax(given_logits.zero_shot.double().numpy() / 1.3, axis=-1)
    ft_probs = w * special.softmax(given_logits.tuned.double().numpy() / 0.7, axis=-1)
    np.testing.assert_allclose(found.exp(), zs_probs + ft_probs, rtol=1e-5, atol=1e-7)


def test_limits_of_vrf():
    given_logits = seen()
    for made, share in ((vrf(b=1e9), 0.5), (vrf(failures=torch.empty(0, 5)), 0.0)):
        measured = made.measure(given_logits)
        found = made.coefficients(measured, measured)
        torch.testing.assert_close(found, torch.full((20,), share, dtype=torch.float64))
    assert weight_of(warm(0, INFINITE), 1.5, 1e-3).tolist() == [1, 0]


def test_what_vrf_fits():
    held = HeldOutLogits()
    options = POSTHOC["vrf"].completed({"b": 0.3})
    fitted = apply_vrf("start", ["end"], held, **options)
    assert (fitted["a"].item(), fitted["b"].item()) == pytest.approx((1.5, 0.3))
    is_failure = held.right["end"] & ~held.right["start"]
    assert torch.equal(fitted["failures"], held.features.flip(0)[is_failure])
    assert fitted["neighbours"].item() == is_failure.sum().item()
    assert (
        fitted["temperatures"].tolist()
        == apply_dawin("start", ["end"], held)["temperatures"].tolist()
    )
    with pytest.raises(ConfigError, match="b is 0, expected a width above 0"):
        apply_vrf("start", ["end"], held, b=0, choose=False)


def test_a_and_b_are_chosen_by_held_out_accuracy():
    held = HeldOutLogits()
    fitted = apply_vrf("start", ["end"], held)
    far = distances(held.features, fitted["failures"], int(fitted["neighbours"]))

    def right(a, b):
        mixed = log_mixture(*held.of.values(), weight_of(far, a, b), fitted["temperatures"])
        return (mixed.argmax(-1) == held.labels).sum().item()

    found = right(fitted["a"], fitted["b"])
    assert found == max(right(a, b) for a in CENTRES for b in WIDTHS)
    nearer = []
    for a in CENTRES:
        for b in WIDTHS:
            if abs(a - 1.5) + abs(b - 0.6) < abs(fitted["a"] - 1.5) + abs(fitted["b"] - 0.6) - 1e-6:
                nearer.append(right(a, b))
    assert all(other < found for other in nearer)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("vrf", {"a": 1.0, "choose": True}, "vrf is given a, and shall choose it"),
        ("dawin", {"by": "gamma"}, "unknown by 'gamma'"),
        ("dawin", {"points": 0}, "option points of dawin is 0"),
        ("dawin_output", {"points": 3}, "unknown option of dawin_output 'points'"),
    ],
)
def test_options_that_are_refused(name, options, words):
    with pytest.raises(ConfigError, match=words) as caught:
        POSTHOC[name].check(1, options)
    assert "\n" not in str(caught.value)


def test_a_rule_says_what_it_measures_and_mixes():
    plain = PerImage({})
    for ask in (lambda: plain.measure(seen()), lambda: plain.coefficients(warm(1), warm(1))):
        with pytest.raises(NotImplementedError):
            ask()
