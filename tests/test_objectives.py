"""Objectives against float64 NumPy transcriptions of their formulas, and what every method must hold to."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.loss import ClipLoss
from scipy.special import log_softmax

from clipft.errors import ConfigError
from clipft.objectives import METHODS, Method, Step

sizes = st.fixed_dictionaries({k: st.integers(1, top) for k, top in {"b": 8, "d": 12, "c": 9, "m": 10}.items()})
drawn = given(sizes, st.integers(0, 2**32 - 1), st.floats(0.5, 50))
property_test = settings(deadline=None, max_examples=60)


def rows_of_length_one(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def arrays(size, seed, scale=10.0):
    """One step as float64 arrays: what `Step` holds, not normalised where `Step` says so."""
    rng, (b, d, c, m) = np.random.default_rng(seed), (size[k] for k in "bdcm")
    return {
        "images": rng.standard_normal((b, d)) * 3,
        "labels": rng.integers(0, c, b),
        "scale": scale,
        "head": rng.standard_normal((d, c)),
        "anchor": rng.standard_normal((b, d)) * 5,
        "random_texts": rows_of_length_one(rng.standard_normal((m, d))),
        "captions": rows_of_length_one(rng.standard_normal((b, d))),
    }


def step_of(values):
    """The same as a `Step` of tensors; images, head and captions are leaves that ask for a gradient."""
    tensors = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in values.items()}
    for name in ("images", "head", "captions"):
        tensors[name].requires_grad_(True)
    return Step(**tensors)


def one_step(**changed):
    return step_of(arrays({"b": 6, "d": 8, "c": 5, "m": 7}, 0) | changed)


def plain_ft(a):
    logits = log_softmax(a["scale"] * rows_of_length_one(a["images"]) @ a["head"], axis=1)
    return -np.mean([logits[i, y] for i, y in enumerate(a["labels"])])


def plain_lipsum(a):
    u = a["scale"] * rows_of_length_one(a["images"]) @ a["random_texts"].T
    v = a["scale"] * rows_of_length_one(a["anchor"]) @ a["random_texts"].T
    return np.mean([np.sum((u[i] - v[i]) ** 2) / (2 * u.shape[1]) for i in range(len(u))])


def plain_flyp(a):
    scores = a["scale"] * rows_of_length_one(a["images"]) @ a["captions"].T
    return -(np.mean(np.diag(log_softmax(scores, 1))) + np.mean(np.diag(log_softmax(scores, 0)))) / 2


PLAIN = {
    "ft": lambda a: {"cross_entropy": plain_ft(a)},
    "lipsum": lambda a: {"cross_entropy": plain_ft(a), "lipsum": plain_lipsum(a)},
    "flyp": lambda a: {"flyp": plain_flyp(a)},
}


@pytest.mark.parametrize("name", PLAIN)
def test_formula(name):
    @property_test
    @drawn
    def check(size, seed, scale):
        values = arrays(size, seed, scale)
        found, want = METHODS[name].terms(step_of(values)), PLAIN[name](values)
        assert found.keys() == want.keys()
        for term, number in want.items():
            assert float(found[term].detach()) == pytest.approx(number, rel=1e-6, abs=1e-9)

    check()


@property_test
@drawn
def test_lipsum_is_a_quadratic_form(size, seed, scale):
    a = arrays(size, seed, scale)
    d, t = rows_of_length_one(a["images"]) - rows_of_length_one(a["anchor"]), a["random_texts"]
    want = scale**2 / (2 * len(t)) * np.mean([row @ t.T @ t @ row for row in d])
    assert float(METHODS["lipsum"].penalty(step_of(a)).detach()) == pytest.approx(want, rel=1e-6, abs=1e-9)


def test_lipsum_is_zero_and_still_at_the_zero_shot_weights():
    step = one_step()
    step.anchor = step.images.detach().clone()
    penalty = METHODS["lipsum"].penalty(step)
    penalty.backward()
    assert penalty.item() == 0
    assert torch.equal(step.images.grad, torch.zeros_like(step.images))


def test_lipsum_is_linear_in_lam():
    one, three = (METHODS["lipsum"].terms(one_step(), lam)["lipsum"] for lam in (None, 3.0))
    torch.testing.assert_close(three, 3 * one)


def test_lipsum_without_weight_is_ft():
    ft, lipsum = one_step(), one_step()
    value = METHODS["ft"].terms(ft)["cross_entropy"]
    terms = METHODS["lipsum"].terms(lipsum, 0.0)
    assert torch.equal(sum(terms.values()), value)
    value.backward()
    sum(terms.values()).backward()
    assert torch.equal(lipsum.images.grad, ft.images.grad)
    assert torch.equal(lipsum.head.grad, ft.head.grad)


@property_test
@drawn
def test_flyp_is_open_clips_loss(size, seed, scale):
    step = step_of(arrays(size, seed, scale))
    images = torch.nn.functional.normalize(step.images, dim=-1)
    theirs = ClipLoss()(images, step.captions, torch.tensor(scale, dtype=torch.float64))
    torch.testing.assert_close(METHODS["flyp"].terms(step)["flyp"], theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_a_finite_scalar_that_moves_the_images(name):
    step, entry = one_step(), METHODS[name]
    held_back = {"anchor", "random_texts", "captions"} - entry.needs
    for field in held_back:  # a method may use only what it says it needs
        setattr(step, field, None)
    terms = entry.terms(step)
    loss = sum(terms.values())
    assert loss.shape == ()
    assert torch.isfinite(loss)
    loss.backward()
    moved = [step.images, *([step.head] if "cross_entropy" in terms else [])]
    moved += [step.captions] if "captions" in entry.needs else []
    for leaf in moved:
        assert torch.isfinite(leaf.grad).all()
        assert leaf.grad.abs().sum() > 0
    for field in entry.needs & {"anchor", "random_texts"}:
        assert not getattr(step, field).requires_grad
    assert entry.title
    assert entry.paper.startswith("arXiv:")


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown method 'lipsun'; did you mean 'lipsum'\?"):
        METHODS["lipsun"]


def test_a_name_is_registered_once():
    before = dict(METHODS)
    with pytest.raises(ConfigError, match="'ft' is registered twice"):
        METHODS.add(Method("ft", "again", "arXiv:0", None))
    assert before == METHODS
