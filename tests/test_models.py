"""open_clip models in and out, against open_clip itself."""

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from clipft.data import Images
from clipft.errors import ConfigError, WeightsError
from clipft.manifests import load_manifest
from clipft.models import Classifier, TwoTowers, export_clip, load_clip, student
from clipft.prompts import templates, zero_shot_prompts
from clipft.records import Split
from clipft.store import write_weights


@pytest.fixture
def clip(model_folder, checkpoint):
    return load_clip(f"local-dir:{model_folder}", checkpoint)


def reference_model(model_folder, checkpoint):
    """The same model by open_clip's own hand."""
    net, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{model_folder}", load_weights=False)
    open_clip.load_checkpoint(net, checkpoint)
    return net.eval(), preprocess


@pytest.mark.filterwarnings("ignore")
def test_zero_shot_head_is_open_clips(clip, manifest_file, model_folder, checkpoint):
    manifest = load_manifest(str(manifest_file))
    net, _ = reference_model(model_folder, checkpoint)
    fills = [lambda name, template=template: template.format(name) for template in templates(manifest)]
    wanted = open_clip.build_zero_shot_classifier(net, clip.tokenizer, manifest.names, fills, device="cpu")
    head = clip.zero_shot_head(zero_shot_prompts(manifest, clip.tokenizer))
    torch.testing.assert_close(head, wanted, atol=1e-6, rtol=1e-5)
    assert "ice cream" in manifest.names


def test_pixels_are_open_clips(clip, model_folder, checkpoint, tree):
    file = next((tree / "mini/real/apple").glob("*.png"))
    net, preprocess = reference_model(model_folder, checkpoint)
    split = Split("real", "test", tree / "mini", (str(file.relative_to(tree / "mini")),), (0,))
    module = Classifier(clip, torch.zeros(4, 1, 16, dtype=torch.long))
    ours = Images(split, clip.transform).__getitems__([0])[0][0][None]
    theirs = preprocess(Image.open(file).convert("RGB"))[None]
    torch.testing.assert_close(module.pixels(ours), theirs, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(module(ours)[0], net.encode_image(theirs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("trains", ["vision", "both"])
def test_export_loads_in_plain_open_clip(clip, trains, tmp_path):
    module = student(clip, trains, torch.randint(1, 100, (4, 2, 16)))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    folder = export_clip(tmp_path / "out", clip, module.state_dict())
    net, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    pixels = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    tokens = clip.tokenizer(["an apple"])
    assert torch.equal(net.eval().encode_image(module.pixels(pixels)), module(pixels)[0])
    own_text = module.clip.encode_text(tokens) if trains == "both" else clip.model.encode_text(tokens)
    assert torch.equal(net.encode_text(tokens), own_text)
    assert (folder / "head.safetensors").exists() == (trains == "vision")
    again = load_clip(f"local-dir:{folder}")
    assert again.size == clip.size and again.scale == pytest.approx(float(net.logit_scale.detach().exp()))


def test_students_start_at_zero_shot(clip):
    prompts = torch.randint(1, 100, (4, 2, 16))
    pixels = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    logits = [
        module.eval().logits(module(pixels)[0]) for module in (Classifier(clip, prompts), TwoTowers(clip, prompts))
    ]
    torch.testing.assert_close(*logits)
    assert not any(p.requires_grad for p in clip.model.parameters())


def test_vocabulary_travels(clip, tmp_path):
    folder = export_clip(tmp_path / "out", clip, {}, {"random_text_tokens": [5, 7]})
    assert load_clip(f"local-dir:{folder}").vocabulary == (5, 7)
    export_clip(folder, clip, {})
    assert load_clip(f"local-dir:{folder}").vocabulary is None


def test_random_weights_are_reproducible(model_folder):
    digests = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        digests.append(load_clip(f"local-dir:{model_folder}", "none").digest())
    assert digests[0] == digests[1] != digests[2]


def test_quick_gelu_follows_the_tag(monkeypatch):
    """OpenAI's weights under the plain name need QuickGELU; open_clip alone only warns."""
    asked = {}

    def create(name, **options):
        asked.update(options)
        raise RuntimeError("no network in a test")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", create)
    with pytest.raises(WeightsError, match="no network"):
        load_clip("ViT-B-16", "openai")
    assert asked["force_quick_gelu"] is True and asked["pretrained"] == "openai"


def broken(kind, checkpoint, folder):
    file = folder / f"{kind}.pt"
    if kind == "truncated":
        file.write_bytes(Path(checkpoint).read_bytes()[:5000])
    elif kind == "foreign":
        torch.save({"layer.weight": torch.zeros(2)}, file)
    else:
        file.write_text("hello")
    return file


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torch leaves the file open
@pytest.mark.parametrize("kind", ["truncated", "foreign", "text"])
def test_bad_checkpoint_is_one_line(kind, checkpoint, model_folder, tmp_path):
    file = broken(kind, checkpoint, tmp_path)
    with pytest.raises(WeightsError, match=kind) as caught:
        load_clip(f"local-dir:{model_folder}", str(file))
    assert "\n" not in str(caught.value)


def test_truncated_safetensors_in_a_folder(clip, tmp_path):
    folder = export_clip(tmp_path / "out", clip, {})
    file = folder / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(WeightsError, match="cannot load"):
        load_clip(f"local-dir:{folder}")


@pytest.mark.parametrize(
    ("model", "pretrained", "wanted"),
    [
        ("ViT-B-166", "openai", "did you mean 'ViT-B-16"),
        ("ViT-B-16", "", "needs `pretrained`"),
        ("ViT-B-16", "opnai", "did you mean 'openai'"),
        ("local-dir:/nowhere", "", "open_clip_config.json"),
    ],
)
def test_bad_names_are_one_line(model, pretrained, wanted):
    with pytest.raises(ConfigError, match=wanted) as caught:
        load_clip(model, pretrained)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_without_byte_pairs_is_refused(clip):
    from clipft.prompts import special_tokens

    with pytest.raises(ConfigError, match="SimpleTokenizer"):
        special_tokens(object())


def test_export_leaves_the_old_folder_when_the_disk_is_full(clip, tmp_path, monkeypatch):
    folder = export_clip(tmp_path / "out", clip, {})
    before = (folder / "open_clip_model.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    from clipft import store
    from clipft.errors import StorageError

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        write_weights(folder / "open_clip_model.safetensors", {"a": torch.zeros(2)})
    assert (folder / "open_clip_model.safetensors").read_bytes() == before
    assert sorted(f.name for f in folder.iterdir()) == ["open_clip_config.json", "open_clip_model.safetensors"]
    shutil.rmtree(folder)


def test_config_keeps_preprocessing(clip, tmp_path):
    folder = export_clip(tmp_path / "out", clip, {})
    config = json.loads((folder / "open_clip_config.json").read_text())
    assert config["preprocess_cfg"]["mean"] == [0.5, 0.4, 0.3]
