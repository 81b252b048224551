"""Which of a file's tensors are the CLIP, whatever trainers wrapped it in."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import WeightsError
from .shapes import Tensors

# Parts of a name that torch's own wrappers add, anywhere in it.
WRAPPERS = {
    *("module", "_orig_mod", "_forward_module"),
    *("_fsdp_wrapped_module", "_checkpoint_wrapped_module"),
}
# What stands before a vision tower: what is before that wraps the whole model.
TOWER = re.compile(r"(?:^|(?<=\.))(visual\.|vision_model\.|image_encoder\.model\.patch_emb)")
# A vision tower without a model around it, of ViT, ResNet and timm.
BARE = re.compile(r"(?:^|(?<=\.))(class_embedding$|attnpool\.positional_embedding$|trunk\.)")
HEAD = re.compile(r"(?P<root>(?:.*\.)?classification_head)\.(?P<kind>weight|bias)")  # WiSE-FT's
AVERAGE = re.compile(r"(^|[._])(ema|swa|averaged?|shadow)([._]|$)")
BESIDE = re.compile(r"(optim|scaler|sched|lr_|loss|amp|rng|epoch|step)")  # begins what is no model
BUFFERS = {"attn_mask", "input_resolution", "context_length", "vocab_size", "n_averaged"}
LORA = re.compile(r"\.lora_|\.base_layer\.")


@dataclass(frozen=True)
class Unwrapped:
    """The tensors of a CLIP by its own names, and what wrapped it."""

    tensors: Tensors
    prefix: str
    bare: bool  # a vision tower alone, without a model around it
    head: tuple[Tensor, Tensor] | None
    left_out: tuple[str, ...]


def unwrap(tensors: Tensors, file: Path) -> Unwrapped:
    """Find the one CLIP among a file's tensors.

    Raises WeightsError where there is none, or several of which nobody says which is meant.
    """
    named = _without_wrappers(tensors)
    roots = _roots(named, TOWER)
    bare = not roots
    if bare:
        roots = _roots(named, BARE)
    if not roots:
        first = ", ".join(list(tensors)[:3]) or "no tensor"
        fault = f"{file} holds no vision tower of a CLIP; its first names: {first}"
        raise WeightsError(f"{fault}; wanted: names such as visual.conv1.weight")
    root = _chosen(roots, file)

    heads = {name for name in named if HEAD.fullmatch(name)}
    others = tuple(other for other in roots if other != root)
    own: Tensors = {}
    left_out = []
    for name, tensor in named.items():
        if name in heads or name.rpartition(".")[2] in BUFFERS:
            continue
        elsewhere = others and name.startswith(others) and not root.startswith(others)
        if elsewhere or BESIDE.match(name) or not name.startswith(root):
            # Of what holds the model the whole name, of another container its own.
            container = name.partition(".")[0]
            left_out.append(name if root.startswith(f"{container}.") else container)
        else:
            own[name.removeprefix(root)] = tensor
    if any(LORA.search(name) for name in own):
        advice = "model.merge_and_unload(), then save its state_dict()"
        raise WeightsError(f"{file} holds LoRA adapters, not merged weights; {advice}")
    left = tuple(dict.fromkeys(left_out))
    return Unwrapped(own, root, bare, _head(named, heads, root, file), left)


def _without_wrappers(tensors: Tensors) -> Tensors:
    """Without the parts of names that torch's wrappers add; as they are where two would be one."""
    named: Tensors = {}
    for name, tensor in tensors.items():
        parts = [part for part in name.split(".") if part not in WRAPPERS]
        named[".".join(parts)] = tensor
    return named if len(named) == len(tensors) else dict(tensors)


def _roots(names: Iterable[str], tower: re.Pattern[str]) -> list[str]:
    """What stands before a vision tower, each once."""
    roots = {}
    for name in names:
        found = tower.search(name)
        if found and not BESIDE.match(name):
            roots[name[: found.start()]] = True
    return list(roots)


def _chosen(roots: Collection[str], file: Path) -> str:
    """The one model of a file, or the one beside its moving averages."""
    trained = [root for root in roots if not AVERAGE.search(root)]
    candidates = trained or list(roots)
    if len(candidates) == 1:
        return candidates[0]
    listed = ", ".join(repr(root) for root in candidates[:4])
    advice = "save the state_dict of the one that is meant"
    raise WeightsError(f"{file} holds several models, under {listed}; {advice}")


def _head(
    named: Tensors, heads: Collection[str], root: str, file: Path
) -> tuple[Tensor, Tensor] | None:
    """Weight (D, C) and bias (C,) of a linear classifier on unit embeddings, as WiSE-FT keeps it.

    Of several, the one in the same container as the towers.
    """
    roots = sorted({name.rpartition(".")[0] for name in heads if name.endswith(".weight")})
    if len(roots) > 1:
        container = root.partition(".")[0]
        roots = [head for head in roots if head.partition(".")[0] == container]
    if not roots:
        return None
    weight = named[f"{roots[0]}.weight"].float()
    if weight.dim() != 2:
        shape = tuple(weight.shape)
        raise WeightsError(f"{file}: {roots[0]}.weight is {shape}, wanted: (classes, dimensions)")
    bias = named.get(f"{roots[0]}.bias", torch.zeros(len(weight))).float()
    return weight.T.contiguous(), bias
