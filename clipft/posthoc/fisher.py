"""Fisher-weighted WiSE: each weight is mixed in proportion to how much each model's predictions depend on it.

    theta_a = ((1 - a) F0 theta0 + a F1 theta1) / ((1 - a) F0 + a F1),   F >= 1e-8
    F = mean_x (d log p(y | x) / d theta)^2,   y drawn from p(. | x)

Source: Matena and Raffel, NeurIPS 2022, arXiv:2111.09832; as tried in WiSE-FT, arXiv:2109.01903.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..config import check_alpha
from .registry import HeldOut, posthoc
from .weights import check_same_shape
from .wise import wise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from .weights import Weights

FLOOR = 1e-8


def diagonal_fisher(
    loss: Callable[[Weights, object], Tensor], weights: Weights, images: Iterable[object]
) -> Weights:
    """F of every floating tensor: the mean of squared gradients of `loss(weights, image)`, one image at a time."""
    leaves = {
        name: t.detach().clone().requires_grad_(t.is_floating_point())
        for name, t in weights.items()
    }
    names = [name for name, tensor in leaves.items() if tensor.requires_grad]
    total = {name: torch.zeros_like(leaves[name]) for name in names}
    count = 0
    for image in images:
        found = torch.autograd.grad(
            loss(leaves, image), [leaves[name] for name in names], allow_unused=True
        )
        for name, gradient in zip(names, found, strict=True):
            if gradient is not None:
                total[name] += gradient.square()
        count += 1
    return {name: tensor / count for name, tensor in total.items()}


def fisher_merge(
    anchor: Weights, tuned: Weights, fisher0: Weights, fisher1: Weights, alpha: float
) -> Weights:
    """The Fisher-weighted mixture; the ends are each model bit for bit.

    Raises ConfigError for alpha outside 0 ... 1, WeightsError with the first odd name where the models differ.
    """
    if check_alpha(alpha) in (0, 1):
        return wise(anchor, tuned, alpha)
    check_same_shape(anchor, tuned)
    mixed = {}
    for name, tensor in tuned.items():
        if name not in fisher1:
            mixed[name] = tensor.clone()
            continue
        before = (1 - alpha) * fisher0[name].float().clamp(min=FLOOR)
        after = alpha * fisher1[name].float().clamp(min=FLOOR)
        mixed[name] = (
            (before * anchor[name].float() + after * tensor.float()) / (before + after)
        ).to(tensor.dtype)
    return mixed


@posthoc("wise_fisher", title="WiSE, Fisher", paper="arXiv:2111.09832")
def _wise_fisher(
    anchor: Weights,
    members: list[Weights],
    held_out: HeldOut,
    alpha: float = 0.5,
    images: int = 256,
):
    fishers = []
    for weights in (anchor, members[0]):
        fishers.append(diagonal_fisher(held_out.sampled_loss, weights, held_out.batches(1, images)))
    return fisher_merge(anchor, members[0], *fishers, alpha)
