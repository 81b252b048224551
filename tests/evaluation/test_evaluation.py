"""The sweep against open_clip, against one model at a time, and against the N x M form."""

import itertools
import shutil
import zlib
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from conftest import FEW_TEXTS, QUIET, Trained, made_once
from scipy.special import softmax
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

from clipft import RunConfig, train, wise
from clipft.data.images import decode as decode_
from clipft.diagnostics.energies import energy_vectors, squared_gap, unit
from clipft.disk.cache import default_cache
from clipft.errors import ConfigError, WeightsError
from clipft.evaluation import bench as bench_module, mixtures as mixtures_module
from clipft.evaluation.mixtures import MOST_ALPHAS, Mixtures, Refine
from clipft.evaluation.predictions import logits_of, predictions
from clipft.evaluation.score import score
from clipft.inputs import batches as data
from clipft.inputs.batches import pixel_chunks
from clipft.metrics.calibration import debiased_ece
from clipft.metrics.comparison import mcnemar
from clipft.metrics.curves import FINEST
from clipft.metrics.intervals import bca
from clipft.models.checkpoints import write_weights
from clipft.models.embeddings import embed, extract
from clipft.models.load import Clip
from clipft.models.students import Student
from clipft.posthoc.wise import mix_into
from clipft.runs.made import SCORING, Made
from clipft.runs.run import Run
from clipft.runs.scores import (
    Scores,
    compare,
    from_frame,
    measure,
    resampled_statistics as resampled_of,
    table,
    to_frame,
)
from clipft.training.combine import combine


@pytest.fixture
def run(world, shared):
    """A copy of a run that is trained once."""
    once = made_once(shared / "tuned", lambda base: world.train(base, steps=30, lr=3e-3))
    (folder,) = shutil.copytree(once, world.runs).iterdir()
    return Trained.of(Run.open(folder))


def scores_of(run, alphas, splits=None, adaptive=None, known=()):
    refine = None if adaptive is None else Refine(adaptive)
    return list(run.mixtures.score(splits or run.reported_splits(), alphas, refine, known))


def line(run, start, tuned):
    """Mixtures of other weights than the run's."""
    return Mixtures(run.student, start, [tuned], run.bench.gap_moment, reading=QUIET)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_features_are_those_of_the_model_at_this_alpha(run, alpha):
    split = run.manifest.split("sketch/test")
    found = run.mixtures.features(split, alpha).embeddings
    mixed = {
        name: ((1 - alpha) * run.anchor[name] + alpha * run.tuned[name]).to(run.anchor[name].dtype)
        for name in run.anchor
    }
    run.student.load_state_dict(mixed)
    pixels = next(pixel_chunks(split, run.clip.transform)).pixels
    np.testing.assert_allclose(found, embed(run.student.eval(), pixels), atol=1e-5)


