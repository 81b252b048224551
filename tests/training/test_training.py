"""One loop: exact resume, choice of weights, and what happens when things go wrong."""

import contextlib
import hashlib
import json
import math
import random
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from conftest import QUIET, Trained, held_elsewhere

from clipft import ClipftError, Run, train
from clipft.config import RunConfig
from clipft.data.images import decode as decode_
from clipft.disk.files import read_jsonl
from clipft.disk.lock import lock
from clipft.errors import ConfigError, ImageError, RunError, Stopped, StorageError
from clipft.evaluation.predictions import Validation
from clipft.inputs import batches as data
from clipft.inputs.prompts import zero_shot_prompts
from clipft.methods import METHODS, POSTHOC
from clipft.models import checkpoints
from clipft.models.checkpoints import read_metadata, read_weights
from clipft.models.clip import Clip
from clipft.models.head import read_head
from clipft.runs.reading import gzsl_table
from clipft.training import loop, state, train as training
from clipft.training.combine import HeldOutImages, combine
from clipft.training.loop import is_chosen, learning_rate, merit


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def metrics(run):
    return read_jsonl(run.path / "metrics.jsonl")


class Killed(BaseException):
    pass


def killed_at(monkeypatch, step):
    """Let the loop die in the middle of this step, before anything of it is kept."""
    take_step = loop.take_step

    def dying(training, state, batch):
        if state.step == step:
            raise Killed
        take_step(training, state, batch)

    monkeypatch.setattr(loop, "take_step", dying)


