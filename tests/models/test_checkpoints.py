"""Checkpoints in the shapes in which people keep them, each written by its own library, scored by
it, and loaded; and the refusals, one line each.

The numbers of issues are those of mlfoundations/open_clip.
"""

import argparse
import collections
import datetime
import importlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from conftest import CLASSES, MODEL
from torch.nn.functional import normalize

from clipft.errors import ConfigError, MissingExtra, WeightsError
from clipft.inputs.prompts import random_texts, special_tokens
from clipft.models.checkpoints import read_checkpoint
from clipft.models.export import export_clip
from clipft.models.load import load_clip
from clipft.models.students import Classifier
from clipft.runs import model_names
from clipft.runs.identity import absolute

TEXTS = ["a fox", "a photo of an apple.", "tea"]
IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def seeded(make, seed=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().eval()


@torch.no_grad()
def logits_of(net, images=IMAGES, texts=TEXTS):
    """Zero-shot logits of open_clip's own model."""
    tokens = open_clip.SimpleTokenizer(context_length=16)(texts)
    scores = net.encode_image(images, normalize=True) @ net.encode_text(tokens, normalize=True).T
    return net.logit_scale.exp() * scores


@torch.no_grad()
def ours(clip, images=IMAGES, texts=TEXTS):
    embeddings = clip.embed_texts(clip.tokenizer(texts))
    return clip.scale * normalize(clip.model.encode_image(images), dim=-1) @ embeddings.T


def equal(mine, theirs):
    assert theirs.std() > 1e-3
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def net(one_tokenizer):
    """The tiny CLIP, made by open_clip; its scale is not the initial one."""
    net = seeded(lambda: open_clip.CLIP(**MODEL["model_cfg"]))
    net.logit_scale.data.fill_(3.0)
    return net


@pytest.fixture
def bare_folder(tmp_path):
    """A folder with the tiny CLIP's configuration and no weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(MODEL))
    return folder


def prefixed(weights, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in weights.items()}


def trained(weights):
    """As open_clip's training script writes it."""
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-3}]}
    return {"epoch": 3, "name": "x", "state_dict": weights, "optimizer": optimizer, "scaler": {}}


COMPANIONS = {
    "args": argparse.Namespace(lr=1e-3, output=Path("out"), names=collections.Counter("ab")),
    "best": np.float64(0.7),
    "dtype": np.dtype("float32"),
    "times": [datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC), datetime.timedelta(hours=3)],
    "history": collections.OrderedDict(loss=np.arange(3)),
}
BUFFERS = {
    "input_resolution": torch.tensor(16),
    "context_length": torch.tensor(16),
    "vocab_size": torch.tensor(49408),
    "attn_mask": torch.full((16, 16), float("-inf")).triu(1),
}
SHAPES = {
    "plain": lambda w: w,
    "training": lambda w: trained(w),
    "training, DDP": lambda w: trained(prefixed(w, "module.")),
    "compiled #639": lambda w: prefixed(w, "_orig_mod."),
    "compiled, DDP": lambda w: trained(prefixed(w, "module._orig_mod.")),
    "compiled tower": lambda w: {k.replace("visual.", "visual._orig_mod."): w[k] for k in w},
    "lightning": lambda w: {"state_dict": prefixed(w, "model."), "pytorch-lightning_version": "2"},
    "wrapped twice": lambda w: {"model": prefixed(w, "module.image_encoder.model.")},
    "deepspeed": lambda w: {"module": w, "optimizer": None},
    "ema": lambda w: {"ema": prefixed(w, "module.") | {"n_averaged": torch.tensor(5)}},
    "beside its ema": lambda w: {"model": w, "model_ema": {k: 0 * w[k] for k in w}},
    **{key: lambda w, key=key: {key: w, "epoch": 1} for key in ("model_state_dict", "params")},
    **{key: lambda w, key=key: {key: w} for key in ("state_dict_ema", "net", "weights")},
    "towers apart": lambda w: {"clip": {"visual": part(w, True)} | part(w, False)},
    "in float64": lambda w: {k: w[k].double() for k in w},
    "scale of shape (1,)": lambda w: w | {"logit_scale": w["logit_scale"].reshape(1)},
    "buffers of OpenAI": lambda w: w | BUFFERS,
    "companions #998, #1078": lambda w: {"state_dict": w} | COMPANIONS,
    "custom text": lambda w: {
        k if k.startswith(("visual", "logit")) else f"text.{k}": w[k] for k in w
    },
}


