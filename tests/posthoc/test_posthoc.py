"""Mixing and averaging weights: formulas against NumPy, ends bit for bit, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional as F

from clipft.errors import ConfigError, WeightsError
from clipft.methods import POSTHOC, posthoc
from clipft.posthoc.ensemble import distance, greedy_ensemble, output_ensemble
from clipft.posthoc.fisher import diagonal_fisher, fisher_merge
from clipft.posthoc.soup import greedy_soup, uniform_soup
from clipft.posthoc.tpgm import project, tpgm
from clipft.posthoc.wise import mix_into, wise, wise_head

ANCHOR = {
    "w": torch.tensor([1.0, -0.0, 3e-39]),
    "half": torch.tensor([1.0, 2.0]).half(),
    "count": torch.tensor(7),
}
TUNED = {
    "w": torch.tensor([2.0, 0.0, -0.0]),
    "half": torch.tensor([3.0, 65504.0]).half(),
    "count": torch.tensor(9),
}
HEADED = ("visual.w", "weight", "bias", "logit_scale")

seeds = st.integers(0, 2**32 - 1)
inner = st.floats(0.01, 0.99)
property_test = settings(deadline=None, max_examples=40)


def bits(weights):
    return {name: (tensor.dtype, tensor.numpy().tobytes()) for name, tensor in weights.items()}


def random_weights(seed, names=("a", "b"), shape=(3, 4)):
    rng = np.random.default_rng(seed)
    return {name: torch.tensor(rng.standard_normal(shape), dtype=torch.float32) for name in names}


def as_float64(tensor):
    return tensor.double().numpy()


# --- WiSE


@pytest.mark.parametrize(("alpha", "end"), [(0, ANCHOR), (0.0, ANCHOR), (1, TUNED), (1.0, TUNED)])
def test_the_ends_are_each_model_bit_for_bit(alpha, end):
    mixed = wise(ANCHOR, TUNED, alpha)
    assert bits(mixed) == bits(end)  # -0.0 stays -0.0
    assert all(mixed[name].data_ptr() != tensor.data_ptr() for name, tensor in end.items())


@settings(deadline=None)
@given(st.floats(0, 1), seeds)
def test_wise_formula(alpha, seed):
    a = random_weights(seed)
    b = random_weights(seed + 1)
    for name, found in wise(a, b, alpha).items():
        want = (1 - alpha) * as_float64(a[name]) + alpha * as_float64(b[name])
        np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_mixture_keeps_the_dtype_and_is_rounded_once(dtype):
    a = torch.linspace(-3, 3, 50).to(dtype)
    b = torch.linspace(5, -7, 50).to(dtype)
    mixed = wise({"w": a}, {"w": b}, 0.3)["w"]
    assert mixed.dtype == dtype
    assert torch.equal(mixed, (0.7 * a.float() + 0.3 * b.float()).to(dtype))


@pytest.mark.parametrize(("alpha", "count"), [(0.0, 7), (0.01, 9), (1.0, 9)])
def test_integer_buffers_are_not_mixed(alpha, count):
    assert wise(ANCHOR, TUNED, alpha)["count"].item() == count
    assert wise(ANCHOR, TUNED, alpha)["count"].dtype == torch.int64


@pytest.mark.parametrize(
    "mix", [wise, output_ensemble, lambda a, b, alpha: fisher_merge(a, b, a, b, alpha)]
)
@pytest.mark.parametrize("alpha", [-1e-9, 1.0000001, float("nan"), float("inf"), -float("inf")])
def test_alpha_outside_its_range(mix, alpha):
    with pytest.raises(ConfigError, match=r"alpha is .*expected 0"):
        mix(ANCHOR, TUNED, alpha)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_wise_head_mixes_the_head_alone(alpha):
    a = random_weights(0, HEADED)
    b = random_weights(1, HEADED)
    mixed = wise_head(a, b, alpha)
    whole = wise(a, b, alpha)
    assert bits(mixed) == bits(whole | {"visual.w": b["visual.w"]})
    assert mixed["visual.w"].data_ptr() != b["visual.w"].data_ptr()


def test_wise_head_needs_a_head():
    weights = random_weights(0, ("clip.logit_scale", "clip.visual.w"))
    with pytest.raises(WeightsError, match="has no head of its own"):
        wise_head(weights, weights, 0.5)


# --- what does not fit


def ignore(weights, batch):
    raise AssertionError("nothing should be measured on weights that do not fit")


MIXERS = {
    "wise": lambda a, b: wise(a, b, 0.5),
    "wise at 0": lambda a, b: wise(a, b, 0.0),
    "wise at 1": lambda a, b: wise(a, b, 1.0),
    "wise_head": lambda a, b: wise_head(a, b, 0.5),
    "fisher_merge": lambda a, b: fisher_merge(a, b, a, b, 0.5),
    "tpgm": lambda a, b: tpgm(a, b, ignore, [None]),
    "uniform_soup": lambda a, b: uniform_soup([a, a, b]),
    "greedy_soup": lambda a, b: greedy_soup([a, b], lambda weights: 0.5),
}


@pytest.mark.parametrize("mix", MIXERS.values(), ids=MIXERS)
@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"b": torch.ones(4), "c": torch.ones(4)}, r"different models: 'b' is \(3,\) and \(4,\)"),
        ({"b": torch.ones(1, 3)}, r"different models: 'b' is \(3,\) and \(1, 3\)"),
        ({name: torch.ones(1) for name in "hgfed"}, "different models: only one of them has 'd'"),
        ({"bias": torch.ones(3)}, "different head conventions: only one of them has 'bias'"),
        (
            {"logit_scale": torch.ones(())},
            "different head conventions: only one of them has 'logit_scale'",
        ),
    ],
)
def test_the_first_odd_tensor_is_named(mix, extra, words):
    plain = {name: torch.zeros(3) for name in ("a", "b", "c", "weight")}
    for one, other in ((plain, plain | extra), (plain | extra, plain)):
        with pytest.raises(
            WeightsError, match=words if one is plain else words.split(" is ")[0]
        ) as caught:
            mix(one, other)
        assert "\n" not in str(caught.value)


# --- Fisher


@property_test
@given(inner, seeds)
def test_fisher_merge_formula(alpha, seed):
    a = random_weights(seed)
    b = random_weights(seed + 1)
    f0, f1 = (
        {k: t.abs() * (t.abs() > 0.5) for k, t in random_weights(seed + j).items()} for j in (2, 3)
    )
    for name, found in fisher_merge(a, b, f0, f1, alpha).items():
        w0 = (1 - alpha) * np.maximum(as_float64(f0[name]), 1e-8)
        w1 = alpha * np.maximum(as_float64(f1[name]), 1e-8)
        want = (w0 * as_float64(a[name]) + w1 * as_float64(b[name])) / (w0 + w1)
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


@property_test
@given(inner, seeds, st.sampled_from([0.0, 1.0, 37.0]))
def test_equal_fishers_are_wise(alpha, seed, value):
    a = random_weights(seed)
    b = random_weights(seed + 1)
    same = {name: torch.full_like(tensor, value) for name, tensor in a.items()}
    torch.testing.assert_close(
        fisher_merge(a, b, same, same, alpha), wise(a, b, alpha), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("alpha", "end"), [(0.0, ANCHOR), (1.0, TUNED)])
def test_fisher_merge_ends_bit_for_bit_and_keeps_integers(alpha, end):
    fisher = {"w": torch.rand(3), "half": torch.rand(2)}
    assert bits(fisher_merge(ANCHOR, TUNED, fisher, fisher, alpha)) == bits(end)
    assert fisher_merge(ANCHOR, TUNED, fisher, fisher, 0.5)["count"].item() == 9


def test_what_has_no_fisher_weights_is_mixed_plainly():
    a = random_weights(0) | {"count": torch.tensor(7)}
    b = random_weights(1) | {"count": torch.tensor(9)}
    fisher = {"a": torch.rand(3, 4)}
    found = fisher_merge(a, b, fisher, fisher, 0.3)
    plain = wise(a, b, 0.3)
    assert torch.equal(found["b"], plain["b"])
    assert torch.equal(found["count"], b["count"])
    torch.testing.assert_close(found["a"], plain["a"])
    assert bits(fisher_merge(a, b, {}, {}, 0.3)) == bits(plain)


def test_fisher_weights_of_one_model_alone():
    a, b = random_weights(0), random_weights(1)
    both = {name: torch.ones(3, 4) for name in a}
    with pytest.raises(WeightsError, match="only one of the models has Fisher weights of 'b'"):
        fisher_merge(a, b, {"a": both["a"]}, both, 0.3)


def test_diagonal_fisher_of_a_logistic_regression():
    """-d log p(y|x) / dw = (sigmoid(w x) - y) x for each image; F is the mean of its square."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 3))
    y = rng.integers(0, 2, 20)
    w = rng.standard_normal(3)
    weights = {"w": torch.tensor(w), "unused": torch.ones(2), "count": torch.tensor(3)}

    def loss(given, image):
        features, label = image
        return F.binary_cross_entropy_with_logits(
            torch.tensor(features) @ given["w"], torch.tensor(float(label)).double()
        )

    found = diagonal_fisher(loss, weights, zip(x, y, strict=True))
    by_image = (1 / (1 + np.exp(-x @ w)) - y)[:, None] * x
    np.testing.assert_allclose(found["w"], (by_image**2).mean(0), rtol=1e-9)
    assert found.keys() == {"w", "unused"}
    assert not found["unused"].any()
    assert not weights["w"].requires_grad


