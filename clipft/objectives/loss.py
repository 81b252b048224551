"""The loss of a step: cross-entropy, or a method's base, and the penalty, each with its weight."""

from torch import Tensor

from ..methods import Method
from ..options import own_options
from .cross_entropy import cross_entropy
from .step import Step


def loss_terms(
    method: Method, step: Step, lam: float | None = None, **options: float | str
) -> dict[str, Tensor]:
    """The terms of the loss by name, weighted: their sum is minimised.

        L = CE + lam * penalty,   or the penalty alone where the method has no lam
        L = base + lam * penalty,   where it has a base

    lam: None for the method's own; options: of the method, see `clipft methods`; those of its
    teacher, and of what follows a step, are nothing to the loss.
    """
    terms = {}
    if method.uses_cross_entropy:
        terms["cross_entropy"] = cross_entropy(step)
    if method.base:
        base = method.load_base()
        terms[base.__name__] = base(step)
    if method.function is not None:
        function = method.load()
        penalty = function(step, **own_options(function, options))
        weight = method.lam if lam is None else lam
        if weight is not None:
            penalty = weight * penalty
        terms[method.name] = penalty
    return terms
