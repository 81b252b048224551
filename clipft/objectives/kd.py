"""KD: keep the class probabilities of the zero-shot model on the same augmented image.

    L = CE + lam * tau^2 KL(softmax(s f0 W0 / tau) || softmax(s f W / tau))

Source: Hinton et al., arXiv:1503.02531; tau 1 and the zero-shot teacher as in Lipsum-FT, which does
not give lam.
"""

from torch import Tensor

from .regulariser import kld, on_class_head
from .step import Step


def kd(step: Step, tau: float = 1.0) -> Tensor:
    """tau^2 times the divergence from the zero-shot probabilities, in nats."""
    return kld(on_class_head(step), tau)
