"""What leaves the library: folders for plain open_clip, heads, and a classifier of both."""

import json
import shutil
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from clipft import wise
from clipft.config import Reading
from clipft.disk import files as store
from clipft.errors import ConfigError, ImageError, StorageError, WeightsError
from clipft.evaluation.predictions import logits_of
from clipft.inputs.batches import pixel_chunks
from clipft.models import predict
from clipft.models.checkpoints import read_weights, write_weights
from clipft.models.export import export_clip
from clipft.models.head import read_head
from clipft.models.load import load_clip
from clipft.models.predict import Predictor
from clipft.models.students import Classifier, TwoTowers

QUIET = Reading(progress=False)
RUNS = {
    "fixed": {"lr": 3e-3},
    "absorbed": {"lr": 3e-3, "head": "absorbed"},
    "trained scale": {"lr": 3e-3, "logit_scale": "trained"},
    "flyp": {"lr": 3e-3, "method": "flyp"},
}


@pytest.fixture
def clip(model_folder, checkpoint):
    return load_clip(f"local-dir:{model_folder}", checkpoint)


@pytest.fixture
def plain(clip):
    """A student at the zero-shot weights, with a made-up head of two classes."""
    return Classifier(clip, torch.eye(16)[:, :2])


@pytest.fixture
def written(clip, plain, tmp_path):
    return export_clip(tmp_path / "out", clip, plain, ["cat", "dog"])


def by_open_clip(folder):
    net, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return net.eval(), preprocess


def pixels_of(files, preprocess):
    """Images as open_clip's transform makes them."""
    images = []
    for file in files:
        images.append(preprocess(Image.open(file).convert("RGB")))
    return torch.stack(images)


def files_of(split):
    return [split.root / name for name in split.ids]


@pytest.mark.parametrize("alpha", [0.5, 1.0])
@pytest.mark.parametrize("kind", RUNS)
def test_plain_open_clip_gives_the_same_embeddings(world, kind, alpha, tmp_path):
    run = world.train(selection="last", steps=4, **RUNS[kind])
    net, preprocess = by_open_clip(run.export(tmp_path / "out", alpha))
    run.student.load_state_dict(wise(run.anchor, run.tuned, alpha))
    split = run.manifest.split("real/test")
    theirs = net.encode_image(pixels_of(files_of(split), preprocess))
    (chunk,) = pixel_chunks(split, run.clip.transform)
    ours = run.student.eval()(chunk.pixels)[0]
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)
    tokens = run.clip.tokenizer(["an apple"])
    texts = net.encode_text(tokens)
    tuned = run.student.clip if kind == "flyp" else run.clip.model
    assert torch.equal(texts, tuned.encode_text(tokens))
    assert torch.equal(texts, run.clip.model.encode_text(tokens)) == (kind != "flyp")


@pytest.mark.parametrize("kind", RUNS)
def test_predictor_says_what_the_run_says(world, kind, tmp_path):
    run = world.train(selection="last", steps=8, **RUNS[kind])
    split = run.manifest.split("sketch/test")
    (chunk,) = pixel_chunks(split, run.clip.transform)
    run.student.load_state_dict(run.tuned)
    chances = logits_of(run.student.eval(), chunk.pixels).softmax(-1).numpy()
    table = Predictor(run.export(tmp_path / "out")).predict(files_of(split), top=3, reading=QUIET)
    assert list(table.columns) == ["file", "rank", "label", "probability"]
    assert list(table.file[::3]) == [str(file) for file in files_of(split)]
    assert list(table["rank"]) == [1, 2, 3] * len(split)
    order = np.argsort(-chances, axis=1, kind="stable")[:, :3]
    assert list(table.label) == [run.manifest.names[label] for row in order for label in row]
    np.testing.assert_allclose(
        table.probability, np.take_along_axis(chances, order, 1).ravel(), atol=1e-5
    )


def test_a_folder_that_is_exported_anew_while_it_is_read_is_refused(scored, tmp_path, monkeypatch):
    """Between its weights and its head: else old weights would meet a new head."""
    with scored.at_home():
        first, second = scored.scored
        folder = first.export(tmp_path / "out")
        reading = predict.read_head

        def meanwhile(file):
            second.export(folder)
            return reading(file)

        with monkeypatch.context() as patch:
            patch.setattr(predict, "read_head", meanwhile)
            with pytest.raises(ConfigError, match="out was exported anew while it was read; try"):
                Predictor(folder)
        assert Predictor(folder)


def test_a_predictor_computes_in_the_precision_that_it_is_told(world, tmp_path):
    run = world.train(selection="last", steps=2)
    predictor = Predictor(run.export(tmp_path / "out"))
    files = files_of(run.manifest.split("sketch/test"))
    found = {}
    for precision in ("", "32-true", "bf16-mixed", ""):
        reading = replace(QUIET, precision=precision)
        found.setdefault(precision, []).append(predictor.predict(files, reading=reading))
    whole = found["32-true"][0].probability
    assert all(table.probability.equals(whole) for table in found[""])
    difference = np.abs(found["bf16-mixed"][0].probability - whole).max()
    assert 0 < difference < 0.05


