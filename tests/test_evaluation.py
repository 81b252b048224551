"""The sweep against open_clip, against one model at a time, and against the N x M form."""

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss

from clipft import RunConfig, data, train, wise
from clipft.data import pixel_chunks
from clipft.energies import energy_vectors, second_moment, squared_gap, unit
from clipft.errors import ConfigError, WeightsError
from clipft.evaluation import ensemble_sweep, logits_of, measure, predictions, sweep, table
from clipft.features import embed, extract
from clipft.records import Scores
from clipft.runs import Run


@pytest.fixture
def run(world):
    return world.train(steps=30, lr=3e-3)


def scores_of(run, alphas, splits=None, **options):
    moment = second_moment(run.gap_texts, run.clip.scale)
    return sweep(
        run.student, run.anchor, run.tuned, splits or run.reported_splits(), alphas, moment, progress=False, **options
    )  # fmt: skip


@pytest.fixture(autouse=True)
def few_texts(monkeypatch):
    monkeypatch.setattr("clipft.runs.GAP_TEXTS", 50)


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
        assert measured["nll"] == pytest.approx(log_loss(split.labels, chance, labels=range(4)), rel=1e-4)
        v, v0 = (energy_vectors(unit(x), run.gap_texts, run.clip.scale) for x in (now, before))
        np.testing.assert_allclose(one.energy_gap, squared_gap(v, v0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(one.feature_distortion, (now - before).norm(dim=-1), rtol=1e-5)
        assert one.ids == split.ids


@pytest.mark.filterwarnings("ignore")
def test_alpha_zero_is_open_clips_zero_shot(run, model_folder, checkpoint, tree):
    from PIL import Image

    net, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{model_folder}", load_weights=False)
    open_clip.load_checkpoint(net, checkpoint)
    fills = [lambda name: f"a photo of a {name}.", lambda name: name]
    head = open_clip.build_zero_shot_classifier(net.eval(), run.clip.tokenizer, run.manifest.names, fills, device="cpu")
    split = run.manifest.split("real/test")
    images = torch.stack([preprocess(Image.open(split.root / name).convert("RGB")) for name in split.ids])
    with torch.no_grad():
        wanted = (net.encode_image(images, normalize=True) @ head).argmax(-1)
    assert np.array_equal(scores_of(run, [0.0], [split])[0].prediction, wanted.numpy())


def test_the_ends_are_the_models_bit_for_bit(run):
    split = [run.manifest.split("real/test")]
    sweep_ends = scores_of(run, [0.0, 0.5, 1.0], split)
    for one, weights in ((sweep_ends[0], run.anchor), (sweep_ends[2], run.tuned)):
        alone = sweep(
            run.student, weights, weights, split, [0.0], second_moment(run.gap_texts, run.clip.scale), progress=False
        )
        assert np.array_equal(alone[0].prediction, one.prediction)
        assert np.array_equal(alone[0].confidence, one.confidence)
        assert np.array_equal(alone[0].nll, one.nll)


def test_each_image_is_decoded_once(run, monkeypatch):
    seen, decode = [], data.decode
    monkeypatch.setattr(data, "decode", lambda path: seen.append(path) or decode(path))
    monkeypatch.setattr(data, "CHUNK_BYTES", 3000)
    splits = run.reported_splits()
    scores_of(run, [0.0, 0.25, 0.5, 0.75, 1.0], splits)
    assert len(seen) == len(set(seen)) == sum(map(len, splits))


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
    head = unit(unit(net.encode_text(run.student.prompts.flatten(0, 1))).unflatten(0, (4, 2)).mean(1))
    images = unit(embed(run.student.eval(), next(pixel_chunks(split, run.clip.transform)).pixels))
    assert np.array_equal(scores.prediction, (images @ head.detach().T).argmax(-1).numpy())


def test_scores_file_is_tidy_and_made_once(run, monkeypatch):
    found = run.score([0.0, 1.0], progress=False)
    assert list(found.columns) == ["reference", "alpha", "split", "role", "metric", "mean", "low", "high", "n"]
    assert set(found[found.role == "shift"].split) == {"sketch/test", "clipart/test"}
    assert set(found[found.role == "reference"].split) == {"real/test"}
    row = found.set_index(["alpha", "split", "metric"])["mean"]
    for shift in ("sketch/test", "clipart/test"):
        ratio = row[1.0, shift, "accuracy"] / row[1.0, "real/test", "accuracy"]
        assert row[1.0, shift, "relative_accuracy"] == pytest.approx(ratio)
    zero = found[found.alpha == 0.0].set_index(["split", "metric"])["mean"]
    assert (zero.unstack()["energy_gap"] == 0).all() and (zero.unstack()["feature_distortion"] == 0).all()
    monkeypatch.setattr("clipft.runs.sweep", None)
    pd.testing.assert_frame_equal(run.score([0.0, 1.0]), found)


def test_more_alphas_keep_the_old_ones(run):
    run.score([0.0, 1.0], progress=False)
    assert sorted(run.score([0.5], progress=False).alpha.unique()) == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_alpha_outside_is_refused(run, alpha):
    with pytest.raises(ConfigError, match="expected 0"):
        run.score([alpha])
    assert not (run.folder / "scores.parquet").exists()


def test_foreign_tuned_weights_are_refused(run):
    with pytest.raises(WeightsError, match="visual"):
        sweep(run.student, run.anchor, {"weight": run.tuned["weight"]}, run.reported_splits(), [0.5],
              torch.eye(16), progress=False)  # fmt: skip


def test_nothing_right_on_the_reference_leaves_relative_accuracy_out():
    def one(split, label):
        zeros = np.zeros(2)
        return Scores(
            split, 1.0, ("a", "b"), np.array([label] * 2), np.array([1, 1]), zeros + 1, zeros, zeros, zeros, zeros
        )

    found = table([one("real/test", 0), one("sketch/test", 1)], "real")
    assert "relative_accuracy" not in set(found.metric)


def test_miniature_domainnet_through_the_shipped_manifest(tmp_path, monkeypatch, model_folder, checkpoint):
    """DomainNet's own manifest, list files and names, a ViT from a local checkpoint: nothing is emoji-shaped."""
    from conftest import draw_tree

    domains = ["real", "painting", "clipart", "infograph", "sketch"]
    draw_tree(tmp_path / "domainnet", domains, ["airplane", "t-shirt", "The_Eiffel_Tower"], train=10, test=2)
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path))
    settings = {
        "manifest": "domainnet", "reference": "clipart", "model": f"local-dir:{model_folder}", "pretrained": checkpoint,
        "method": "lipsum", "steps": 6, "batch_size": 8, "eval_every": 3, "lr": 1e-3, "text_count": 8,
    }  # fmt: skip
    run = train(RunConfig.read(settings), tmp_path / "runs", device="cpu", progress=False)
    scores = run.score([0.0, 0.5, 1.0], progress=False)
    assert set(scores[scores.role == "shift"].split) == {f"{d}/test" for d in domains if d != "clipart"}
    gaps = scores[(scores.metric == "energy_gap") & (scores.role == "shift")].groupby("alpha")["mean"].mean()
    assert gaps[0.0] == 0 < gaps[0.5] < gaps[1.0]
    assert run.student.linear()[0].shape == (16, 345)
    assert (run.manifest.names[-1], run.manifest.names.index("t shirt") > 0) == ("zigzag", True)
    assert Run.open(run.folder).config == run.config


