"""Which of open_clip's architectures a file's tensors fit, by their shapes alone."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

BLOCKS = r"transformer\.resblocks\."
Sizes = dict[str, Any]


def nearest_architecture(weights: Mapping[str, Tensor], configs: Mapping[str, Any]) -> str:
    """The name in `configs` (model_cfg by name) that agrees in most sizes; "" where few do.

    Of equals the first with the shortest name: the plain one.
    """
    mine = sizes_of_weights(weights)
    best = ""
    most = 0
    for name in sorted(configs, key=len):
        theirs = sizes_of_config(configs[name])
        agreeing = sum(theirs.get(key) == size for key, size in mine.items())
        if agreeing > most:
            best = name
            most = agreeing
    return best if 2 * most > len(mine) else ""  # few of them say no more than a vocabulary


def sizes_of_config(config: Mapping[str, Any]) -> Sizes:
    """Widths, depths and lengths of a model_cfg; of timm's and transformers' towers none."""
    vision = config["vision_cfg"]
    text = config["text_cfg"]
    sizes: Sizes = {"embedding": config["embed_dim"]}
    if "timm_model_name" not in vision:
        layers = vision["layers"]
        is_resnet = isinstance(layers, list)
        sizes["vision layers"] = tuple(layers) if is_resnet else layers
        sizes["vision width"] = vision["width"]
        sizes["patch"] = None if is_resnet else vision["patch_size"]
    if "hf_model_name" not in text:
        sizes["text layers"] = text["layers"]
        sizes["text width"] = text["width"]
        sizes["vocabulary"] = text.get("vocab_size", 49408)
    return sizes


def sizes_of_weights(weights: Mapping[str, Tensor]) -> Sizes:
    """The same of tensors by open_clip's names, as far as they say."""
    sizes: Sizes = {}
    stages = [_depth(weights, rf"visual\.layer{stage}\.") for stage in (1, 2, 3, 4)]
    if any(stages):
        sizes["vision layers"] = tuple(stages)
        sizes["vision width"] = _size(weights, "visual.layer1.0.conv1.weight", 0)
        sizes["patch"] = None
    elif _depth(weights, rf"visual\.{BLOCKS}"):
        sizes["vision layers"] = _depth(weights, rf"visual\.{BLOCKS}")
        sizes["vision width"] = _size(weights, "visual.conv1.weight", 0)
        sizes["patch"] = _size(weights, "visual.conv1.weight", 3)

    for prefix in ("", "text."):
        layers = _depth(weights, re.escape(prefix) + BLOCKS)
        if layers:
            sizes["text layers"] = layers
            sizes["text width"] = _size(weights, f"{prefix}token_embedding.weight", 1)
            sizes["vocabulary"] = _size(weights, f"{prefix}token_embedding.weight", 0)
            sizes["embedding"] = _size(weights, f"{prefix}text_projection", 1)
    if "visual.proj" in weights:
        sizes["embedding"] = _size(weights, "visual.proj", 1)
    return sizes


def _depth(weights: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbers follow a prefix."""
    numbered = re.compile(rf"{prefix}(\d+)\.")
    found = [numbered.match(name) for name in weights]
    return len({match[1] for match in found if match})


def _size(weights: Mapping[str, Tensor], name: str, axis: int) -> int | None:
    tensor = weights.get(name)
    return tensor.shape[axis] if tensor is not None and tensor.dim() > axis else None