# --- TPGM


def moved(seed, *names):
    """(anchor, tuned): the same names, every tensor moved."""
    return random_weights(seed, names), random_weights(seed + 1, names)


def towards(target):
    """A loss whose optimum is known: the squared distance from `target`."""
    return lambda weights, batch: sum(
        (weights[name] - tensor).square().sum() for name, tensor in target.items()
    )


@property_test
@given(seeds, st.floats(0, 1.5), st.sampled_from(["frobenius", "mars"]))
def test_projection_formula(seed, share, norm):
    a, b = moved(seed, "w")
    change = as_float64(b["w"]) - as_float64(a["w"])
    n = np.sqrt((change**2).sum()) if norm == "frobenius" else np.abs(change).sum(1, keepdims=True)
    gamma = share * float(np.max(n))
    want = as_float64(a["w"]) + np.clip(gamma / n, 0, 1) * change
    found = project(a, b, {"w": torch.tensor(gamma, dtype=torch.float32)}, norm)["w"]
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_mars_takes_a_vector_as_one_row():
    a = {"w": torch.zeros(3)}
    b = {"w": torch.tensor([1.0, -2.0, 5.0])}
    found = project(a, b, {"w": torch.tensor(2.0)}, "mars")["w"]
    torch.testing.assert_close(found, torch.tensor([0.25, -0.5, 1.25]))