def test_learning_rate_is_warm_up_then_cosine():
    config = RunConfig(lr=2.0, steps=100, warmup=0.1)
    assert [learning_rate(t, config) for t in range(10)] == pytest.approx(
        [0.2 * (t + 1) for t in range(10)]
    )
    for t in range(10, 100):
        assert learning_rate(t, config) == pytest.approx(1 + math.cos(math.pi * (t - 10) / 90))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=90)
    for t in range(10, 100):
        assert learning_rate(t, config) == pytest.approx(cosine.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        cosine.step()


VARIANTS = {name: {"method": name} for name in METHODS} | {
    "absorbed": {"head": "absorbed"},
    "clamped": {"logit_scale": "clamped"},
    "clipped and decayed": {"clip_norm": 0.5, "weight_decay": 0.1},
    "few shots": {"shots": 2},
    "frozen head": {"head": "frozen", "method": "lipsum", "weight_decay": 0.1},
    "flyp, mask, fixed": {
        "method": "flyp",
        "options": {"mask": True},
        "captions": "fixed",
        "logit_scale": "frozen",
    },
    "flyp, slow texts": {"method": "flyp", "text_rate": 0.1, "weight_decay": 0.1},
    "as Lipsum-FT's release": {
        "method": "lipsum",
        "protocol": "release",
        "precision": "bf16-mixed",
    },
    "few shots as FLYP's release": {"method": "flyp", "protocol": "release", "shots": 3},
    "as WiSE-FT's release": {"head": "absorbed", "protocol": "release"},
    "kd, averaged": {"method": "kd", "options": {"tau": 2.0}, "ema": 0.7},
    "adapted": {"adapter": "lora", "clip_norm": 0.5, "weight_decay": 0.1, "ema": 0.7},
    "adapted, flyp": {"adapter": "lora", "method": "flyp", "layer_decay": 0.5, "text_rate": 0.5},
    "ft, Beta average": {"average": "beta"},
    "carot in parts, as released, bf16": {
        "method": "carot",
        "precision": "bf16-mixed",
        "accumulate": 2,
        "options": {"release_teacher": True, "teacher_every": 0.4},
    },
    "tracer, Beta average": {"method": "tracer", "average": "beta", "options": {"beta_b": 2.0}},
    "flyp, Beta average": {"method": "flyp", "average": "beta", "beta_b": 2.0},
    "lp": {"method": "lp", "solver": "adamw"},
    "lp, averaged": {"method": "lp", "solver": "adamw", "ema": 0.7, "head": "absorbed"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_equals_uninterrupted_bit_for_bit(world, variant, tmp_path, monkeypatch):
    changes = VARIANTS[variant] | {"steps": 6, "eval_every": 2}
    whole = world.train(tmp_path / "whole", **changes)
    draw = random.Random(variant)
    step = draw.randrange(1, 6)
    each_step = draw.random() < 0.5  # a checkpoint after each, or at validations alone
    reading = replace(QUIET, checkpoint_minutes=1e-9 if each_step else 0)
    with monkeypatch.context() as patch:
        killed_at(patch, step)
        with pytest.raises(Killed):
            train(world.config(**changes), world.runs, reading=reading)
    is_kept = each_step or step >= 2
    assert (world.runs / whole.id / "checkpoint.safetensors").exists() == is_kept
    resumed = world.train(**changes)
    assert same(resumed.tuned, whole.tuned)
    assert metrics(resumed) == metrics(whole)


def test_a_text_rate_slows_the_text_tower_alone(world, tmp_path):
    frozen = world.train(method="flyp", text_rate=0.0, logit_scale="frozen")
    image = world.train(tmp_path / "image", method="flyp_image", logit_scale="frozen")
    assert same(frozen.tuned, image.tuned)  # a text tower of rate 0 is one that does not train
    half = world.train(method="flyp", text_rate=0.5, logit_scale="frozen")
    whole = world.train(method="flyp", logit_scale="frozen")
    first = world.train(method="flyp", lr=0.0).tuned
    texts = [name for name in whole.tuned if name.startswith("clip.token_embedding")]
    assert texts
    for name in texts:
        moved = (half.tuned[name] - first[name]).norm() / (whole.tuned[name] - first[name]).norm()
        assert 0.3 < moved < 0.8
    with pytest.raises(ConfigError, match="ft trains no text tower, so text_rate would do nothing"):
        RunConfig(method="ft", text_rate=0.1)


def test_training_learns(world):
    run = world.train(steps=60, eval_every=10)
    losses = [row["loss"] for row in metrics(run) if "loss" in row]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_terms_add_up_to_the_loss(world):
    for row in metrics(world.train(method="lipsum")):
        if "loss" in row:
            assert row["loss"] == pytest.approx(row["cross_entropy"] + row["lipsum"], rel=1e-5)


def test_best_validation_weights_are_kept(world):
    run = world.train(steps=24, eval_every=2, lr=3e-3)
    rows = [row for row in metrics(run) if "val_accuracy" in row]
    best = max(rows, key=lambda row: row["val_accuracy"])["step"]  # the first of equals
    last = world.train(steps=24, eval_every=2, lr=3e-3, selection="last")
    assert same(run.tuned, last.tuned) == (best == 24)
    assert read_metadata(run.path / "weights.safetensors")["step"] == str(best)


@pytest.mark.parametrize("lr", [3e-3, 10.0])
def test_weights_of_the_least_validation_loss_are_kept(world, lr):
    """theta0 is among them: a learning rate far too large never does better."""
    settings = {"steps": 12, "eval_every": 1, "lr": lr, "shots": 2, "batch_size": 8}
    run = world.train(**settings, selection="loss")
    rows = [row for row in metrics(run) if "val_loss" in row]
    assert [row["step"] for row in rows] == list(range(13))
    least = min(row["val_loss"] for row in rows)
    step = max(row["step"] for row in rows if row["val_loss"] == least)
    assert read_metadata(run.path / "weights.safetensors")["step"] == str(step)
    assert (step == 0) == (lr == 10)
    if not step:
        assert same(run.tuned, run.anchor)

    held = HeldOutImages(run.bench, run)
    assert held.split.name == "real/val" and len(held.split) == 8
    logits = held.logits(run.tuned).double()
    nats = -logits.log_softmax(1).gather(1, held.labels[:, None]).mean().item()
    assert nats == pytest.approx(least, abs=1e-5)


def test_of_equal_losses_the_last_is_kept_of_equal_accuracies_the_first():
    equal = Validation(0.5, 1.0)
    assert is_chosen(equal, merit(equal, "loss"), "loss")
    assert not is_chosen(equal, merit(equal, "holdout"), "holdout")
    assert is_chosen(equal, merit(equal, "last"), "last")
    assert not is_chosen(Validation(0.9, 1.1), -1.0, "loss")


@pytest.mark.parametrize("step", [0, 1, 5])
def test_a_run_chosen_by_loss_is_resumed(world, tmp_path, monkeypatch, step):
    settings = {"selection": "loss", "eval_every": 2}
    whole = world.train(tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:
        killed_at(patch, step)
        with pytest.raises(Killed):
            world.train(**settings)
    resumed = world.train(**settings)
    assert same(resumed.tuned, whole.tuned)
    assert metrics(resumed) == metrics(whole)


def test_selection_paper_looks_at_the_test_split(world):
    names = {s: world.bench(selection=s).selection_split().name for s in ("holdout", "paper")}
    assert names == {"holdout": "real/val", "paper": "real/test"}


def test_any_domain_can_be_the_reference(world):
    run = world.train(reference="sketch")
    assert run.on_bench.train_split().domain == "sketch"
    assert [split.name for split in run.reported_splits()] == [
        "sketch/val",
        "sketch/test",
        "real/test",
        "clipart/test",
    ]


def test_some_shifts_are_enough(world):
    run = world.train(shifts=["clipart"])
    names = [split.name for split in run.reported_splits()]
    assert names == ["real/val", "real/test", "clipart/test"]
    with pytest.raises(ConfigError, match="unknown shift of mini 'real'"):
        world.train(shifts=["real"])


def test_several_domains_are_joined(world):
    split = world.bench(train_domains=("real", "clipart")).train_split()
    assert split.name == "real+clipart/train"
    assert all(name.startswith(split.domain_of(row)) for row, name in enumerate(split.ids))


def test_finished_run_is_not_trained_again(world, monkeypatch):
    first = world.train()
    killed_at(monkeypatch, 0)
    assert world.train().path == first.path


def test_student_of_a_run_is_its_clip(world):
    run = world.bench()
    prompts = zero_shot_prompts(run.manifest, run.clip.tokenizer)
    assert torch.equal(run.anchor["weight"], run.clip.zero_shot_head(prompts))
    visual = run.clip.model.visual.state_dict()
    assert same(
        {f"visual.{name}": tensor for name, tensor in visual.items()}
        | {"weight": run.anchor["weight"]},
        run.anchor,
    )


HEADED = [
    name
    for name, method in METHODS.items()
    if method.trains == "vision" and method.head == "zero_shot" and not method.frozen_head
]


@pytest.mark.parametrize("method", HEADED)
def test_a_frozen_head_is_the_zero_shot_head_bit_for_bit(world, method):
    settings = {"method": method, "lr": 3e-3, "weight_decay": 0.1, "selection": "last"}
    run = world.train(**settings, head="frozen")
    free = world.train(**settings)
    assert run.tuned.keys() == free.tuned.keys() and run.id != free.id
    assert torch.equal(run.tuned["weight"], run.on_bench.zero_shot)
    assert not torch.equal(free.tuned["weight"], free.on_bench.zero_shot)
    moved = [
        name for name, tensor in run.tuned.items() if not torch.equal(tensor, run.anchor[name])
    ]
    assert moved and "weight" not in moved


def test_a_run_with_a_frozen_head_is_scored_mixed_and_combined(world, tmp_path):
    pair = [world.train(head="frozen", lr=3e-3, selection="last", seed=seed) for seed in (0, 1)]
    table = pair[0].score([0.0, 0.5, 1.0])
    assert set(table.alpha) == {0.0, 0.5, 1.0} and table["mean"].notna().all()
    free = world.train(lr=3e-3, selection="last").score([0.0])
    assert free["mean"].tolist() == table[table.alpha == 0]["mean"].tolist()
    few = {"tpgm": {"steps": 3}, "tpgm_c": {"steps": 3}, "wise_fisher": {"images": 4}}
    for name, entry in POSTHOC.items():
        members = pair if entry.many else pair[:1]
        made = Trained.of(combine(name, members, few.get(name, {}), QUIET))
        assert made.score([1.0])["mean"].notna().all()
        if not entry.ensemble:
            torch.testing.assert_close(made.tuned["weight"], pair[0].anchor["weight"])
    head = read_head(pair[0].export(tmp_path / "out") / "head.safetensors")
    torch.testing.assert_close(head.weight, pair[0].clip.scale * pair[0].on_bench.zero_shot)
    seen = gzsl_table(pair[0], ["bee"])
    assert seen[["class_seen", "class_unseen"]].notna().all(axis=None)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"method": "lipsm"}, "did you mean 'lipsum'"),
        ({"pretrained": "opnai"}, "no checkpoint file 'opnai'"),
        ({"manifest": "domainet"}, "did you mean 'domainnet'"),
        ({"reference": "skech"}, "did you mean 'sketch'"),
        ({"stepz": 3}, "did you mean 'steps'"),
        ({"lam": -1}, "greater than or equal to 0, got -1"),
        ({"steps": "many"}, "got 'many'"),
        ({"crop": [0.9, 0.2]}, "crop"),
        ({"text_length": 40, "method": "lipsum"}, "at most 14"),
        ({"lam": 0.5}, "ft has no regulariser, so lam=0.5 would do nothing"),
        ({"method": "flyp", "lam": 1.0}, "flyp has no regulariser"),
        ({"method": "kd", "options": {"tua": 2}}, "did you mean 'tau'"),
        ({"method": "kd", "options": {"tau": True}}, "expected a number >= 0"),
        (
            {"method": "kd", "options": {"tau": -1}},
            "option tau of kd is -1, expected a number >= 0",
        ),
        ({"method": "kd", "options": {"tau": "hot"}}, "is 'hot', expected a number"),
        (
            {"method": "flyp", "options": {"mask": 1}},
            "option mask of flyp is 1, expected true or false",
        ),
        ({"head": "absorbed", "logit_scale": "trained"}, "head=absorbed holds the logit scale"),
        ({"head": "absorbed", "logit_scale": "clamped"}, "head=absorbed holds the logit scale"),
        ({"method": "flyp", "head": "absorbed"}, "builds its head from its text tower"),
        ({"method": "flyp", "head": "frozen"}, "builds its head from its text tower"),
        ({"method": "lp", "head": "frozen"}, "lp needs a head that trains, so not head=frozen"),
        ({"method": "scratch_ft", "head": "frozen"}, "scratch_ft needs a head that trains"),
        ({"head": "frozen", "logit_scale": "trained"}, "head=frozen keeps the zero-shot head and"),
        ({"head": "frozen", "head_from": "head.safetensors"}, "head=frozen keeps the zero-shot h"),
        (
            {"method": "flyp_image", "head_from": "head.safetensors"},
            "builds its head from its text tower",
        ),
        ({"method": "lp_ft", "solver": "adamw"}, "lp_ft takes solver=logistic"),
        ({"solver": "adamw"}, "ft has no linear probe, so solver=adamw would do nothing"),
        ({"method": "lp", "head_from": "head.safetensors"}, "lp says itself where its head starts"),
        ({"ema": 1.5}, "less than or equal to 1, got 1.5"),
    ],
)
def test_bad_settings_are_one_line_and_write_nothing(world, changes, wanted):
    with pytest.raises(ConfigError, match=wanted) as caught:
        world.train(**changes)
    assert "\n" not in str(caught.value)
    assert not world.runs.exists()