def test_a_model_without_byte_pairs_is_scored_without_energy_gap(run, monkeypatch, capsys):
    def refuse(*_):
        raise ConfigError("random texts need open_clip's SimpleTokenizer")

    monkeypatch.setattr("clipft.runs.random_texts", refuse)
    found = run.score([0.0, 1.0], progress=False)
    assert "energy gap left out" in capsys.readouterr().out
    assert found[found.metric == "energy_gap"]["mean"].isna().all()
    assert found[found.metric == "accuracy"]["mean"].notna().all()


def test_only_missing_alphas_are_swept(run, monkeypatch):
    whole = run.score([0.0, 0.5, 1.0], progress=False)
    for name in ("scores.parquet", "images.parquet"):
        (run.folder / name).unlink()
    run.score([0.0, 1.0], progress=False)
    swept = []
    monkeypatch.setattr("clipft.runs.sweep", lambda *args: swept.append(args[4]) or sweep(*args))
    pd.testing.assert_frame_equal(run.score([0.5], progress=False), whole)
    (run.folder / "scores.parquet").unlink()  # the images are still there
    pd.testing.assert_frame_equal(run.score([0.0, 0.5, 1.0], progress=False), whole)
    assert swept == [[0.5]]


def test_a_domain_that_was_trained_on_is_no_shift(world):
    found = world.train(train_domains=["real", "sketch"]).score([0.0, 1.0], progress=False)
    assert dict(zip(found.split, found.role, strict=True)) == {
        "real/val": "val", "real/test": "reference", "sketch/test": "trained", "clipart/test": "shift",
    }  # fmt: skip


def test_tied_classes_go_to_the_lower_index():
    logits = torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.0, -1.0, 0.0]])
    assert predictions(logits, torch.zeros(3, dtype=torch.long))[0].tolist() == [1, 0, 0]


def test_predictions_against_torch():
    logits, labels = torch.randn(50, 7) * 5, torch.randint(0, 7, (50,))
    prediction, confidence, nll = predictions(logits, labels)
    chances = logits.double().softmax(-1)
    assert torch.equal(prediction, chances.argmax(-1))
    torch.testing.assert_close(confidence.double(), chances.max(-1).values, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(nll, torch.nn.functional.cross_entropy(logits, labels, reduction="none"))


def test_features_are_a_splits_embeddings_in_its_order(run):
    split = run.manifest.split("real/test")
    run.student.train()
    found = extract(run.student, split, progress=False)
    assert run.student.training
    (chunk,) = pixel_chunks(split, run.clip.transform)
    assert np.array_equal(found.embeddings, embed(run.student.eval(), chunk.pixels))
    assert (found.label.tolist(), found.ids, found.split) == (list(split.labels), split.ids, "real/test")


def ensemble_of(run, members, alphas, split):
    return ensemble_sweep(run.student, run.anchor, members, [split], alphas, progress=False)


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
    members, split = [run.tuned, world.train(steps=30, lr=3e-3, seed=1).tuned], run.manifest.split("sketch/test")
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
