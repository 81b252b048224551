"""Post-hoc methods on real, tiny runs: a folder like any other, made once, and what is refused."""

import pytest
import torch
from conftest import QUIET, Trained
from torch.nn import functional as F

from clipft import Run, wise
from clipft.disk.files import read_jsonl
from clipft.errors import ClipftError, ConfigError, RunError, WeightsError
from clipft.methods import METHODS, POSTHOC
from clipft.training import combine as combining
from clipft.training.combine import HeldOutImages

FEW = {
    "tpgm": {"steps": 3, "batch": 8},
    "tpgm_c": {"steps": 3, "batch": 8},
    "wise_fisher": {"images": 4},
}
TUNED = {"lr": 3e-3, "steps": 8, "selection": "last"}


@pytest.fixture
def pair(world):
    return [world.train(**TUNED, seed=seed) for seed in (0, 1)]


def combine(name, runs, options=None):
    """The combination as a run that also computes."""
    return Trained.of(combining.combine(name, runs, options, QUIET))


def held_out(run):
    return HeldOutImages(run.bench, run)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def made(name, runs, **options):
    """The combination by a few steps; of one run where the method takes no more."""
    return combine(name, runs if POSTHOC[name].many else runs[:1], FEW.get(name, {}) | options)


def values(run, alphas, metric="accuracy"):
    table = run.score(alphas)
    return table[table.metric == metric].set_index(["split", "alpha"])["mean"]


def written(folder):
    """When each file was written; the lock says who holds it."""
    return {file: file.stat().st_mtime_ns for file in folder.iterdir() if file.name != ".lock"}


def test_every_method_leaves_a_run_that_is_scored_and_found_again(pair, monkeypatch):
    zero_shot = values(pair[0], [0.0]).to_dict()
    for name in POSTHOC:
        run = made(name, pair)
        again = Trained.of(Run.open(run.path))
        assert (again.config, again.after) == (run.config, run.after)
        assert run.path.parent == pair[0].path.parent
        assert set(run.after.members) <= {one.id for one in pair}
        found = values(again, [0.0, 1.0])
        assert found.between(0, 1).all() and {key: found[key] for key in zero_shot} == zero_shot
        if not again.is_ensemble:
            assert all(tensor.isfinite().all() for tensor in again.tuned.values())
            val = read_jsonl(run.path / "metrics.jsonl")[-1]["val_accuracy"]
            assert val == pytest.approx(found["real/val", 1.0])
        files = written(run.path)
        with monkeypatch.context() as patch:
            patch.setattr(
                "clipft.training.combine.HeldOutImages", None
            )  # nothing is computed again
            assert made(name, pair).path == run.path
        assert written(run.path) == files


def test_options_and_members_name_the_folder(pair):
    calls = [
        ("wise", pair[:1], {}),
        ("wise", pair[:1], {"alpha": 0.3}),
        ("wise", pair[1:], {}),
        ("uniform_soup", pair, {}),
    ]
    assert len({combine(*call).path for call in calls}) == 4


def test_wise_as_a_run_is_the_sweeps_own(pair):
    run = made("wise", pair, alpha=0.3)
    assert same(run.tuned, wise(pair[0].anchor, pair[0].tuned, 0.3))
    for split in ("real/test", "sketch/test"):
        for metric in ("accuracy", "energy_gap"):
            mine, theirs = (
                values(run, [1.0], metric)[split, 1.0],
                values(pair[0], [0.3], metric)[split, 0.3],
            )
            assert mine == pytest.approx(theirs, rel=1e-5)


def test_tpgm_that_stays_at_its_start_is_wise_a_half(pair):
    found, want = (
        made("tpgm", pair, steps=1, lr=0.0).tuned,
        wise(pair[0].anchor, pair[0].tuned, 0.5),
    )
    for name, tensor in want.items():
        torch.testing.assert_close(found[name], tensor)


def test_greedy_methods_are_no_worse_than_the_best_member(pair):
    def on_val(run):
        return values(run, [1.0])["real/val", 1.0]

    best = max(map(on_val, pair))
    for name in ("greedy_soup", "greedy_ensemble"):
        assert on_val(made(name, pair)) >= best


def test_a_combination_can_be_combined(pair):
    soup = made("uniform_soup", pair)
    mixed = combine("wise", [soup], {"alpha": 0.5})
    assert same(mixed.tuned, wise(soup.anchor, soup.tuned, 0.5))
    plain = combine("wise", pair[:1], {"alpha": 0.5})
    assert Run.open(mixed.path).after.members == (soup.id,) and plain.path != mixed.path


