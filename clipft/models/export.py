"""A tuned model as a folder for others: an open_clip model, its head, its classes' names."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..disk.files import write_json
from ..posthoc.weights import Weights
from .checkpoints import write_weights
from .clip import Clip
from .students import Student


def export_clip(
    folder: Path | str,
    clip: Clip,
    student: Student,
    classes: Sequence[str],
    extra: dict[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write an open_clip `local-dir:` folder: config JSON and safetensors, which need no clipft.

    student: its vision tower (and text tower and scale, if it has them) replace those of the CLIP.
    dtype: of the written tensors, e.g. torch.float16; None keeps each as it is. A tuned head has no
    place in a CLIP: it is written beside it as head.safetensors, `weight` (D, C) and `bias` (C,):
    logits are f W + b with unit rows f. Its metadata lists the classes. extra goes to clipft.json.
    """
    folder = Path(folder)
    write_weights(folder / "open_clip_model.safetensors", _clip_weights(clip, student, dtype))

    (folder / "clipft.json").unlink(missing_ok=True)  # of an earlier export
    notes: dict[str, Any] = {}
    if clip.vocabulary is not None:
        notes["random_text_tokens"] = list(clip.vocabulary)
    if extra is not None:
        notes.update(extra)
    if notes:
        write_json(folder / "clipft.json", notes)

    weight, bias = student.linear()
    metadata = {"classes": json.dumps(list(classes))}
    write_weights(folder / "head.safetensors", {"weight": weight, "bias": bias}, metadata)
    write_json(folder / "open_clip_config.json", clip.config)
    return folder


def _clip_weights(clip: Clip, student: Student, dtype: torch.dtype | None) -> Weights:
    """Weights of the CLIP with the student's towers in their place."""
    weights: Weights = clip.model.state_dict()
    for name, tensor in student.state_dict().items():
        if name.startswith(("clip.", "visual.")):
            weights[name.removeprefix("clip.")] = tensor

    if dtype is not None:
        for name, tensor in weights.items():
            if tensor.is_floating_point():
                weights[name] = tensor.to(dtype)
    return weights
