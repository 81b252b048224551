"""What a step holds: only what the method needs, each by another hand, and nothing of theta0 with a
gradient.
"""

import pytest
import torch
from lightning_fabric import Fabric
from open_clip.modified_resnet import ModifiedResNet
from torch.nn.functional import normalize

from clipft.errors import ConfigError
from clipft.inputs.prompts import SPURIOUS, Captions
from clipft.methods import METHODS
from clipft.models.hidden import check_hidden, hidden_states
from clipft.objectives.loss import loss_terms
from clipft.objectives.step import FIELDS
from clipft.training.examples import EmbeddedExamples, PixelExamples
from clipft.training.gradients import Gradients
from clipft.training.observer import Observer
from clipft.training.state import State, trained_tensors

VARIANTS = {name: {"method": name} for name in METHODS} | {
    "absorbed": {"head": "absorbed"},
    "trained scale": {"logit_scale": "trained"},
    "lp": {"method": "lp", "solver": "adamw"},
    "flyp, frozen scale": {"method": "flyp", "logit_scale": "frozen"},
}
THETA0 = ("anchor", "zero_shot", "context", "random_texts", "spurious_anchor")
HELD = ["l2sp", "kd", "car", "feat_kd", "ldifs", "lipsum", "mse_class", "mse_context", "kld_random"]


class Begun:
    """A run before its first step, and its first batch."""

    def __init__(self, run):
        self.run = run
        self.method = METHODS[run.config.method]
        self.student = run.bench.student(run.config)
        fabric = Fabric(accelerator="cpu", devices=1)
        if self.method.trains == "head":
            self.student.visual.requires_grad_(False)
            examples = EmbeddedExamples(run.bench, run.config, self.student)
        else:
            examples = PixelExamples(run.bench, run.config)
        if self.method.head == "zeros":
            weight, bias = self.student.linear()
            self.student.start_from(torch.zeros_like(weight), torch.zeros_like(bias))
        state = State.begin(self.student, run.config, fabric)
        self.trained = trained_tensors(self.student)
        self.teacher = state.teacher
        self.batch = next(iter(examples.batches(range(1))))
        self.observe = Observer(run.bench, run.config, state, fabric, examples.train)
        self.gradients = Gradients(run.config, self.method, fabric, self.observe)

    def terms(self, step, lam=None):
        return loss_terms(self.method, step, lam)


@pytest.fixture
def begun(world):
    """A run before its first step, its first batch, and a function that observes it at any step."""

    def make(**changes):
        loop = Begun(world.bench(**changes))
        return loop, loop.batch, lambda step=0: loop.observe(loop.batch, step)

    return make


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_reaches_what_is_trained_and_nothing_of_theta0(begun, variant):
    loop, _, see = begun(**VARIANTS[variant])
    seen, entry = see(), loop.method
    want = {"images", "labels", "scale", "progress"}
    several = {"projections", "spurious_captions"}
    want |= entry.needs - {"class_captions", "teacher"} - several
    for need in several & entry.needs:
        want |= set(FIELDS[need])
    want |= {"logits"} if entry.uses_cross_entropy else set()
    want |= {"zero_shot"} if "anchor" in entry.needs else set()
    want |= {"hidden_anchor"} if "hidden" in entry.needs else set()
    want |= {"start"} if "weights" in entry.needs else set()
    assert {name for name, value in vars(seen).items() if value is not None} == want
    frozen = [getattr(seen, name) for name in THETA0 if name in want] + [
        *(seen.start or {}).values(),
        *(seen.hidden_anchor or {}).values(),
    ]
    assert not any(tensor.requires_grad for tensor in frozen)
    terms = loop.terms(seen)
    loss = sum(terms.values())
    assert loss.isfinite()
    loss.backward()
    reached = {
        name for name, p in loop.student.named_parameters() if p.grad is not None and p.grad.any()
    }
    assert reached == ({"weight"} if entry.head == "zeros" else set(loop.trained))
    assert all(p.grad.isfinite().all() for p in loop.trained.values())
    assert all(p.grad is None for p in loop.run.clip.model.parameters())


