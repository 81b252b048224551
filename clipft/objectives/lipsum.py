"""Lipsum-FT: hold the energies of random texts where zero-shot had them.

    L = CE + lam * mean_x sum_k (u_k - v_k)^2 / (2 M),   u = s f T^T,  v = s f0 T^T

T (M, D): fresh random texts every step through the frozen text tower. Half the batch's energy gap.
Source: Nam et al., Lipsum-FT, ICLR 2024, arXiv:2404.00860, equations 7 and 8, and release (M = 80
texts of L = 8 tokens, lam = 1). Equation 6 is the gap that it holds: `diagnostics.energy_gap`.
"""

from torch import Tensor

from .regulariser import mse, on_texts
from .step import Step


def lipsum(step: Step) -> Tensor:
    """Half the mean squared change of energy over batch and random texts, in squared logits."""
    return mse(on_texts(step, step.random_texts))
