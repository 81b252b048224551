"""WiSE-FT: the formula, its ends bit for bit, and what it refuses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipft.errors import ConfigError, WeightsError
from clipft.posthoc import wise

ANCHOR = {"w": torch.tensor([1.0, -0.0, 3e-39]), "half": torch.tensor([1.0, 2.0]).half(), "count": torch.tensor(7)}
TUNED = {"w": torch.tensor([2.0, 0.0, -0.0]), "half": torch.tensor([3.0, 65504.0]).half(), "count": torch.tensor(9)}


def bits(tensor):
    return tensor.numpy().tobytes()


@pytest.mark.parametrize(("alpha", "end"), [(0, ANCHOR), (0.0, ANCHOR), (1, TUNED), (1.0, TUNED)])
def test_the_ends_are_each_model_bit_for_bit(alpha, end):
    mixed = wise(ANCHOR, TUNED, alpha)
    assert mixed.keys() == end.keys()
    for name, tensor in end.items():
        assert torch.equal(mixed[name], tensor)
        assert bits(mixed[name]) == bits(tensor)  # -0.0 stays -0.0
        assert mixed[name].dtype == tensor.dtype
        assert mixed[name].data_ptr() != tensor.data_ptr()


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_formula(alpha, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 3, 4)).astype(np.float32)
    mixed = wise({"w": torch.tensor(a)}, {"w": torch.tensor(b)}, alpha)["w"]
    np.testing.assert_allclose(mixed, (1 - alpha) * a.astype(float) + alpha * b.astype(float), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_mixture_keeps_the_dtype_and_is_rounded_once(dtype):
    a, b = torch.linspace(-3, 3, 50).to(dtype), torch.linspace(5, -7, 50).to(dtype)
    mixed = wise({"w": a}, {"w": b}, 0.3)["w"]
    assert mixed.dtype == dtype
    assert torch.equal(mixed, (0.7 * a.float() + 0.3 * b.float()).to(dtype))


@pytest.mark.parametrize(("alpha", "count"), [(0.0, 7), (0.01, 9), (1.0, 9)])
def test_integer_buffers_are_not_mixed(alpha, count):
    assert wise(ANCHOR, TUNED, alpha)["count"].item() == count
    assert wise(ANCHOR, TUNED, alpha)["count"].dtype == torch.int64


@pytest.mark.parametrize("alpha", [-1e-9, 1.0000001, float("nan"), float("inf"), -float("inf")])
def test_alpha_outside_its_range(alpha):
    with pytest.raises(ConfigError, match=r"alpha is .*expected 0"):
        wise(ANCHOR, TUNED, alpha)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({name: torch.ones(1) for name in "hgfedcba"}, "only one of them has 'a'"),
        ({"w": torch.ones(4)}, r"'w' is \(3,\) and \(4,\)"),
        ({"w": torch.ones(1, 3)}, r"'w' is \(3,\) and \(1, 3\)"),
    ],
)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_different_models(changed, words, alpha):
    with pytest.raises(WeightsError, match=words):
        wise(ANCHOR, TUNED | changed, alpha)
    missing = {name: tensor for name, tensor in TUNED.items() if name != "w"}
    with pytest.raises(WeightsError, match="only one of them has 'w'"):
        wise(ANCHOR, missing, alpha)