def part(weights, visual):
    """The names of the vision tower without `visual.`, or all others."""
    names = [name for name in weights if name.startswith("visual.") == visual]
    return {name.removeprefix("visual."): weights[name] for name in names}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_checkpoint_of_torch_save_loads(net, bare_folder, shape):
    file = bare_folder / "x.pt"
    torch.save(SHAPES[shape](net.state_dict()), file)
    equal(ours(load_clip(str(bare_folder), str(file))), logits_of(net))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_what_it_is_in_full(net, bare_folder, dtype):
    weights = {name: tensor.to(dtype) for name, tensor in net.state_dict().items()}
    safetensors.torch.save_file(weights, bare_folder / "x.safetensors")
    halved = seeded(lambda: open_clip.CLIP(**MODEL["model_cfg"]))
    open_clip.load_checkpoint(halved, str(bare_folder / "x.safetensors"))
    clip = load_clip(str(bare_folder), str(bare_folder / "x.safetensors"))
    equal(ours(clip), logits_of(halved))
    assert clip.model.visual.proj.dtype == torch.float32


def test_the_name_says_nothing_of_the_format(net, bare_folder):
    safetensors.torch.save_file(net.state_dict(), bare_folder / "x.pt")
    equal(ours(load_clip(str(bare_folder), str(bare_folder / "x.pt"))), logits_of(net))


def test_a_file_without_a_scale_keeps_the_models_and_says_so(net, bare_folder, capsys):
    weights = net.state_dict()
    del weights["logit_scale"]
    torch.save(weights, bare_folder / "no_scale.pt")
    clip = load_clip(str(bare_folder), str(bare_folder / "no_scale.pt"))
    assert clip.scale == pytest.approx(1 / 0.07, rel=1e-5)
    equal(ours(clip) / clip.scale, logits_of(net) / net.logit_scale.exp())
    assert "no logit_scale: scores are times 14.3" in capsys.readouterr().out


@pytest.mark.parametrize("change", [{"image_size": 24}, {"image_size": 32}])
def test_other_positions_are_interpolated_as_open_clip_does(net, tmp_path, change, capsys):
    config = MODEL["model_cfg"] | {"vision_cfg": MODEL["model_cfg"]["vision_cfg"] | change}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(MODEL | {"model_cfg": config}))
    torch.save(net.state_dict(), tmp_path / "x.pt")
    larger = seeded(lambda: open_clip.CLIP(**config))
    open_clip.load_checkpoint(larger, str(tmp_path / "x.pt"))
    images = torch.rand(4, 3, change["image_size"], change["image_size"])
    equal(ours(load_clip(str(tmp_path), str(tmp_path / "x.pt")), images), logits_of(larger, images))
    said = capsys.readouterr().out
    assert "visual.positional_embedding interpolated from 5 to" in said and said.count("\n") == 1


@pytest.mark.parametrize("bare", [True, False])
def test_a_vision_tower_alone_goes_on_the_folders_texts(net, bare_folder, bare):
    torch.save(net.state_dict(), bare_folder / "open_clip_pytorch_model.bin")
    other = seeded(lambda: open_clip.CLIP(**MODEL["model_cfg"]), seed=4)
    tower = other.visual.state_dict()
    torch.save(tower if bare else prefixed(tower, "module.visual."), bare_folder / "vision.pt")
    clip = load_clip(str(bare_folder), str(bare_folder / "vision.pt"))
    other.load_state_dict(net.state_dict() | prefixed(tower, "visual."))
    equal(ours(clip), logits_of(other))