def test_sweep_equals_one_model_at_a_time(run):
    split = run.manifest.split("sketch/test")
    pixels = next(pixel_chunks(split, run.clip.transform))
    run.student.load_state_dict(run.anchor)
    before = embed(run.student.eval(), pixels.pixels)
    for one in scores_of(run, [0.0, 0.3, 1.0], [split]):
        run.student.load_state_dict(wise(run.anchor, run.tuned, one.alpha))
        now = embed(run.student.eval(), pixels.pixels)
        chance = run.student.logits(now).detach().double().softmax(-1).numpy()
        assert np.array_equal(one.prediction, chance.argmax(-1))
        np.testing.assert_allclose(one.confidence, chance.max(-1), rtol=1e-5)
        measured = measure(one)
        assert measured["accuracy"] == accuracy_score(split.labels, chance.argmax(-1))
        assert measured["nll"] == pytest.approx(
            log_loss(split.labels, chance, labels=range(4)), rel=1e-4
        )
        v, v0 = (energy_vectors(unit(x), run.gap_texts, run.clip.scale) for x in (now, before))
        np.testing.assert_allclose(one.energy_gap, squared_gap(v, v0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(one.feature_distortion, (now - before).norm(dim=-1), rtol=1e-5)
        assert one.ids == split.ids


@pytest.mark.filterwarnings("ignore")
def test_alpha_zero_is_open_clips_zero_shot(run, model_folder, checkpoint, tree):
    from PIL import Image

    net, _, preprocess = open_clip.create_model_and_transforms(
        f"local-dir:{model_folder}", load_weights=False
    )
    open_clip.load_checkpoint(net, checkpoint)
    fills = [lambda name: f"a photo of a {name}.", lambda name: name]
    head = open_clip.build_zero_shot_classifier(
        net.eval(), run.clip.tokenizer, run.manifest.names, fills, device="cpu"
    )
    split = run.manifest.split("real/test")
    images = torch.stack(
        [preprocess(Image.open(split.root / name).convert("RGB")) for name in split.ids]
    )
    with torch.no_grad():
        wanted = (net.encode_image(images, normalize=True) @ head).argmax(-1)
    assert np.array_equal(scores_of(run, [0.0], [split])[0].prediction, wanted.numpy())


def test_the_ends_are_the_models_bit_for_bit(run):
    split = [run.manifest.split("real/test")]
    sweep_ends = scores_of(run, [0.0, 0.5, 1.0], split)
    for one, weights in ((sweep_ends[0], run.anchor), (sweep_ends[2], run.tuned)):
        alone = line(run, weights, weights).score(split, [0.0])
        assert np.array_equal(alone[0].prediction, one.prediction)
        assert np.array_equal(alone[0].confidence, one.confidence)
        assert np.array_equal(alone[0].nll, one.nll)


def test_chunks_do_not_change_scores(run, monkeypatch):
    whole = scores_of(run, [0.4])
    monkeypatch.setattr(data, "CHUNK_BYTES", 1)
    for one, other in zip(whole, scores_of(run, [0.4]), strict=True):
        assert one.ids == other.ids
        np.testing.assert_allclose(one.nll, other.nll, rtol=1e-5)


def test_two_towers_mix_both_towers_and_rebuild_the_head(world):
    run = world.train(method="flyp", lr=3e-3)
    split = run.manifest.split("real/test")
    scores = scores_of(run, [0.5], [split])[0]
    run.student.load_state_dict(wise(run.anchor, run.tuned, 0.5))
    net = run.student.clip
    head = unit(
        unit(net.encode_text(run.student.prompts.flatten(0, 1))).unflatten(0, (4, 2)).mean(1)
    )
    images = unit(embed(run.student.eval(), next(pixel_chunks(split, run.clip.transform)).pixels))
    assert np.array_equal(scores.prediction, (images @ head.detach().T).argmax(-1).numpy())


def test_scores_file_is_tidy_and_made_once(run, monkeypatch):
    found = run.score([0.0, 1.0])
    assert list(found.columns) == [
        "reference",
        "alpha",
        "split",
        "domain",
        "part",
        "role",
        "metric",
        "mean",
        "low",
        "high",
        "n",
        "scored_by",
    ]
    assert set(found[found.role == "shift"].split) == {"sketch/test", "clipart/test"}
    assert set(found[found.role == "reference"].split) == {"real/test"}
    row = found.set_index(["alpha", "split", "metric"])["mean"]
    for shift in ("sketch/test", "clipart/test"):
        ratio = row[1.0, shift, "accuracy"] / row[1.0, "real/test", "accuracy"]
        assert row[1.0, shift, "relative_accuracy"] == pytest.approx(ratio)
    zero = found[found.alpha == 0.0].set_index(["split", "metric"])["mean"]
    assert (zero.unstack()["energy_gap"] == 0).all() and (
        zero.unstack()["feature_distortion"] == 0
    ).all()
    monkeypatch.setattr(Mixtures, "score", None)
    pd.testing.assert_frame_equal(run.score([0.0, 1.0]), found)


def test_more_alphas_keep_the_old_ones(run):
    run.score([0.0, 1.0])
    assert sorted(run.score([0.5]).alpha.unique()) == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_alpha_outside_is_refused(run, alpha):
    with pytest.raises(ConfigError, match="expected 0"):
        run.score([alpha])
    assert not (run.path / "scores.parquet").exists()


def test_foreign_tuned_weights_are_refused(run):
    with pytest.raises(WeightsError, match="visual"):
        line(run, run.anchor, {"weight": run.tuned["weight"]}).score(run.reported_splits(), [0.5])


def test_nothing_right_on_the_reference_leaves_relative_accuracy_out():
    def one(split, label):
        zeros = np.zeros(2)
        return Scores(
            split,
            1.0,
            ("a", "b"),
            np.array([label] * 2),
            np.array([1, 1]),
            zeros + 1,
            zeros,
            zeros,
            zeros,
            zeros,
        )

    found = table([one("real/test", 0), one("sketch/test", 1)], "real")
    assert "relative_accuracy" not in set(found.metric)


def test_miniature_domainnet_through_the_shipped_manifest(
    tmp_path, monkeypatch, model_folder, checkpoint
):
    """DomainNet's own manifest, list files and names, a ViT from a local checkpoint: nothing is
    emoji-shaped.
    """
    from conftest import draw_tree

    domains = ["real", "painting", "clipart", "infograph", "sketch"]
    draw_tree(
        tmp_path / "domainnet",
        domains,
        ["airplane", "t-shirt", "The_Eiffel_Tower"],
        train=10,
        test=2,
    )
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path))
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    settings = {
        "manifest": "domainnet",
        "reference": "clipart",
        "model": f"local-dir:{model_folder}",
        "pretrained": checkpoint,
        "method": "lipsum",
        "steps": 6,
        "batch_size": 8,
        "eval_every": 3,
        "lr": 1e-3,
        "text_count": 8,
    }
    run = Trained.of(train(RunConfig.read(settings), tmp_path / "runs", reading=QUIET))
    scores = run.score([0.0, 0.5, 1.0])
    assert set(scores[scores.role == "shift"].split) == {
        f"{d}/test" for d in domains if d != "clipart"
    }
    gaps = (
        scores[(scores.metric == "energy_gap") & (scores.role == "shift")]
        .groupby("alpha")["mean"]
        .mean()
    )
    assert gaps[0.0] == 0 < gaps[0.5] < gaps[1.0]
    assert run.student.linear()[0].shape == (16, 345)
    assert (run.manifest.names[-1], run.manifest.names.index("t shirt") > 0) == ("zigzag", True)
    assert Run.open(run.path).config == run.config


