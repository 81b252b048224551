"""What every method must hold to in a real, tiny run: where it starts, what it moves, what it
leaves alone.
"""

import json
import math

import pytest
import torch

from clipft.config import RunConfig
from clipft.disk.files import read_jsonl
from clipft.errors import ConfigError
from clipft.evaluation.predictions import logits_of
from clipft.methods import METHODS
from clipft.models.checkpoints import read_weights, write_weights
from clipft.models.load import load_clip
from clipft.runs.run import open_runs
from clipft.training import loop

LAST = {"selection": "last", "steps": 3, "eval_every": 3}
WEIGHED = [
    name for name, entry in METHODS.items() if entry.lam is not None and entry.trains == "vision"
]


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def moved(before, after):
    """Names of the tensors that are not the same bits."""
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def logits(run, weights=None):
    """Logits of a run's tuned model on made-up pixels."""
    run.student.load_state_dict(run.tuned if weights is None else weights)
    pixels = torch.randint(
        0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return logits_of(run.student.eval(), pixels)


# --- the starting point


def test_lam_zero_is_ft_bit_for_bit(world):
    ft = world.train(steps=20).tuned
    assert [
        name for name in WEIGHED if not same(world.train(steps=20, method=name, lam=0).tuned, ft)
    ] == []


@pytest.mark.parametrize("name", WEIGHED)
def test_a_penalty_makes_a_difference(world, name):
    assert not same(world.train(**LAST, method=name, lam=5).tuned, world.train(**LAST).tuned)


def test_contrast_of_no_weight_is_cross_entropy(world):
    one, other = (
        world.train(method="flyp_ce", **LAST),
        world.train(method="flyp_with_ce", lam=0, **LAST),
    )
    assert same(one.tuned, other.tuned)


@pytest.mark.parametrize("name", METHODS)
def test_learning_rate_zero_leaves_the_start(world, name):
    run = world.train(method=name, lr=0, **LAST)
    start = METHODS[name].head
    assert moved(run.anchor, run.tuned) == (set() if start == "zero_shot" else {"weight"})
    if start == "zeros":
        assert not run.tuned["weight"].any()
    if start == "probe":
        assert torch.equal(run.tuned["weight"], world.train(method="lp").tuned["weight"])


def test_scratch_starts_at_even_chances(world):
    run = world.train(method="scratch_ft", lr=0, **LAST)
    losses = [row["loss"] for row in read_jsonl(run.path / "metrics.jsonl") if "loss" in row]
    assert losses == pytest.approx([math.log(4)] * 3)


# --- what moves


@pytest.mark.parametrize("name", METHODS)
def test_a_run_moves_what_it_trains_and_nothing_else(world, name):
    run, trains = world.train(method=name, lr=3e-3, **LAST), METHODS[name].trains
    assert run.clip.digest() == load_clip(world.model, world.pretrained).digest()
    text = {
        key for key in run.anchor if key.startswith("clip.") and not key.startswith("clip.visual.")
    }
    whole = set(run.anchor)
    head = set() if METHODS[name].frozen_head else {"weight"}
    want = {
        "head": {"weight"},
        "vision": {key for key in whole if key.startswith("visual.")} | head,
        "image": whole - text | {"clip.logit_scale"},
        "both": whole,
    }
    assert moved(run.anchor, run.tuned) == want[trains]
    assert bool(text) == (trains in ("image", "both"))


# --- averaged weights


@pytest.mark.parametrize(
    ("changes", "decay"),
    [
        ({"method": "ema"}, 0.999),
        ({"ema": 0.7}, 0.7),
        ({"method": "flyp", "ema": 0.5, "lr": 1e-3}, 0.5),
    ],
)
def test_averaged_weights_are_the_closed_form(world, recorded, changes, decay):
    run = world.train(**{"selection": "last", "steps": 6, "lr": 1e-2} | changes)
    for name, kept in run.tuned.items():
        thetas = [run.anchor[name].double(), *(weights[name].double() for weights in recorded)]
        n = len(thetas) - 1
        want = decay**n * thetas[0] + (1 - decay) * sum(
            decay ** (n - k) * thetas[k] for k in range(1, n + 1)
        )
        torch.testing.assert_close(kept.double(), want, rtol=0, atol=1e-6)
    assert moved(recorded[-1], run.tuned) == set(run.tuned)


def test_averages_at_the_ends(world):
    ft = world.train(steps=8)
    assert same(world.train(steps=8, ema=0.0).tuned, ft.tuned)
    assert same(world.train(steps=8, ema=1.0, selection="last").tuned, ft.anchor)


# --- the head


def test_fixed_and_absorbed_start_alike_and_part(world):
    fixed, absorbed = (world.train(head=head, lr=1e-2, **LAST) for head in ("fixed", "absorbed"))
    torch.testing.assert_close(logits(fixed, fixed.anchor), logits(absorbed, absorbed.anchor))
    assert (logits(fixed) - logits(absorbed)).abs().max() > 0.1
    assert not absorbed.anchor["bias"].any() and absorbed.tuned["bias"].all()


@pytest.mark.parametrize("method", ["ft", "flyp"])
def test_a_clamped_scale_never_passes_100(world, recorded, tmp_path, method):
    key = "logit_scale" if method == "ft" else "clip.logit_scale"
    state = torch.load(world.pretrained)
    torch.save(state | {"logit_scale": torch.tensor(math.log(100) + 1)}, tmp_path / "high.pt")
    found = {}
    for kind in ("trained", "clamped", "frozen"):
        recorded.clear()
        run = world.train(
            method=method, logit_scale=kind, pretrained=str(tmp_path / "high.pt"), **LAST
        )
        if key in run.tuned:
            found[kind] = [weights[key].item() for weights in recorded]
    assert min(found["trained"]) > math.log(100) + 0.9 and len(set(found["trained"])) == 3
    assert max(found["clamped"]) == pytest.approx(math.log(100))
    assert ("frozen" in found) == (method == "flyp")
    assert len(set(found.get("frozen", [0]))) == 1


def test_starft_without_weight_is_flyp_bit_for_bit(world):
    flyp = world.train(method="flyp", steps=6)
    assert same(world.train(method="starft", lam=0, steps=6).tuned, flyp.tuned)
    assert not same(world.train(method="starft", lam=5, steps=6).tuned, flyp.tuned)


def test_spurious_templates_name_the_runs_that_read_them_alone(world, tmp_path):
    text = world.manifest_file.read_text()
    (tmp_path / "mini.yaml").write_text(text + "spurious: ['{} at sea']\n")
    classes = "mini.classes.yaml"
    (tmp_path / classes).write_text((world.manifest_file.parent / classes).read_text())
    other = {"manifest": str(tmp_path / "mini.yaml")}
    assert world.folder(**other) == world.folder()
    assert world.folder(method="starft", **other) != world.folder(method="starft")


def test_clipood_without_a_margin_is_ft_below_the_frozen_head(world):
    ft = world.train(head="frozen", steps=6)
    clipood = world.train(method="clipood", options={"margin": 0.0}, steps=6)
    assert clipood.config.head == "frozen"
    assert same(clipood.tuned, ft.tuned)
    assert not same(world.train(method="clipood", steps=6).tuned, ft.tuned)


@pytest.mark.parametrize("head", ["fixed", "absorbed"])
def test_clipood_has_its_own_head(world, head):
    with pytest.raises(ConfigError, match=f"clipood keeps the zero-shot head, so not head={head}"):
        world.config(method="clipood", head=head)
    config = world.config(method="clipood")
    assert world.config(method="clipood", head="frozen").id == config.id
    assert RunConfig.read(config.model_dump()) == config


@pytest.mark.parametrize(("method", "follows"), [("clipood", False), ("ft", True)])
def test_clipood_keeps_the_statistics_of_batch_norm(world, monkeypatch, method, follows):
    seen = []
    take_step = loop.take_step

    def noting(training, state, batch):
        seen.extend(module.training for module in state.student.modules())
        take_step(training, state, batch)

    monkeypatch.setattr(loop, "take_step", noting)
    world.train(method=method, steps=3, eval_every=1)  # a validation ends in the same mode
    assert set(seen) == {follows}


@pytest.fixture
def probe(world, tmp_path):
    """A linear probe and the head.safetensors of its export."""

    def make(**changes):
        run = world.train(method="lp", **changes)
        return run, run.export(tmp_path / "probe") / "head.safetensors"

    return make


@pytest.mark.parametrize("head", ["fixed", "absorbed"])
def test_head_from_starts_at_that_head(world, probe, head):
    lp, file = probe(head=head)
    run = world.train(head_from=str(file), head=head, lr=0, **LAST)
    torch.testing.assert_close(logits(run), logits(lp))
    assert (logits(run) - logits(run, run.anchor)).abs().max() > 0.1


def test_head_from_an_lp_is_lp_ft(world, probe):
    _, file = probe()
    one, other = world.train(head_from=str(file), **LAST), world.train(method="lp_ft", **LAST)
    for name, tensor in other.tuned.items():
        torch.testing.assert_close(one.tuned[name], tensor, atol=1e-5, rtol=1e-4)


def test_a_head_with_a_bias_needs_head_absorbed(world, probe):
    _, file = probe(head="absorbed")
    with pytest.raises(ConfigError, match="has a bias, which head=fixed has not") as caught:
        world.train(head_from=str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["apple", "be", "ice cream", "zebra"], "class 1 of the head is 'be', of mini it is 'bee'"),
        (["apple", "bee", "ice cream"], "the head has 3 classes, mini has 4"),
    ],
)
def test_a_head_of_other_classes_names_the_first(world, probe, classes, words):
    _, file = probe()
    cut = {name: tensor[..., : len(classes)] for name, tensor in read_weights(file).items()}
    write_weights(file, cut, {"classes": json.dumps(classes)})
    with pytest.raises(ConfigError, match=words) as caught:
        world.train(head_from=str(file))
    assert "\n" not in str(caught.value)
    assert not [run for run in open_runs(world.runs) if run.config.head_from == str(file)]
