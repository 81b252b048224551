"""CAR-FT: keep what the zero-shot model says of an image's context (photo, sketch ...), averaged over the classes.

    L = CE + lam * KL(softmax(s f0 Wctx) || softmax(s f Wctx)),   Wctx (D, T): one column a template, frozen

Source: Mao et al., CAR-FT, IJCV 2024, arXiv:2211.16175; lam as tuned in Lipsum-FT is not given.
"""

from torch import Tensor

from .registry import method
from .regulariser import kld, on_texts
from .step import Step


@method("car", title="CAR-FT", paper="arXiv:2211.16175", needs=("anchor", "context"), lam=1.0)
def car(step: Step, tau: float = 1.0) -> Tensor:
    """The divergence from the zero-shot distribution over contexts, in nats."""
    return kld(on_texts(step, step.context.T), tau)
