"""What one training step hands to an objective, and which of it a method may read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..methods import Method, Need

# Stands in a field that the method does not need. It is Any, so that a formula reads as in its
# paper and does not ask what is there; `clipft.testing.check_method` finds who reads more.
ABSENT: Any = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One batch as an objective sees it.

    B images, D dimensions, C classes, T templates, M random texts.
    images, labels and scale are always there, logits wherever cross-entropy is a term, the others
    only where the method `needs` them. What is trained has a gradient; nothing of theta0 has.
    """

    images: Tensor  # (B, D) embeddings before normalising, with gradient
    labels: Tensor  # (B,)
    scale: Tensor | float  # s: the pre-trained model's, or the trained one if the text tower trains
    logits: Tensor = ABSENT  # (B, C) of the trained head, with gradient
    anchor: Tensor = ABSENT  # (B, D) the same images through theta0, before normalising
    zero_shot: Tensor = ABSENT  # (D, C) the zero-shot head W0; comes with anchor
    context: Tensor = ABSENT  # (D, T) the frozen context head
    random_texts: Tensor = ABSENT  # (M, D) unit rows, fresh every step
    captions: Tensor = ABSENT  # (B, D) unit rows, with gradient if the text tower trains
    weights: Mapping[str, Tensor] = ABSENT  # every trained tensor by name, with gradient
    start: Mapping[str, Tensor] = ABSENT  # the same tensors in theta0; comes with weights


FIELDS: dict[Need, tuple[str, ...]] = {
    "anchor": ("anchor", "zero_shot"),
    "context": ("context",),
    "random_texts": ("random_texts",),
    "captions": ("captions",),
    "class_captions": ("logits",),
    "weights": ("weights", "start"),
}


def readable(method: Method) -> set[str]:
    """Names of the fields that a method may read: what every step has, and what it needs."""
    names = {"images", "labels", "scale"}
    if method.uses_cross_entropy:
        names.add("logits")
    for need in method.needs:
        names.update(FIELDS[need])
    return names
