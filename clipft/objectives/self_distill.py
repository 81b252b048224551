"""Self-distilled EMA: learn the labels, and what a moving average of the model itself says.

    L = CE + lam * H(softmax(z_t), softmax(z)),   H(p, q) = -sum_c p_c log q_c, mean over images

z (B, C) are the class logits, z_t those of the teacher: a copy of the student with its own head and
scale, which follows it as CaRot's teacher does (`Moving` in training/averages.py). It starts at
theta0 and is asked from the second step on. This twin of CaRot for one tower and cross-entropy is
ours; it needs no text.
Source of the teacher: Oh et al., CaRot, NeurIPS 2024, arXiv:2311.01723, and release.
"""

from torch import Tensor
from torch.nn import functional as F

from .step import ABSENT, Step


def self_distill(step: Step) -> Tensor:
    """The cross-entropy of the student's classes to the teacher's, in nats; 0 without a teacher."""
    if step.teacher_logits is ABSENT:
        return step.images.new_zeros(())
    return soft_cross_entropy(step.logits, step.teacher_logits)


def soft_cross_entropy(logits: Tensor, teacher: Tensor) -> Tensor:
    """H of the softmax of both, mean over rows: (B, C), (B, C) -> (); least where they are equal.

    From log-softmax, of which none is -inf; the release takes the logarithm of a softmax.
    """
    return F.cross_entropy(logits, teacher.softmax(dim=-1))
