"""Exports for other libraries: each loaded by its own, and gives the same embeddings."""

import contextlib
import json
import os
import re
import shutil
from importlib import util

import numpy as np
import open_clip
import pytest
import torch
import yaml
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from clipft.disk.files import staged_folder
from clipft.disk.leftovers import who
from clipft.errors import ConfigError, MissingExtra, RunError, StorageError
from clipft.evaluation.score import score
from clipft.models.export import write_export
from clipft.models.load import load_clip
from clipft.models.outgoing import Outgoing
from clipft.models.students import Classifier, TwoTowers
from clipft.runs import formats
from clipft.runs.card import scored_rows
from clipft.runs.formats import FORMATS, TEXT_FILES, check_replaceable

CLASSES = ["cat", "<b>dog</b>"]
PLAIN = {  # of OpenAI's kind: QuickGELU, heads of 64
    "model_cfg": {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 64, "layers": 2},
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 64,
            "heads": 1,
            "layers": 1,
        },
    },
    "preprocess_cfg": {"size": 16, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
TEXTS = ["a photo of a bee.", "It's THE  Éclair, 123 cups & tea", "hot dog 🌭", "word " * 40]


def changed(tower=None, **settings):
    """The plain configuration with other settings, of the whole or of a tower."""
    config = json.loads(json.dumps(PLAIN))
    model = config["model_cfg"]
    (model[tower] if tower else model).update(settings)
    return config


@pytest.fixture
def outgoing(tmp_path, one_tokenizer):
    """Makes a tuned model of a configuration: its towers are moved, its head is made up."""

    def make(config=PLAIN, two_towers=False):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            clip = load_clip(f"local-dir:{folder}", "none")
            if two_towers:
                student = TwoTowers(clip, torch.randint(1, 100, (2, 2, 16)))
            else:
                student = Classifier(clip, torch.randn(16, 2), "absorbed")
            with torch.no_grad():
                for tensor in student.parameters():
                    tensor.add_(torch.randn_like(tensor), alpha=0.02)
        return Outgoing(clip, student.eval(), CLASSES)

    return make


def pixels(side=16):
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))


def images_of(model, x):
    return torch.nn.functional.normalize(model.encode_image(x), dim=-1)


@torch.no_grad()
def ours(outgoing, x, texts=TEXTS):
    """Unit embeddings of images and of texts."""
    images = torch.nn.functional.normalize(outgoing.visual()(x), dim=-1)
    model = getattr(outgoing.student, "clip", outgoing.clip.model)
    return images, model.encode_text(outgoing.clip.tokenizer(texts), normalize=True)


def close(theirs, mine):
    torch.testing.assert_close(theirs, mine, atol=1e-4, rtol=0)


@pytest.mark.parametrize("two_towers", [False, True], ids=["vision", "both"])
@pytest.mark.parametrize("quick_gelu", [True, False], ids=["quick", "gelu"])
@torch.no_grad()
def test_transformers_gives_the_same_embeddings(outgoing, tmp_path, quick_gelu, two_towers):
    from transformers import CLIPModel, CLIPProcessor

    out = outgoing(changed(quick_gelu=quick_gelu), two_towers)
    folder = write_export(tmp_path / "out", out, FORMATS["huggingface"], {})
    model, said = CLIPModel.from_pretrained(folder, output_loading_info=True)
    assert not said["missing_keys"] and not said["unexpected_keys"]
    processor = CLIPProcessor.from_pretrained(folder)
    images, texts = ours(out, pixels())
    tokens = processor(text=TEXTS, padding=True, truncation=True, return_tensors="pt")
    unit = torch.nn.functional.normalize
    close(unit(model.get_image_features(pixel_values=pixels()).pooler_output, dim=-1), images)
    close(unit(model.get_text_features(**tokens).pooler_output, dim=-1), texts)
    scale = getattr(out.student, "clip", out.clip.model).logit_scale
    assert torch.equal(model.logit_scale, scale)
    # Pillow and torchvision round a resize differently: at most two levels of 255.
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((90, 60))
    (theirs,) = processor(images=photo, return_tensors="pt")["pixel_values"]
    mine = out.student.pixels(pil_to_tensor(out.clip.transform(photo)))
    assert ((theirs - mine) * out.student.std).abs().max() < 2.01


