"""LoRA: of each weight matrix of the blocks a product of two thin ones is trained, and added.

    W = W0 + (alpha / r) B A,   W (m, n), A (r, n), B (m, r)
    A uniform in +-1/sqrt(n) by the run's seed, B = 0: the model begins at theta0, bit for bit
    dL/dA = (alpha / r) B^T dL/dW,   dL/dB = (alpha / r) dL/dW A^T

The student always holds W itself, so that all that reads it sees an ordinary model: validations,
averages, weights.safetensors. Its gradient is the whole matrix's; what AdamW remembers is of A and
B alone. Of open_clip's fused attention weight, query, key and value together have the rank r.
WiSE of it scales the product: W0 + a (W - W0).
Source: Hu et al., ICLR 2022, arXiv:2106.09685, whose r = 8 and alpha = 16 for a language model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..config import RunConfig
from ..errors import ConfigError
from ..inputs.seeds import rng
from ..posthoc.places import places

if TYPE_CHECKING:
    from ..models.students import Student

MATRIX = ("weight", "in_proj_weight")  # how names of matrices of attention and MLP end


class Lora:
    """The factors of a student's matrices; nothing else of its towers trains from here on.

    Raises ConfigError where none of what the run trains is such a matrix.
    """

    def __init__(self, student: Student, config: RunConfig):
        self.scale = config.adapter_alpha / config.adapter_rank
        self.weights = _matrices(student)
        if not self.weights:
            fault = f"no matrix of a block is trained of {config.model}"
            raise ConfigError(f"{fault}, so adapter=lora would do nothing; leave it out")
        stands = places(name for name, _ in student.named_parameters())
        for name, tensor in student.named_parameters():
            if stands[name].tower and name not in self.weights:
                tensor.requires_grad_(False)

        self.start = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.factors: dict[str, tuple[Tensor, Tensor]] = {}  # name of W -> A, B
        for name, weight in self.weights.items():
            rows, columns = weight.shape
            drawn = torch.rand(
                config.adapter_rank, columns, generator=rng(config.seed, f"adapter:{name}")
            )
            a = ((2 * drawn - 1) / math.sqrt(columns)).to(weight)
            b = torch.zeros(rows, config.adapter_rank).to(weight)
            self.factors[name] = (nn.Parameter(a), nn.Parameter(b))

    def tensors(self) -> dict[str, Tensor]:
        """All factors, by names of their own."""
        named = {}
        for name, (a, b) in self.factors.items():
            named |= {f"{name}.A": a, f"{name}.B": b}
        return named

    @torch.no_grad()
    def take_gradients(self) -> None:
        """The gradients that came to the matrices go to their factors."""
        for name, (a, b) in self.factors.items():
            gradient = self.weights[name].grad
            if gradient is not None:
                a.grad = self.scale * b.T @ gradient
                b.grad = self.scale * gradient @ a.T
                self.weights[name].grad = None

    @torch.no_grad()
    def merge(self) -> None:
        """The student holds the product that its factors are now."""
        for name, (a, b) in self.factors.items():
            self.weights[name].copy_(self.start[name] + self.scale * b @ a)

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go back to what `tensors` gave."""
        for name, factor in self.tensors().items():
            factor.copy_(tensors[name])


def _matrices(student: Student) -> dict[str, Tensor]:
    """The trained matrices of attention and MLP in the blocks, by name."""
    stands = places(name for name, _ in student.named_parameters())
    found: dict[str, Tensor] = {}
    for name, tensor in student.named_parameters():
        is_matrix = tensor.ndim == 2 and name.rpartition(".")[2] in MATRIX
        if tensor.requires_grad and is_matrix and stands[name].is_block:
            found[name] = tensor
    return found
