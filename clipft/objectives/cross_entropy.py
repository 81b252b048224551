"""FT: cross-entropy over the classes, vision tower and head trained from the zero-shot model.

    L = CE(s f W, y),   W starts at the zero-shot head

Source: the baseline of every paper, e.g. WiSE-FT, arXiv:2109.01903.
"""

from torch import Tensor
from torch.nn import functional as F

from ..energies import unit
from .registry import METHODS, Method, Step


def cross_entropy(step: Step) -> Tensor:
    """CE(s f W, y): the mean over the batch, in nats."""
    return F.cross_entropy(step.scale * unit(step.images) @ step.head, step.labels)


METHODS.add(Method("ft", "FT", "arXiv:2109.01903", penalty=None))
