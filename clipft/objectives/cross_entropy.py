"""FT and its kin: cross-entropy over the classes; they differ in where the head starts and what is trained or kept.

    L = CE(s f W, y)

FT: vision tower and head, W starts at the zero-shot head. Scratch-FT: W starts at zero. LP: the head alone, on frozen
features. LP-FT: FT that starts at the LP head (Kumar et al., ICLR 2022). EMA: FT, of which the running average
`buf = d buf + (1 - d) theta` is kept, head included; buf starts at theta0, no bias correction.
Sources: as cited below; EMA and Scratch-FT as baselines of Lipsum-FT, which does not give d (0.999 is ours).
"""

from torch import Tensor
from torch.nn import functional as F

from .registry import METHODS, Method
from .step import Step


def cross_entropy(step: Step) -> Tensor:
    """CE(logits, y): the mean over the batch, in nats."""
    return F.cross_entropy(step.logits, step.labels)


METHODS.add(Method("ft", "FT", "arXiv:2109.01903"))
METHODS.add(Method("scratch_ft", "Scratch-FT", "arXiv:2404.00860", head="zeros"))
METHODS.add(Method("lp", "LP", "arXiv:2103.00020", trains="head", head="probe"))
METHODS.add(Method("lp_ft", "LP-FT", "arXiv:2202.10054", head="probe"))
METHODS.add(Method("ema", "EMA", "arXiv:2404.00860", ema=0.999))
