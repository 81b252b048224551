"""The three of {KLD, MSE} x {class head, fixed context, random texts} without a name of their own.

    L = CE + lam * R,   R as in `regulariser`

Source: Nam et al., Lipsum-FT, arXiv:2404.00860, tables 3 and 9, which do not give lam.
"""

from torch import Tensor

from .regulariser import kld, mse, on_class_head, on_texts
from .step import Step


def mse_class(step: Step) -> Tensor:
    """Hold the class logits by squares."""
    return mse(on_class_head(step))


def mse_context(step: Step) -> Tensor:
    """Hold the context scores by squares."""
    return mse(on_texts(step, step.context.T))


def kld_random(step: Step, tau: float = 1.0) -> Tensor:
    """Hold the distribution over random texts."""
    return kld(on_texts(step, step.random_texts), tau)