def test_a_temperature_of_zero_is_one_line(world):
    with pytest.raises(ConfigError, match="tau is 0") as caught:
        world.train(method="kd", options={"tau": 0})
    assert "\n" not in str(caught.value)
    assert not list(world.runs.glob("*/weights.safetensors"))


def test_another_head_under_the_same_name_is_another_run(world, tmp_path):
    file = world.train(steps=2).export(tmp_path / "out") / "head.safetensors"
    run = world.train(head_from=str(file))
    other = world.train(steps=2, seed=1, lr=1e-2, selection="last")
    other.export(tmp_path / "out")
    assert world.train(head_from=str(file)).path != run.path
    file.unlink()  # a finished run needs it no more
    assert set(Trained.of(Run.open(run.path)).score([1.0]).alpha) == {1.0}


def test_other_weights_under_the_same_name_are_another_run(world, tmp_path, checkpoint):
    """A begun run goes on with its own weights; a finished one is not scored with others."""
    file = tmp_path / "weights.pt"
    state = torch.load(checkpoint)
    torch.save(state, file)
    run = world.train(pretrained=str(file))
    torch.save({name: tensor * 2 for name, tensor in state.items()}, file)
    with pytest.raises(RunError, match="other weights"):
        Trained.of(Run.open(run.path)).score([0.0])
    assert world.train(pretrained=str(file)).path != run.path


