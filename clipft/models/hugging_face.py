"""Exports that `transformers.CLIPModel.from_pretrained` reads: names, sizes, tokenizer."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from ..disk.files import write_json, write_text
from ..posthoc.weights import Weights
from ..runs.formats import FORMATS
from .checkpoints import write_weights
from .outgoing import Outgoing
from .plain_towers import check_plain, is_vit, refuse

CONFIG, WEIGHTS, PREPROCESSOR, TOKENIZER, VOCABULARY, MERGES = FORMATS["huggingface"].files

# open_clip's name, as a pattern -> Hugging Face's; q, k and v of attention are one matrix here
NAMES = {
    r"logit_scale": "logit_scale",
    r"visual\.class_embedding": "vision_model.embeddings.class_embedding",
    r"visual\.conv1\.weight": "vision_model.embeddings.patch_embedding.weight",
    r"visual\.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    r"visual\.ln_pre\.(\w+)": r"vision_model.pre_layrnorm.\1",
    r"visual\.ln_post\.(\w+)": r"vision_model.post_layernorm.\1",
    r"visual\.proj": "visual_projection.weight",
    r"visual\.transformer\.resblocks\.(.*)": r"vision_model.encoder.layers.\1",
    r"token_embedding\.weight": "text_model.embeddings.token_embedding.weight",
    r"positional_embedding": "text_model.embeddings.position_embedding.weight",
    r"ln_final\.(\w+)": r"text_model.final_layer_norm.\1",
    r"text_projection": "text_projection.weight",
    r"transformer\.resblocks\.(.*)": r"text_model.encoder.layers.\1",
}
PROJECTIONS = ("visual.proj", "text_projection")  # D x E here, E x D there
LAYERS = {
    ".attn.out_proj.": ".self_attn.out_proj.",
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
}
ATTENTION = re.compile(r"(.*)\.attn\.in_proj_(weight|bias)")
RESAMPLING = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers


def write(folder: Path, outgoing: Outgoing) -> None:
    """Weights, configuration, preprocessing and tokenizer of a `CLIPModel`.

    Raises ConfigError for a model that is none of theirs.
    """
    config = clip_config(outgoing)
    weights = hugging_face_weights(outgoing.weights())
    write_weights(folder / WEIGHTS, weights, {"format": "pt"})
    write_json(folder / PREPROCESSOR, preprocessor_config(outgoing))
    _write_tokenizer(folder, outgoing)
    write_json(folder / CONFIG, config)


def hugging_face_weights(weights: Weights) -> Weights:
    """The same weights under Hugging Face's names."""
    renamed: Weights = {}
    for name, tensor in weights.items():
        parts = ATTENTION.fullmatch(name)
        if parts:
            kept, kind = parts.groups()
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"{_renamed(kept)}.self_attn.{part}_proj.{kind}"] = rows.clone()
        else:
            renamed[_renamed(name)] = _turned(name, tensor)
    return renamed


def _renamed(name: str) -> str:
    for mine, theirs in LAYERS.items():
        name = name.replace(mine, theirs)
    for pattern, theirs in NAMES.items():
        if re.fullmatch(pattern, name):
            return re.sub(pattern, theirs, name)
    raise KeyError(name)  # `clip_config` lets no model pass that has others


def _turned(name: str, tensor: Tensor) -> Tensor:
    return tensor.T if name in PROJECTIONS else tensor


def clip_config(outgoing: Outgoing) -> dict[str, Any]:
    """The configuration; raises ConfigError where no CLIPModel is like this model."""
    check_plain(outgoing, "transformers.CLIPModel")
    model = outgoing.clip.config["model_cfg"]
    vision = model["vision_cfg"]
    text = model["text_cfg"]
    if not is_vit(model):
        refuse(outgoing, "a ResNet for a vision tower, where transformers.CLIPModel has a ViT")

    shared = {
        "hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu",
        "layer_norm_eps": 1e-5,
        "projection_dim": model["embed_dim"],
    }
    of_text = {
        "model_type": "clip_text_model",
        **_sizes(text, heads=text.get("heads", 8), width=512),
        "max_position_embeddings": text.get("context_length", 77),
        "vocab_size": text.get("vocab_size", 49408),
        **_special_tokens(outgoing),
    }
    width = vision.get("width", 768)
    of_vision = {
        "model_type": "clip_vision_model",
        **_sizes(vision, heads=width // vision.get("head_width", 64), width=768),
        "image_size": _side(outgoing, vision.get("image_size", 224)),
        "patch_size": _side(outgoing, vision.get("patch_size", 16)),
    }
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": model["embed_dim"],
        "logit_scale_init_value": float(outgoing.weights()["logit_scale"]),
        "text_config": of_text | shared,
        "vision_config": of_vision | shared,
    }


def _sizes(tower: dict[str, Any], heads: int, width: int) -> dict[str, int]:
    """The sizes of a tower's layers; width: open_clip's own where the tower says none."""
    width = tower.get("width", width)
    return {
        "hidden_size": width,
        "intermediate_size": int(width * tower.get("mlp_ratio", 4)),
        "num_attention_heads": heads,
        "num_hidden_layers": tower.get("layers", 12),
    }


def _side(outgoing: Outgoing, size: Any) -> int:
    """The side of a square; raises ConfigError for another shape."""
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) > 1:
        refuse(outgoing, f"images or patches of {size}, where CLIPModel has squares")
    return sides.pop()


def _special_tokens(outgoing: Outgoing) -> dict[str, int]:
    tokenizer = outgoing.clip.tokenizer
    begin = getattr(tokenizer, "sot_token_id", None)
    end = getattr(tokenizer, "eot_token_id", None)
    if begin is None or end is None:
        refuse(outgoing, f"{type(tokenizer).__name__}, where CLIPModel has byte pairs")
    return {"bos_token_id": int(begin), "eos_token_id": int(end)}


def preprocessor_config(outgoing: Outgoing) -> dict[str, Any]:
    """How an image becomes pixels, as open_clip does it."""
    preprocessing = outgoing.clip.config["preprocess_cfg"]
    size = preprocessing["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mode = preprocessing.get("resize_mode", "shortest")
    if mode == "longest":
        refuse(outgoing, "images that are padded, where CLIPImageProcessor crops or stretches")
    is_cropped = mode == "shortest"
    resized = {"shortest_edge": min(height, width)} if is_cropped else None
    return {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "CLIPProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": resized or {"height": height, "width": width},
        "resample": RESAMPLING.get(preprocessing.get("interpolation", "bicubic"), 3),
        "do_center_crop": is_cropped,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing["mean"]),
        "image_std": list(preprocessing["std"]),
    }


def _write_tokenizer(folder: Path, outgoing: Outgoing) -> None:
    """open_clip's byte-pair encoder as the three files of a `CLIPTokenizer`."""
    tokenizer = outgoing.clip.tokenizer
    vocabulary = dict(tokenizer.encoder)
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    for token, name in zip(("<start_of_text>", "<end_of_text>"), special.values(), strict=True):
        vocabulary[name] = vocabulary.pop(token)

    write_json(folder / VOCABULARY, vocabulary)
    write_text(folder / MERGES, "\n".join(["#version: 0.2", *_merges(tokenizer), ""]))
    write_json(
        folder / TOKENIZER,
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": tokenizer.context_length,
            **special,
            "unk_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
        },
    )


def _merges(tokenizer: Any) -> Iterator[str]:
    for pair in sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__):
        yield " ".join(pair)