def test_a_model_without_byte_pairs_is_scored_without_energy_gap(run, monkeypatch, capsys):
    def refuse(*_):
        raise ConfigError("random texts need open_clip's SimpleTokenizer")

    monkeypatch.setattr("clipft.evaluation.bench.random_texts", refuse)
    found = run.score([0.0, 1.0])
    assert "energy gap left out" in capsys.readouterr().out
    assert found[found.metric == "energy_gap"]["mean"].isna().all()
    assert found[found.metric == "accuracy"]["mean"].notna().all()


def test_only_missing_alphas_are_swept(run, monkeypatch):
    whole = run.score([0.0, 0.5, 1.0])
    for name in ("scores.parquet", "images.parquet"):
        (run.path / name).unlink()
    run.score([0.0, 1.0])
    swept = []
    score = Mixtures.score
    monkeypatch.setattr(Mixtures, "score", lambda *args: swept.append(args[2]) or score(*args))
    pd.testing.assert_frame_equal(run.score([0.5]), whole)
    (run.path / "scores.parquet").unlink()  # the images are still there
    pd.testing.assert_frame_equal(run.score([0.0, 0.5, 1.0]), whole)
    assert swept == [[0.5]]


def test_a_domain_that_was_trained_on_is_no_shift(world):
    found = world.train(train_domains=["real", "sketch"]).score([0.0, 1.0])
    assert dict(zip(found.split, found.role, strict=True)) == {
        "real/val": "val",
        "real/test": "reference",
        "sketch/test": "trained",
        "clipart/test": "shift",
    }


def test_tied_classes_go_to_the_lower_index():
    logits = torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.0, -1.0, 0.0]])
    assert predictions(logits, torch.zeros(3, dtype=torch.long))[0].tolist() == [1, 0, 0]


