"""CLIP as transformers keeps it: its names of tensors and its config.json, in open_clip's words."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# transformers' name -> open_clip's, without a tower; the misspelt layernorm is theirs
LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
VISION = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm.weight": "ln_pre.weight",
    "pre_layrnorm.bias": "ln_pre.bias",
    "post_layernorm.weight": "ln_post.weight",
    "post_layernorm.bias": "ln_post.bias",
}
TEXT = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
PROJECTIONS = {
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
}
BUFFER = "embeddings.position_ids"  # of older versions
IN_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
# one matrix of attention at open_clip
ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
TOWERS = {"vision_model": ("visual.", VISION), "text_model": ("", TEXT)}


def is_transformers(names: Mapping[str, Any]) -> bool:
    """Whether tensors are named as CLIPModel names them."""
    return "vision_model.embeddings.patch_embedding.weight" in names


def to_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under open_clip's names; a name that CLIPModel has not stays."""
    renamed: dict[str, Tensor] = {}
    attention: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name in PROJECTIONS:
            renamed[PROJECTIONS[name]] = tensor.T.contiguous()
        elif not name.endswith(BUFFER):
            theirs, part = _renamed(name)
            if part:
                attention.setdefault(theirs, {})[part] = tensor
            else:
                renamed[theirs] = tensor

    for name, parts in attention.items():
        if len(parts) == len(ATTENTION):  # else it is missed under open_clip's name
            renamed[name] = torch.cat([parts[part] for part in ATTENTION])
    return renamed


def _renamed(name: str) -> tuple[str, str]:
    """open_clip's name of a tensor, and which part of it this is where it is one of three."""
    tower, _, inner = name.partition(".")
    if tower not in TOWERS:
        return name, ""
    prefix, known = TOWERS[tower]
    layer = IN_LAYER.fullmatch(inner)
    if layer is None:
        return (prefix + known[inner] if inner in known else name), ""

    number, module, kind = layer.groups()
    block = f"{prefix}transformer.resblocks.{number}."
    if module in LAYER:
        return f"{block}{LAYER[module]}.{kind}", ""
    if module in ATTENTION:
        return f"{block}attn.in_proj_{kind}", module
    return name, ""
