"""A tuned model on its way out: what every format is written from."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..posthoc.weights import Weights
from .clip import Clip
from .students import Student


@dataclass(frozen=True, eq=False)
class Outgoing:
    """A CLIP with the towers, and the head, of what was tuned.

    dtype: of the written tensors, e.g. torch.float16; None keeps each as it is.
    """

    clip: Clip
    student: Student
    classes: Sequence[str]
    dtype: torch.dtype | None = None

    def weights(self) -> Weights:
        """Weights of the CLIP with the student's towers in their place, under open_clip's names."""
        weights: Weights = self.clip.model.state_dict()
        for name, tensor in self.student.state_dict().items():
            if name.startswith(("clip.", "visual.")):
                weights[name.removeprefix("clip.")] = tensor

        if self.dtype is not None:
            for name, tensor in weights.items():
                if tensor.is_floating_point():
                    weights[name] = tensor.to(self.dtype)
        return weights

    def head(self) -> tuple[Tensor, Tensor]:
        """On unit embeddings, scale included: weight (D, C) and bias (C,)."""
        weight, bias = self.student.linear()
        return weight.detach(), bias.detach()

    def visual(self) -> nn.Module:
        """The tuned vision tower: normalised pixels (B, 3, H, W) -> embeddings (B, D)."""
        student: nn.Module = self.student
        if hasattr(student, "clip"):
            student = student.get_submodule("clip")
        return student.get_submodule("visual")