def test_predictions_against_torch():
    logits, labels = torch.randn(50, 7) * 5, torch.randint(0, 7, (50,))
    prediction, confidence, nll, *_ = predictions(logits, labels)
    chances = logits.double().softmax(-1)
    assert torch.equal(prediction, chances.argmax(-1))
    torch.testing.assert_close(confidence.double(), chances.max(-1).values, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(
        nll, torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    )


def test_features_are_a_splits_embeddings_in_its_order(run):
    split = run.manifest.split("real/test")
    run.student.train()
    found = extract(run.student, split, QUIET)
    assert run.student.training
    (chunk,) = pixel_chunks(split, run.clip.transform)
    assert np.array_equal(found.embeddings, embed(run.student.eval(), chunk.pixels))
    assert (found.label.tolist(), found.ids, found.split) == (
        list(split.labels),
        split.ids,
        "real/test",
    )


def ensemble_of(run, members, alphas, split):
    mixtures = Mixtures(
        run.student, run.anchor, members, run.bench.gap_moment, is_ensemble=True, reading=QUIET
    )
    return mixtures.score([split], alphas)


def test_ensemble_of_one_and_its_distance_to_wise(run):
    split, alphas = run.manifest.split("sketch/test"), [0.0, 0.5, 1.0]
    found, mixed = ensemble_of(run, [run.tuned], alphas, split), scores_of(run, alphas, [split])
    for one, other in ((found[0], mixed[0]), (found[2], mixed[2])):
        np.testing.assert_allclose(one.nll, other.nll, rtol=1e-5)
        np.testing.assert_allclose(one.wise_distance, 0, atol=1e-5)
        assert (one.wise_agreement == 1).all()
    assert found[1].wise_distance.min() > 0
    assert np.array_equal(found[1].wise_agreement == 1, found[1].prediction == mixed[1].prediction)
    assert found[1].energy_gap is None


def test_ensemble_of_several_is_the_mean_of_their_logits(run, world):
    members, split = (
        [run.tuned, world.train(steps=30, lr=3e-3, seed=1).tuned],
        run.manifest.split("sketch/test"),
    )
    (chunk,) = pixel_chunks(split, run.clip.transform)
    logits = []
    for weights in (run.anchor, *members):
        run.student.load_state_dict(weights)
        logits.append(logits_of(run.student.eval(), chunk.pixels).double().numpy())
    for one in ensemble_of(run, members, [0.0, 0.4, 1.0], split):
        mean = (1 - one.alpha) * logits[0] + one.alpha * (logits[1] + logits[2]) / 2
        assert np.array_equal(one.prediction, mean.argmax(1))
        want = log_loss(split.labels, softmax(mean, axis=1), labels=range(4))
        assert one.nll.mean() == pytest.approx(want, rel=1e-4)
        assert one.wise_distance is None


# --- what a sweep reuses


@pytest.fixture
def decoded(monkeypatch):
    """The files that were decoded so far."""
    seen, decode = [], decode_
    monkeypatch.setattr(data, "decode", lambda path, how: seen.append(path) or decode(path, how))
    return seen


@pytest.fixture
def embedded(monkeypatch):
    """The images that a vision tower saw so far."""
    seen, tower = [], Student.tower
    monkeypatch.setattr(
        Student, "tower", lambda self, *given: seen.extend(given[1]) or tower(self, *given)
    )
    return seen


@pytest.mark.parametrize("chunk_bytes", [1, 3000, data.CHUNK_BYTES])
def test_a_sweep_decodes_an_image_once_and_shows_it_to_each_alpha_once(
    run, decoded, embedded, monkeypatch, chunk_bytes
):
    monkeypatch.setattr(data, "CHUNK_BYTES", chunk_bytes)
    alphas, splits = [0.0, 0.25, 0.5, 0.75, 1.0], run.reported_splits()[:2]
    run.mixtures  # noqa: B018  # and its model are made before anything is counted
    default_cache().prune()
    decoded.clear(), embedded.clear()
    scores_of(run, alphas, splits)
    images = sum(map(len, splits))
    assert len(decoded) == len(set(decoded)) == images
    pixels = Counter(image.numpy().tobytes() for image in embedded)
    assert pixels.total() == images * len(alphas)
    assert all(count % len(alphas) == 0 for count in pixels.values())  # alike ones count together


@pytest.mark.parametrize(("count", "shown"), [(1, 4), (2, 3)])
def test_an_ensemble_decodes_once_and_shows_each_image_to_each_model_once(
    run, decoded, embedded, count, shown
):
    """The models: zero-shot and the members; beside a single one WiSE at two alphas."""
    other = {name: 1.01 * tensor for name, tensor in run.tuned.items()}
    split = run.manifest.split("sketch/test")
    default_cache().prune()
    decoded.clear(), embedded.clear()
    ensemble_of(run, [run.tuned, other][:count], [0.0, 0.3, 0.6, 1.0], split)
    assert len(decoded) == len(set(decoded)) == len(split)
    assert len(embedded) == shown * len(split)


def same_scores(one, other):
    for name in ("prediction", "confidence", "nll", "energy_gap", "feature_distortion", "label"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-7, err_msg=name
        )
    return (one.split, one.alpha, one.ids) == (other.split, other.alpha, other.ids)


def test_the_ends_of_a_sweep_are_looked_up(run, decoded, embedded):
    first = scores_of(run, [0.0, 1.0])
    decoded.clear(), embedded.clear()
    for one, other in zip(first, scores_of(run, [0.0, 1.0]), strict=True):
        assert same_scores(one, other)
    assert (decoded, embedded) == ([], [])
    rows = sum(map(len, run.reported_splits()))
    scores_of(run, [0.0, 0.5, 1.0])
    assert (len(decoded), len(embedded)) == (rows, rows)  # the mixture alone


def test_a_linear_probe_is_embedded_once(world, decoded, embedded):
    run = world.train(method="lp")
    default_cache().prune()
    decoded.clear(), embedded.clear()
    scores = scores_of(run, [0.0, 0.25, 0.5, 1.0])
    rows = sum(map(len, run.reported_splits()))
    assert (len(decoded), len(embedded)) == (rows, rows)
    scores_of(run, [0.1, 0.9])
    assert (len(decoded), len(embedded)) == (rows, rows)
    split = run.reported_splits()[0]
    found = extract(run.student, split, QUIET).embeddings
    for one in [one for one in scores if one.split == split.name]:
        run.student.load_state_dict(wise(run.anchor, run.tuned, one.alpha))
        logits = run.student.logits(torch.from_numpy(found)).detach()
        assert np.array_equal(one.prediction, logits.argmax(-1))
        assert (one.energy_gap == 0).all()


def test_two_towers_build_a_head_for_each_alpha_once(world, monkeypatch):
    run = world.train(method="flyp", steps=4)
    built, head = [], Clip.zero_shot_head
    monkeypatch.setattr(Clip, "zero_shot_head", lambda *given: built.append(1) or head(*given))
    monkeypatch.setattr(data, "CHUNK_BYTES", 1)
    scores_of(run, [0.0, 0.5, 1.0])
    assert len(built) == 3


def test_a_mixtures_head_goes_by_texts_of_their_own_length(world):
    run = world.train(method="flyp", steps=4)
    splits = run.reported_splits()[:1]
    run.mixtures  # noqa: B018  # its zero-shot head is made before anything is seen
    tower = run.student.clip.transformer
    lengths = []
    tower.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    scores_of(run, [0.5], splits)
    longest = int(run.student.prompts.argmax(-1).max()) + 1
    assert lengths and max(lengths) <= longest < run.student.prompts.shape[-1]


def test_a_sweep_mixes_a_tower_for_each_chunk_and_a_head_once(world, monkeypatch):
    """Counted in numbers that are written, with three chunks; alpha 0 needs no head."""
    run = world.train(method="flyp", steps=4)
    split = run.reported_splits()[0]
    monkeypatch.setattr(data, "READ", 1 + len(split) // 3)
    monkeypatch.setattr(data, "HANDED", 1)
    monkeypatch.setattr(data, "CHUNK_BYTES", 1)
    written = []

    def counted(target, *given):
        written.append(sum(tensor.numel() for tensor in target.values()))
        mix_into(target, *given)

    monkeypatch.setattr(mixtures_module, "mix_into", counted)
    default_cache().prune()
    scores_of(run, [0.25, 0.5], [split])
    whole = {name: tensor.numel() for name, tensor in run.student.state_dict().items()}
    tower = sum(size for name, size in whole.items() if name.startswith("clip.visual."))
    rest = sum(whole.values()) - tower
    assert sum(written) == 3 * 3 * tower + 2 * rest


@pytest.mark.parametrize("method", ["ft", "flyp"])
def test_a_sweep_copies_no_frozen_tower_and_leaves_it_as_it_is(world, method):
    run = world.train(method=method, steps=2)
    frozen = run.clip.model.state_dict()
    before = {name: tensor.clone() for name, tensor in frozen.items()}
    start = run.mixtures.start
    shared = {tensor.data_ptr() for tensor in frozen.values()}
    own = {name for name, tensor in start.items() if tensor.data_ptr() not in shared}
    assert own == ({"weight"} if method == "ft" else set())
    moved = {tensor.data_ptr() for tensor in run.student.state_dict().values()}
    assert not moved & {tensor.data_ptr() for tensor in start.values()}

    scores_of(run, [0.0, 0.5, 1.0], run.reported_splits()[:1])
    run.features("sketch/test", 0.5)
    run.mixtures.at(0.0).popitem()[1].add_(1)  # a copy
    for name, tensor in frozen.items():
        assert torch.equal(tensor, before[name]), name


def test_ends_stay_on_the_host_where_a_card_has_no_room(run, monkeypatch):
    wanted = scores_of(run, [0.0, 0.5, 1.0])
    size = sum(tensor.nbytes for tensor in run.tuned.values())
    asked, pinned = [], []
    monkeypatch.setattr(bench_module, "has_room", lambda *given: bool(asked.append(given)))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    mixtures = run.bench.mixtures(run)
    assert asked == [("cpu", size)]
    assert len(pinned) == len(run.tuned)
    found = mixtures.score(run.reported_splits(), [0.0, 0.5, 1.0])
    for one, other in zip(wanted, found, strict=True):
        assert same_scores(one, other)


@pytest.mark.parametrize("count", [1, 2])
def test_an_ensemble_uses_what_the_cache_has(run, world, decoded, count):
    members = [run.tuned, world.train(steps=30, lr=3e-3, seed=1).tuned][:count]
    split = run.manifest.split("sketch/test")
    decoded.clear()
    first = ensemble_of(run, members, [0.0, 1.0], split)
    assert len(decoded) == len(split)
    for one, other in zip(first, ensemble_of(run, members, [0.0, 1.0], split), strict=True):
        assert np.array_equal(one.nll, other.nll)
    assert len(decoded) == len(split)
    if count == 2:  # no WiSE of several members: any alpha follows from the ends
        ensemble_of(run, members, [0.3, 0.6], split)
        assert len(decoded) == len(split)


def test_a_mixture_is_its_formula_bit_for_bit():
    generator = torch.Generator().manual_seed(0)
    shapes = {"weight": (30, 40), "bias": (7,), "logit_scale": ()}
    kinds = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
    anchor, tuned = (
        {
            f"{name} {kind}": torch.randn(shape, generator=generator).to(kind)
            for name, shape in shapes.items()
            for kind in kinds
        }
        | {"steps": torch.tensor(steps), "flags": torch.tensor([steps > 1, True])}
        for steps in (1, 5)
    )
    for alpha in (0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0):
        target = {name: torch.zeros_like(tensor) for name, tensor in anchor.items()}
        places = {name: tensor.data_ptr() for name, tensor in target.items()}
        mix_into(target, anchor, tuned, alpha)
        assert {name: tensor.data_ptr() for name, tensor in target.items()} == places
        mixed = wise(anchor, tuned, alpha)
        for name, tensor in target.items():
            before, after = anchor[name], tuned[name]
            want = after if alpha else before
            if alpha not in (0, 1) and tensor.is_floating_point():
                want = ((1 - alpha) * before.float() + alpha * after.float()).to(tensor.dtype)
            assert torch.equal(tensor, want) and torch.equal(mixed[name], want), (name, alpha)
            assert tensor.dtype == mixed[name].dtype == before.dtype


# --- adaptive alphas


def accuracies(scores):
    return {(one.split, one.alpha): accuracy_score(one.label, one.prediction) for one in scores}


def bends(right, splits, alphas, tolerance):
    """Alphas whose accuracy is further than the tolerance from the line between its neighbours, on
    any split.
    """
    found = []
    for left, here, next_ in zip(alphas, alphas[1:], alphas[2:], strict=False):
        share = (here - left) / (next_ - left)
        for split in splits:
            line = (1 - share) * right[split.name, left] + share * right[split.name, next_]
            if abs(right[split.name, here] - line) > tolerance:
                found.append(here)
    return sorted(set(found))


@pytest.fixture
def bent(run):
    """A run, splits and a tolerance at which its path bends."""
    run.tuned["weight"].neg_()  # so that the path leads through quite other predictions
    return run, run.reported_splits()[1:], 0.06


def test_adaptive_alphas_are_added_where_the_path_bends(bent, decoded, embedded):
    run, splits, tolerance = bent
    default_cache().prune()
    decoded.clear(), embedded.clear()
    found = scores_of(run, [0.0, 0.5, 1.0], splits, adaptive=tolerance)
    assert len(decoded) == len(set(decoded)) == sum(map(len, splits))  # once over all rounds
    alphas = sorted({one.alpha for one in found})
    assert len(embedded) == len(alphas) * len(decoded)  # each alpha once, whatever its round
    assert 3 < len(alphas) < MOST_ALPHAS
    assert len(found) == len(alphas) * len(splits)  # none twice
    right = accuracies(found)
    for alpha in bends(right, splits, alphas, tolerance):  # what still bends cannot be halved
        at = alphas.index(alpha)
        assert alphas[at + 1] - alphas[at] <= FINEST and alpha - alphas[at - 1] <= FINEST
    seen = [0.0, 0.5, 1.0]
    while more := [
        alpha for alpha in alphas if alpha not in seen
    ]:  # each was asked for by a bend of the round before
        bent_at = bends(right, splits, seen, tolerance)
        middles = {(a + b) / 2 for a, b in itertools.pairwise(seen) if {a, b} & set(bent_at)} & set(
            more
        )
        assert middles
        seen = sorted({*seen, *middles})
    plain = {(one.split, one.alpha): one for one in scores_of(run, alphas, splits)}
    for one in found:
        assert same_scores(one, plain[one.split, one.alpha])


def test_a_straight_path_adds_no_alpha(run):
    straight = line(run, run.anchor, run.anchor)
    found = straight.score(run.reported_splits(), [0.0, 0.5, 1.0], Refine(1e-6))
    assert {one.alpha for one in found} == {0.0, 0.5, 1.0}
    assert len(found) == 3 * len(run.reported_splits())


def test_alphas_never_grow_beyond_the_most(bent):
    run, splits, _ = bent
    found = run.mixtures.score(splits, [0.0, 0.5, 1.0], Refine(1e-6, most=6))
    assert len({one.alpha for one in found}) == 6


def test_known_scores_are_not_made_again(bent, embedded):
    run, splits, tolerance = bent
    whole = scores_of(run, [0.0, 0.5, 1.0], splits, adaptive=tolerance)
    known = [one for one in whole if one.alpha in (0.0, 0.5, 1.0)]
    more = scores_of(run, [0.0, 0.5, 1.0], splits, adaptive=tolerance, known=known)
    assert {one.alpha for one in more} == {one.alpha for one in whole} - {0.0, 0.5, 1.0}
    wanted = {(one.split, one.alpha): one for one in whole}
    for one in more:
        assert same_scores(one, wanted[one.split, one.alpha])
    embedded.clear()
    assert scores_of(run, [0.0, 0.5, 1.0], splits, adaptive=tolerance, known=whole) == []
    assert scores_of(run, [0.0, 0.5], splits, known=known) == []
    assert embedded == []


@pytest.mark.parametrize("tolerance", [-0.1, float("nan")])
def test_a_tolerance_is_above_zero(run, tolerance):
    with pytest.raises(ConfigError, match="tolerance"):
        run.all_scores([0.0, 0.5, 1.0], adaptive=tolerance)


def test_an_adaptive_run_keeps_all_it_scored(bent, monkeypatch):
    run, _, tolerance = bent
    found = run.all_scores([0.0, 0.5, 1.0], adaptive=tolerance)
    alphas = {one.alpha for one in found}
    assert {0.0, 0.5, 1.0} < alphas
    assert set(run.score([0.0, 0.5, 1.0], adaptive=tolerance).alpha) == alphas
    monkeypatch.setattr("clipft.models.embeddings.embed", None)
    assert {one.alpha for one in run.all_scores([0.0, 0.5, 1.0], adaptive=tolerance)} == alphas
    assert {one.alpha for one in run.all_scores([0.5])} == {0.5}


# --- per-image scores and their table


def made_up(split, alpha=1.0, n=40, skill=0.6, classes=4, seed=0, **more):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    prediction = np.where(rng.random(n) < skill, label, rng.integers(0, classes, n))
    ids = tuple(f"{split}/{row}.png" for row in range(n))
    return Scores(split, alpha, ids, label, prediction, rng.random(n), rng.random(n), **more)


def through_parquet(frame, folder):
    frame.astype({"split": "category", "id": "category"}).to_parquet(folder / "images.parquet")
    return pd.read_parquet(folder / "images.parquet")


@pytest.mark.parametrize("stored", [False, True])
def test_scores_come_back_from_their_frame(run, tmp_path, stored):
    kinds = [
        scores_of(run, [0.0, 0.7]),
        ensemble_of(run, [run.tuned], [0.0, 0.7], run.manifest.split("real/test")),
        [
            made_up("real/test", energy_gap=np.full(40, np.nan)),
            made_up("sketch/test", n=3, energy_gap=np.zeros(3)),
        ],
    ]
    for scores in kinds:
        frame = to_frame(scores)
        assert len(frame) == sum(len(one.ids) for one in scores)
        back = from_frame(through_parquet(frame, tmp_path) if stored else frame)
        assert len(back) == len(scores)
        for one, other in zip(scores, back, strict=True):
            assert (one.split, one.alpha, one.ids) == (other.split, other.alpha, other.ids)
            for name in [field.name for field in fields(Scores)][3:]:
                mine, theirs = getattr(one, name), getattr(other, name)
                assert (mine is None) == (theirs is None), name
                if mine is not None:
                    np.testing.assert_array_equal(mine, theirs, err_msg=name)
                    assert mine.dtype == theirs.dtype
        pd.testing.assert_frame_equal(table(back, "real"), table(scores, "real"))


def test_a_runs_scores_are_those_it_kept(run):
    first = run.all_scores([0.0, 1.0])
    again = Trained.of(Run.open(run.path)).all_scores([0.0, 1.0])
    for one, other in zip(first, again, strict=True):
        assert same_scores(one, other)
    assert sorted({one.alpha for one in run.all_scores([1.0])}) == [1.0]


def test_compare_is_mcnemar_on_what_is_right(run):
    zero, tuned = scores_of(run, [0.0, 1.0], [run.manifest.split("sketch/test")])
    right = [one.prediction == one.label for one in (zero, tuned)]
    assert compare(zero, tuned) == mcnemar(*right)
    assert compare(zero, tuned).difference == pytest.approx(right[1].mean() - right[0].mean())


@pytest.mark.parametrize(
    "other",
    [
        made_up("sketch/test"),
        made_up("real/test", n=39),
        replace(made_up("real/test"), ids=("x",) * 40),
    ],
)
def test_other_images_are_not_compared(other):
    with pytest.raises(ConfigError, match="are not the same images") as caught:
        compare(made_up("real/test"), other)
    assert "\n" not in str(caught.value)


def bootstrap(values, split):
    """The mean of values (N,) on each of 1000 resamples, by picking rows."""
    n = len(values)
    rows = np.random.default_rng([zlib.crc32(split.encode()), n]).integers(0, n, (1000, n))
    return values[rows].mean(1)


def without_each(values):
    """The mean of all values but one, for each of them."""
    return np.array([np.delete(values, row).mean() for row in range(len(values))])


def test_intervals_of_the_table_are_bca_of_a_plain_bootstrap():
    reference, shift = made_up("real/test", n=50, skill=0.8), made_up("sketch/test", n=50, seed=3)
    gap = np.random.default_rng(8).exponential(2, 50)
    shift = replace(shift, energy_gap=gap)
    found = table([reference, shift], "real").set_index(["split", "metric"])[
        ["mean", "low", "high", "n"]
    ]
    right = {}
    for one in (reference, shift):
        right[one.split] = (one.prediction == one.label).astype(float)
        columns = {"accuracy": right[one.split], "nll": one.nll}
        if one is shift:
            columns["energy_gap"] = gap
        for metric, values in columns.items():
            draws = bootstrap(values, one.split)
            ends = bca(values.mean(), draws, [without_each(values)])
            np.testing.assert_allclose(
                found.loc[one.split, metric], [values.mean(), *ends, 50], rtol=1e-9
            )
    above, below = right["sketch/test"], right["real/test"]
    # As many images, and yet not the same draws: they are other images.
    ratio = bootstrap(above, "sketch/test") / bootstrap(below, "real/test")
    without = [without_each(above) / below.mean(), above.mean() / without_each(below)]
    value = above.mean() / below.mean()
    np.testing.assert_allclose(
        found.loc["sketch/test", "relative_accuracy"],
        [value, *bca(value, ratio, without), 50],
        rtol=1e-9,
    )


def test_the_debiased_ece_stands_beside_the_plain_one():
    rng = np.random.default_rng(3)
    one = made_up("real/test", n=400)
    one = replace(one, prediction=np.where(rng.random(400) < one.confidence, one.label, 9))
    found = table([one], "real").set_index("metric")
    plain, debiased = found.loc["ece"], found.loc["ece_debiased"]
    assert (plain.low, plain.high) == (debiased.low, debiased.high)
    assert debiased["mean"] == debiased_ece(one.confidence, one.correct) < plain["mean"]
    assert plain.low <= debiased["mean"] and plain["mean"] <= plain.high
    assert plain.low == 0  # it is calibrated


def test_two_models_are_resampled_alike_and_two_splits_are_not():
    """A difference of two models, or of their relative accuracies, is of paired draws."""
    first = made_up("real/test", n=60)
    second = replace(first, nll=first.nll + 0.25)
    other = replace(first, split="sketch/test")
    one, two, shifted = (resampled_of(s.split, [s]) for s in (first, second, other))
    np.testing.assert_array_equal(one[1.0, "accuracy"][1], two[1.0, "accuracy"][1])
    np.testing.assert_allclose(two[1.0, "nll"][1] - one[1.0, "nll"][1], 0.25)
    assert (one[1.0, "accuracy"][1] != shifted[1.0, "accuracy"][1]).any()

    # At another alpha, in the same table, too.
    both = resampled_of("real/test", [replace(first, alpha=0.5), second])
    np.testing.assert_array_equal(both[0.5, "accuracy"][1], both[1.0, "accuracy"][1])
    np.testing.assert_array_equal(both[0.5, "accuracy"][1], one[1.0, "accuracy"][1])


def test_the_table_has_scikit_learns_values():
    one = made_up("real/test", n=60)
    found = table([one], "real").set_index("metric")
    accuracy = found.loc["accuracy"]
    assert accuracy["low"] < accuracy["mean"] < accuracy["high"]
    assert (found.low <= found.high).all()
    assert accuracy["mean"] == accuracy_score(one.label, one.prediction)
    assert found.loc["class_accuracy", "mean"] == pytest.approx(
        balanced_accuracy_score(one.label, one.prediction)
    )
    assert found.loc["macro_f1", "mean"] == pytest.approx(
        f1_score(one.label, one.prediction, average="macro")
    )
    assert found.loc["nll", "mean"] == pytest.approx(one.nll.mean())
    assert set(found.n) == {60}


@pytest.mark.parametrize("right", [1, 2])
def test_few_right_answers_still_have_a_relative_accuracy(right):
    """Some resamples then hold no right answer at all."""
    label = np.zeros(5, int)
    few = replace(
        made_up("real/test", n=5), label=label, prediction=np.array([0] * right + [1] * (5 - right))
    )
    found = table([few, replace(few, split="sketch/test")], "real").set_index("metric")
    row = found.loc["relative_accuracy"]
    assert row["mean"] == 1.0
    assert row["low"] <= 1.0 <= row["high"]


def test_a_diagnosis_asks_images_and_adds_nothing_to_the_results(world):
    run = world.train()
    before = run.score([0.0, 1.0])
    score(run, [0.5], summarise=False, reading=QUIET, gap_texts=FEW_TEXTS)
    assert set(run.scores(0.5)) == set(before.split)
    pd.testing.assert_frame_equal(run.table(), before, check_exact=True)
    after = run.score([0.5])
    assert set(after.alpha) == {0.0, 0.5, 1.0}


# --- numbers that are none


def spoilt(run, value, name="visual.conv1.weight"):
    """The run's weights with one number that is not finite, in their file too."""
    weights = {key: tensor.clone() for key, tensor in run.tuned.items()}
    weights[name].view(-1)[3] = value
    write_weights(run.folder.weights_file, weights)
    return weights


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["visual.conv1.weight", "weight"])
def test_a_model_that_is_not_finite_has_no_accuracy(run, value, name):
    weights = spoilt(run, value, name)
    again = Trained.of(Run.open(run.path))
    files = sorted(file.name for file in run.path.iterdir())
    for ask in (
        lambda: again.score([1.0]),
        lambda: again.export(run.path.parent / "out"),
        lambda: combine("wise", [again], {}, QUIET),
    ):
        with pytest.raises(WeightsError, match=f"'{name}' holds {value}, so it has no acc") as bad:
            ask()
        assert "\n" not in str(bad.value)
    assert sorted(file.name for file in run.path.iterdir()) == files
    assert not (run.path.parent / "out").exists()

    with pytest.raises(WeightsError, match="this model has no accuracy; a weight is not finite"):
        line(run, run.anchor, weights).score(run.reported_splits(), [1.0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_not_finite(value):
    logits = torch.zeros(5, 3)
    logits[[1, 4], 2] = value
    with pytest.raises(WeightsError, match=f"a score of 2 of 5 images is {value}, so this model"):
        predictions(logits, torch.zeros(5, dtype=torch.long))


# --- precision


def test_a_run_is_scored_in_one_precision(run):
    bf16 = replace(QUIET, precision="bf16-mixed")
    half = run.score([0.0, 1.0], reading=bf16)
    assert Made.of(run.folder).of_work(SCORING)[-1]["precision"] == "bf16-mixed"
    again = Run.open(run.path)
    with pytest.raises(ConfigError, match=r"32-true is asked for, .* was scored in bf16-mixed"):
        score(again, [0.5], reading=replace(QUIET, precision="32-true"))
    score(again, [0.5], reading=QUIET, gap_texts=FEW_TEXTS)  # as the others
    assert len(Made.of(run.folder).of_work(SCORING)) == 1
    assert run.bench.mixtures(run).student.precision == "bf16-mixed"

    (run.path / "images.parquet").unlink()
    whole = run.score([0.0, 1.0])
    assert Made.of(run.folder).of_work(SCORING)[-1]["precision"] == "32-true"
    # Of 4 classes and some 16 images a split: one image may go over to another class.
    means = [table[table.metric == "accuracy"]["mean"].to_numpy() for table in (half, whole)]
    images = whole[whole.metric == "accuracy"]["n"].to_numpy()
    assert (np.abs(means[0] - means[1]) <= 1 / images).all()
    nats = [table[table.metric == "nll"]["mean"].to_numpy() for table in (half, whole)]
    assert 0 < np.abs(nats[0] - nats[1]).max() < 0.05  # embeddings are not shared
