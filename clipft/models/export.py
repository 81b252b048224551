"""A tuned model as a folder for others: another library's files, its head, its classes' names."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..disk.files import staged_folder, write_json, write_text
from ..runs.formats import CARD, DEFAULT_FORMAT, FORMATS, HEAD, RECORD, Format, written_files
from ..runs.versions import FORMAT
from .checkpoints import write_weights
from .clip import Clip
from .outgoing import Outgoing
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
    dtype: see `Outgoing`. extra goes to clipft.json.
    """
    outgoing = Outgoing(clip, student, classes, dtype)
    return write_export(folder, outgoing, FORMATS[DEFAULT_FORMAT], extra or {})


def write_export(
    folder: Path | str, outgoing: Outgoing, target: Format, notes: dict[str, Any], card: str = ""
) -> Path:
    """Write a folder in one of the formats, whole or not at all; notes go to clipft.json.

    A tuned head has no place in a CLIP: it is written beside it as head.safetensors, `weight`
    (D, C) and `bias` (C,): logits are f W + b with unit rows f. Its metadata lists the classes.
    The files of an older export in the folder go, what else lies there stays. Raises ConfigError
    where the format cannot hold this model.
    """
    folder = Path(folder)
    about = dict(notes)
    if outgoing.clip.vocabulary is not None:
        about.setdefault("random_text_tokens", list(outgoing.clip.vocabulary))

    with staged_folder(folder, written_files(folder), target.all_files) as staged:
        target.write()(staged, outgoing)

        weight, bias = outgoing.head()
        metadata = {"classes": json.dumps(list(outgoing.classes))}
        write_weights(staged / HEAD, {"weight": weight, "bias": bias}, metadata)
        if card:
            write_text(staged / CARD, card)

        written = {file.name for file in staged.iterdir()} | {RECORD}
        about["format"] = target.name
        about["version"] = FORMAT
        about["files"] = [name for name in target.all_files if name in written]
        write_json(staged / RECORD, about)
    return folder
