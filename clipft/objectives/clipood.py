"""CLIPood: cross-entropy below the frozen zero-shot head, with a margin by the distance of classes.

    L = CE(s (f - margin g_y) W0, y),   so logits s (<f, g_c> - margin <g_y, g_c>)

g_c: the columns of W0. A constant changes no cross-entropy: f has to be nearer to g_y than to g_c
by margin (1 - <g_y, g_c>), more for a class that is further from the true one by its name. margin 0
is `ft` with head=frozen. The tower stays in eval mode: BatchNorm keeps its pre-trained statistics,
and nothing is dropped; a plain ViT has neither. What else the paper does is an average of the
weights by a Beta distribution, a setting that goes with any method.
Source: Shu et al., CLIPood, ICML 2023, arXiv:2302.00864, and release (margin 0.3).
"""

from torch import Tensor
from torch.nn import functional as F

from ..diagnostics.energies import unit
from .step import Step


def clipood(step: Step, margin: float = 0.3) -> Tensor:
    """The cross-entropy with margins, mean over the batch, in nats."""
    of_class = step.zero_shot.T[step.labels]  # (B, D)
    logits = step.scale * (unit(step.images) - margin * of_class) @ step.zero_shot
    return F.cross_entropy(logits, step.labels)
