"""A head as a file: a linear classifier on unit embeddings with the names of its classes."""

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import ConfigError, WeightsError
from ..parsing import parse_json
from .checkpoints import read_metadata, read_weights

ADVICE = "use its own head"


@dataclass(frozen=True)
class Head:
    """A linear classifier on unit embeddings: logits = f W + b.

    weight (D, C) holds the scale, bias (C,).
    """

    weight: Tensor
    bias: Tensor
    classes: tuple[str, ...]

    def check_classes(self, names: Sequence[str], of: str) -> None:
        """Raise ConfigError that names the first class in which this head and a data set differ."""
        count = len(self.classes)
        if len(names) != count:
            raise ConfigError(f"the head has {count} classes, {of} has {len(names)}; {ADVICE}")
        for label, (mine, theirs) in enumerate(zip(self.classes, names, strict=True)):
            if mine != theirs:
                pair = f"class {label} of the head is {mine!r}, of {of} it is {theirs!r}"
                raise ConfigError(f"{pair}; {ADVICE}")

    def check_dimensions(self, dimensions: int, of: str) -> None:
        """Raise WeightsError where the model embeds in another number of dimensions."""
        own = len(self.weight)
        if own != dimensions:
            raise WeightsError(f"the head takes {own} dimensions, {of} has {dimensions}; {ADVICE}")

    def digest(self) -> str:
        """12 letters that name the weights."""
        content = self.weight.numpy().tobytes() + self.bias.numpy().tobytes()
        return hashlib.sha256(content).hexdigest()[:12]


def read_head(file: Path | str) -> Head:
    """Read a head.safetensors; raises WeightsError where it is missing, damaged or another kind."""
    weights = read_weights(file)
    metadata = read_metadata(file)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        weight = weights["weight"]
        bias = weights["bias"]
        classes = tuple(parse_json(metadata["classes"]))
        if weight.dim() == 2 and bias.shape == weight.shape[1:] == (len(classes),):
            return Head(weight, bias, classes)
    raise WeightsError(f"{file} is no head of clipft; wanted: the head.safetensors of an export")


def check_scores(logits: Tensor) -> None:
    """Raise WeightsError for a logit that is not finite: its model says the first class of all."""
    odd = ~logits.isfinite()
    if odd.any():
        images = int(odd.any(-1).sum())
        fault = f"a score of {images} of {len(logits)} images is {float(logits[odd][0])}"
        raise WeightsError(f"{fault}, so this model has no accuracy; a weight is not finite")