def test_mars_starts_at_half_of_the_shortest_row():
    a = {"w": torch.zeros(2, 2), "bias": torch.zeros(2)}
    b = {"w": torch.tensor([[1.0, 1.0], [3.0, 5.0]]), "bias": torch.tensor([4.0, -2.0])}
    found = tpgm(a, b, ignore, [], norm="mars")
    torch.testing.assert_close(found["w"], torch.tensor([[0.5, 0.5], [0.375, 0.625]]))
    torch.testing.assert_close(found["bias"], torch.tensor([2.0, -1.0]))


SMALL = {"w": (5, 4), "conv": (4, 3, 2, 2), "bias": (5,)}


def small_network(weights, batch):
    """Cross-entropy of a small network with a matrix, a kernel and a vector."""
    images, labels = batch
    kernels = F.conv2d(images, weights["conv"]).tanh().mean((2, 3))
    return F.cross_entropy(kernels @ weights["w"].T + weights["bias"], labels)


def release_radii(change, norm):
    """The radii of the release's ImageNet code: one, or the absolute sum of each row."""
    if norm == "frobenius" or change.dim() <= 1:
        return change.norm() if norm == "frobenius" else change.abs().sum().reshape(1)
    rows = change.flatten(1).abs().sum(1)
    return rows.reshape(-1, *[1] * (change.dim() - 1))


