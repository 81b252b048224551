"""CaRot and its kin at their limits, in a formula and in a tiny run."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from clipft.errors import ConfigError
from clipft.methods import METHODS
from clipft.models.projections import projections
from clipft.objectives.carot import carot, distillation, orthogonality, tracer
from clipft.objectives.flyp import flyp
from clipft.objectives.self_distill import soft_cross_entropy
from clipft.testing import Toy
from clipft.training.train import train

LAST = {"selection": "last", "steps": 4, "eval_every": 4, "lr": 1e-3}


@pytest.fixture
def step():
    return Toy(METHODS["carot"]).step


def entropy(logits):
    return torch.distributions.Categorical(logits=logits).entropy().mean()


@pytest.mark.parametrize("objective", [carot, tracer])
def test_without_weights_it_is_flyp_bit_for_bit(step, objective):
    assert torch.equal(objective(step, oc=0.0, sd=0.0, x=0.0), flyp(step))


def test_tracer_is_carots_formula_with_another_teacher(step):
    assert torch.equal(tracer(step, oc=0.2, x=0.05), carot(step))
    halved = replace(step, teacher_scale=step.teacher_scale / 2)
    assert torch.equal(tracer(step, temperature=2.0), tracer(halved))
    with pytest.raises(ConfigError, match=r"temperature is 0\.0, expected one above 0"):
        tracer(step, temperature=0.0)


@pytest.mark.parametrize("method", ["carot", "tracer"])
def test_without_weights_a_run_is_flyps(world, method):
    run = world.train(method=method, options={"oc": 0.0, "sd": 0.0, "x": 0.0}, **LAST)
    other = world.train(method="flyp", **LAST)
    assert all(torch.equal(run.tuned[name], other.tuned[name]) for name in other.tuned)


def test_an_orthogonal_projection_costs_nothing():
    draw = torch.Generator().manual_seed(0)
    p = torch.linalg.qr(torch.randn(9, 4, generator=draw, dtype=torch.float64))[0]
    assert orthogonality(p).item() == pytest.approx(0, abs=1e-14)
    twice = orthogonality(2 * p)  # P^T P = 4, four columns: sqrt(4 * 3^2)
    assert twice.item() == pytest.approx(6)


def test_the_gradient_at_the_identity_is_finite():
    p = torch.eye(6, 4, requires_grad=True)
    cost = orthogonality(p)
    cost.backward()
    assert cost.item() == 0
    assert torch.equal(p.grad, torch.zeros_like(p))


def test_distillation_from_oneself_is_the_entropy_of_both_directions(step):
    alike = replace(
        step,
        teacher_images=step.images.detach(),
        teacher_captions=step.captions.detach(),
        teacher_scale=step.scale,
    )
    scores = step.scale * normalize(step.images, dim=-1) @ step.captions.T
    want = entropy(scores) + entropy(scores.T)
    torch.testing.assert_close(distillation(alike), want)
    assert distillation(step) > 0
    # It is the least there, so nothing pulls.
    (pull,) = torch.autograd.grad(distillation(alike), step.images)
    torch.testing.assert_close(pull, torch.zeros_like(pull), atol=1e-5, rtol=0)


def test_the_teacher_is_asked_from_the_second_step_on(step):
    first = replace(step, teacher_images=None, teacher_captions=None, teacher_scale=None)
    assert torch.equal(carot(first), carot(step, sd=0.0))


def test_scores_that_a_softmax_rounds_to_zero_stay_finite():
    logits = torch.tensor([[0.0, 200.0], [300.0, 0.0]], requires_grad=True)
    loss = soft_cross_entropy(logits, torch.zeros(2, 2))
    loss.backward()
    assert loss.item() == pytest.approx((100 + 150) / 2)
    assert logits.grad.isfinite().all()


def test_the_head_is_built_from_the_tuned_texts(world):
    run = world.train(method="carot", **LAST)
    run.student.load_state_dict(run.tuned)
    clip = run.student.clip
    manifest = run.on_bench.manifest
    columns = []
    for name in manifest.names:
        tokens = run.clip.tokenizer([template.format(name) for template in manifest.templates])
        columns.append(normalize(clip.encode_text(tokens, normalize=True).mean(0), dim=0))
    head = run.student.linear()[0]
    torch.testing.assert_close(head, clip.logit_scale.exp() * torch.stack(columns, 1))
    assert not torch.allclose(head, run.clip.scale * run.on_bench.zero_shot)


def test_the_projections_are_found_by_name(world):
    run = world.bench(method="carot")
    model = run.clip.model
    image, text = projections(model)
    assert image is model.visual.proj and text is model.text_projection
    student = run.bench.student(run.config)
    assert projections(student)[0] is student.clip.visual.proj


def test_a_tower_without_a_plain_matrix_is_refused_before_anything_is_written(
    world, resnet_folder, tmp_path
):
    settings = {"method": "carot", "model": str(resnet_folder)}
    settings |= {"pretrained": str(resnet_folder / "random.pt")}
    config = world.config(**settings)
    with pytest.raises(ConfigError, match=r"the vision tower has no matrix visual\.proj") as caught:
        train(config, tmp_path / "runs")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("carot on ")
    assert not [*tmp_path.rglob("config.json")]
