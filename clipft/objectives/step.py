"""TODO: docstring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Step:
    """One batch as an objective sees it: B images, D dimensions, C classes, T templates, M random texts.

    images (B, D) embeddings before normalising, with gradient; labels (B,); scale s: the pre-trained model's, or the
    trained one where the text tower trains too. The others are there only where the method `needs` them.
    """

    images: Tensor
    labels: Tensor
    scale: Tensor | float
    logits: Tensor | None = (
        None  # (B, C) of the trained head, with gradient; wherever cross-entropy is a term
    )
    anchor: Tensor | None = None  # (B, D) the same images through theta0, before normalising
    zero_shot: Tensor | None = None  # (D, C) the zero-shot head W0; comes with anchor
    context: Tensor | None = None  # (D, T) the frozen context head
    random_texts: Tensor | None = None  # (M, D) unit rows, fresh every step
    captions: Tensor | None = (
        None  # (B, D) unit rows, one caption an image, with gradient if the text tower trains
    )
    weights: Mapping[str, Tensor] | None = None  # every trained tensor by name, with gradient
    start: Mapping[str, Tensor] | None = None  # the same tensors in theta0; comes with weights