def plain_tpgm(anchor, tuned, batches, norm, lr=0.01):
    """The release as plain steps: radii start at half of the smallest norm, are clipped to
    1e-8 ... the largest before use; Adam is written out.
    """
    change = {name: tuned[name] - anchor[name] for name in tuned}
    radii = {name: release_radii(moved, norm) for name, moved in change.items()}
    gammas = {name: radius.min() / 2 for name, radius in radii.items()}
    first = dict.fromkeys(gammas, 0.0)
    second = dict.fromkeys(gammas, 0.0)

    def projected():
        for name, radius in radii.items():
            gammas[name] = gammas[name].clamp(1e-8, float(radius.max()))
        leaves = {name: gamma.clone().requires_grad_() for name, gamma in gammas.items()}
        weights = {}
        for name, leaf in leaves.items():
            weights[name] = anchor[name] + leaf / (radii[name] + 1e-8) * change[name]
        return leaves, weights

    losses = []
    for step, batch in enumerate(batches, 1):
        leaves, weights = projected()
        loss = small_network(weights, batch)
        losses.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, [*leaves.values()])
        for name, gradient in zip(leaves, gradients, strict=True):
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            mean = first[name] / (1 - 0.9**step)
            spread = (second[name] / (1 - 0.999**step)).sqrt()
            gammas[name] = gammas[name] - lr * mean / (spread + 1e-8)
    return losses, {name: tensor.detach() for name, tensor in projected()[1].items()}


@pytest.mark.parametrize("norm", ["frobenius", "mars"])
def test_tpgm_is_the_release_step_by_step(norm):
    draw = torch.Generator().manual_seed(3)
    anchor = {name: torch.randn(shape, generator=draw) for name, shape in SMALL.items()}
    tuned = {}
    for name, tensor in anchor.items():
        tuned[name] = tensor + torch.randn(tensor.shape, generator=draw)
    batches = []
    for _ in range(20):
        images = torch.randn(8, 3, 5, 5, generator=draw)
        batches.append((images, torch.randint(5, (8,), generator=draw)))

    losses = []

    def loss(weights, batch):
        value = small_network(weights, batch)
        losses.append(float(value.detach()))
        return value

    found = tpgm(anchor, tuned, loss, batches, norm=norm)
    wanted_losses, wanted = plain_tpgm(anchor, tuned, batches, norm)
    assert len(losses) == 20
    np.testing.assert_allclose(losses, wanted_losses, rtol=0, atol=1e-6)
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6)


def test_tpgm_starts_at_wise_a_half():
    a, b = moved(0, "u", "v")
    torch.testing.assert_close(tpgm(a, b, ignore, []), wise(a, b, 0.5))


@pytest.mark.parametrize("best", [0.02, 0.3, 0.9])
def test_tpgm_finds_a_known_optimum(best):
    """The loss is least at WiSE `best`, which lies on the way that each gamma walks."""
    a, b = moved(0, "u", "v")
    found = tpgm(a, b, towards(wise(a, b, best)), range(300), lr=0.05)
    torch.testing.assert_close(found, wise(a, b, best), rtol=0, atol=0.02)


