"""TPGM: learn on held-out images how far each tensor may stay from its pre-trained value.

    D = theta1 - theta0,   theta = theta0 + clamp(gamma / n, 0, 1) D,   n = ||D||_F
    min_gamma  CE(held-out batch; theta) + mu ||gamma||_2          (TPGM-C has mu > 0)

One gamma per trained tensor, from n / 2 (WiSE 0.5 everywhere). Norm "mars": n is the L1 norm of
each row, or of a whole vector, and gamma starts at half of the shortest row. gamma is projected
back to its range after each step: at its bound it keeps its gradient and can return, where a clamp
inside the loss would hold it for ever. A tensor that did not move is left as it is; a buffer, e.g.
a BatchNorm's mean, has no gamma and stays tuned.
Source: Tian et al., CVPR 2023, arXiv:2303.10720 and release: Adam, lr 0.01, 200 steps of 64. mu = 1
is ours. The release's ImageNet code, which "mars" follows, has no upper bound of 1: a row shorter
than gamma goes beyond theta1 there. Ours stops at theta1, as the formula does.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..config import TUNED
from ..errors import ConfigError
from ..progress import progress_bar
from .held_out import HeldOut, Loss
from .weights import Members, Weights, check_same_shape, trainable
from .wise import wise


def project(anchor: Weights, tuned: Weights, gammas: Weights, norm: str = "frobenius") -> Weights:
    """theta of the formula, differentiable in the gammas; what has no gamma stays tuned."""
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
    loss: Loss,
    batches: Iterable[Any],
    mu: float = 0.0,
    lr: float = 0.01,
    norm: str = "frobenius",
    parameters: Collection[str] | None = None,
) -> Weights:
    """Project with the gammas that do best on held-out batches; `loss(weights, batch)` is a scalar.

    parameters: names of the tensors that may have a gamma, see `weights.trainable`. Raises
    ConfigError for a bad mu, lr or norm, or a loss that is not finite, WeightsError where the
    models differ.
    """
    if not (0 <= mu < math.inf and 0 <= lr < math.inf):
        raise ConfigError(f"mu is {mu}, lr is {lr}; expected finite numbers >= 0")
    if norm not in ("frobenius", "mars"):
        raise ConfigError(f"unknown norm {norm!r}; known: frobenius, mars")
    check_same_shape(anchor, tuned)
    radii = _radii(anchor, tuned, trainable(tuned, parameters), norm)
    if not radii:
        return wise(anchor, tuned, TUNED)

    bounds = {name: radius.max() for name, radius in radii.items()}
    gammas = {name: (radius.min() / 2).requires_grad_(True) for name, radius in radii.items()}
    optimizer = torch.optim.Adam(gammas.values(), lr=lr)
    for batch in batches:
        value = loss(project(anchor, tuned, gammas, norm), batch)
        if mu:
            value = value + mu * torch.stack([*gammas.values()]).norm()
        if not value.isfinite():
            raise ConfigError(f"TPGM's loss is {float(value.detach())}; is the tuned model finite?")
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        with torch.no_grad():
            for name, gamma in gammas.items():
                gamma.clamp_(torch.zeros_like(gamma), bounds[name])

    with torch.no_grad():
        return project(anchor, tuned, gammas, norm)


def _radii(anchor: Weights, tuned: Weights, parameters: Sequence[str], norm: str) -> Weights:
    """How far each parameter moved, of those that did: its n, or that of each row."""
    radii = {}
    for name in parameters:
        if not torch.equal(tuned[name], anchor[name]):
            radii[name] = _norm(tuned[name].float() - anchor[name].float(), norm)
    return radii


def _norm(change: Tensor, norm: str) -> Tensor:
    """Frobenius: one number. MARS: the L1 norm of each row, shaped to be broadcast; a vector is one
    row.
    """
    if norm == "frobenius":
        return change.norm()
    if change.dim() <= 1:
        return change.abs().sum()
    return change.abs().sum(tuple(range(1, change.dim())), keepdim=True)


def apply_tpgm(
    anchor: Weights,
    members: Members,
    held_out: HeldOut,
    steps: int = 200,
    batch: int = 64,
    lr: float = 0.01,
    norm: str = "frobenius",
) -> Weights:
    """TPGM of one run."""
    return apply_tpgm_c(anchor, members, held_out, 0.0, steps=steps, batch=batch, lr=lr, norm=norm)


def apply_tpgm_c(
    anchor: Weights,
    members: Members,
    held_out: HeldOut,
    mu: float = 1.0,
    steps: int = 200,
    batch: int = 64,
    lr: float = 0.01,
    norm: str = "frobenius",
) -> Weights:
    """TPGM-C of one run."""
    batches = _counted(held_out.batches(batch, steps), steps)
    return tpgm(
        anchor,
        members[0],
        held_out.loss,
        batches,
        mu=mu,
        lr=lr,
        norm=norm,
        parameters=held_out.parameters,
    )


def _counted(batches: Iterable[Any], steps: int) -> Iterator[Any]:
    """The same batches under a progress bar."""
    with progress_bar(steps, "TPGM", "step") as bar:
        for batch in batches:
            yield batch
            bar.update()