def test_a_named_model_of_other_weights_is_refused(world, monkeypatch):
    """A name stays the same when its weights change: a begun run must not go on with others."""
    changes = {"model": "emoji-tiny", "pretrained": ""}
    with monkeypatch.context() as patch:
        killed_at(patch, 5)
        with pytest.raises(Killed):
            world.train(**changes)
    digest = Clip.digest
    monkeypatch.setattr(Clip, "digest", lambda clip: digest(clip)[::-1])
    with pytest.raises(RunError, match="other weights of emoji-tiny") as caught:
        world.train(**changes)
    assert "\n" not in str(caught.value)


def test_finished_run_is_given_to_all_who_ask(world):
    folder = world.train().path
    with held_elsewhere(folder):
        assert world.train().path == folder


def test_run_of_other_defaults_is_refused(world):
    folder = world.train().path
    recorded = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(recorded | {"text_count": 9}))
    with pytest.raises(RunError, match="other defaults"):
        world.train()


def test_locked_run_is_refused_at_once(world):
    folder = world.folder()
    with held_elsewhere(folder), pytest.raises(RunError, match="another process"):
        world.train()
    with lock(folder):
        pass


@pytest.fixture
def spoilt(world, tree, tmp_path, monkeypatch):
    """The miniature tree with one truncated training image and one missing test image."""
    import shutil

    shutil.copytree(tree, tmp_path / "data")
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path / "data"))
    splits = world.bench()
    file = tmp_path / "data/mini" / splits.train_split().ids[0]
    file.write_bytes(file.read_bytes()[:200])
    (tmp_path / "data/mini" / splits.manifest.split("sketch/test").ids[2]).unlink()
    return file


