"""CLIP as transformers keeps it: its names of tensors and its config.json, in open_clip's words."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..disk.files import read_foreign_json
from ..errors import ConfigError
from ..runs.model_names import TRANSFORMERS_CONFIG, kind_of

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

OPENAI_VOCABULARY = 49408  # of the byte pairs that open_clip comes with
# What config.json may leave out, because transformers fills it in.
OF_BOTH = {"hidden_act": "quick_gelu", "num_hidden_layers": 12, "layer_norm_eps": 1e-5}
OF_VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
}
OF_TEXT = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "eos_token_id": 49407,
}
LARGEST = 10**9  # no size of a model is beyond
LAST = 2  # an eos_token_id of older files: the end is the greatest id
RESAMPLING = {"0": "nearest", "2": "bilinear", "3": "bicubic"}  # by Pillow's numbers


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


def model_config(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What open_clip calls the model of a CLIPModel's folder, and its preprocessing.

    Raises ConfigError for a config.json that no CLIP of open_clip can be made of.
    """
    file = folder / TRANSFORMERS_CONFIG
    content = read_foreign_json(file)
    vision, text = towers_of(content)
    activations = {vision["hidden_act"], text["hidden_act"]}
    if len(activations) > 1 or not activations <= {"quick_gelu", "gelu"}:
        listed = " and ".join(sorted(activations))
        raise ConfigError(f"{file} has hidden_act {listed}; wanted: quick_gelu or gelu of both")
    text_cfg = _tower(text) | {
        "context_length": text["max_position_embeddings"],
        "vocab_size": text["vocab_size"],
        "heads": text["num_attention_heads"],
    }
    if text["eos_token_id"] not in (LAST, text["vocab_size"] - 1):
        text_cfg |= {"pool_type": "eos", "eos_id": text["eos_token_id"]}
    if text["vocab_size"] != OPENAI_VOCABULARY:
        text_cfg["hf_tokenizer_name"] = folder.name
    vision_cfg = _tower(vision) | {
        "image_size": vision["image_size"],
        "patch_size": vision["patch_size"],
        "head_width": vision["hidden_size"] // vision["num_attention_heads"],
    }
    config = {
        "embed_dim": content.get("projection_dim", 512),
        "quick_gelu": activations == {"quick_gelu"},
        "vision_cfg": vision_cfg,
        "text_cfg": text_cfg,
    }
    return config, _preprocessing(folder)


def towers_of(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The vision and the text part of a CLIPModel's config.json, with what it leaves out.

    Raises ConfigError where one is no object, or a size in it is no number.
    """
    towers = []
    for name, usual in (("vision_config", OF_VISION), ("text_config", OF_TEXT)):
        given = config.get(name) or {}
        if not isinstance(given, dict):
            raise ConfigError(f"{name} of a {TRANSFORMERS_CONFIG} is {given!r:.40}, no object")
        tower: dict[str, Any] = OF_BOTH | usual | given
        for key, size in (OF_BOTH | usual).items():
            if not _is_like(tower[key], size):
                fault = f"{name}.{key} of a {TRANSFORMERS_CONFIG} is {tower[key]!r:.40}"
                raise ConfigError(f"{fault}; wanted: a number such as {size}")
        towers.append(tower)
    return towers[0], towers[1]


def _is_like(value: Any, usual: Any) -> bool:
    """Whether a value is a text as the usual one is, or a number of the same kind, above 0."""
    if isinstance(usual, str) or isinstance(value, bool):
        return isinstance(value, str) and isinstance(usual, str)
    kinds = int if isinstance(usual, int) else (int, float)
    return isinstance(value, kinds) and 0 < value < LARGEST


def quick_gelu_of(config: Mapping[str, Any]) -> bool | None:
    """Whether a config.json says QuickGELU; None where it is not of a CLIP."""
    if not kind_of(config).startswith("clip"):
        return None
    if "vision_config" not in config:  # of one tower
        return config.get("hidden_act", OF_BOTH["hidden_act"]) == "quick_gelu"
    return any(tower["hidden_act"] == "quick_gelu" for tower in towers_of(config))


def _tower(tower: Mapping[str, Any]) -> dict[str, Any]:
    """What both towers have."""
    width = tower["hidden_size"]
    config = {
        "width": width,
        "layers": tower["num_hidden_layers"],
        "mlp_ratio": tower["intermediate_size"] / width,
    }
    if tower["layer_norm_eps"] != OF_BOTH["layer_norm_eps"]:
        config["norm_kwargs"] = {"eps": tower["layer_norm_eps"]}
    return config


def _preprocessing(folder: Path) -> dict[str, Any]:
    """Mean, deviation and interpolation, where the folder says them; OpenAI's else."""
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        return {}
    content = read_foreign_json(file)
    says = {"mean": content.get("image_mean"), "std": content.get("image_std")}
    says["interpolation"] = RESAMPLING.get(str(content.get("resample", 3)))
    return {key: value for key, value in says.items() if value is not None}
