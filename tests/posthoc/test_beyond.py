"""Model Stock and LiNeS: formulas against NumPy, their limits, and what is refused."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from test_posthoc import as_float64, bits, inner, property_test, random_weights, seeds

from clipft.errors import ConfigError, WeightsError
from clipft.methods import POSTHOC
from clipft.posthoc import lines as lines_file
from clipft.posthoc.lines import apply_lines, depths, lines
from clipft.posthoc.model_stock import apply_model_stock, model_stock, ratio
from clipft.posthoc.wise import wise

# --- Model Stock


@property_test
@given(st.integers(2, 5), seeds)
def test_model_stock_formula(count, seed):
    start = random_weights(seed)
    away = random_weights(seed + 1)  # what all members have in common
    members = []
    for place in range(count):
        own = random_weights(seed + 2 + place)
        members.append({name: start[name] + away[name] + own[name] for name in start})
    found, _ = model_stock(start, members)
    for name, tensor in found.items():
        before = as_float64(start[name])
        changes = [as_float64(member[name]) - before for member in members]
        cosines = []
        for one, other in combinations(changes, 2):
            cosines.append((one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other))
        c = np.mean(cosines)
        t = count * c / (1 + (count - 1) * c) if c > 0 else 0
        want = t * (before + np.mean(changes, 0)) + (1 - t) * before
        np.testing.assert_allclose(tensor, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("cosine", "count", "want"),
    [(1, 2, 1), (0.5, 2, 2 / 3), (0.5, 3, 0.75), (0, 2, 0), (-0.5, 3, 0), (-0.4999, 3, 0)],
)
def test_ratio(cosine, count, want):
    assert ratio(cosine, count) == pytest.approx(want)


@pytest.mark.parametrize("count", [2, 3])
def test_members_at_sixty_degrees(count):
    """cos 0.5: two of the three edges of a corner of a regular tetrahedron, or all three."""
    edges = torch.tensor([[1.0, 1, 0], [1, 0, 1], [0, 1, 1]])[:count]
    start = {"w": torch.tensor([1.0, 2.0, 3.0])}
    found, _ = model_stock(start, [{"w": start["w"] + edge} for edge in edges])
    want = start["w"] + {2: 2 / 3, 3: 0.75}[count] * edges.mean(0)
    torch.testing.assert_close(found["w"], want)


def test_identical_members_are_kept_and_orthogonal_ones_dropped():
    start, tuned = random_weights(0), random_weights(1)
    found, disagreed = model_stock(start, [tuned, tuned, tuned])
    torch.testing.assert_close(found, tuned, rtol=0, atol=1e-6)
    assert not disagreed
    one, other = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])}
    zero = {"w": torch.zeros(2)}
    found, disagreed = model_stock(zero, [one, other])
    assert bits(found) == bits(zero)
    assert disagreed == ["w"]


def test_permuted_members_change_nothing():
    start = random_weights(0)
    members = [
        {name: start[name] + 1 + random_weights(seed)[name] for name in start} for seed in (1, 2, 3)
    ]
    found, _ = model_stock(start, members)
    again, _ = model_stock(start, members[::-1])
    torch.testing.assert_close(found, again, rtol=0, atol=1e-7)


def test_a_tensor_that_did_not_move_and_one_on_which_members_disagree(capsys):
    start = {"still": torch.ones(2), "half": torch.ones(2), "w": torch.tensor([-0.0, 1.0])}
    start |= {"count": torch.tensor(7)}
    one = start | {"half": torch.zeros(2), "w": torch.tensor([1.0, 1.0]), "count": torch.tensor(9)}
    other = start | {"w": torch.tensor([-1.0, 1.0])}
    found = apply_model_stock(start, [one, other], None)
    assert bits(found) == bits(start | {"count": torch.tensor(9)})
    said = capsys.readouterr().out
    assert "Model Stock: 2 of 4 tensors stay zero-shot's, where the runs do not agree" in said


def test_model_stock_of_one():
    with pytest.raises(ConfigError, match="takes two runs or more, got 1"):
        POSTHOC["model_stock"].check(1, {})
    with pytest.raises(ConfigError, match="needs at least two"):
        model_stock(random_weights(0), [random_weights(1)])


def test_model_stock_of_unlike_members():
    start = random_weights(0)
    with pytest.raises(WeightsError, match="only one of them has 'c'"):
        model_stock(start, [start, start | {"c": torch.ones(1)}])


# --- LiNeS

VIT = (
    *("visual.class_embedding", "visual.conv1.weight", "visual.ln_pre.weight"),
    *(f"visual.transformer.resblocks.{block}.mlp.c_fc.weight" for block in (0, 1, 2, 10)),
    *("visual.ln_post.weight", "visual.proj", "weight"),
)
TOWERS = (
    *(f"clip.{name}" for name in VIT[:-1]),
    *(f"clip.transformer.resblocks.{block}.attn.in_proj_weight" for block in (0, 1)),
    *("clip.token_embedding.weight", "clip.ln_final.bias", "clip.text_projection"),
    "clip.logit_scale",
)


def ends(names=VIT):
    return random_weights(0, names), random_weights(1, names)


def test_depths_are_counted_in_each_tower_by_itself():
    found = depths(list(TOWERS))
    visual = [value for name, value in found.items() if ".visual." in name]
    text = [value for name, value in found.items() if ".visual." not in name]
    assert visual == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert text == [0, 1]


@pytest.mark.parametrize(
    "name",
    [
        "visual.layer{}.0.bn1.running_mean",
        "visual.trunk.layer{}.0.conv1.weight",
        "visual.trunk.blocks.{}.norm1.weight",
        "visual.trunk.stages.{}.downsample.0.weight",
        "clip.visual.transformer.resblocks.{}.ls_1.gamma",
    ],
)
def test_blocks_of_other_towers(name):
    names = [name.format(number) for number in (1, 2, 3, 10)]
    outside = ["visual.trunk.patch_embed.proj.weight", "visual.attnpool.positional_embedding"]
    text = "clip.text.transformer.encoder.layer.{}.output.bias"
    names += [text.format(number) for number in (0, 1, 2)]
    found = depths([*outside, "clip.text_decoder.resblocks.3.ln_1.bias", *names])
    want = [0, 1 / 3, 2 / 3, 1, 0, 1 / 2, 1]
    assert [found.pop(name) for name in names] == pytest.approx(want)
    assert not found


def test_a_tower_without_blocks_is_refused():
    weights = random_weights(0, ("visual.conv.weight", "weight"))
    with pytest.raises(WeightsError, match="names the number of its block; LiNeS is for"):
        lines(weights, weights, 0.5)


@pytest.mark.parametrize("names", [VIT, TOWERS])
def test_the_ends_of_lines(names):
    start, tuned = ends(names)
    assert bits(lines(start, tuned, 1.0)) == bits(tuned)
    found = lines(start, tuned, 0.0)
    for name, tensor in found.items():
        if name in depths(list(names)) and depths(list(names))[name] == 1:
            assert torch.equal(tensor, tuned[name])
        elif name not in ("weight", "clip.logit_scale") and not depths(list(names)).get(name):
            assert torch.equal(tensor, start[name])


@property_test
@given(inner)
def test_lines_without_a_slope_is_wise(alpha):
    for names in (VIT, TOWERS):
        start, tuned = ends(names)
        assert bits(lines(start, tuned, alpha, b=0.0, head=alpha)) == bits(
            wise(start, tuned, alpha)
        )


@property_test
@given(st.floats(0, 1))
def test_lines_formula(a):
    start, tuned = ends()
    factors = {name: a for name in VIT} | {"weight": 1.0}
    for place, name in enumerate(VIT[3:7]):
        factors[name] = a + (1 - a) * place / 3
    for name, tensor in lines(start, tuned, a).items():
        before = as_float64(start[name])
        want = before + factors[name] * (as_float64(tuned[name]) - before)
        np.testing.assert_allclose(tensor, want, rtol=1e-5, atol=1e-6)


def test_what_follows_the_blocks_and_the_head_have_their_own_factor():
    for names in (VIT, TOWERS):
        start, tuned = ends(names)
        found = lines(start, tuned, 0.3, last_outside="one", head=0.0)
        released = lines(start, tuned, 0.3)
        last = ("visual.ln_post.weight", "visual.proj", "ln_final.bias", "text_projection")
        for name in names:
            if name.removeprefix("clip.") in last:
                assert torch.equal(found[name], tuned[name])
            elif name in ("weight", "clip.logit_scale"):
                assert torch.equal(found[name], start[name])
            else:
                assert torch.equal(found[name], released[name])


class Counting:
    """Held-out images on which a model is the better, the nearer its stem is to `best`."""

    def __init__(self, best):
        self.best = best
        self.asked = 0

    def accuracy(self, weights):
        self.asked += 1
        return -float((weights["visual.conv1.weight"] - self.best).abs().max().clamp(min=1e-3))


def test_a_is_chosen_on_held_out_images_unless_it_is_given():
    start, tuned = ends()
    stem = wise(start, tuned, 0.3)["visual.conv1.weight"]
    held = Counting(stem)
    assert bits(apply_lines(start, [tuned], held)) == bits(lines(start, tuned, 0.3))
    assert held.asked == len(lines_file.GRID)
    flat = Counting(stem)
    flat.accuracy = lambda _: 0.5
    assert bits(apply_lines(start, [tuned], flat)) == bits(lines(start, tuned, 0.0))
    options = POSTHOC["lines"].completed({"a": 0.7})
    assert options == {"choose": False, "a": 0.7}
    assert bits(apply_lines(start, [tuned], held, **options)) == bits(lines(start, tuned, 0.7))
    assert held.asked == len(lines_file.GRID)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"a": 0.2, "choose": True}, "lines is given a, and shall choose it"),
        ({"last_outside": "two"}, "unknown last_outside 'two'"),
    ],
)
def test_options_of_lines(options, words):
    with pytest.raises(ConfigError, match=words) as caught:
        POSTHOC["lines"].check(1, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("about", [{"a": 1.5}, {"a": 0.5, "head": 2.0}])
def test_factors_outside_their_range(about):
    with pytest.raises(ConfigError, match="alpha is"):
        lines(*ends(), **about)
