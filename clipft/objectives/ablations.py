"""The three of {KLD, MSE} x {class head, fixed context, random texts} that are no method of their own.

    L = CE + lam * R,   R as in `regulariser`

Source: Nam et al., Lipsum-FT, arXiv:2404.00860, tables 3 and 9, which do not give lam.
"""

from torch import Tensor

from .registry import method
from .regulariser import kld, mse, on_class_head, on_texts
from .step import Step


@method("mse_class", title="MSE, class head", paper="arXiv:2404.00860", needs=("anchor",), lam=1.0)
def mse_class(step: Step) -> Tensor:
    """Hold the class logits by squares."""
    return mse(on_class_head(step))


@method(
    "mse_context",
    title="MSE, context",
    paper="arXiv:2404.00860",
    needs=("anchor", "context"),
    lam=1.0,
)
def mse_context(step: Step) -> Tensor:
    """Hold the context scores by squares."""
    return mse(on_texts(step, step.context.T))


@method(
    "kld_random",
    title="KLD, random texts",
    paper="arXiv:2404.00860",
    needs=("anchor", "random_texts"),
    lam=1.0,
)
def kld_random(step: Step, tau: float = 1.0) -> Tensor:
    """Hold the distribution over random texts."""
    return kld(on_texts(step, step.random_texts), tau)