@pytest.mark.parametrize("name", HELD)
def test_every_penalty_is_zero_before_the_first_step(begun, name):
    loop, _, see = begun(method=name)
    assert float(loop.terms(see(), 1.0)[name].detach()) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        for parameter in loop.trained.values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert float(loop.terms(see(), 1.0)[name].detach()) > 1e-3


def test_scale_is_the_pre_trained_one_while_a_head_trains_its_own(begun):
    loop, _, see = begun(method="kd", logit_scale="trained")
    loop.student.logit_scale.data += 1
    assert see().scale == loop.run.clip.scale
    unscaled = normalize(see().images, dim=-1) @ loop.student.weight
    torch.testing.assert_close(see().logits, torch.e * loop.run.clip.scale * unscaled)


def test_anchor_and_zero_shot_are_theta0_on_the_same_pixels(begun):
    loop, batch, see = begun(method="kd")
    loop.student.visual.proj.data *= 2
    clip = loop.run.clip
    wanted = clip.model.encode_image(loop.student.pixels(batch.pixels))
    torch.testing.assert_close(see().anchor, wanted)
    torch.testing.assert_close(see().images, 2 * wanted)
    assert torch.equal(see().zero_shot, clip.zero_shot_head(loop.run.prompts))


def test_hidden_states_are_open_clips_own(begun):
    loop, batch, see = begun(method="ldifs")
    theta0 = loop.run.clip.model.visual
    with torch.no_grad():
        for parameter in loop.trained.values():
            parameter.add_(0.1)
    seen = see()
    pixels = loop.student.pixels(batch.pixels)
    names = ["conv1", "positions", "dropout", "ln_pre", "block 1", "block 2", "ln_post"]
    for visual, states in ((loop.student.visual, seen.hidden), (theta0, seen.hidden_anchor)):
        assert [*states] == names
        blocks = visual.forward_intermediates(pixels, output_fmt="NLC", output_extra_tokens=True)
        for number, name in enumerate(("block 1", "block 2")):
            parts = [blocks[f"image_intermediates{kind}"][number] for kind in ("_prefix", "")]
            torch.testing.assert_close(states[name], torch.cat(parts, 1))
        patches = visual.conv1(pixels).flatten(2).mT
        torch.testing.assert_close(states["conv1"], patches)
        rows = states["positions"] - visual.positional_embedding
        torch.testing.assert_close(rows[:, 1:], patches)
        torch.testing.assert_close(states["ln_pre"], visual.ln_pre(states["dropout"]))
        torch.testing.assert_close(states["ln_post"], visual.ln_post(states["block 2"]))
    assert not any(module._forward_hooks for module in theta0.modules())


def test_hidden_states_of_a_resnet_are_rows_of_its_stages():
    visual = ModifiedResNet([1, 1, 1, 1], output_dim=8, heads=2, image_size=32, width=8).eval()
    with hidden_states(visual) as states:
        visual(torch.rand(2, 3, 32, 32))
    assert {name: tuple(state.shape) for name, state in states.items()} == {
        "stage 1": (2, 64, 32),
        "stage 2": (2, 16, 64),
        "stage 3": (2, 4, 128),
        "stage 4": (2, 1, 256),
    }


@pytest.mark.parametrize("method", ["ldifs", "clipood", "starft", "starft_ce"])
def test_the_gradient_of_parts_is_that_of_the_batch(begun, method):
    found = []
    for accumulate in (1, 3):
        loop, batch, _ = begun(method=method, accumulate=accumulate)
        with torch.no_grad():
            for parameter in loop.trained.values():
                parameter.mul_(1.1)
        loop.gradients.of(batch, 0)
        found.append({name: p.grad for name, p in loop.trained.items()})
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-4)


def test_spurious_captions_are_the_captions_in_a_template(begun):
    loop, batch, see = begun(method="starft", steps=8)
    run, seen = loop.run, see(1)
    assert seen.progress == 0.25 and seen.start_scale == run.clip.scale
    names = [run.manifest.names[label] for label in batch.labels.tolist()]
    own = [pattern.removesuffix(".") for pattern in run.manifest.templates]
    offered = [[s.format(t.format(name)) for s in SPURIOUS for t in own] for name in names]
    for row, texts in zip(seen.spurious_anchor, offered, strict=True):
        rows = run.clip.embed_texts(run.clip.tokenizer(texts))
        assert (rows @ row).max() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(seen.spurious, seen.spurious_anchor)
    assert torch.equal(seen.spurious_anchor, see(1).spurious_anchor)
    assert not torch.equal(seen.spurious_anchor, see(2).spurious_anchor)