def test_two_towers_are_combined_like_any_other(world):
    flyp = [world.train(**TUNED, method="flyp", seed=seed) for seed in (0, 1)]
    for name in POSTHOC.keys() - {"wise_head"}:
        run = made(name, flyp)
        assert values(run, [1.0]).between(0, 1).all()
        for key in (
            ()
            if run.is_ensemble or name == "greedy_soup"
            else ("clip.visual.proj", "clip.text_projection")
        ):
            assert not torch.equal(run.tuned[key], flyp[0].tuned[key])


def test_every_method_takes_a_model_with_buffers(world, resnet_folder):
    """The BatchNorms of a ResNet count means and variances, which have no gradient."""
    model = {"model": f"local-dir:{resnet_folder}", "pretrained": str(resnet_folder / "random.pt")}
    pair = [world.train(**TUNED | model, seed=seed) for seed in (0, 1)]
    mean = "visual.bn1.running_mean"
    assert mean in pair[0].tuned and mean not in held_out(pair[0]).parameters
    assert not torch.equal(pair[0].tuned[mean], pair[0].anchor[mean])
    for name in POSTHOC:
        run = made(name, pair)
        assert values(run, [1.0]).between(0, 1).all()
        if name in ("tpgm", "tpgm_c"):
            assert torch.equal(run.tuned[mean], pair[0].tuned[mean])
        if name == "wise_fisher":
            assert torch.equal(run.tuned[mean], wise(pair[0].anchor, pair[0].tuned, 0.5)[mean])


def test_a_head_alone_is_no_two_towers_thing(world):
    with pytest.raises(WeightsError, match="has no head of its own"):
        combine("wise_head", [world.train(method="flyp", steps=2)])


# --- ensembles


def test_an_ensemble_has_no_weights(pair, tmp_path):
    run = made("greedy_ensemble", pair)
    for use in (
        lambda: run.tuned,
        lambda: run.export(tmp_path / "out"),
        lambda: combine("wise", [run]),
    ):
        with pytest.raises(RunError, match="is an ensemble and has no weights") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_ensemble_of_one_is_measured_against_wise(pair):
    run = combine("output_ensemble", pair[:1])
    far, alike = (
        values(run, [0.0, 0.5, 1.0], metric) for metric in ("wise_distance", "wise_agreement")
    )
    for split in ("real/test", "sketch/test", "clipart/test"):
        assert [far[split, alpha] for alpha in (0.0, 1.0)] == pytest.approx([0, 0], abs=1e-5)
        assert [alike[split, alpha] for alpha in (0.0, 1.0)] == [1, 1]
        assert far[split, 0.5] > 1e-3
    member = values(pair[0], [1.0])
    assert (
        values(run, [1.0]).xs(1.0, level="alpha").to_dict()
        == member.xs(1.0, level="alpha").to_dict()
    )


def test_an_ensemble_of_two_has_no_distance(pair):
    found = combine("output_ensemble", pair).score([0.0, 1.0])
    assert not {"wise_distance", "energy_gap"} & set(found.metric)


# --- what is refused


@pytest.mark.parametrize(
    ("name", "count", "options", "words"),
    [
        ("wyse", 1, {}, "unknown post-hoc method 'wyse'; did you mean 'wise'"),
        ("tpgm", 2, {}, "tpgm takes one run, got 2"),
        ("greedy_soup", 0, {}, "takes one run or more, got 0"),
        ("wise", 1, {"alhpa": 0.5}, "unknown option of wise 'alhpa'; did you mean 'alpha'"),
        ("wise", 1, {"alpha": 1.5}, "alpha is 1.5"),
        ("wise", 1, {"alpha": "0.5"}, "option alpha of wise is '0.5', expected a number >= 0"),
        ("tpgm_c", 1, {"mu": -1.0}, "option mu of tpgm_c is -1.0"),
        ("tpgm", 1, {"steps": 2.5}, "option steps of tpgm is 2.5, expected a whole number >= 1"),
        ("tpgm", 1, {"batch": 0}, "option batch of tpgm is 0"),
        ("tpgm", 1, {"norm": "mar"}, "unknown norm 'mar'"),
        ("wise_fisher", 1, {"images": 0}, "option images of wise_fisher is 0"),
        ("greedy_ensemble", 2, {"limit": True}, "option limit of greedy_ensemble is True"),
    ],
)
def test_what_a_method_does_not_take(pair, name, count, options, words):
    with pytest.raises(ConfigError, match=words) as caught:
        combine(name, pair[:count], options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"head": "absorbed"}, "head 'absorbed'"),
        ({"reference": "sketch"}, "reference 'sketch'"),
        ({"pretrained": "none"}, "model_digest"),
        ({"selection": "paper"}, "selection 'paper'"),
        (
            {"logit_scale": "trained"},
            "different head conventions: only one of them has 'logit_scale'",
        ),
        ({"method": "flyp"}, "different models: only one of them has 'clip."),
    ],
)
def test_unlike_runs_are_refused(world, changes, words):
    one, other = world.train(**TUNED), world.train(**TUNED | changes)
    for runs in ([one, other], [other, one]):
        with pytest.raises(ClipftError, match=words if runs[0] is one else ".") as caught:
            combine("uniform_soup", runs)
        assert "\n" not in str(caught.value)


