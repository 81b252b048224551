"""FT and its kin: cross-entropy over the classes; they differ in the head's start and what trains.

    L = CE(s f W, y)

FT: vision tower and head, W starts at the zero-shot head. Scratch-FT: W starts at zero. LP: the
head alone, on frozen features. LP-FT: FT that starts at the LP head (Kumar et al., ICLR 2022). EMA:
FT, of which the running average `buf = d buf + (1 - d) theta` is kept, head included; buf starts at
theta0, no bias correction.
Sources: as cited in `clipft.methods`; EMA and Scratch-FT as baselines of Lipsum-FT, which does not
give d (0.999 is ours).
"""

from torch import Tensor
from torch.nn import functional as F

from .step import Step


def cross_entropy(step: Step) -> Tensor:
    """CE(logits, y): the mean over the batch, in nats."""
    return F.cross_entropy(step.logits, step.labels)
