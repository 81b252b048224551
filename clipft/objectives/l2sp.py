"""L2-SP: stay near the starting point in weight space, head included.

    L = CE + lam * ||theta - theta0||^2

Source: Li et al., ICML 2018, arXiv:1802.01483 (without their factor 1/2); the head is held towards
W0. No paper of this field gives its lam; 0.01 is ours.
"""

import torch
from torch import Tensor

from .step import Step


def l2sp(step: Step) -> Tensor:
    """The squared distance from theta0 over every trained tensor."""
    distances = [(step.weights[name] - start).square().sum() for name, start in step.start.items()]
    return torch.stack(distances).sum()
