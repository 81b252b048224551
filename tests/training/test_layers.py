"""Learning rates by depth, and training some layers alone: the rest is theta0, bit for bit."""

import math

import pytest
import torch
from conftest import QUIET

from clipft.errors import ConfigError
from clipft.models.blocks import rates
from clipft.posthoc.places import places
from clipft.training.state import parameter_groups

LAST = {"selection": "last", "steps": 3, "eval_every": 3}
BLOCK = "visual.transformer.resblocks."


class Named:
    """A student of these tensors, of which the names alone count."""

    def __init__(self, *names, texts=()):
        self.names, self.texts = names, set(texts)

    def named_parameters(self):
        return [(name, torch.zeros(1, requires_grad=True)) for name in self.names]

    def text_tensors(self):
        return self.texts


def moved(run):
    return {name for name in run.anchor if not torch.equal(run.anchor[name], run.tuned[name])}


# --- where a tensor stands


@pytest.mark.parametrize(
    ("stands", "texts"),
    [
        (  # open_clip
            {
                "visual.class_embedding": 0,
                "visual.positional_embedding": 0,
                "visual.conv1.weight": 0,
                "visual.ln_pre.bias": 0,
                "visual.transformer.resblocks.0.attn.in_proj_weight": 1,
                "visual.transformer.resblocks.1.mlp.c_proj.weight": 2,
                "visual.transformer.resblocks.10.ln_2.bias": 3,
                "visual.ln_post.weight": 4,
                "visual.proj": 4,
                "weight": None,
                "logit_scale": None,
            },
            (),
        ),
        (  # both towers
            {
                "clip.visual.transformer.resblocks.0.ln_1.bias": 1,
                "clip.visual.proj": 2,
                "clip.token_embedding.weight": 0,
                "clip.positional_embedding": 0,
                "clip.transformer.resblocks.0.attn.out_proj.weight": 1,
                "clip.ln_final.bias": 2,
                "clip.text_projection": 2,
                "clip.logit_scale": None,
                "clip.logit_bias": None,
            },
            (
                "clip.token_embedding.weight",
                "clip.positional_embedding",
                "clip.transformer.resblocks.0.attn.out_proj.weight",
                "clip.ln_final.bias",
                "clip.text_projection",
            ),
        ),
        (  # timm's, nested: the stages count
            {
                "visual.trunk.stem.0.weight": 0,
                "visual.trunk.stages.0.blocks.0.norm.weight": 1,
                "visual.trunk.stages.0.blocks.2.mlp.fc1.weight": 1,
                "visual.trunk.stages.1.downsample.0.weight": 2,
                "visual.trunk.head.norm.weight": 3,
                "visual.head.proj.weight": 3,
            },
            (),
        ),
        (  # timm's, with convolutions that have stages of their own before the blocks
            {
                "visual.trunk.cls_token": 0,
                "visual.trunk.patch_embed.proj.weight": 0,
                "visual.trunk.patch_embed.norm.weight": 0,
                "visual.trunk.norm_pre.weight": 0,
                "visual.trunk.patch_embed.backbone.stages.1.blocks.0.conv.weight": 0,
                "visual.trunk.blocks.0.attn.qkv.weight": 1,
                "visual.trunk.blocks.1.attn.qkv.weight": 2,
                "visual.trunk.norm.weight": 3,
            },
            (),
        ),
        (  # a ResNet
            {
                "visual.conv1.weight": 0,
                "visual.bn3.bias": 0,
                "visual.layer1.0.conv1.weight": 1,
                "visual.layer2.3.bn1.weight": 2,
                "visual.attnpool.c_proj.weight": 3,
            },
            (),
        ),
        (  # transformers' text tower
            {
                "clip.text.transformer.embeddings.word_embeddings.weight": 0,
                "clip.text.transformer.encoder.layer.3.output.dense.weight": 1,
                "clip.text.proj.weight": 2,
            },
            (
                "clip.text.transformer.embeddings.word_embeddings.weight",
                "clip.text.transformer.encoder.layer.3.output.dense.weight",
                "clip.text.proj.weight",
            ),
        ),
    ],
)
def test_a_tensors_place_is_told_by_its_name(stands, texts):
    found = places(stands)
    assert [*found] == [*stands]
    for name, block in stands.items():
        place = found[name]
        tower = "" if block is None else "text" if name in texts else "image"
        assert (place.tower, place.block if place.tower else None) == (tower, block), name


# --- layer_decay


@pytest.mark.parametrize("method", ["ft", "flyp"])
def test_the_first_step_is_as_long_as_the_depth_says(world, method):
    """Adam's first step is the learning rate wherever there is a gradient."""
    settings = {"method": method, "steps": 1, "warmup": 0.0, "lr": 1e-3, "selection": "last"}
    run = world.train(**settings, layer_decay=0.5)
    blocks = {"text": 1, "image": 2}  # of the miniature
    seen = set()
    for name in moved(run):
        own = name.removeprefix("clip.")
        tower = "image" if own.startswith("visual.") else "text"
        above = 0
        if ".resblocks." in own:
            above = blocks[tower] - 1 - int(own.split(".resblocks.")[1][0])
        elif any(part in own for part in ("embedding", "conv1", "ln_pre")):
            above = blocks[tower]
        far = (run.tuned[name] - run.anchor[name]).abs().max().item()
        assert far == pytest.approx(1e-3 * 0.5**above, rel=0.02), name
        seen.add((tower, above))
    assert seen >= {("image", 0), ("image", 1), ("image", 2)}
    assert (("text", 1) in seen) == (method == "flyp")


