"""CAR-FT: keep what zero-shot says of an image's context (photo, sketch ...), over all classes.

    L = CE + lam * KL(softmax(s f0 Wctx) || softmax(s f Wctx))
    Wctx (D, T): a column a template, frozen

Source: Mao et al., CAR-FT, IJCV 2024, arXiv:2211.16175; lam as tuned in Lipsum-FT is not given.
"""

from torch import Tensor

from .regulariser import kld, on_texts
from .step import Step


def car(step: Step, tau: float = 1.0) -> Tensor:
    """The divergence from the zero-shot distribution over contexts, in nats."""
    return kld(on_texts(step, step.context.T), tau)