@pytest.mark.parametrize(("bound", "beyond"), [(1.0, 3.0), (0.0, -2.0)])
def test_gammas_stop_at_their_bound_and_come_back(bound, beyond):
    a = {"w": torch.zeros(2, 2)}
    b = {"w": torch.ones(2, 2)}  # the norm of the change is 2
    lost = []

    def loss(weights, batch):
        target = beyond if batch < 200 else 0.5
        lost.append(weights["w"].detach().mean().item())
        return (weights["w"] - target).square().sum()

    found = tpgm(a, b, loss, range(800), lr=0.05)["w"]
    assert lost[199] == pytest.approx(bound, abs=1e-6)
    torch.testing.assert_close(found, torch.full((2, 2), 0.5), rtol=0, atol=0.01)


def test_tensors_that_did_not_move_are_left_alone():
    a, b = moved(0, "moved", "still")
    still = torch.tensor([[-0.0, 3e-39], [1.0, 2.0]])
    a, b = (
        {**weights, "still": still.clone(), "count": torch.tensor(k)}
        for weights, k in ((a, 7), (b, 9))
    )
    for norm in ("frobenius", "mars"):
        found = tpgm(
            a, b, towards({"moved": a["moved"], "still": b["still"] + 1}), range(5), norm=norm
        )
        assert bits({"still": found["still"]}) == bits({"still": still})
        assert found["count"].item() == 9
        assert found["moved"].isfinite().all()


def test_a_row_that_did_not_move_is_left_alone_by_mars():
    a, b = moved(0, "w")
    b["w"][1] = a["w"][1]
    found = tpgm(a, b, towards({"w": b["w"]}), range(20), norm="mars")["w"]
    assert torch.equal(found[1], a["w"][1])
    assert found.isfinite().all()


def test_a_model_that_did_not_move_at_all():
    a = random_weights(0)
    found = tpgm(a, a, ignore, [None])
    assert bits(found) == bits(a)
    assert found["a"].data_ptr() != a["a"].data_ptr()


def test_mu_pulls_to_theta0():
    a, b = moved(0, "u", "v")
    far = []
    for mu in (0.0, 1.0, 10.0, 1000.0):
        found = tpgm(a, b, towards(b), range(300), mu, lr=0.04)
        far.append(sum((found[name] - a[name]).square().sum().item() for name in a) ** 0.5)
    assert far == sorted(far, reverse=True) and len(set(far)) == 4
    whole = sum((b[name] - a[name]).square().sum().item() for name in a) ** 0.5
    assert far[0] == pytest.approx(whole, rel=1e-2) and far[-1] < 0.02 * whole


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mu": -0.1}, "mu is -0.1, lr is 0.01; expected finite numbers >= 0"),
        ({"mu": float("nan")}, "mu is nan"),
        ({"mu": float("inf")}, "mu is inf"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"norm": "l1"}, "unknown norm 'l1'; known: frobenius, mars"),
    ],
)
def test_odd_settings_of_tpgm(settings, words):
    a, b = moved(0, "w")
    with pytest.raises(ConfigError, match=words):
        tpgm(a, b, ignore, [None], **settings)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite(value):
    a, b = moved(0, "w")
    with pytest.raises(
        ConfigError, match=f"TPGM's loss is {value}; is the tuned model finite"
    ) as caught:
        tpgm(a, b, lambda weights, batch: weights["w"].sum() * value, [None])
    assert "\n" not in str(caught.value)


# --- buffers


class Normalised(torch.nn.Module):
    """A small network with a BatchNorm: parameters, float buffers and a counter."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.register_buffer("offset", torch.zeros(4))

    def forward(self, images):
        return self.norm(self.layer(images)) + self.offset


def normalised(seed):
    """(module in evaluation mode, its weights after a few batches)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = Normalised()
        module(2 + torch.randn(32, 3))
        torch.nn.init.normal_(module.norm.weight)
        torch.nn.init.normal_(module.norm.bias)
        torch.nn.init.normal_(module.offset)
    return module.eval(), {name: t.detach().clone() for name, t in module.state_dict().items()}


def cross_entropy_of(module):
    def loss(weights, batch):
        logits = torch.func.functional_call(module, weights, (torch.ones(1, 3) * batch,))
        return F.cross_entropy(logits, torch.tensor([batch % 4]))

    return loss