def test_without_decay_there_is_one_group_as_ever_and_texts_have_their_own(world):
    student = world.bench(method="flyp").student
    names = [name for name, _ in student.named_parameters()]
    assert set(rates(student, world.config(method="flyp")).values()) == {1.0}
    (group,) = parameter_groups(student, world.config(method="flyp"))
    assert len(group["params"]) == len(names) and group["rate"] == 1
    both = world.config(method="flyp", text_rate=0.1, layer_decay=0.5)
    found = parameter_groups(student, both)
    assert [each["rate"] for each in found] == pytest.approx([1, 0.5, 0.25, 0.1, 0.05])
    assert sum(len(each["params"]) for each in found) == len(names)
    old = parameter_groups(student, world.config(method="flyp", text_rate=2.0))
    texts = student.text_tensors()
    order = [name for name in names if name not in texts] + [
        name for name in names if name in texts
    ]
    by_id = {id(tensor): name for name, tensor in student.named_parameters()}
    assert [by_id[id(tensor)] for group in old for tensor in group["params"]] == order


def test_a_tower_without_blocks_is_one_line(world):
    with pytest.raises(ConfigError, match="no blocks are known in the image tower of x") as caught:
        rates(Named("visual.mixer.weight"), world.config(layer_decay=0.5, model="x"))
    assert "\n" not in str(caught.value)


# --- train_only


@pytest.mark.parametrize(
    ("method", "only", "wanted"),
    [
        ("ft", ["head"], ["weight"]),
        ("ft", ["last 1 block"], [f"{BLOCK}1."]),
        ("ft", ["first 1 block", "head"], [f"{BLOCK}0.", "weight"]),
        ("ft", ["first 9 blocks"], [BLOCK]),
        ("ft", [f"{BLOCK}1", "visual.proj"], [f"{BLOCK}1.", "visual.proj"]),
        ("lipsum", ["visual.conv1.weight"], ["visual.conv1.weight"]),
        ("flyp", ["visual"], ["clip.visual."]),
        ("flyp", ["last 1 block", "head"], [f"clip.{BLOCK}1.", "clip.transformer.resblocks.0.",
                                            "clip.logit_scale"]),
        ("spd", ["visual.proj"], ["visual.proj"]),
        ("l2sp", ["visual.proj"], ["visual.proj"]),
    ],
)  # fmt: skip
def test_what_is_frozen_is_theta0_bit_for_bit(world, method, only, wanted):
    run = world.train(method=method, lr=3e-3, ema=0.5, train_only=only, **LAST)
    assert moved(run) == {name for name in run.anchor if name.startswith(tuple(wanted))}
    assert run.config.id != world.config(method=method, lr=3e-3, ema=0.5, **LAST).id


def test_a_frozen_batch_norm_counts_nothing(world, resnet_folder):
    model = {"model": f"local-dir:{resnet_folder}", "pretrained": str(resnet_folder / "random.pt")}
    run = world.train(**LAST, **model, lr=3e-3, train_only=["last 2 blocks"])
    found = moved(run)
    assert {name.split(".")[1] for name in found} == {"layer3", "layer4"}
    assert any("running_mean" in name for name in found)


def test_some_layers_resumed_mixed_and_scored(world, tmp_path):
    settings = {"lr": 3e-3, "train_only": ["last 1 block", "head"], "layer_decay": 0.5, "steps": 8}
    whole = world.train(tmp_path / "whole", **settings)

    def stop(row):
        if row.get("step") == 4 and "val_accuracy" in row:
            raise KeyboardInterrupt

    from clipft import train

    with pytest.raises(KeyboardInterrupt):
        train(world.config(**settings), world.runs, reading=QUIET, watch=stop)
    run = world.train(**settings)
    assert all(torch.equal(run.tuned[name], whole.tuned[name]) for name in whole.tuned)
    scores = run.score([0.0, 0.5, 1.0])
    accuracy = scores[(scores.metric == "accuracy") & (scores.alpha == 0.5)]
    assert len(accuracy) and all(math.isfinite(value) for value in accuracy["mean"])
    middle = run.mixtures.at(0.5)
    for name in set(run.anchor) - moved(run):
        assert torch.equal(middle[name], run.anchor[name])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_only": ["visual.pro"]}, "names nothing that ft trains of .*visual.proj"),
        ({"train_only": ["last 0 blocks"]}, "'last 0 blocks' names nothing"),
        ({"train_only": ["head"], "head": "frozen"}, "'head' names nothing that ft trains"),
        ({"train_only": ["transformer"]}, "'transformer' names nothing"),
        ({"train_only": ["transformer"], "method": "flyp_image"}, "'transformer' names nothing"),
    ],
)  # fmt: skip
def test_what_names_nothing_is_one_line_before_anything_is_written(world, changes, words):
    with pytest.raises(ConfigError, match=words) as caught:
        world.train(**changes)
    assert "\n" not in str(caught.value)
    assert not world.runs.exists() or not list(world.runs.iterdir())
