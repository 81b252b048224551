"""Linear probes against scikit-learn, and how often they look at an image."""

import numpy as np
import pytest
import torch
from conftest import QUIET
from sklearn.linear_model import LogisticRegression

from clipft.disk.files import read_jsonl
from clipft.errors import ConfigError
from clipft.models.embeddings import extract
from clipft.models.students import Student
from clipft.training.linear_probe import STRENGTHS, Labelled, logistic

slow_fits = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def blobs(classes, seed, count=60):
    """Overlapping clouds of points, one a class: (N, D) float32 and labels (N,)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = np.random.default_rng(classes).standard_normal((classes, 5)) * 0.8
    return torch.tensor(
        centres[labels] + rng.standard_normal((count, 5)), dtype=torch.float32
    ), torch.tensor(labels)


def best_fit(train, held, bias):
    """scikit-learn's own choice among the strengths: the first of the best on the held-out
    points.
    """
    fits = [
        LogisticRegression(C=c, fit_intercept=bias, max_iter=100).fit(*train) for c in STRENGTHS
    ]
    return max(fits, key=lambda fit: fit.score(*held))


def numpy(pair):
    return tuple(tensor.numpy() for tensor in pair)


@slow_fits
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_probe_is_scikit_learns(classes, bias):
    train, held = blobs(classes, 1), blobs(classes, 2)
    weight, intercept = logistic(Labelled(*train), Labelled(*held), classes, bias=bias)
    assert (weight.shape, intercept.shape) == ((5, classes), (classes,))
    fit = best_fit(numpy(train), numpy(held), bias)
    chances = (held[0] @ weight + intercept).softmax(-1)
    np.testing.assert_allclose(chances, fit.predict_proba(held[0].numpy()), atol=2e-3)
    accuracy = Labelled(*held).accuracy(weight, intercept)
    assert accuracy == pytest.approx(fit.score(*numpy(held)))
    assert 1 / classes < accuracy < 1
    assert intercept.any() == bias


def test_accuracy_of_a_head_by_hand():
    head = torch.eye(2), torch.tensor([0.0, 0.5])
    points = torch.tensor([[1.0, 0.0], [0.4, 0.0], [0.0, 1.0]])
    assert Labelled(points, torch.tensor([0, 0, 1])).accuracy(*head) == pytest.approx(2 / 3)


def test_class_without_a_training_image_is_one_line():
    x, y = blobs(3, 1)
    with pytest.raises(
        ConfigError, match="class 1 has no training image; try solver=adamw"
    ) as caught:
        logistic(Labelled(x[y != 1], y[y != 1]), Labelled(x, y), 3, bias=True)
    assert "\n" not in str(caught.value)


@slow_fits
@pytest.mark.parametrize("head", ["fixed", "absorbed"])
def test_an_lp_run_is_scikit_learns_on_open_clips_features(world, head):
    run = world.train(method="lp", head=head)
    splits = []
    for split in (run.on_bench.train_split(), run.on_bench.selection_split()):
        found = extract(run.student, split, QUIET)
        unit = found.embeddings / np.linalg.norm(found.embeddings, axis=-1, keepdims=True)
        splits.append((run.clip.scale * unit, found.label))
    train, held = splits
    run.student.load_state_dict(run.tuned)
    weight, bias = run.student.linear()
    chances = (torch.as_tensor(held[0] / run.clip.scale) @ weight + bias).softmax(-1)
    want = best_fit(
        (np.asarray(train[0]), train[1]), (np.asarray(held[0]), held[1]), head == "absorbed"
    )
    np.testing.assert_allclose(chances.detach(), want.predict_proba(np.asarray(held[0])), atol=1e-4)


def test_adamw_lowers_the_loss_and_embeds_each_image_once(world, monkeypatch):
    seen, tower = [], Student.tower
    monkeypatch.setattr(
        Student, "tower", lambda self, *given: seen.extend(given[1]) or tower(self, *given)
    )
    run = world.train(method="lp", solver="adamw", steps=60, lr=1e-2, eval_every=10)
    losses = [row["loss"] for row in read_jsonl(run.path / "metrics.jsonl") if "loss" in row]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert len(seen) == len(run.on_bench.train_split()) + len(run.on_bench.selection_split())


def test_adamw_starts_at_zero_shot(world):
    run = world.train(method="lp", solver="adamw", lr=0, selection="last")
    assert torch.equal(run.tuned["weight"], run.bench.zero_shot)
