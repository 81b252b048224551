"""Teachers: copies of the student that follow it by a rule, and what a step holds of them."""

import numpy as np
import pytest
import torch
from test_observer import Begun
from torch.nn.functional import normalize

from clipft.config import RunConfig
from clipft.disk.files import read_jsonl
from clipft.errors import ConfigError
from clipft.methods import METHODS
from clipft.models.checkpoints import read_weights
from clipft.training import loop, state as states
from clipft.training.averages import BetaMean, Moving, teacher_of

TAUGHT = [name for name, entry in METHODS.items() if entry.teacher]


def release_teacher(steps, every, *, skips_first):
    """The weight of each of theta_0 ... theta_N in the teacher by the release's own loop.

    Its lines: if step % ema_up_freq == 0: m = (0.9 - 0.05) / (N * 0.2) * step + 0.05 where step is
    below N * 0.2, else 0.9; teacher = m teacher + (1 - m) student. `step` is 0 after the first.
    """
    weights = np.eye(steps + 1)[0]
    for step in range(steps):
        if step % every or (skips_first and step == 0):
            continue
        m = (0.9 - 0.05) / (steps * 0.2) * step + 0.05 if step < steps * 0.2 else 0.9
        weights = m * weights + (1 - m) * np.eye(steps + 1)[step + 1]
    return weights


def weights_of(rule):
    weights = np.eye(rule.steps + 1)[0]
    for step in range(1, rule.steps + 1):
        stays = rule(step)
        weights = stays * weights + (1 - stays) * np.eye(rule.steps + 1)[step]
    return weights


@pytest.mark.parametrize(("steps", "every"), [(100, 2), (57, 5), (3, 1)])
def test_the_moving_teacher_of_the_release(steps, every):
    want = release_teacher(steps, every, skips_first=False)
    rule = Moving(steps, every, at_first=True)
    np.testing.assert_allclose(weights_of(rule), want, atol=1e-12)
    assert rule(1) == 0.05  # 95 % of the first step goes in


def test_the_documented_teacher_moves_every_so_many_steps():
    rule = Moving(100, 10)
    assert [step for step in range(1, 101) if rule(step) < 1] == [*range(10, 101, 10)]
    assert rule(10) == pytest.approx((0.05 + 0.9) / 2)
    assert [rule(step) for step in (20, 60, 100)] == pytest.approx([0.9] * 3)
    moved = weights_of(rule)
    later = weights_of(Moving(100, 10, at_first=True))
    assert moved[1] == 0 and later[1] > 0 and moved.sum() == pytest.approx(later.sum())


def test_a_methods_options_say_the_rule():
    taught = RunConfig(method="self_distill", steps=1000)
    assert teacher_of(taught) == Moving(1000, 20)
    options = {"teacher_every": 0.1, "release_teacher": True}
    assert teacher_of(RunConfig(method="self_distill", steps=50, options=options)) == Moving(
        50, 5, at_first=True
    )
    assert teacher_of(RunConfig(method="self_distill", steps=3)).every == 1
    assert teacher_of(RunConfig()) is None
    with pytest.raises(ConfigError, match=r"never update its teacher at teacher_every=1\.5"):
        RunConfig(method="self_distill", options={"teacher_every": 1.5})
    with pytest.raises(ConfigError, match="option release_teacher of self_distill is 1"):
        RunConfig(method="self_distill", options={"release_teacher": 1})


def test_tracers_teacher_is_the_beta_mean():
    assert teacher_of(RunConfig(method="tracer", steps=7)) == BetaMean(7, 0.5)
    plain = teacher_of(RunConfig(method="tracer", steps=7, options={"beta_b": 1.0}))
    # After any step it is the plain mean of all weights so far.
    for step in range(1, 8):
        assert plain(step) == pytest.approx(step / (step + 1))


def test_tracers_teacher_stays_further_behind(world, followed):
    """The paper's claim: a moving average collapses onto the student, the Beta mean does not."""
    distances = {}
    for method in ("carot", "tracer"):
        followed.clear()
        world.train(method=method, steps=30, eval_every=30, selection="last", lr=1e-3)
        student, teacher = followed[-1]
        gaps = [(student[name] - teacher[name]).square().sum() for name in student]
        distances[method] = float(sum(gaps).sqrt())
    assert distances["tracer"] > distances["carot"]