@torch.no_grad()
def test_open_clip_loads_the_state_dict(outgoing, tmp_path):
    out = outgoing()
    folder = write_export(tmp_path / "out", out, FORMATS["state_dict"], {})
    model = open_clip.CLIP(**PLAIN["model_cfg"]).eval()
    open_clip.load_checkpoint(model, str(folder / "state_dict.pt"))
    images, texts = ours(out, pixels())
    close(images_of(model, pixels()), images)
    close(model.encode_text(out.clip.tokenizer(TEXTS), normalize=True), texts)


@pytest.mark.parametrize("tower", ["ViT", "ResNet"])
@torch.no_grad()
def test_openais_code_builds_the_same_model(outgoing, tmp_path, tower):
    """It builds in fp16: the sizes are its own, the weights those of the file once more."""
    vit = tower == "ViT"
    out = outgoing(PLAIN if vit else changed(vision_cfg=RESNET))
    folder = write_export(tmp_path / "out", out, FORMATS["openai"], {})
    weights = torch.load(folder / "openai.pt", weights_only=True)
    assert int(weights["context_length"]) == 16
    assert int(weights["input_resolution"]) == (16 if vit else 32)
    model = open_clip.model.build_model_from_openai_state_dict(dict(weights)).float()
    assert model.load_state_dict(weights, strict=False).missing_keys == []
    x = pixels(16 if vit else 32)
    images, texts = ours(out, x)
    close(images_of(model, x), images)
    close(model.encode_text(out.clip.tokenizer(TEXTS), normalize=True), texts)


@torch.no_grad()
def test_onnxruntime_gives_the_same_embeddings_and_logits(outgoing, tmp_path):
    """For any number of images, though it was traced with two."""
    import onnxruntime

    out = outgoing()
    folder = write_export(tmp_path / "out", out, FORMATS["onnx"], {})
    assert {file.name for file in folder.iterdir()} == {
        *("model.onnx", "head.safetensors", "clipft.json")
    }
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == CLASSES
    assert json.loads(about["preprocess_cfg"])["mean"] == [0.5, 0.4, 0.3]
    for count in (1, 3):
        x = pixels()[:count]
        embeddings, logits = map(torch.from_numpy, session.run(None, {"pixels": x.numpy()}))
        close(embeddings, ours(out, x)[0])
        weight, bias = out.head()
        torch.testing.assert_close(logits, embeddings @ weight + bias, atol=1e-3, rtol=1e-4)
    assert session.get_inputs()[0].shape == ["batch", 3, 16, 16]


