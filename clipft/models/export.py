"""A tuned model as a folder that others can use: an open_clip model, its head, and the names of its classes."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..data.splits import Split
from ..disk.files import read_metadata, read_weights, write_json, write_weights
from ..errors import ConfigError, ImageError, WeightsError
from ..inputs.batches import pixel_chunks
from ..progress import progress_bar
from .embeddings import embed
from .load import Classifier, load_clip

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from torch import Tensor

    from ..data.splits import Weights
    from .load import Clip, Student

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


@dataclass(frozen=True)
class Head:
    """A linear classifier on unit embeddings: logits = f W + b. weight (D, C) holds the scale, bias (C,)."""

    weight: Tensor
    bias: Tensor
    classes: tuple[str, ...]

    def check_classes(self, names: Sequence[str], of: str) -> None:
        """Raise ConfigError that names the first class in which this head differs from a data set's names."""
        if len(names) != len(self.classes):
            raise ConfigError(f"the head has {len(self.classes)} classes, {of} has {len(names)}; use its own head")
        for i, (mine, theirs) in enumerate(zip(self.classes, names, strict=True)):
            if mine != theirs:
                raise ConfigError(f"class {i} of the head is {mine!r}, of {of} it is {theirs!r}; use its own head")

    def check_dimensions(self, dimensions: int, of: str) -> None:
        """Raise WeightsError where the model embeds in another number of dimensions."""
        if len(self.weight) != dimensions:
            raise WeightsError(f"the head takes {len(self.weight)} dimensions, {of} has {dimensions}; use its own head")

    def digest(self) -> str:
        """12 letters that name the weights."""
        return hashlib.sha256(self.weight.numpy().tobytes() + self.bias.numpy().tobytes()).hexdigest()[:12]


def read_head(file: Path | str) -> Head:
    """Read a head.safetensors; raises WeightsError where it is missing, damaged or something else."""
    weights, metadata = read_weights(file), read_metadata(file)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        head = Head(weights["weight"], weights["bias"], tuple(json.loads(metadata["classes"])))
        if head.weight.dim() == 2 and head.bias.shape == head.weight.shape[1:] == (len(head.classes),):
            return head
    raise WeightsError(f"{file} is no head of clipft; wanted: the head.safetensors of an export")


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
        tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    write_weights(folder / "open_clip_model.safetensors", tensors)
    if clip.vocabulary is not None:
        extra = {"random_text_tokens": list(clip.vocabulary)} | (extra or {})
    (folder / "clipft.json").unlink(missing_ok=True)  # of an earlier export
    if extra:
        write_json(folder / "clipft.json", extra)
    weight, bias = student.linear()
    write_weights(folder / "head.safetensors", {"weight": weight, "bias": bias}, {"classes": json.dumps([*classes])})
    write_json(folder / "open_clip_config.json", clip.config)
    return folder


class Predictor:
    """An exported folder as a classifier of image files."""

    def __init__(self, folder: Path | str, device: str = "cpu"):
        self.clip = load_clip(f"local-dir:{folder}", device=device)
        self.head = read_head(Path(folder) / "head.safetensors")
        self.head.check_dimensions(self.clip.config["model_cfg"]["embed_dim"], self.clip.name)
        self.student = Classifier(self.clip, self.head.weight, "absorbed").to(device).eval()
        self.student.start_from(self.head.weight, self.head.bias)

    def predict(
        self, paths: Sequence[Path | str], top: int = 1, workers: int = 0, skip_bad=False, progress: bool = True
    ) -> pd.DataFrame:
        """Classify files, and all images in folders: one row per file and rank (file, rank, label, probability).

        Raises ConfigError for top < 1, ImageError for a file that is missing or unreadable (skip_bad leaves it out and
        says so), and where there is no image at all.
        """
        import pandas as pd

        if top < 1:
            raise ConfigError(f"top is {top}, expected 1 or more")
        files, rows = _files([paths] if isinstance(paths, str | Path) else paths), []
        split = Split("images", "given", Path(), files, (0,) * len(files))
        with progress_bar(len(files), "predicting", "image", progress) as bar:
            for chunk in pixel_chunks(split, self.clip.transform, workers, skip_bad):
                bar.update(len(chunk.bad) + len(chunk.rows))
                if not len(chunk.rows):
                    continue
                with torch.inference_mode():
                    chances = self.student.logits(embed(self.student, chunk.pixels)).softmax(-1)
                best = chances.sort(descending=True, stable=True)
                for row, labels, values in zip(chunk.rows, best.indices, best.values, strict=True):
                    for rank, (label, value) in enumerate(zip(labels[:top].tolist(), values.tolist(), strict=False), 1):
                        rows.append((files[row], rank, self.head.classes[label], value))
        return pd.DataFrame(rows, columns=["file", "rank", "label", "probability"])


def _files(paths: Sequence[Path | str]) -> tuple[str, ...]:
    found: list[str] = []
    for path in map(Path, paths):
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES) if path.is_dir() else [path]
        if not inside:
            raise ImageError(f"no image in the folder {path}; looked for {', '.join(sorted(IMAGES))}")
        found += map(str, inside)
    if not found:
        raise ImageError("no image given; name files or folders")
    return tuple(found)