def test_captions_that_are_drawn_once_are_those_in_a_template(begun, monkeypatch):
    """FLYP's release draws an image's caption once for few shots: not a new one in a template."""
    seen = []
    spurious = Captions.spurious

    def noted(self, captions, generator):
        seen.append((captions, self.tokens(captions)))
        return spurious(self, captions, generator)

    monkeypatch.setattr(Captions, "spurious", noted)
    loop, batch, _ = begun(method="starft", protocol="release", shots=4)
    for step in (0, 1):
        shown = loop.observe.shown(batch, step)
        assert torch.equal(shown.captions, seen[-1][1])
    assert seen[0][0] == seen[1][0]


def test_an_unknown_tower_has_no_hidden_states():
    with pytest.raises(
        ConfigError, match=r"x has a vision tower whose hidden .* Linear; wanted: a"
    ):
        check_hidden(torch.nn.Linear(1, 1), "x")
    tower = torch.nn.Module()
    tower.trunk = torch.nn.Module()
    tower.trunk.blocks = torch.nn.ModuleList([torch.nn.Linear(1, 1)])  # as EfficientNet's
    with pytest.raises(ConfigError, match="hidden states are not known here, Module"):
        check_hidden(tower, "x")


def test_start_does_not_follow_the_weights(begun):
    loop, _, see = begun(method="l2sp")
    before = {name: tensor.clone() for name, tensor in see().start.items()}
    with torch.no_grad():
        for parameter in loop.trained.values():
            parameter.add_(1.0)
    for name, tensor in see().start.items():
        assert torch.equal(tensor, before[name])
        torch.testing.assert_close(see().weights[name] - tensor, torch.ones_like(tensor))


def test_context_head_is_the_mean_over_classes(begun):
    loop, _, see = begun(method="car")
    clip, manifest = loop.run.clip, loop.run.manifest
    columns = []
    for template in manifest.templates:
        rows = clip.model.encode_text(
            clip.tokenizer([template.format(name) for name in manifest.names]), normalize=True
        )
        columns.append(normalize(rows.mean(0), dim=0))
    torch.testing.assert_close(see().context, torch.stack(columns, 1))


def test_random_texts_are_fresh_every_step_and_the_same_again(begun):
    _, _, see = begun(method="lipsum")
    texts = see(4).random_texts
    assert texts.shape == (8, 16)
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(8))
    assert torch.equal(texts, see(4).random_texts)
    assert not torch.equal(texts, see(5).random_texts)


def captions_of(run, name):
    clip = run.clip
    return clip.embed_texts(
        clip.tokenizer([template.format(name) for template in run.manifest.templates])
    )


@pytest.mark.parametrize("captions", ["sampled", "fixed"])
def test_captions_are_of_the_images_own_class(begun, captions):
    loop, batch, see = begun(method="flyp", captions=captions, batch_size=24)
    run, used = loop.run, set()
    for row, label in zip(see().captions, batch.labels.tolist(), strict=True):
        near = (captions_of(run, run.manifest.names[label]) - row).norm(dim=1)
        assert near.min() < 1e-5
        used.add(int(near.argmin()))
    assert used == ({0} if captions == "fixed" else {0, 1})
    assert torch.equal(see(0).captions, see(1).captions) == (captions == "fixed")


@pytest.mark.parametrize("captions", ["sampled", "fixed"])
def test_class_logits_are_of_one_caption_a_class(begun, captions):
    loop, _, see = begun(method="flyp_ce", captions=captions)
    seen, run = see(), loop.run
    for label, name in enumerate(run.manifest.names):
        known = seen.scale * normalize(seen.images, dim=-1) @ captions_of(run, name).T  # (B, T)
        far = (known - seen.logits[:, label : label + 1]).abs().amax(0)
        assert (far[0] if captions == "fixed" else far.min()) < 1e-4