@pytest.mark.parametrize("given", [True, False], ids=["names given", "no names"])
def test_buffers_are_left_out_of_tpgm_and_fisher(given):
    module, a = normalised(0)
    _, b = normalised(1)
    names = {name for name, _ in module.named_parameters()}
    buffers = {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked", "offset"}
    assert names | buffers == a.keys() and not names & buffers
    statistics = buffers if given else buffers - {"offset"}  # of which the name says nothing
    parameters = names if given else None
    loss = cross_entropy_of(module)

    for norm in ("frobenius", "mars"):
        found = tpgm(a, b, loss, range(5), norm=norm, parameters=parameters)
        assert found.keys() == b.keys()
        assert bits({n: found[n] for n in statistics}) == bits({n: b[n] for n in statistics})
        assert all(not torch.equal(found[name], b[name]) for name in names)

    fisher = diagonal_fisher(loss, a, range(1, 5), parameters)
    assert fisher.keys() == a.keys() - statistics
    assert fisher["layer.weight"].any()
    merged = fisher_merge(a, b, fisher, diagonal_fisher(loss, b, range(1, 5), parameters), 0.3)
    plain = wise(a, b, 0.3)
    for name in statistics:
        assert torch.equal(merged[name], plain[name])
    assert not torch.equal(merged["layer.weight"], plain["layer.weight"])


# --- soups


@property_test
@given(st.integers(1, 5), seeds)
def test_uniform_soup_is_the_mean(count, seed):
    members = [random_weights(seed + k) for k in range(count)]
    for name, found in uniform_soup(members).items():
        np.testing.assert_allclose(
            found, np.mean([as_float64(one[name]) for one in members], 0), rtol=1e-6, atol=1e-7
        )


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_soup_of_copies_is_the_model_bit_for_bit(count):
    model = random_weights(0) | {
        "half": torch.tensor([1.0, 65504.0]).half(),
        "count": torch.tensor(7),
    }
    soup = uniform_soup([model] * count)
    assert bits(soup) == bits(model)
    assert all(soup[name].data_ptr() != tensor.data_ptr() for name, tensor in model.items())


@pytest.mark.parametrize("call", [lambda: uniform_soup([]), lambda: greedy_soup([], len)])
def test_a_soup_of_nothing(call):
    with pytest.raises(ConfigError, match="at least one member"):
        call()


def plain_greedy(values, merit, limit=99):
    """The walk of the paper: by falling merit alone, kept where the mean's merit strictly rises."""
    order = np.argsort([-merit(value) for value in values], kind="stable")
    kept = [int(order[0])]
    for k in order[1:]:
        old, new = (merit(np.mean([values[j] for j in rows], 0)) for rows in (kept, [*kept, k]))
        if new > old and len(kept) < limit:
            kept.append(int(k))
    return kept


def coarse(value):
    """A made-up accuracy with many ties: nearness of a vector to ones, in eighths."""
    return max(0.0, 1 - np.floor(8 * np.abs(np.asarray(value, dtype=float) - 1).mean()) / 8)


members_of_eighths = st.lists(
    st.lists(st.integers(-4, 20), min_size=3, max_size=3), min_size=1, max_size=6
)


@settings(deadline=None)
@given(members_of_eighths)
def test_greedy_soup_is_the_papers_walk(eighths):
    values = [np.array(row) / 8 for row in eighths]
    members = [{"w": torch.tensor(value)} for value in values]
    soup, kept = greedy_soup(members, lambda weights: coarse(weights["w"].numpy()))
    assert kept == plain_greedy(values, coarse)
    np.testing.assert_allclose(soup["w"], np.mean([values[k] for k in kept], 0), atol=1e-12)
    assert coarse(soup["w"].numpy()) >= max(map(coarse, values))


def test_greedy_soup_wants_a_rise():
    twins = [{"w": torch.ones(3)}] * 3
    assert greedy_soup(twins, lambda weights: 0.5)[1] == [0]


# --- ensembles


def right(logits, labels):
    return float((logits.argmax(1) == labels).mean())


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 12), st.integers(2, 4), st.integers(1, 5), seeds)
def test_greedy_ensemble_is_the_capped_walk(members, images, classes, limit, seed):
    rng = np.random.default_rng(seed)
    logits = rng.integers(-5, 6, (members, images, classes)).astype(float)
    labels = rng.integers(0, classes, images)
    kept = greedy_ensemble([torch.tensor(one) for one in logits], torch.tensor(labels), limit)
    assert kept == plain_greedy(list(logits), lambda mean: right(mean, labels), limit)
    assert len(kept) <= limit
    assert right(logits[kept].mean(0), labels) >= max(right(one, labels) for one in logits)


