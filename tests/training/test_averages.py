"""Weights that follow the student's, against their sums written out."""

import numpy as np
import pytest
import torch
from scipy.stats import beta

from clipft.config import RunConfig
from clipft.disk.files import read_jsonl
from clipft.errors import ConfigError
from clipft.methods import METHODS
from clipft.training.averages import BetaMean

LAST = {"selection": "last", "steps": 4, "eval_every": 4, "lr": 3e-3}


def running_weights(rule):
    """The weight of each of theta_0 ... theta_N in the last average, from the rule alone."""
    weights = np.array([1.0])
    for step in range(1, rule.steps + 1):
        stays = rule(step)
        weights = np.append(stays * weights, 1 - stays)
    return weights


@pytest.mark.parametrize("b", [0.2, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 120])
def test_the_beta_mean_weighs_by_the_density(b, steps):
    at = (np.arange(steps + 1) + 0.5) / (steps + 1)
    density = beta.pdf(at, b, b)
    weights = running_weights(BetaMean(steps, b))
    np.testing.assert_allclose(weights, density / density.sum(), rtol=1e-9)
    np.testing.assert_allclose(weights, weights[::-1], rtol=1e-9)


def test_the_beta_mean_at_its_limits():
    np.testing.assert_allclose(running_weights(BetaMean(50, 1.0)), 1 / 51)
    assert running_weights(BetaMean(50)).argmin() == 25
    assert running_weights(BetaMean(50))[0] > 2 / 51
    # The first densities are 0 in floating point; none divides by them.
    weights = running_weights(BetaMean(1000, 500.0))
    assert np.isfinite(weights).all() and weights.sum() == pytest.approx(1)
    assert weights.argmax() == 500


@pytest.mark.parametrize(
    "changes",
    [{"beta_b": 1.0}, {}, {"method": "flyp"}, {"method": "lp", "solver": "adamw"}],
    ids=["plain mean", "ft", "flyp", "lp"],
)
def test_a_run_keeps_the_beta_mean(world, recorded, changes):
    run = world.train(**LAST, average="beta", **changes)
    b = changes.get("beta_b", 0.5)
    weights = beta.pdf((np.arange(5) + 0.5) / 5, b, b)
    weights /= weights.sum()
    if b == 1:
        assert weights.tolist() == pytest.approx([0.2] * 5)
    for name, tensor in run.tuned.items():
        thetas = [run.anchor[name], *(step[name] for step in recorded)]
        want = sum(w * theta.double() for w, theta in zip(weights, thetas, strict=True))
        torch.testing.assert_close(tensor.double(), want, rtol=0, atol=1e-6)


AVERAGED = [name for name, entry in METHODS.items() if entry.ema is None and name != "lp"]


@pytest.mark.parametrize("method", AVERAGED)
def test_the_average_goes_with_any_method_and_changes_no_step(world, tmp_path, method):
    plain = world.train(tmp_path / "plain", method=method, **LAST)
    averaged = world.train(tmp_path / "averaged", method=method, average="beta", **LAST)
    losses = [
        [row["loss"] for row in read_jsonl(run.path / "metrics.jsonl") if "loss" in row]
        for run in (plain, averaged)
    ]
    assert losses[0] == losses[1]
    moved = [
        name for name in plain.tuned if not torch.equal(plain.tuned[name], averaged.tuned[name])
    ]
    assert moved


def test_average_ema_is_that_of_the_method_ema(world):
    said = world.train(**LAST, average="ema")
    named = world.train(**LAST, method="ema")
    assert said.id != named.id
    for name, tensor in named.tuned.items():
        assert torch.equal(said.tuned[name], tensor)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"average": "mean"}, "average"),
        ({"beta_b": 1.0}, "ft has no use for beta_b=1 without average=beta"),
        ({"beta_b": 0.0, "average": "beta"}, "greater than 0"),
        ({"average": "ema", "beta_b": 1.0}, "has no use for beta_b=1"),
        ({"average": "beta", "ema": 0.9}, "ft keeps an average of decay 0.9, and one is enough"),
        ({"average": "ema", "ema": 0.9}, "ft keeps an average of decay 0.9, and one is enough"),
        ({"average": "beta", "method": "ema"}, "ema keeps an average of decay 0.999"),
        ({"average": "beta", "method": "lp"}, "lp takes no steps, so average=beta would do"),
    ],
)
def test_an_average_that_says_nothing_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words) as caught:
        RunConfig(**changes)
    assert "\n" not in str(caught.value)
