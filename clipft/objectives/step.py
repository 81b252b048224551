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
    images, labels, scale and progress are always there, logits wherever cross-entropy is a term,
    the others only where the method `needs` them. What is trained has a gradient; nothing of theta0
    has, nor of a teacher. A teacher is absent at the first step, where it would be the student
    itself; its captions and logits are there where the student's are.
    """

    images: Tensor  # (B, D) embeddings before normalising, with gradient
    labels: Tensor  # (B,)
    scale: Tensor | float  # s: the pre-trained model's, or the trained one if the text tower trains
    progress: float  # how much of the training is done after this step, above 0 ... 1
    logits: Tensor = ABSENT  # (B, C) of the trained head, with gradient
    anchor: Tensor = ABSENT  # (B, D) the same images through theta0, before normalising
    zero_shot: Tensor = ABSENT  # (D, C) the zero-shot head W0; comes with anchor, too
    hidden: Mapping[str, Tensor] = ABSENT  # (B, T, C) by layer, see `models.hidden`, with gradient
    hidden_anchor: Mapping[str, Tensor] = ABSENT  # the same in theta0; comes with hidden
    context: Tensor = ABSENT  # (D, T) the frozen context head
    random_texts: Tensor = ABSENT  # (M, D) unit rows, fresh every step
    captions: Tensor = ABSENT  # (B, D) unit rows, with gradient if the text tower trains
    spurious: Tensor = ABSENT  # (B, D) captions in a spurious template, as captions
    spurious_anchor: Tensor = ABSENT  # (B, D) the same through theta0; comes with spurious
    start_scale: float = ABSENT  # s0: the pre-trained model's; comes with spurious
    weights: Mapping[str, Tensor] = ABSENT  # every trained tensor by name, with gradient
    start: Mapping[str, Tensor] = ABSENT  # the same tensors in theta0; comes with weights
    image_projection: Tensor = ABSENT  # P (V, D), the last matrix of the vision tower, V wide
    text_projection: Tensor = ABSENT  # T (U, D), that of the text tower, U wide; comes with it
    teacher_images: Tensor = ABSENT  # (B, D) the same images through it, before normalising
    teacher_captions: Tensor = ABSENT  # (B, D) unit rows
    teacher_scale: Tensor | float = ABSENT  # its own s
    teacher_logits: Tensor = ABSENT  # (B, C) of its own head


FIELDS: dict[Need, tuple[str, ...]] = {
    "anchor": ("anchor", "zero_shot"),
    "zero_shot": ("zero_shot",),
    "hidden": ("hidden", "hidden_anchor"),
    "context": ("context",),
    "random_texts": ("random_texts",),
    "captions": ("captions",),
    "class_captions": ("logits",),
    "spurious_captions": ("spurious", "spurious_anchor", "start_scale"),
    "weights": ("weights", "start"),
    "projections": ("image_projection", "text_projection"),
    "teacher": ("teacher_images", "teacher_captions", "teacher_scale", "teacher_logits"),
}


def readable(method: Method) -> set[str]:
    """Names of the fields that a method may read: what every step has, and what it needs."""
    names = {"images", "labels", "scale", "progress"}
    if method.uses_cross_entropy:
        names.add("logits")
    for need in method.needs:
        names.update(FIELDS[need])
    return names