def test_unreadable_image_stops_and_is_named(world, spoilt):
    with pytest.raises(ImageError, match=spoilt.name) as caught:
        world.train()
    assert "\n" not in str(caught.value)


def test_unreadable_image_in_a_worker_is_one_line(world, spoilt):
    with pytest.raises(ImageError, match=spoilt.name) as caught:
        train(world.config(), world.runs, reading=replace(QUIET, workers=1))
    assert str(caught.value).startswith("image unreadable")


def test_skipped_images_are_counted(world, spoilt, capsys):
    lenient = replace(QUIET, skip_bad=True)
    run = Trained.of(train(world.config(), world.runs, reading=lenient))
    table = run.score([0.0, 1.0], reading=lenient)
    said = capsys.readouterr().out
    assert f"skipped 1 of 24 images of real/train, the first is {spoilt}" in said
    assert "skipped 1 of 20 images of sketch/test" in said
    assert set(table[table.split == "sketch/test"].n) == {19}
    assert set(table[table.split == "clipart/test"].n) == {20}


def test_full_disk_keeps_the_last_checkpoint(world, tmp_path, monkeypatch):
    write, calls = checkpoints.write_weights, []

    def full(path, *args):
        calls.append(path)
        if len(calls) > 3:
            raise StorageError(f"cannot write {path}: no space left on device")
        write(path, *args)

    with monkeypatch.context() as patch:
        for writer in (loop, state):
            patch.setattr(writer, "write_weights", full)
        with pytest.raises(ClipftError, match="no space left"):
            world.train(selection="last")
    folder = world.folder(selection="last")
    assert read_weights(folder / "checkpoint.safetensors")
    assert same(
        world.train(selection="last").tuned, world.train(tmp_path / "whole", selection="last").tuned
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_bf16_trains(world, variant):
    changes = {"precision": "bf16-mixed", "steps": 3, "selection": "last", "lr": 1e-2}
    run = world.train(**VARIANTS[variant] | changes)
    assert {tensor.dtype for tensor in run.tuned.values()} == {torch.float32}
    assert all(tensor.isfinite().all() for tensor in run.tuned.values())
    assert not same(run.tuned, run.anchor)


def test_a_run_whose_weights_are_not_finite_is_not_validated(world, monkeypatch):
    """The loss before the step is a number, the weights after it are none."""
    take_step = loop.take_step

    def spoiling(training, state, batch):
        take_step(training, state, batch)
        with torch.no_grad():
            state.student.weight[0, 0] = float("nan")

    monkeypatch.setattr(loop, "take_step", spoiling)
    words = "validation after step 1: a score of 8 of 8 images is nan, .*the run diverged; lower lr"
    with pytest.raises(RunError, match=words) as caught:
        world.train(eval_every=1)
    assert "\n" not in str(caught.value)
    assert not world.folder(eval_every=1).exists()


def test_diverged_run_stops_and_names_the_step(world):
    with pytest.raises(
        RunError, match=r"cross_entropy is (nan|inf) at step \d+: the run diverged"
    ) as caught:
        world.train(lr=1e30)
    assert "\n" not in str(caught.value)
    assert not list(world.runs.glob("*/weights.safetensors"))


@pytest.fixture
def own_manifest(world, tmp_path) -> Path:
    """A copy of the miniature manifest that a test may move and edit."""
    folder = shutil.copytree(Path(world.manifest).parent, tmp_path / "manifests")
    return folder / "mini.yaml"


def test_a_manifest_of_another_content_is_another_run(world, own_manifest):
    """Prose does not count; what does makes a new run, and the old one keeps to its own copy."""
    run = world.train(manifest=str(own_manifest))
    text = own_manifest.read_text()
    own_manifest.write_text(text.replace("made up", "other prose"))
    assert world.train(manifest=str(own_manifest)).path == run.path
    own_manifest.write_text(text.replace("holdout: 0.25", "holdout: 0.5"))
    other = world.train(manifest=str(own_manifest))
    assert other.path != run.path
    assert [len(Run.open(one.path).manifest.split("real/val")) for one in (run, other)] == [8, 16]
    Trained.of(Run.open(run.path)).score([0.0, 1.0])


def test_the_spelling_of_a_path_names_no_run(world, own_manifest, model_folder, monkeypatch):
    """Relative, absolute, moved: the same manifest, model and checkpoint are the same run."""
    run = world.train(manifest=str(own_manifest))
    monkeypatch.chdir(own_manifest.parent)
    shutil.copytree(model_folder, "model")
    places = {"model": "local-dir:model", "pretrained": "model/random.pt"}
    assert world.train(manifest="mini.yaml", **places).path == run.path
    assert world.train(manifest="mini", **places).path == run.path
    moved = shutil.move(own_manifest.parent, own_manifest.parent.parent / "moved")
    monkeypatch.chdir(moved)
    assert world.train(manifest=f"{moved}/mini.yaml", **places).path == run.path
    assert run.config.manifest == "mini"


def test_a_head_is_known_by_its_content(world, tmp_path, monkeypatch):
    head = world.train(method="lp").export(tmp_path / "lp") / "head.safetensors"
    run = world.train(head_from=str(head))
    monkeypatch.chdir(tmp_path)
    shutil.copy(head, "same.safetensors")
    assert world.train(head_from="same.safetensors").path == run.path
    other = world.train(method="lp", seed=1, shots=2).export(tmp_path / "other")
    assert world.train(head_from=str(other / "head.safetensors")).path != run.path


@pytest.mark.parametrize("edit", ["a row less", "another label"])
def test_other_rows_are_said_with_both_ways_out(world, tree, tmp_path, monkeypatch, edit):
    """After a training list is edited the old run is not passed off as that of the new list."""
    monkeypatch.setenv("CLIPFT_DATA", str(shutil.copytree(tree, tmp_path / "data")))
    run = world.train()
    file = tmp_path / "data/mini/real_train.txt"
    first, *others = file.read_text().splitlines()
    changed = [] if edit == "a row less" else [first.replace("apple", "bee")]
    if changed:
        image = tmp_path / "data/mini" / changed[0].split()[0]
        image.write_bytes((tmp_path / "data/mini" / first.split()[0]).read_bytes())
    file.write_text("\n".join([*changed, *others]) + "\n")
    with pytest.raises(RunError, match=r"other images or labels.*another runs folder.*or delete"):
        world.train()
    shutil.rmtree(run.path)
    assert world.train().path == run.path


def test_the_rows_digest_is_of_paths_and_labels(world):
    """Against a plain transcription; an older run, which has none, is still found."""
    run = world.train()
    lines = []
    for split in (run.train_split(), run.selection_split()):
        lines += [
            split.name,
            *(f"{label} {name}" for name, label in zip(split.ids, split.labels, strict=True)),
        ]
    whole = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    assert run.made_of["rows_digest"] == whole[:12]
    config = json.loads((run.path / "config.json").read_text())
    del config["rows_digest"]
    (run.path / "config.json").write_text(json.dumps(config))
    assert world.train().path == run.path


def test_a_start_that_fails_leaves_nothing_in_the_way(world, tree, tmp_path, monkeypatch):
    """A missing list is said before a file is written; what begins and fails is removed."""
    monkeypatch.setenv("CLIPFT_DATA", str(shutil.copytree(tree, tmp_path / "data")))
    values = yaml.safe_load(Path(world.manifest).read_text())
    del values["holdout"]
    shutil.copy(Path(world.manifest).parent / "mini.classes.yaml", tmp_path)
    own = tmp_path / "mini.yaml"
    own.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"real_val\.txt"):
        world.train(manifest=str(own))
    assert not world.runs.exists()
    own.write_text(yaml.safe_dump(values | {"holdout": 0.25}))
    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.train(manifest=str(own))
    assert not list(world.runs.glob("*/config.json"))
    world.train(manifest=str(own))


