"""The contract of methods: ours keep it, and each kind of breach is named in one line."""

import random
import re

import pytest
import torch
from torch.nn.functional import normalize

from clipft.errors import ConfigError
from clipft.methods import METHODS, Method
from clipft.testing import check_method


def entry(function, name="mine", needs=("anchor",), lam=1.0, **about):
    return Method(name, "Mine", "ours", function, needs=frozenset(needs), lam=lam, **about)


# --- what keeps the contract


@pytest.mark.parametrize("name", METHODS)
def test_our_own_methods_keep_it(name):
    check_method(name)


def norm_keep(step, power: float = 2.0):
    """Ten lines from somebody else."""
    change = step.images.norm(dim=-1) - step.anchor.norm(dim=-1)
    return change.abs().pow(power).mean()


def noisy(step):
    """Random, but from torch's own generator, which a run seeds at every step."""
    noise = torch.randn_like(step.images)
    return (normalize(step.images + noise, dim=-1) - normalize(step.anchor, dim=-1)).square().sum()


def weight_decay(step):
    return sum(tensor.square().sum() for tensor in step.weights.values())


def by_word(step, kind: str = "square"):
    return (step.images - step.anchor).square().mean()


def contrast(step, mask: bool = False, rounds: int = 1):
    scores = step.scale * normalize(step.images, dim=-1) @ step.captions.T
    return -scores.diagonal().mean() * rounds


def margin(step):
    """On class captions, in place of cross-entropy."""
    return torch.nn.functional.multi_margin_loss(step.logits, step.labels)


GOOD = {
    "norm_keep": entry(norm_keep),
    "noisy": entry(noisy),
    "weight_decay": entry(weight_decay, needs=("weights",)),
    "a word": entry(by_word),
    "contrast": entry(contrast, needs=("captions",), lam=None, trains="both"),
    "margin": entry(margin, needs=("class_captions",), lam=None, trains="both"),
    "plain": Method("plain", "Plain", "ours", head="zeros"),
    "lam is 0 already": entry(norm_keep, lam=0.0),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_strangers_method_that_keeps_it(name):
    check_method(GOOD[name])


def test_a_method_is_checked_by_its_name_too():
    METHODS.add(GOOD["norm_keep"])
    try:
        check_method("mine")
    finally:
        del METHODS["mine"]
    with pytest.raises(ConfigError, match="unknown method 'mine'"):
        check_method("mine")


# --- what breaks it


def change(step):
    return (step.images - step.anchor).square().sum(-1)


def per_image(step):
    return change(step)


def sum_of_states(step):
    """Of hidden states, over images."""
    return (step.hidden["block 1"] - step.hidden_anchor["block 1"]).square().sum()


def a_float(step):
    return change(step).mean().item()


def not_a_number(step):
    return change(step).mean() + torch.nan


def root_at_zero(step):
    return change(step).sqrt().mean()


def logarithm_at_zero(step):
    return change(step).sum().log()


def cut_off(step):
    return change(step).mean().detach()


def without_gradient(step):
    return step.anchor.mean()


def needs_context(step):
    return (step.context.T @ step.images.T).square().mean() + change(step).mean()


def needs_logits(step):
    return step.logits.square().mean()


def broken(step):
    raise ValueError("two\nlines")


def writes_images(step):
    step.images.mul_(2.0)
    return change(step).mean()


def writes_anchor(step):
    step.anchor += 1.0
    return change(step).mean()


def writes_start(step):
    step.start["visual.w"].zero_()
    return step.weights["visual.w"].square().sum()


def takes_from_start(step):
    return step.weights["visual.w"].square().sum() + step.start.pop("visual.w").sum()


def sets_a_field(step):
    step.anchor = None
    return step.images.mean()


def by_chance(step):
    return change(step).mean() * random.random()


CALLS = []


def remembers(step):
    CALLS.append(step)
    return change(step).mean() * len(CALLS)


def hooked(step):
    """Adds to the gradient behind the loss's back: no lam weighs it."""
    step.images.register_hook(lambda gradient: gradient + 1)
    return change(step).mean()


def no_default(step, power):
    return change(step).pow(power).mean()


def any_options(step, **options):
    return change(step).mean()


def a_pair(step, kind=("square",)):
    return change(step).mean()


def negative(step, power: float = -1.0):
    return change(step).mean()


def nothing_at_all():
    return torch.zeros(())


BAD = [
    (
        entry(per_image),
        "it returns a Tensor of shape (6,); wanted: one number, a Tensor of shape ()",
    ),
    (entry(a_float), "it returns a float of shape (); wanted: one number"),
    (entry(not_a_number), "it is nan on a step; wanted: a finite number"),
    (entry(logarithm_at_zero), "it is -inf at the start of training; wanted: a finite number"),
    (entry(root_at_zero), "the gradient to the images is not finite at the start of training"),
    (entry(cut_off), "no gradient reaches the images, captions or weights"),
    (entry(without_gradient), "no gradient reaches the images, captions or weights"),
    (entry(change, needs=()), "it reads what it does not ask for; add 'anchor' to its needs"),
    (entry(needs_context), "add 'context' to its needs"),
    (entry(needs_logits, lam=None), "add 'class_captions' to its needs"),
    (entry(broken), "it fails on a step: ValueError: two lines"),
    (entry(nothing_at_all), "it fails on a step: TypeError"),
    (entry("nowhere:mine"), "cannot load 'nowhere:mine'"),
    (entry(writes_images), "it changes step.images in place; work on a copy"),
    (entry(writes_anchor), "it fails on a step: FrozenInstanceError"),
    (entry(writes_start, needs=("weights",)), "it changes step.start['visual.w'] in place"),
    (entry(takes_from_start, needs=("weights",)), "it changes step.start['visual.w'] in place"),
    (entry(sets_a_field), "it fails on a step: FrozenInstanceError"),
    (entry(by_chance), "it has another value on the same step; draw from torch's own generator"),
    (entry(remembers), "it has another value on the same step"),
    (entry(hooked), "with lam=0 the loss is not cross-entropy on a step, bit for bit"),
    (entry(no_default), "its argument power has no default; give it one"),
    (entry(any_options), "its argument **options has no default"),
    (entry(a_pair), "option kind is ('square',); a run records numbers, words, true and"),
    (entry(negative), "its own defaults are refused: option power of mine is -1.0"),
    (entry("clipft.objectives.kd:kd", options={"tua": 1.0}), "its entry says options {'tua': 1.0}"),
    (entry(norm_keep, name="norm+keep"), "a + in its name"),
    (
        entry(sum_of_states, needs=("hidden",), per_image=True),
        "it says per_image and is no mean over images; leave per_image out",
    ),
]


@pytest.mark.parametrize(("bad", "words"), BAD, ids=[words for _, words in BAD])
def test_each_breach_is_one_line(bad, words):
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        check_method(bad)
    assert "\n" not in str(caught.value)
    assert "mine" in str(caught.value) or "norm+keep" in str(caught.value)