def test_the_head_of_wise_ft_is_read_beside_the_towers(net, tmp_path):
    """WiSE-FT deletes the text transformer, and keeps a linear layer on unit embeddings."""
    head = torch.nn.Linear(16, 5)
    weights = prefixed(net.state_dict(), "image_encoder.model.")
    weights = {name: weights[name] for name in weights if "model.transformer" not in name}
    torch.save(weights | prefixed(head.state_dict(), "classification_head."), tmp_path / "x.pt")
    checkpoint = read_checkpoint(tmp_path / "x.pt")
    weight, bias = checkpoint.head
    unit = normalize(torch.rand(3, 16), dim=-1)
    torch.testing.assert_close(unit @ weight + bias, head(unit))
    assert not checkpoint.has_text
    assert "under 'image_encoder.model', with a head of 5 classes" in checkpoint.found


# --- OpenAI's TorchScript


class Scripted(torch.nn.Module):
    """A CLIP that torch.jit traces with its buffers, as OpenAI's release has them."""

    def __init__(self, net):
        super().__init__()
        for name, child in net.named_children():
            self.add_module(name, child)
        for name in ("positional_embedding", "text_projection", "logit_scale"):
            setattr(self, name, getattr(net, name))
        for name in ("input_resolution", "context_length", "vocab_size"):
            self.register_buffer(name, BUFFERS[name])

    def forward(self, images):
        return self.visual(images) * self.logit_scale.exp()


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_openais_torchscript_is_open_clips_own_reading(tmp_path, one_tokenizer):
    text = MODEL["model_cfg"]["text_cfg"] | {"width": 64, "heads": 1}
    vision = MODEL["model_cfg"]["vision_cfg"] | {"width": 64, "head_width": 64}
    config = MODEL["model_cfg"] | {"vision_cfg": vision, "text_cfg": text, "quick_gelu": True}
    made = seeded(lambda: open_clip.CLIP(**config))
    made.half().float()  # open_clip reads it as OpenAI's, which are
    torch.jit.trace(Scripted(made), IMAGES, check_trace=False).save(tmp_path / "ViT-X.pt")
    theirs = open_clip.load_openai_model(str(tmp_path / "ViT-X.pt"), device="cpu").eval()
    equal(logits_of(theirs), logits_of(made))

    (tmp_path / "open_clip_config.json").write_text(json.dumps(MODEL | {"model_cfg": config}))
    equal(ours(load_clip(str(tmp_path), str(tmp_path / "ViT-X.pt"))), logits_of(theirs))
    checkpoint = read_checkpoint(tmp_path / "ViT-X.pt")
    assert checkpoint.quick_gelu is True and "by TorchScript" in checkpoint.found
    gelu = MODEL | {"model_cfg": config | {"quick_gelu": False}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(gelu))
    with pytest.raises(ConfigError, match=r"ViT-X.pt is of QuickGELU, .* has GELU"):
        load_clip(str(tmp_path), str(tmp_path / "ViT-X.pt"))


# --- transformers


@pytest.fixture(scope="module", params=["quick_gelu", "gelu"])
def clip_model(request):
    """transformers' CLIPModel, tiny."""
    transformers = importlib.import_module("transformers")
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": request.param}
    text = {"hidden_size": 16, "intermediate_size": 64, "max_position_embeddings": 16}
    vision = {"hidden_size": 32, "intermediate_size": 96, "image_size": 16, "patch_size": 8}
    config = transformers.CLIPConfig(
        text_config=sizes | text, vision_config=sizes | vision, projection_dim=16
    )
    return seeded(lambda: transformers.CLIPModel(config))


