"""TPGM: learn on held-out images how far each tensor may stay from its pre-trained value.

    D = theta1 - theta0,   theta = theta0 + clamp(gamma / n, 0, 1) D,   n = ||D||_F
    min_gamma  CE(held-out batch; theta) + mu ||gamma||_2          (TPGM-C has mu > 0)

One gamma per trained tensor, from n / 2 (WiSE 0.5 everywhere). Norm "mars": n is the L1 norm of each row, gamma starts
at half of the longest. gamma is projected back to its range after each step: at its bound it keeps its gradient and
can return, where a clamp inside the loss would hold it for ever. A tensor that did not move is left as it is.
Source: Tian et al., CVPR 2023, arXiv:2303.10720 and release: Adam, lr 0.01, 200 steps of 64. mu = 1 is ours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from ..errors import ConfigError
from ..progress import progress_bar
from .registry import HeldOut, posthoc
from .weights import check_same_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from .weights import Weights


def project(anchor: Weights, tuned: Weights, gammas: Weights, norm: str = "frobenius") -> Weights:
    """theta of the formula; tensors without a gamma are the tuned model's. Differentiable in the gammas."""
    mixed = dict(tuned)
    for name, gamma in gammas.items():
        change = tuned[name].float() - anchor[name].float()
        ratio = gamma / _norm(change, norm).clamp(min=1e-30)
        ratio = torch.where(ratio > 1, 1.0, ratio)  # at 1 itself it has a gradient, unlike clamp
        mixed[name] = (anchor[name].float() + ratio * change).to(tuned[name].dtype)
    return mixed


def tpgm(
    anchor: Weights,
    tuned: Weights,
    loss: Callable[[Weights, object], Tensor],
    batches: Iterable[object],
    mu: float = 0.0,
    lr: float = 0.01,
    norm: str = "frobenius",
    steps: int | None = None,
) -> Weights:
    """Project with the gammas that do best on the held-out batches; `loss(weights, batch)` is a scalar.

    Raises ConfigError for a bad mu, lr or norm, or a loss that is not finite, WeightsError where the models differ.
    """
    if not (mu >= 0 and math.isfinite(mu)) or not (lr >= 0 and math.isfinite(lr)):
        raise ConfigError(f"mu is {mu}, lr is {lr}; expected finite numbers >= 0")
    if norm not in ("frobenius", "mars"):
        raise ConfigError(f"unknown norm {norm!r}; known: frobenius, mars")
    check_same_shape(anchor, tuned)
    bounds = {}
    for name, tensor in tuned.items():
        if tensor.is_floating_point() and not torch.equal(tensor, anchor[name]):
            bounds[name] = _norm(tensor.float() - anchor[name].float(), norm).max()
    if not bounds:
        return {name: tensor.clone() for name, tensor in tuned.items()}
    gammas = {name: (bound / 2).clone().requires_grad_(True) for name, bound in bounds.items()}
    optimizer = torch.optim.Adam(gammas.values(), lr=lr)
    with progress_bar(steps, "TPGM", "step") as bar:
        for batch in batches:
            value = loss(project(anchor, tuned, gammas, norm), batch)
            if mu:
                value = value + mu * torch.stack([*gammas.values()]).norm()
            if not value.isfinite():
                raise ConfigError(
                    f"TPGM's loss is {float(value.detach())}; is the tuned model finite?"
                )
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            with torch.no_grad():
                for name, gamma in gammas.items():
                    gamma.clamp_(torch.zeros_like(gamma), bounds[name])
            bar.update()
    with torch.no_grad():
        return project(anchor, tuned, gammas, norm)


def _norm(change: Tensor, norm: str) -> Tensor:
    """Frobenius: one number. MARS: the L1 norm of each row, shaped to be broadcast."""
    if norm == "frobenius":
        return change.norm()
    return (
        change.abs().sum(tuple(range(1, change.dim())), keepdim=True)
        if change.dim() > 1
        else change.abs()
    )


@posthoc("tpgm", title="TPGM", paper="arXiv:2303.10720")
def _tpgm(
    anchor,
    members,
    held_out: HeldOut,
    steps: int = 200,
    batch: int = 64,
    lr: float = 0.01,
    norm="frobenius",
):
    return tpgm(
        anchor, members[0], held_out.loss, held_out.batches(batch, steps), 0.0, lr, norm, steps
    )


@posthoc("tpgm_c", title="TPGM-C", paper="arXiv:2303.10720")
def _tpgm_c(
    anchor,
    members,
    held_out: HeldOut,
    mu: float = 1.0,
    steps: int = 200,
    batch: int = 64,
    lr: float = 0.01,
    norm="frobenius",
):
    return tpgm(
        anchor, members[0], held_out.loss, held_out.batches(batch, steps), mu, lr, norm, steps
    )