@pytest.mark.parametrize("spoilt", ["head", "tower"])
def test_a_model_that_is_not_finite_predicts_nothing(clip, plain, tmp_path, spoilt):
    """Its softmax would be nan, and the first class the answer for every image."""
    tensor = plain.weight if spoilt == "head" else plain.visual.proj
    with torch.no_grad():
        tensor[0, 0] = float("nan")
    folder = export_clip(tmp_path / "out", clip, plain, ["cat", "dog"])
    with pytest.raises(WeightsError, match="holds nan, so it has no accuracy") as caught:
        Predictor(folder)
    assert "\n" not in str(caught.value)


def test_more_ranks_than_classes_gives_all_classes(world, tmp_path):
    run = world.train(steps=2)
    file = files_of(run.manifest.split("real/test"))[0]
    table = Predictor(run.export(tmp_path / "out")).predict([file], top=99, reading=QUIET)
    assert sorted(table.label) == sorted(run.manifest.names)
    assert table.probability.sum() == pytest.approx(1)
    assert table.probability.is_monotonic_decreasing


def test_one_path_need_not_be_a_list(written, tree):
    file = next((tree / "mini/real/bee").glob("*.png"))
    predictor = Predictor(written)
    for paths in (str(file), file, [str(file)]):
        assert predictor.predict(paths, reading=QUIET).file.tolist() == [str(file)]


@pytest.mark.parametrize("top", [0, -1])
def test_no_rank_is_refused(written, tree, top):
    with pytest.raises(ConfigError, match=f"top is {top}, expected 1 or more"):
        Predictor(written).predict(next((tree / "mini/real/bee").glob("*.png")), top, QUIET)


def test_folders_are_searched(written, tmp_path, tree):
    folder = shutil.copytree(tree / "mini/real", tmp_path / "pictures")
    (folder / "notes.txt").write_text("no image")
    (folder / "apple" / "UPPER.PNG").write_bytes(next(folder.rglob("*.png")).read_bytes())
    table = Predictor(written).predict([folder, folder / "apple" / "UPPER.PNG"], reading=QUIET)
    inside = sorted(str(file) for file in folder.rglob("*") if file.suffix.lower() == ".png")
    assert list(table.file) == [*inside, str(folder / "apple" / "UPPER.PNG")]


def test_photographs_of_a_phone_are_upright_as_a_viewer_shows_them(written, tree, tmp_path):
    upright = Image.open(next((tree / "mini/real/bee").glob("*.png"))).convert("RGB")
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    upright.rotate(90, expand=True).save(tmp_path / "phone.png", exif=exif)
    upright.rotate(90, expand=True).save(tmp_path / "stored.png")
    predictor = Predictor(written)

    def probability(name, **how):
        return predictor.predict(tmp_path / name, reading=QUIET, **how).probability.tolist()

    assert probability("phone.png") == probability("upright.png")
    assert probability("phone.png", look="file") == probability("stored.png", look="file")
    assert probability("stored.png") != probability("upright.png")
    with pytest.raises(ConfigError, match="unknown look 'sideways'"):
        probability("phone.png", look="sideways")
    with pytest.raises(ImageError, match="megapixels"):
        probability("phone.png", megapixels=-1)


@pytest.mark.parametrize("content", [None, b"no image"])
def test_a_file_that_cannot_be_read_stops_or_is_counted(written, tmp_path, tree, capsys, content):
    good = next((tree / "mini/real/apple").glob("*.png"))
    bad = tmp_path / "bad.png"
    if content:
        bad.write_bytes(content)
    with pytest.raises(ImageError, match=r"bad\.png") as caught:
        Predictor(written).predict([good, bad], reading=QUIET)
    assert "\n" not in str(caught.value)
    table = Predictor(written).predict([bad, good], reading=Reading(skip_bad=True, progress=False))
    assert list(table.file) == [str(good)]
    assert "skipped 1 of 2 images" in capsys.readouterr().out


def test_nothing_to_predict(written, tmp_path):
    (tmp_path / "empty").mkdir()
    for paths, words in (([], "no image given"), ([tmp_path / "empty"], "no image in the folder")):
        with pytest.raises(ImageError, match=words):
            Predictor(written).predict(paths, reading=QUIET)


def test_a_head_keeps_its_scale_bias_and_classes(clip, tmp_path):
    student = Classifier(clip, torch.rand(16, 3), "absorbed")
    student.bias.data = torch.tensor([1.0, 2.0, 3.0])
    head = read_head(
        export_clip(tmp_path / "out", clip, student, ["é", "b b", "c"]) / "head.safetensors"
    )
    assert torch.equal(head.weight, student.weight) and torch.equal(head.bias, student.bias)
    assert head.classes == ("é", "b b", "c")
    fixed = Classifier(clip, torch.rand(16, 3))
    head = read_head(export_clip(tmp_path / "out", clip, fixed, "abc") / "head.safetensors")
    torch.testing.assert_close(head.weight, clip.scale * fixed.weight)
    assert not head.bias.any()


