"""FTP, fast trainable projection: how far a tensor may go from theta0 is learned, too.

    c = theta' - theta0,   n = sum |c| over each row + 1e-8,   theta' = the optimiser's step
    theta = theta0 + clamp(gamma / n, 0, 1) c,   gamma one number for a tensor

    first step:  gamma = 1e-8, which leaves theta0 almost where it is
    then:        d = sum over rows of <g, c> / n of the step before;   k d where d > 0
                 gamma = Adam(gamma, d), rate 1e-2, betas 0.9 and 0.999;   clamp(gamma, 1e-8, max n)

A row is what has one index of the first dimension; a vector is one row, as in the release.
k = 1 holds most, with k = 0 gamma may only grow. g is the gradient of the training loss, where TPGM
asks held-out images. Adam's steps are those of the run, so its first is counted as the second.
The head is left out. Source: Tian et al., NeurIPS 2023, arXiv:2310.19182, release, util/FTP.py.
"""

import torch
from torch import Tensor

from .move import Move

LEAST = 1e-8  # radius and norm
RATE, BETA1, BETA2, EPS = 1e-2, 0.9, 0.999, 1e-8  # of Adam on gamma


def ftp(move: Move, k: float = 1.0) -> Tensor:
    """The tensor projected, row by row, to within gamma of theta0."""
    if move.is_head:
        return move.after
    change = move.after - move.start
    norms = _rows(change.abs()) + LEAST
    gamma = _radius(move, norms, k)
    move.kept.update(gamma=gamma, change=change, inverse=1 / norms)
    return move.start + (gamma / norms).clamp(0, 1) * change


def _rows(tensor: Tensor) -> Tensor:
    """Sums over all dimensions but the first, which stay as 1; a vector is one row."""
    if tensor.dim() < 2:
        return tensor.sum()
    return tensor.sum(dim=tuple(range(1, tensor.dim())), keepdim=True)


def _radius(move: Move, norms: Tensor, k: float) -> Tensor:
    """The tensor's gamma after this step."""
    kept = move.kept
    if not kept:
        kept["first"] = torch.zeros_like(norms.max())
        kept["second"] = torch.zeros_like(norms.max())
        return torch.full_like(norms.max(), LEAST)

    slope = (_rows(move.grad * kept["change"]) * kept["inverse"]).sum()
    slope = torch.where(slope > 0, k * slope, slope)
    kept["first"] = BETA1 * kept["first"] + (1 - BETA1) * slope
    kept["second"] = BETA2 * kept["second"] + (1 - BETA2) * slope**2
    first = kept["first"] / (1 - BETA1**move.step)
    second = kept["second"] / (1 - BETA2**move.step)
    gamma = kept["gamma"] - RATE * first / (second.sqrt() + EPS)
    return gamma.clamp(LEAST).minimum(norms.max())
