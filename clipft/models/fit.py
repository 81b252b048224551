"""A checkpoint is made to fit a model in names and shapes; a refusal says where it differs."""

import math
from typing import Any

import open_clip
from open_clip.convert import convert_state_dict
from open_clip.model import resize_pos_embed, resize_text_pos_embed

from ..errors import WeightsError
from ..posthoc.weights import Weights
from .architectures import nearest_architecture
from .checkpoints import Checkpoint

# What of a text tower lies beside `visual.` in a CLIP, and inside `text.` in a CustomTextCLIP.
OF_TEXT = (
    *("transformer.", "token_embedding.", "positional_embedding"),
    *("ln_final.", "text_projection"),
)
WITHOUT_TEXT = ("visual.", "logit_")
VISION_POSITIONS = "visual.positional_embedding"


def load_checkpoint(model: Any, checkpoint: Checkpoint, of: str) -> list[str]:
    """Put a checkpoint into an open_clip model; says in lines what was made to fit.

    of: what the model is called. A vision tower alone leaves the text tower as it is. Raises
    WeightsError where names or shapes differ.
    """
    weights, notes = fit(model, checkpoint, of)
    model.load_state_dict(model.state_dict() | weights)
    return notes


def fit(model: Any, checkpoint: Checkpoint, of: str) -> tuple[Weights, list[str]]:
    """A checkpoint's weights by a model's names and in its shapes, and what was made to fit.

    Raises WeightsError that names what is missing, unexpected and odd in shape.
    """
    wanted = model.state_dict()
    weights = _named_as(wanted, convert_state_dict(model, dict(checkpoint.weights)))
    if not checkpoint.has_text:
        weights = {name: weights[name] for name in weights if name.startswith(WITHOUT_TEXT)}
        wanted = {name: wanted[name] for name in wanted if name.startswith(WITHOUT_TEXT)}

    notes = _fit_scale(weights, wanted) + _fit_positions(weights, model)
    for name in wanted.keys() - weights.keys():
        if name.endswith("num_batches_tracked"):  # which older versions of torch did not count
            weights[name] = wanted[name]
    fault = _difference(weights, wanted)
    if fault:
        prefix = f"; read under {checkpoint.prefix.rstrip('.')!r}" if checkpoint.prefix else ""
        raise WeightsError(
            f"{checkpoint.file} does not fit {of}: {fault}{prefix}{_advice(weights)}"
        )
    return weights, notes


def _named_as(wanted: Weights, weights: Weights) -> Weights:
    """Names of a text tower as the model has them: in `text.`, or not."""
    in_tower = any(name.startswith("text.") for name in wanted)
    named: Weights = {}
    for name, tensor in weights.items():
        inner = name.removeprefix("text.")
        if inner.endswith("position_ids") and name not in wanted:  # of older transformers
            continue
        if inner.startswith(OF_TEXT):
            named[f"text.{inner}" if in_tower else inner] = tensor
        else:
            named[name] = tensor
    return named


def _fit_scale(weights: Weights, wanted: Weights) -> list[str]:
    """Scale and bias of the scores, in the model's shape; what a file has not stays the model's."""
    notes = []
    for name in ("logit_scale", "logit_bias"):
        given = weights.get(name)
        if name not in wanted:
            if weights.pop(name, None) is not None:
                notes.append(f"{name} is left out: it shifts all scores alike")
        elif given is not None and given.numel() == 1:
            weights[name] = given.reshape(wanted[name].shape)
        elif given is None:
            weights[name] = wanted[name]
            if name == "logit_scale":
                notes.append(f"no logit_scale: scores are times {float(wanted[name].exp()):.1f}")
    return notes


def _fit_positions(weights: Weights, model: Any) -> list[str]:
    """Positional embeddings of another image size or text length, as open_clip interpolates."""
    wanted = model.state_dict()
    names = {name for name in weights if name.endswith("positional_embedding")}
    before = {}
    for name in names & wanted.keys():
        mine, theirs = weights[name], wanted[name]
        both_flat = mine.dim() == theirs.dim() == 2
        if both_flat and mine.shape[1] == theirs.shape[1] and mine.shape != theirs.shape:
            is_image = name.startswith("visual.")
            if not is_image or math.isqrt(len(mine) - 1) ** 2 == len(mine) - 1:
                before[name] = len(mine)

    if VISION_POSITIONS in before:
        resize_pos_embed(weights, model)
    if before.keys() - {VISION_POSITIONS}:
        resize_text_pos_embed(weights, model)
    notes = []
    for name, count in before.items():
        if len(weights[name]) != count:
            change = f"{count} to {len(weights[name])} positions"
            notes.append(f"{name} interpolated from {change}, as open_clip does")
    return notes


def _difference(weights: Weights, wanted: Weights) -> str:
    """The first names that are missing, unexpected and odd in shape or kind; "" where all fit."""
    odd = []
    for name in wanted.keys() & weights.keys():
        mine, theirs = weights[name], wanted[name]
        if mine.shape != theirs.shape:
            odd.append(f"{name!r} is {tuple(mine.shape)}, wanted {tuple(theirs.shape)}")
        elif mine.is_floating_point() != theirs.is_floating_point():
            odd.append(f"{name!r} is of {mine.dtype}, wanted {theirs.dtype}")
    missing = [repr(name) for name in wanted if name not in weights]
    unexpected = [repr(name) for name in weights if name not in wanted]

    faults = []
    for kind, names in (("missing ", missing), ("unexpected ", unexpected), ("", odd)):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            faults.append(f"{kind}{names[0]}{more}")
    return "; ".join(faults)


def _advice(weights: Weights) -> str:
    """The architecture of open_clip's that is nearest, for the end of a refusal."""
    configs = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    nearest = nearest_architecture(weights, configs)
    return f"; the nearest architecture is {nearest}" if nearest else ""