NAMED = {"classes": '["cat", "dog"]'}
HEADS = {
    "missing": None,
    "text": b"hello",
    "other names": {"weight": torch.ones(16, 2)},
    "no classes": {"weight": torch.ones(16, 2), "bias": torch.zeros(2)},
    "classes that are no list": (
        {"weight": torch.ones(16, 2), "bias": torch.zeros(2)},
        {"classes": "cat, dog"},
    ),
    "classes without end": (
        {"weight": torch.ones(16, 2), "bias": torch.zeros(2)},
        {"classes": "2"},
    ),
    "too many classes": ({"weight": torch.ones(16, 3), "bias": torch.zeros(3)}, NAMED),
    "long bias": ({"weight": torch.ones(16, 2), "bias": torch.zeros(3)}, NAMED),
    "bias for each dimension": ({"weight": torch.ones(16, 2), "bias": torch.zeros(16)}, NAMED),
    "flat": ({"weight": torch.ones(2), "bias": torch.zeros(2)}, NAMED),
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_foreign_head_is_one_line(written, kind):
    file = written / "head.safetensors"
    content = HEADS[kind]
    file.unlink()
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif isinstance(content, tuple):
        write_weights(file, *content)
    elif content:
        write_weights(file, content)
    with pytest.raises(WeightsError, match=r"head\.safetensors") as caught:
        Predictor(written)
    assert "\n" not in str(caught.value)


def test_a_head_of_another_model_is_one_line(written):
    write_weights(
        written / "head.safetensors", {"weight": torch.ones(8, 2), "bias": torch.zeros(2)}, NAMED
    )
    with pytest.raises(WeightsError, match="the head takes 8 dimensions") as caught:
        Predictor(written)
    assert "\n" not in str(caught.value)


def test_half_precision(world, tmp_path):
    run = world.train(method="flyp", steps=4)
    whole = run.export(tmp_path / "whole")
    half = run.export(tmp_path / "half", half=True)
    weights = read_weights(half / "open_clip_model.safetensors").values()
    assert {tensor.dtype for tensor in weights if tensor.is_floating_point()} == {torch.float16}
    files = files_of(run.manifest.split("real/test"))
    exact = Predictor(whole).predict(files, reading=QUIET)
    rounded = Predictor(half).predict(files, reading=QUIET)
    np.testing.assert_allclose(exact.probability, rounded.probability, atol=0.02)


def test_tokens_that_were_never_seen_are_zero_and_left_out(world, tmp_path):
    run = world.train(method="flyp", pretrained="none", steps=2, selection="last")
    folder = run.export(tmp_path / "out")
    known = run.bench.captions().vocabulary()
    clip = load_clip(f"local-dir:{folder}")
    assert clip.vocabulary == tuple(known)
    table = clip.model.token_embedding.weight
    start, end = clip.tokenizer.sot_token_id, clip.tokenizer.eot_token_id
    assert set(table.any(1).nonzero()[:, 0].tolist()) == {*known, start, end, 0}
    tokens = clip.tokenizer(["a photo of a bee."])
    run.student.load_state_dict(run.tuned)
    assert torch.equal(clip.model.encode_text(tokens), run.student.clip.encode_text(tokens))


def test_a_vocabulary_travels(clip, plain, tmp_path):
    folder = export_clip(tmp_path / "out", clip, plain, "ab", {"random_text_tokens": [5, 7]})
    again = load_clip(f"local-dir:{folder}")
    assert again.vocabulary == (5, 7)
    export_clip(tmp_path / "second", again, plain, "ab")
    assert load_clip(f"local-dir:{tmp_path / 'second'}").vocabulary == (5, 7)
    export_clip(folder, clip, plain, "ab")
    assert load_clip(f"local-dir:{folder}").vocabulary is None


def test_preprocessing_size_and_scale_travel(clip, written):
    config = json.loads((written / "open_clip_config.json").read_text())
    assert config["preprocess_cfg"]["mean"] == [0.5, 0.4, 0.3]
    again = load_clip(f"local-dir:{written}")
    assert (again.size, again.scale) == (clip.size, clip.scale)


def test_a_tuned_scale_travels(clip, tmp_path):
    student = TwoTowers(clip, torch.randint(1, 100, (2, 2, 16)))
    student.logit_scale.data.fill_(1.5)
    folder = export_clip(tmp_path / "out", clip, student, "ab")
    assert by_open_clip(folder)[0].logit_scale.item() == 1.5
    assert clip.model.logit_scale.item() != 1.5


def test_a_truncated_folder_is_one_line(written):
    file = written / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(WeightsError, match="is truncated or no file of weights") as caught:
        load_clip(f"local-dir:{written}")
    assert "\n" not in str(caught.value)


def test_export_leaves_the_old_folder_when_the_disk_is_full(written, monkeypatch):
    before = {file.name: file.read_bytes() for file in written.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        write_weights(written / "open_clip_model.safetensors", {"a": torch.zeros(2)})
    assert {file.name: file.read_bytes() for file in written.iterdir()} == before
