"""TODO: docstring."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, WeightsError
from .checkpoints import read_metadata, read_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True)
class Head:
    """A linear classifier on unit embeddings: logits = f W + b. weight (D, C) holds the scale, bias (C,)."""

    weight: Tensor
    bias: Tensor
    classes: tuple[str, ...]

    def check_classes(self, names: Sequence[str], of: str) -> None:
        """Raise ConfigError that names the first class in which this head differs from a data set's names."""
        if len(names) != len(self.classes):
            raise ConfigError(
                f"the head has {len(self.classes)} classes, {of} has {len(names)}; use its own head"
            )
        for i, (mine, theirs) in enumerate(zip(self.classes, names, strict=True)):
            if mine != theirs:
                raise ConfigError(
                    f"class {i} of the head is {mine!r}, of {of} it is {theirs!r}; use its own head"
                )

    def check_dimensions(self, dimensions: int, of: str) -> None:
        """Raise WeightsError where the model embeds in another number of dimensions."""
        if len(self.weight) != dimensions:
            raise WeightsError(
                f"the head takes {len(self.weight)} dimensions, {of} has {dimensions}; use its own head"
            )

    def digest(self) -> str:
        """12 letters that name the weights."""
        return hashlib.sha256(
            self.weight.numpy().tobytes() + self.bias.numpy().tobytes()
        ).hexdigest()[:12]


def read_head(file: Path | str) -> Head:
    """Read a head.safetensors; raises WeightsError where it is missing, damaged or something else."""
    weights, metadata = read_weights(file), read_metadata(file)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        head = Head(weights["weight"], weights["bias"], tuple(json.loads(metadata["classes"])))
        if head.weight.dim() == 2 and head.bias.shape == head.weight.shape[1:] == (
            len(head.classes),
        ):
            return head
    raise WeightsError(f"{file} is no head of clipft; wanted: the head.safetensors of an export")