def test_runs_from_two_draws_of_random_weights_are_refused(world):
    """The seed draws them: the runs are alike in every setting that can be told apart by name."""
    runs = [world.train(pretrained="none", steps=2, seed=seed) for seed in (0, 1)]
    with pytest.raises(ConfigError, match="has model_digest") as caught:
        combine("uniform_soup", runs)
    assert "\n" not in str(caught.value)


def test_runs_of_two_folders_are_refused(world, tmp_path):
    with pytest.raises(ConfigError, match="lies beside other runs"):
        combine(
            "uniform_soup", [world.train(**TUNED), world.train(tmp_path / "elsewhere", **TUNED)]
        )


def test_an_unfinished_run_is_refused(pair):
    (pair[1].path / "weights.safetensors").unlink()
    with pytest.raises(RunError, match=f"{pair[1].id} is not finished"):
        combine("uniform_soup", [one.path for one in pair])


# --- the held-out images


@pytest.mark.parametrize(
    "changes", [{}, {"head": "absorbed"}, {"logit_scale": "trained"}, {"method": "flyp"}], ids=str
)
def test_held_out_loss_is_the_students_with_gradient_to_all_of_it(world, changes):
    run = world.train(**TUNED | changes)
    held = held_out(run)
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in run.tuned.items()}
    run.student.load_state_dict(
        run.anchor
    )  # the weights of the call count, not those that are loaded
    for number, batch in held.batches(3, 3):
        loss = held.loss(leaves, (number, batch))
        run.student.load_state_dict(run.tuned)
        classes = (
            run.student.prompts[:, number % 2] if METHODS[run.config.method].two_towers else None
        )
        images, _, texts, _ = run.student(batch.pixels, None, classes)
        rows = F.normalize(images, dim=-1)
        logits = (
            run.student.scale * rows @ texts.T
            if METHODS[run.config.method].two_towers
            else run.student.logits(images)
        )
        torch.testing.assert_close(
            loss, F.cross_entropy(logits, batch.labels), rtol=1e-5, atol=1e-6
        )
        run.student.load_state_dict(run.anchor)
    loss.backward()
    assert [name for name, leaf in leaves.items() if leaf.grad is None or not leaf.grad.any()] == []


def test_held_out_questions(pair):
    held = held_out(pair[0])
    logits = held.logits(pair[0].tuned)
    assert logits.shape == (8, 4)
    assert held.labels.tolist() == list(pair[0].on_bench.selection_split().labels)
    assert held.accuracy(pair[0].tuned) == pytest.approx(
        (logits.argmax(1) == held.labels).float().mean().item()
    )
    assert not torch.equal(logits, held.logits(pair[1].tuned))


def test_labels_of_the_fisher_are_drawn_from_the_predictions(pair):
    """The mean over many draws of -log p(y | x) is the entropy of the predictions."""
    held, weights = held_out(pair[0]), pair[0].anchor
    with torch.no_grad():
        batches = list(held.batches(8, 300))
        losses, again = (
            [held.sampled_loss(weights, batch).item() for batch in batches[:n]] for n in (300, 5)
        )
    logs = held.logits(weights).log_softmax(-1)
    entropy = -(logs.exp() * logs).sum(-1).mean().item()
    assert sum(losses) / len(losses) == pytest.approx(entropy, rel=0.05)
    assert losses[:5] == again  # each draw follows from the seed and its number