def test_a_folder_in_which_nothing_was_kept_is_taken_over(world):
    """Killed before the first validation, by another clipft: the run begins anew."""
    folder = world.folder()
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"method": "ft", "model_digest": "other"}))
    run = world.train()
    assert run.path == folder and run.config.lr == 1e-3


def test_a_batch_of_unreadable_images_stops(world, spoilt):
    with pytest.raises(ImageError, match="no image of step"):
        train(
            world.config(batch_size=1, steps=40), world.runs, reading=replace(QUIET, skip_bad=True)
        )


def test_dropout_follows_from_the_step(world, model_folder, tmp_path):
    """A model that draws from torch's own generator repeats, too."""
    config = json.loads((model_folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["patch_dropout"] = 0.5
    (tmp_path / "dropping").mkdir()
    (tmp_path / "dropping/open_clip_config.json").write_text(json.dumps(config))
    changes = {"model": f"local-dir:{tmp_path / 'dropping'}"}
    one, other = (world.train(tmp_path / name, **changes) for name in "ab")
    assert same(one.tuned, other.tuned)


def test_selection_that_does_not_fit_is_decoded_again(world, tmp_path, monkeypatch):
    whole = world.train(tmp_path / "whole")
    seen, decode = [], decode_
    monkeypatch.setattr(data, "decode", lambda path, how: seen.append(path) or decode(path, how))
    monkeypatch.setattr("clipft.training.examples.Pixels", partial(data.Pixels, keep_bytes=1))
    monkeypatch.setattr(data, "pixel_chunks", in_single_images)
    run = world.train()
    assert metrics(run) == metrics(whole)
    split = run.on_bench.selection_split()
    assert {seen.count(split.root / name) for name in split.ids} == {
        3
    }  # as often as it was evaluated


def in_single_images(split, transform, reading, chunks=data.pixel_chunks, **about):
    for row in range(len(split)):
        yield from chunks(split.take([row]), transform, reading, **about)


def test_foreign_checkpoint_is_one_line(world, monkeypatch):
    with monkeypatch.context() as patch:
        killed_at(patch, 6)
        with pytest.raises(Killed):
            world.train()
    from clipft.models.checkpoints import write_weights

    write_weights(world.folder() / "checkpoint.safetensors", {"a": torch.zeros(2)})
    with pytest.raises(RunError, match="no checkpoint of clipft; delete it"):
        world.train()


ARCHITECTURES = {
    "resnet": {
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    },
    "custom text": {
        "custom_text": True,
        "vision_cfg": {
            "image_size": 16,
            "patch_size": 8,
            "width": 32,
            "layers": 1,
            "head_width": 16,
        },
    },
}


@pytest.mark.parametrize("method", ["ft", "lipsum", "flyp"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_other_architectures_go_the_same_way(
    world, kind, method, model_folder, tmp_path, monkeypatch
):
    config = json.loads((model_folder / "open_clip_config.json").read_text())
    config["model_cfg"] |= ARCHITECTURES[kind]
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    run = world.train(model=f"local-dir:{folder}", pretrained="none", method=method, steps=3)
    scores = run.score([0.0, 0.5, 1.0])
    assert scores[scores.metric == "energy_gap"]["mean"].isna().sum() == 0
    assert run.export(tmp_path / "out", alpha=0.5).exists()


def test_watch_sees_every_row_as_it_is_written(world, tmp_path):
    seen, kept = [], []

    def watch(row):
        seen.append(dict(row))
        kept.append(read_jsonl(world.folder(method="lipsum") / "metrics.jsonl"))

    run = train(world.config(method="lipsum"), world.runs, reading=QUIET, watch=watch)
    assert seen == metrics(run)
    assert kept == [seen[: number + 1] for number in range(len(seen))], (
        "a row is on disk before it is shown"
    )
    unwatched = world.train(tmp_path / "unwatched", method="lipsum")
    assert same(Trained.of(run).tuned, unwatched.tuned)
    assert metrics(run) == metrics(unwatched)
    seen.clear()
    train(world.config(method="lipsum"), world.runs, reading=QUIET, watch=watch)
    assert seen == [], "a finished run is returned as it is"


@pytest.mark.parametrize("variant", ["ft", "kd, averaged", "lp, averaged", "flyp", "lp_ft"])
def test_stopped_by_who_watches_equals_uninterrupted(world, variant, tmp_path):
    """Stopped again and again: at a loss, at a validation, at the last one."""
    changes = VARIANTS[variant] | {"steps": 6, "eval_every": 2}
    whole = world.train(tmp_path / "whole", **changes)
    rows = len(metrics(whole))

    def stopper(count):
        left = [count]

        def watch(row):
            left[0] -= 1
            if not left[0]:
                raise Stopped(f"at {row['step']}")

        return watch

    for count in (1, 4, rows):
        with contextlib.suppress(Stopped):
            train(world.config(**changes), world.runs, reading=QUIET, watch=stopper(count))
        with lock(world.folder(**changes)):
            pass
    resumed = world.train(**changes)
    assert same(resumed.tuned, whole.tuned)
    assert metrics(resumed) == metrics(whole)
    assert not (resumed.path / "checkpoint.safetensors").exists()


def test_logistic_probe_stopped_at_its_only_row_has_it_once(world, tmp_path):
    """Its start is its solution: there is one row, and going on must not write it again."""

    def stop(row):
        raise Stopped("now")

    with pytest.raises(Stopped):
        train(world.config(method="lp"), world.runs, reading=QUIET, watch=stop)
    resumed, whole = world.train(method="lp"), world.train(tmp_path / "whole", method="lp")
    assert same(resumed.tuned, whole.tuned)
    assert metrics(resumed) == metrics(whole)


def test_what_watch_raises_comes_out_as_it_is(world):
    class Odd(Exception):
        pass

    def watch(row):
        raise Odd("me")

    with pytest.raises(Odd, match="me"):
        train(world.config(), world.runs, reading=QUIET, watch=watch)
    assert world.train().folder.is_finished
