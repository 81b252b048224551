"""A tuned model as a folder that others can use: an open_clip model, its head, and the names of its classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..disk.files import write_json
from .checkpoints import write_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..posthoc.weights import Weights
    from .load import Clip
    from .students import Student


def export_clip(
    folder: Path | str,
    clip: Clip,
    student: Student,
    classes: Sequence[str],
    extra: dict[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write an open_clip `local-dir:` folder: config JSON and safetensors, which any open_clip user loads without us.

    student: its vision tower (and text tower and scale, if it has them) replace those of the CLIP. dtype: of the
    written tensors, e.g. torch.float16; None keeps each as it is. A tuned head has no place in a CLIP: it is written
    beside it as head.safetensors, `weight` (D, C) and `bias` (C,): logits are f W + b with unit rows f. Its metadata
    lists the classes. extra goes to clipft.json.
    """
    folder = Path(folder)
    tensors: Weights = clip.model.state_dict()
    for name, tensor in student.state_dict().items():
        if name.startswith(("clip.", "visual.")):
            tensors[name.removeprefix("clip.")] = tensor
    if dtype is not None:
        tensors = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in tensors.items()
        }
    write_weights(folder / "open_clip_model.safetensors", tensors)
    if clip.vocabulary is not None:
        extra = {"random_text_tokens": list(clip.vocabulary)} | (extra or {})
    (folder / "clipft.json").unlink(missing_ok=True)  # of an earlier export
    if extra:
        write_json(folder / "clipft.json", extra)
    weight, bias = student.linear()
    write_weights(
        folder / "head.safetensors",
        {"weight": weight, "bias": bias},
        {"classes": json.dumps([*classes])},
    )
    write_json(folder / "open_clip_config.json", clip.config)
    return folder
