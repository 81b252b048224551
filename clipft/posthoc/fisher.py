"""Fisher-weighted WiSE: each weight is mixed by how much each model's predictions depend on it.

    theta_a = ((1 - a) F0 theta0 + a F1 theta1) / ((1 - a) F0 + a F1),   F >= 1e-8
    F = mean_x (d log p(y | x) / d theta)^2,   y drawn from p(. | x)

A tensor without F, a buffer above all, is mixed as WiSE does.
Source: Matena and Raffel, NeurIPS 2022, arXiv:2111.09832; as tried in WiSE-FT, arXiv:2109.01903.
"""

from collections.abc import Collection, Iterable
from typing import Any

import torch

from ..config import TUNED, ZERO_SHOT, check_alpha
from ..errors import WeightsError
from .held_out import HeldOut, Loss
from .weights import Members, Weights, trainable
from .wise import wise

FLOOR = 1e-8


def diagonal_fisher(
    loss: Loss, weights: Weights, images: Iterable[Any], parameters: Collection[str] | None = None
) -> Weights:
    """F of every parameter: the mean square of the gradients of `loss(weights, image)`.

    One image at a time: the square of a batch's mean gradient would be another quantity.
    parameters: their names, see `weights.trainable`.
    """
    leaves = {name: tensor.detach().clone() for name, tensor in weights.items()}
    squares = {}
    for name in trainable(weights, parameters):
        leaves[name].requires_grad_()
        squares[name] = torch.zeros_like(leaves[name])

    trained = [leaves[name] for name in squares]
    count = 0
    for image in images:
        gradients = torch.autograd.grad(loss(leaves, image), trained, allow_unused=True)
        for name, gradient in zip(squares, gradients, strict=True):
            if gradient is not None:
                squares[name] += gradient.square()
        count += 1
    for total in squares.values():
        total.div_(count)
    return squares


def fisher_merge(
    anchor: Weights, tuned: Weights, fisher0: Weights, fisher1: Weights, alpha: float
) -> Weights:
    """The Fisher-weighted mixture; the ends are each model bit for bit.

    A tensor without Fisher weights is mixed plainly, as in WiSE-FT's release. Raises ConfigError
    for alpha outside 0 ... 1, WeightsError with the first odd name where models differ, or where
    one of them alone has Fisher weights.
    """
    if check_alpha(alpha) in (ZERO_SHOT, TUNED):
        return wise(anchor, tuned, alpha)

    mixed = wise(anchor, tuned, alpha)
    for name in sorted(fisher0.keys() ^ fisher1.keys()):
        raise WeightsError(f"only one of the models has Fisher weights of {name!r}; give both")
    for name, tensor in tuned.items():
        if name not in fisher1:
            continue
        before = (1 - alpha) * fisher0[name].float().clamp(min=FLOOR)
        after = alpha * fisher1[name].float().clamp(min=FLOOR)
        weighted = before * anchor[name].float() + after * tensor.float()
        mixed[name] = (weighted / (before + after)).to(tensor.dtype)
    return mixed


def apply_fisher(
    anchor: Weights, members: Members, held_out: HeldOut, alpha: float = 0.5, images: int = 256
) -> Weights:
    """Fisher-weighted WiSE of one run; F of both ends is measured on the same held-out images."""
    tuned = members[0]

    def fisher_of(weights: Weights) -> Weights:
        batches = held_out.batches(1, images)
        return diagonal_fisher(held_out.sampled_loss, weights, batches, held_out.parameters)

    return fisher_merge(anchor, tuned, fisher_of(anchor), fisher_of(tuned), alpha)