@pytest.mark.parametrize(("count", "limit"), [(0, 4), (2, 0)])
def test_an_ensemble_of_nothing(count, limit):
    with pytest.raises(ConfigError, match="both must be at least 1"):
        greedy_ensemble([torch.zeros(2, 2)] * count, torch.zeros(2), limit)


def test_ends_of_the_output_ensemble():
    zero = torch.tensor([[1.0, -0.0]])
    tuned = torch.tensor([[3.0, 3e-39]])
    assert bits({"w": output_ensemble(zero, tuned, 0.0)}) == bits({"w": zero})
    assert bits({"w": output_ensemble(zero, tuned, 1.0)}) == bits({"w": tuned})
    torch.testing.assert_close(output_ensemble(zero, tuned, 0.25), torch.tensor([[1.5, 0.0]]))


@property_test
@given(st.floats(0, 1), seeds)
def test_of_a_model_linear_in_theta_the_output_ensemble_is_wise(alpha, seed):
    x, a, b = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)), *moved(seed, "w")
    both = output_ensemble(x @ a["w"], x @ b["w"], alpha)
    assert distance(both, x @ wise(a, b, alpha)["w"]).max() < 1e-5


@property_test
@given(seeds, st.floats(-9, 9))
def test_distance_is_of_centred_logits(seed, shift):
    a, b = np.random.default_rng(seed).standard_normal((2, 5, 4))
    change = (a - a.mean(1, keepdims=True)) - (b - b.mean(1, keepdims=True))
    found = distance(torch.tensor(a + shift), torch.tensor(b))
    np.testing.assert_allclose(found, np.sqrt((change**2).mean(1)), rtol=1e-9)


# --- the registry


@pytest.mark.parametrize(
    ("name", "count", "options", "words"),
    [
        ("tpgm", 1, {"stepz": 3}, "unknown option of tpgm 'stepz'; did you mean 'steps'"),
        ("uniform_soup", 2, {"alpha": 0.5}, "unknown option of uniform_soup 'alpha'"),
        ("wise", 2, {}, "wise takes one run, got 2"),
        ("greedy_soup", 0, {}, "greedy_soup takes one run or more, got 0"),
    ],
)
def test_what_a_method_does_not_take(name, count, options, words):
    with pytest.raises(ConfigError, match=words):
        POSTHOC[name].check(count, options)


def test_names_of_the_registry():
    with pytest.raises(ConfigError, match=r"unknown post-hoc method 'tgpm'; did you mean 'tpgm'\?"):
        POSTHOC["tgpm"]
    with pytest.raises(ConfigError, match="'wise' is registered twice"):
        posthoc("wise", title="again", paper="arXiv:0")(wise)
    assert all(entry.title and entry.paper.startswith("arXiv:") for entry in POSTHOC.values())


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.int64])
def test_ends_may_lie_on_another_device_than_what_they_are_mixed_into(alpha, kind):
    ends = [{"w": torch.ones(3, dtype=kind)} for _ in range(2)]
    target = {"w": torch.empty(3, dtype=kind, device="meta")}
    mix_into(target, *ends, alpha)  # torch refuses operands of two devices
    assert target["w"].device.type == "meta"