KEPT_BY_TRANSFORMERS = {
    "safetensors": lambda model, folder: model.save_pretrained(folder),
    "parts": lambda model, folder: model.save_pretrained(folder, max_shard_size="1MB"),
    "bin": lambda model, folder: torch.save(model.state_dict(), folder / "pytorch_model.bin"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", KEPT_BY_TRANSFORMERS)
def test_a_folder_of_transformers_scores_as_there(clip_model, kind, tmp_path):
    clip_model.config.save_pretrained(tmp_path)
    KEPT_BY_TRANSFORMERS[kind](clip_model, tmp_path)
    clip = load_clip(str(tmp_path))
    tokens = clip.tokenizer(TEXTS)
    with torch.no_grad():
        theirs = clip_model(input_ids=tokens, pixel_values=IMAGES).logits_per_image
    equal(ours(clip), theirs)
    assert clip.config["model_cfg"]["quick_gelu"] == (
        clip_model.config.text_config.hidden_act == "quick_gelu"
    )


# --- the activation


@pytest.fixture
def twins(tmp_path, monkeypatch):
    """Two names of one architecture, without and with QuickGELU; what was registered is undone."""
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {})
    configs = {"Tiny": {}, "Tiny-quickgelu": {"quick_gelu": True}}
    folder = tmp_path / "configs"
    folder.mkdir()
    for name, change in configs.items():
        (folder / f"{name}.json").write_text(json.dumps(MODEL["model_cfg"] | change))
    open_clip.add_model_config(folder)
    return "Tiny"


def test_a_file_that_does_not_say_its_activation_is_asked_for(net, twins, tmp_path):
    """#771, #915: OpenAI's weights load under the plain name, and every number is off."""
    torch.save(net.state_dict(), tmp_path / "x.pt")
    file = str(tmp_path / "x.pt")
    with pytest.raises(ConfigError, match="say model=Tiny-quickgelu; GELU: say model=Tiny-gelu"):
        load_clip(twins, file)
    quick = seeded(lambda: open_clip.CLIP(**MODEL["model_cfg"], quick_gelu=True))
    quick.load_state_dict(net.state_dict())
    equal(ours(load_clip("Tiny-quickgelu", file)), logits_of(quick))
    equal(ours(load_clip("Tiny-gelu", file)), logits_of(net))
    equal(ours(load_clip(twins, file, recorded=True)), logits_of(net))  # as it always was
    assert not torch.allclose(logits_of(net), logits_of(quick), atol=1e-3)


def test_a_file_may_say_its_activation(net, twins, tmp_path):
    torch.save(trained(net.state_dict()) | {"name": "x-model_Tiny-quickgelu-lr"}, tmp_path / "x.pt")
    clip = load_clip(twins, str(tmp_path / "x.pt"))
    assert clip.config["model_cfg"]["quick_gelu"] is True
    assert clip.activation != load_clip("Tiny-gelu", "none").activation
    with pytest.raises(ConfigError, match="is of QuickGELU, Tiny-gelu has GELU"):
        load_clip("Tiny-gelu", str(tmp_path / "x.pt"))


# --- refusals


class Odd:
    """What only its own code can make again."""


def without(weights, word):
    return {name: tensor for name, tensor in weights.items() if word not in name}


LORA = {"visual.transformer.resblocks.0.attn.lora_A": torch.zeros(2, 2)}
REFUSED = {
    "missing": (lambda w: without(w, "ln_post"), "missing 'visual.ln_post.weight' (and 1 more)"),
    "unexpected": (lambda w: w | {"prompt.ctx": torch.zeros(2)}, "unexpected 'prompt.ctx'"),
    "odd": (
        lambda w: w | {"visual.proj": torch.zeros(32, 7)},
        "'visual.proj' is (32, 7), wanted (32, 16)",
    ),
    "prefix": (
        lambda w: trained(without(w, "ln_pre")),
        "missing 'visual.ln_pre.weight' (and 1 more); read under 'state_dict'",
    ),
    "nan": (
        lambda w: w | {"visual.proj": torch.full((32, 16), torch.nan)},
        "'visual.proj' holds nan",
    ),
    "inf": (lambda w: w | {"logit_scale": torch.tensor(torch.inf)}, "'logit_scale' holds inf"),
    "two": (lambda w: {"student": w, "teacher": w}, "several models, under 'student.', 'teacher.'"),
    "vision alone": (lambda w: part(w, True), "holds a vision tower alone, and nothing says whose"),
    "no vision": (lambda w: part(w, False), "holds no vision tower of a CLIP; its first names:"),
    "no dict": (lambda w: [1, 2], "holds no vision tower of a CLIP; its first names: no tensor"),
    "lora": (lambda w: w | LORA, "holds LoRA adapters, not merged weights"),
    "object": (
        lambda w: {"state_dict": w, "odd": Odd()},
        "model = torch.load('x.pt', weights_only=False); torch.save(model['state_dict'], 'weights",
    ),
    "meta": (lambda w: {k: w[k].to("meta") for k in w}, "' is on the meta device; save the state"),
    "sparse": (
        lambda w: w | {"visual.proj": w["visual.proj"].to_sparse()},
        "'visual.proj' is spar",
    ),
    "int8": (
        lambda w: w | {"visual.proj": w["visual.proj"].char()},
        "'visual.proj' is of torch.int8, wanted torch.float32",
    ),
    "head": (
        lambda w: w | {"classification_head.weight": torch.zeros(3)},
        "classification_head.weight is (3,), wanted: (classes, dimensions)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_is_one_line_that_says_what_is_wrong(net, bare_folder, kind):
    make, words = REFUSED[kind]
    torch.save(make(net.state_dict()), bare_folder / "x.pt")
    with pytest.raises(WeightsError) as caught:
        load_clip(str(bare_folder), str(bare_folder / "x.pt"))
    assert words in str(caught.value) and "x.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; copy it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html>\n<html>", "is a text, no file of weights; it begins with '<!DOCTYPE"),
        (b"{\n}", "is a text, no file of weights"),
        (b"PK\x03\x04 cut off", "is truncated or no file of weights"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_is_no_weights_is_called_what_it_is(tmp_path, content, words, suffix):
    (tmp_path / f"x{suffix}").write_bytes(content)
    with pytest.raises(WeightsError, match=f"x{suffix}.*{words}"):
        read_checkpoint(tmp_path / f"x{suffix}")


ODD_JSON = ["{", "[1]", '"x"', '{"model_cfg": null}', '{"model_cfg": [1]}']
ODD_JSON += [
    '{"model_type": "clip", "vision_config": [1]}',
    '{"model_type": "clip", "vision_config": {}, "text_config": {"hidden_size": 0}}',
    '{"model_type": "clip", "vision_config": {"patch_size": null}}',
]


@pytest.mark.parametrize("name", ["open_clip_config.json", "config.json"])
@pytest.mark.parametrize("content", ODD_JSON)
def test_odd_json_of_a_model_is_a_line_and_beside_weights_it_says_nothing(
    net, tmp_path, name, content
):
    torch.save(net.state_dict(), tmp_path / "x.pt")
    (tmp_path / name).write_text(content)
    assert read_checkpoint(tmp_path / "x.pt").quick_gelu is None
    with pytest.raises(ConfigError) as caught:
        load_clip(str(tmp_path))
    assert "\n" not in str(caught.value) and "run it again" not in str(caught.value)


def test_a_whole_pickled_model_is_refused_with_its_recipe(net, tmp_path):
    torch.save(net, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"torch.save\(model.state_dict\(\), 'weights.pt'\)"):
        read_checkpoint(tmp_path / "x.pt")


def test_no_code_of_a_file_runs(tmp_path):
    class Harm:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": {}, "x": Harm()}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="clipft runs no pickle"):
        read_checkpoint(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()


def test_a_part_that_is_missing_is_named(clip_model, tmp_path):
    clip_model.save_pretrained(tmp_path, max_shard_size="1MB")
    part = sorted(tmp_path.glob("model-*.safetensors"))[0]
    whole = read_checkpoint(part).weights  # one part leads to all
    assert whole.keys() == read_checkpoint(tmp_path).weights.keys()
    part.unlink()
    with pytest.raises(WeightsError, match=f"lists {part.name}, which is not beside it"):
        read_checkpoint(tmp_path)


def test_the_nearest_architecture_is_named(tmp_path):
    """Weights of a ViT-B-16 in names and shapes, without its numbers, under another model."""
    with torch.device("meta"):
        weights = open_clip.CLIP(**open_clip.get_model_config("ViT-B-16")).state_dict()
    from clipft.models.architectures import nearest_architecture

    configs = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    assert nearest_architecture(weights, configs) == "ViT-B-16"
    assert nearest_architecture({"visual.proj": torch.zeros(3, 7)}, configs) == ""


def test_a_folder_without_weights_is_no_random_model(bare_folder):
    with pytest.raises(WeightsError, match="holds no file of weights to take; found: none"):
        load_clip(str(bare_folder))


# --- names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *(("vit-b-16", "ViT-B-16"), ("ViT-B/32", "ViT-B-32"), ("rn-50", "RN50")),
        *(("openai/clip-vit-large-patch14", "ViT-L-14"), ("EVA02_B16", "EVA02-B-16")),
    ],
)
def test_a_spelling_leads_to_the_name_that_is_meant(name, meant):
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        model_names.check_model(name, "openai")


def test_every_architecture_of_open_clip_has_a_name():
    for name in open_clip.list_models():
        model_names.check_model(name, "none")
        assert model_names.plain_name(name) == name


def test_a_folder_needs_no_prefix_and_home_may_be_short(model_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(model_folder.parent))
    kept = f"local-dir:{model_folder}"
    for spelt in (str(model_folder), f"~/{model_folder.name}", f"local-dir:~/{model_folder.name}"):
        assert absolute("model", spelt, tmp_path) == kept
        assert load_clip(spelt, f"~/{model_folder.name}/random.pt").digest()
    assert absolute("pretrained", f"~/{model_folder.name}/random.pt", tmp_path) == str(
        model_folder / "random.pt"
    )
    assert absolute("model", "ViT-B-16", tmp_path) == "ViT-B-16"
    assert absolute("pretrained", "openai", tmp_path) == "openai"


def test_loading_leaves_the_generator_alone(model_folder, checkpoint):
    before = torch.random.get_rng_state()
    for pretrained in (checkpoint, "none"):
        load_clip(str(model_folder), pretrained)
        assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("model", "pretrained", "words"),
    [
        ("ViT-B-32", "laion2b_e16", "of timm/vit_base_patch32_clip_224.laion2b_e16"),
        ("ViT-L-14", "openai", "open_clip_model.safetensors of timm/vit_large_patch14_clip_224"),
        ("hf-hub:some/clip", "", "open_clip_model.safetensors of some/clip into a folder"),
    ],
)
def test_without_a_network_a_line_says_which_file_to_bring(model, pretrained, words, monkeypatch):
    def offline(*_, **__):
        raise OSError("no network in a test")

    for name in ("create_model_and_transforms", "get_model_config" if "hub" in model else "x"):
        if hasattr(open_clip, name):
            monkeypatch.setattr(open_clip, name, offline)
    with pytest.raises(WeightsError, match="no network in a test; without a network") as caught:
        load_clip(model, pretrained)
    assert words in str(caught.value)


@pytest.mark.parametrize("model", ["ViT-B-16-SigLIP", "xlm-roberta-base-ViT-B-32"])
def test_missing_transformers_is_an_extra(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'clipft\[hf\]'"):
        load_clip(model, "none")


# --- texts of transformers


WORDS = ["a", "photo", "of", "apple", "bee", "ice", "cream", "zebra", ".", "fox", "tea"]


def unigram(folder, *, begin):
    """A sentencepiece-like tokenizer of a few words, written by transformers: `</s>` ends a text,
    and with `begin` `<s>` begins it, as XLM-R's.
    """
    import tokenizers
    from tokenizers import models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["<s>", "<pad>", "</s>", "<unk>", *(f"\u2581{word}" for word in WORDS)]
    tokenizer = tokenizers.Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], 3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if begin else "$A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return len(pieces)


def siglip(folder):
    """Text tower of SigLIP: sentencepiece, no causal mask, the last token, a bias of the scores."""
    size = unigram(folder, begin=False)
    text = MODEL["model_cfg"]["text_cfg"] | {
        "vocab_size": size,
        "hf_tokenizer_name": "x",
        "no_causal_mask": True,
        "pool_type": "last",
        "proj_bias": True,
        "tokenizer_kwargs": {"clean": "canonicalize"},
    }
    bias = {"custom_text": True, "init_logit_bias": -10, "init_logit_scale": 2.3}
    return MODEL["model_cfg"] | bias | {"text_cfg": text}


def xlm_roberta(folder):
    """A text tower of transformers, its config.json in the folder."""
    from transformers import XLMRobertaConfig

    size = unigram(folder, begin=True)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    tower = XLMRobertaConfig(
        vocab_size=size, num_attention_heads=2, max_position_embeddings=40, **sizes
    )
    tower.save_pretrained(folder / "tower")
    text = {"hf_model_name": str(folder / "tower"), "hf_tokenizer_name": "x", "context_length": 16}
    text |= {"hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler"}
    return MODEL["model_cfg"] | {"text_cfg": text}


@pytest.fixture(params=[siglip, xlm_roberta], ids=lambda make: make.__name__)
def worldly(request, tmp_path):
    """A folder of a model whose texts are transformers', and open_clip's own model of it."""
    config = request.param(tmp_path)
    (tmp_path / "open_clip_config.json").write_text(json.dumps(MODEL | {"model_cfg": config}))
    net = seeded(lambda: open_clip.create_model(f"local-dir:{tmp_path}", pretrained_text=False))
    safetensors.torch.save_model(net, str(tmp_path / "open_clip_model.safetensors"))
    return tmp_path, net


def test_texts_of_transformers_are_open_clips(worldly):
    folder, net = worldly
    clip = load_clip(str(folder))
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    assert torch.equal(clip.tokenizer(TEXTS), tokens)
    with torch.no_grad():
        theirs = net.get_logits(IMAGES, tokens)[0]
    equal(ours(clip) + (net.logit_bias or 0), theirs)


def test_an_export_of_such_a_model_loads_where_nothing_else_is(worldly, tmp_path):
    """Its tokenizer, and the configuration of a tower of transformers, lie in the folder."""
    folder, _ = worldly
    clip = load_clip(str(folder))
    head = torch.eye(16)[:, :4]
    student = Classifier(clip, head, "fixed", "frozen")
    exported = tmp_path / "exported"
    export_clip(exported, clip, student, CLASSES)
    for given in folder.iterdir():
        if given.is_file():
            given.unlink()
    shutil.rmtree(folder / "tower", ignore_errors=True)

    again = load_clip(str(exported))
    assert torch.equal(again.tokenizer(TEXTS), clip.tokenizer(TEXTS))
    equal(ours(again), ours(clip))
    assert again.config == clip.config
    twice = export_clip(tmp_path / "twice", again, student, CLASSES)
    assert {file.name for file in twice.iterdir()} == {file.name for file in exported.iterdir()}


def test_random_texts_have_what_the_tokenizer_puts_around_a_text(worldly):
    clip = load_clip(str(worldly[0]))
    tokens = random_texts(clip.tokenizer, 500, 5, torch.Generator().manual_seed(0))
    row = clip.tokenizer(["a photo of a fox"])[0]  # five tokens
    inner = (row > 3).nonzero()[:, 0]
    assert len(inner) == 5
    drawn = tokens[:, inner]
    assert set(drawn.flatten().tolist()) == set(range(len(WORDS) + 4)) - {0, 1, 2, 3}
    around = torch.ones(len(row), dtype=torch.bool)
    around[inner] = False
    assert (tokens[:, around] == row[around]).all()
    assert special_tokens(clip.tokenizer) == {0, 1, 2, 3}
    with pytest.raises(ConfigError, match=r"20 tokens do not fit a context of 16; at most 1[45]"):
        random_texts(clip.tokenizer, 1, 20, torch.Generator())


def test_a_run_of_such_a_model_is_swept_with_its_energy_gap(worldly, world):
    run = world.train(model=str(worldly[0]), pretrained="", method="lipsum", steps=2)
    tuned = [scores for scores in run.all_scores([0.0, 1.0]) if scores.alpha == 1]
    assert len(tuned) > 3 and all((scores.energy_gap > 0).all() for scores in tuned)
    assert run.config.model == f"local-dir:{worldly[0]}"