@pytest.fixture
def begun(world):
    return lambda **changes: Begun(world.bench(**changes))


@pytest.mark.parametrize("method", TAUGHT)
def test_a_step_holds_what_the_teacher_says_of_the_same_images(begun, method):
    start = begun(method=method)
    teacher = start.teacher.module
    assert not any(tensor.requires_grad for tensor in teacher.parameters())
    fields = ("images", "captions", "scale", "logits")
    first = start.observe(start.batch, 0)
    assert all(getattr(first, f"teacher_{field}") is None for field in fields)

    with torch.no_grad():
        for tensor in teacher.parameters():
            tensor.add_(0.05 * torch.randn_like(tensor))
    seen = start.observe(start.batch, 1)
    pixels = teacher.pixels(start.batch.pixels)
    entry = METHODS[method]
    visual = teacher.visual if entry.trains == "vision" else teacher.clip.visual
    images = visual(pixels)
    torch.testing.assert_close(seen.teacher_images, images.detach())
    assert not torch.allclose(seen.teacher_images, seen.images)
    if entry.trains == "vision":
        wanted = teacher.scale * normalize(images, dim=-1) @ teacher.weight
        torch.testing.assert_close(seen.teacher_logits, wanted.detach())
        assert seen.teacher_captions is None
    else:
        torch.testing.assert_close(seen.teacher_scale, teacher.clip.logit_scale.exp().detach())
        shown = start.observe.shown(start.batch, 1)
        texts = teacher.clip.encode_text(shown.captions, normalize=True)
        torch.testing.assert_close(seen.teacher_captions, texts.detach())
        assert not torch.allclose(seen.teacher_captions, seen.captions)
    held = [getattr(seen, f"teacher_{field}") for field in fields]
    assert not any(tensor.requires_grad for tensor in held if isinstance(tensor, torch.Tensor))


@pytest.fixture
def followed(monkeypatch):
    """The student's and its teacher's weights after every step, as they come."""
    found = []
    take_step = loop.take_step

    def recording(training, state, batch):
        take_step(training, state, batch)
        models = (state.student, state.teacher.module)
        found.append([{k: v.clone() for k, v in model.state_dict().items()} for model in models])

    monkeypatch.setattr(loop, "take_step", recording)
    return found


@pytest.mark.parametrize("method", TAUGHT)
def test_the_teacher_is_its_rules_sum_and_lies_in_checkpoints(world, followed, monkeypatch, method):
    saved = []
    save = states.State.save

    def saving(state, file):
        save(state, file)
        saved.append(read_weights(file))

    monkeypatch.setattr(states.State, "save", saving)
    run = world.train(method=method, steps=5, eval_every=5, selection="last", lr=3e-3)
    rule = teacher_of(run.config)
    weights = weights_of(rule)
    assert isinstance(rule, BetaMean if METHODS[method].teacher == "beta" else Moving)
    for name, tensor in followed[-1][1].items():
        thetas = [run.anchor[name], *(student[name] for student, _ in followed)]
        want = sum(w * theta.double() for w, theta in zip(weights, thetas, strict=True))
        torch.testing.assert_close(tensor.double(), want, rtol=0, atol=1e-6)
        assert torch.equal(saved[-1][f"teacher.{name}"], tensor)
    student = followed[-1][0]
    assert all(torch.equal(run.tuned[name], student[name]) for name in student)


@pytest.mark.parametrize("method", TAUGHT)
def test_parts_of_a_batch_are_taught_as_the_whole(world, method):
    """By the loss: Adam makes steps of what is rounding in a gradient that is 0."""
    settings = {"method": method, "batch_size": 7, "steps": 4, "selection": "last", "lr": 1e-3}
    losses = []
    for parts in (1, 3):
        run = world.train(**settings, accumulate=parts)
        rows = read_jsonl(run.path / "metrics.jsonl")
        losses.append([row["loss"] for row in rows if "loss" in row])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