HUGGING_FACE, OPENAI = "huggingface", "openai"
REFUSED = {
    "layer scale": (HUGGING_FACE, changed("vision_cfg", ls_init_value=0.1), "ls_init_value=0.1"),
    "no causal mask": (OPENAI, changed("text_cfg", no_causal_mask=True), "no_causal_mask=True"),
    "another pooling": (HUGGING_FACE, changed("vision_cfg", pool_type="avg"), "pool_type='avg'"),
    "towers by name": (OPENAI, changed(custom_text=True), "custom_text=True"),
    "ResNet": (HUGGING_FACE, changed(vision_cfg=RESNET), "a ResNet for a vision tower"),
    "oblong images": (HUGGING_FACE, changed("vision_cfg", image_size=[16, 24]), "[16, 24]"),
    "GELU": (OPENAI, changed(quick_gelu=False), "always has QuickGELU"),
    "narrow heads": (OPENAI, changed("vision_cfg", head_width=16), "are not 64 wide"),
    "narrow heads of texts": (OPENAI, changed("text_cfg", heads=2), "are not 64 wide"),
    "thin layers": (OPENAI, changed("text_cfg", mlp_ratio=2), "not 4 times as wide"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_format_cannot_hold_is_one_line_and_no_file(outgoing, tmp_path, kind):
    name, config, words = REFUSED[kind]
    out = outgoing(config)
    with pytest.raises(ConfigError) as caught:
        write_export(tmp_path / "out", out, FORMATS[name], {})
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    write_export(tmp_path / "out", out, FORMATS["state_dict"], {})


def test_plain_settings_may_be_spelt_out(outgoing, tmp_path):
    out = outgoing(changed("vision_cfg", pool_type="tok", ls_init_value=None, patch_dropout=0.5))
    assert write_export(tmp_path / "out", out, FORMATS["huggingface"], {}).is_dir()


def test_an_unknown_format_and_a_missing_extra_are_named(monkeypatch):
    with pytest.raises(ConfigError, match="unknown format 'hugingface'; did you mean 'huggingfa"):
        formats.format_of("hugingface")
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'clipft\[onnx\]'"):
        FORMATS["onnx"].check(half=False)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="leave --half out"):
        FORMATS["onnx"].check(half=True)


# --- whole or absent


class Killed(BaseException):
    """As a kill is: nothing of the library catches it."""


def test_a_kill_between_two_files_leaves_no_mixture(outgoing, tmp_path, monkeypatch):
    """Old, new, or nothing that loads: at each file that is removed or moved."""
    old, new = outgoing(), outgoing(changed("text_cfg", layers=2))
    folder = tmp_path / "out"
    states = set()
    for when in range(12):
        shutil.rmtree(folder, ignore_errors=True)
        write_export(folder, old, FORMATS["open_clip"], {"which": "old"})
        (folder / "mine.txt").write_text("stays")
        kill_after(monkeypatch, folder, when)
        with contextlib.suppress(Killed):
            write_export(folder, new, FORMATS["open_clip"], {"which": "new"})
        monkeypatch.undo()
        states.add(state_of(folder))
        assert (folder / "mine.txt").read_text() == "stays"
        write_export(folder, new, FORMATS["open_clip"], {"which": "new"})
        assert state_of(folder) == "new" and not list(folder.glob(".*"))
    assert states == {"old", "none", "new"}


def kill_after(monkeypatch, folder, count):
    """End the work after so many files of a folder were removed or moved into it."""
    done = []

    def guarded(act):
        def call(path, *more, **keywords):
            target = more[0] if more else path
            if os.fspath(target).startswith(f"{folder}/") and ".staged." not in str(target):
                if len(done) == count:
                    raise Killed
                done.append(target)
            return act(path, *more, **keywords)

        return call

    monkeypatch.setattr(os, "replace", guarded(os.replace))
    monkeypatch.setattr("pathlib.Path.unlink", guarded(type(folder).unlink))
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    # Of a process that is no more, as after a real kill.
    monkeypatch.setattr(
        "clipft.disk.files.temporary_prefix", lambda name: f".{name}.{who()}-{1 << 22}-"
    )


def state_of(folder):
    """Which of both exports can be read there, all of its files being one's."""
    if not (folder / "open_clip_config.json").exists():
        return "none"
    which = json.loads((folder / "clipft.json").read_text())["which"]
    config = json.loads((folder / "open_clip_config.json").read_text())
    layers = config["model_cfg"]["text_cfg"]["layers"]
    open_clip.create_model(f"local-dir:{folder}")
    assert (layers == 1) == (which == "old")
    return which


def test_a_folder_that_is_not_there_is_renamed_whole(tmp_path):
    with contextlib.suppress(Killed), staged_folder(tmp_path / "out", [], ["a"]) as staged:
        (staged / "a").write_text("a")
        assert not (tmp_path / "out").exists()
        raise Killed
    assert list(tmp_path.iterdir()) == []


def test_an_export_of_another_format_leaves_nothing_of_the_older(outgoing, tmp_path):
    folder = tmp_path / "out"
    for name in ("open_clip", "huggingface", "state_dict", "open_clip"):
        write_export(folder, outgoing(), FORMATS[name], {}, card="---\n")
        written = {file.name for file in folder.iterdir()}
        of_texts = set(TEXT_FILES) if name == "open_clip" else set()  # of transformers' tokenizers
        assert written == set(FORMATS[name].all_files) - of_texts


def test_a_file_of_somebody_else_is_not_overwritten(outgoing, tmp_path):
    """As today what an open_clip folder holds is; a card, or a run's config.json, is not."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "open_clip_model.safetensors").touch()
    check_replaceable(folder, FORMATS["open_clip"])
    for name, target in (("README.md", "open_clip"), ("config.json", "huggingface")):
        (folder / name).write_text("mine")
        with pytest.raises(StorageError, match="was not written by an export"):
            check_replaceable(folder, FORMATS[target])
        (folder / name).unlink()
    (folder / "clipft.json").write_text('{"files": ["../model", "README.md"]}')
    assert formats.written_files(folder) == ["README.md"]


# --- the card


def card_of(folder):
    """Front matter as values, and the text below it."""
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def table_of(text, heading):
    """The rows of the first table below a heading."""
    below = text.split(f"## {heading}\n", 1)[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in below.splitlines() if line.startswith("|")]
    return rows[2:]


def test_the_card_says_what_the_records_say(scored, tmp_path):
    from clipft.evaluation.score import export

    run = scored.scored[0]
    with scored.at_home():
        folder = export(run, tmp_path / "out", 0.5)
    front, text = card_of(folder)
    table = run.table()
    table = table[table.alpha == 0.5]
    rows = table_of(text, "What was measured")
    assert [row[0] for row in rows] == ["real/test", "real/val", "clipart/test", "sketch/test"]
    for split, role, images, accuracy, gap in rows:
        of_split = table[table["split"] == split].set_index("metric")
        assert (role, int(images)) == (of_split.role.iloc[0], of_split.n.iloc[0])
        for cell, metric, factor in ((accuracy, "accuracy", 100), (gap, "energy_gap", 1)):
            said = [float(number) for number in re.findall(r"[-+.e\d]+", cell)]
            want = [factor * of_split[name][metric] for name in ("mean", "low", "high")]
            np.testing.assert_allclose(said, want, rtol=1e-3, atol=0.051 if factor > 1 else 1e-9)
    (model,) = front["model-index"]
    values = {row["dataset"]["split"]: row["metrics"][0]["value"] for row in model["results"]}
    accuracies = table[table.metric == "accuracy"].set_index("split")["mean"]
    assert values == accuracies.to_dict()
    for words in ("alpha 0.5", "Data set: none.", "| lr | 0.003 |", "| seed | 0 |", "`random.pt`"):
        assert words in text
    assert str(scored.base) not in text  # no place of this machine


@pytest.mark.parametrize("kind", ["another alpha", "no scores"])
def test_an_alpha_that_is_not_scored_is_said_with_the_command(scored, tmp_path, kind):
    from clipft.evaluation.score import export

    run = scored.scored[0].path if kind == "another alpha" else scored.unscored
    with scored.at_home():
        front, text = card_of(export(run, tmp_path / "out", 0.3))
    assert "model-index" not in front
    assert f"clipft wise runs/{run.name} --alpha 0.3" in text
    assert "%" not in text.split("## What was measured")[1].split("## Data")[0]


def test_a_combination_is_in_its_card(world, tmp_path):
    from clipft import combine
    from clipft.evaluation.score import export

    run = world.train(steps=2)
    mixed = combine("wise", [run], {"alpha": 0.5})
    assert scored_rows(mixed, 1.0) is None
    _, text = card_of(export(mixed, tmp_path / "out"))
    assert f"Afterwards: `wise` of the runs {run.id}; alpha=0.5." in text


@pytest.mark.parametrize("name", ["open_clip", "huggingface"])
def test_the_code_of_a_card_runs(scored, tmp_path, monkeypatch, name):
    from clipft.evaluation.score import export

    with scored.at_home():
        folder = export(scored.scored[0], tmp_path / "out", format=name)
    Image.new("RGB", (30, 20), "red").save(folder / "photo.jpg")
    monkeypatch.chdir(folder)
    values = {}
    for code in re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL):
        with torch.no_grad():
            exec(code, values)
    assert values["label"] in scored.scored[0].manifest.names


def test_text_of_the_data_is_no_html(world, tmp_path):
    run = world.train(steps=2)
    title = "<img src=x onerror=alert(1)> | mini"
    copy = run.folder.manifest() | {"title": title, "card": "# one\n# two"}
    run.folder.write_manifest(copy)
    folder = run.export(tmp_path / "out")
    front, text = card_of(folder)
    assert "<img" not in text and r"&lt;img src=x onerror=alert(1)&gt; \| mini" in text
    assert "\n# one" not in text and "> # one # two" in text
    assert "model-index" not in front


def test_an_ensemble_is_refused_before_its_card(world, tmp_path):
    from clipft import combine
    from clipft.evaluation.score import export

    run = world.train(steps=2)
    mean = combine("output_ensemble", [run])
    score(mean, [1.0])
    with pytest.raises(RunError, match="is an ensemble"):
        export(mean, tmp_path / "out")
