"""StarFT: hold what zero-shot says of an image and captions with a spurious circumstance.

    L = FLYP + lam (1 - p) KL(q0 || q),   q = softmax_j(s0 <f_i, g(t'_j)>),  q0 the same of theta0

t'_j: the caption of image j inside a random template of a place or a style ("... in a forest"). The
pairs of one class, each image's own among them, are masked by -1e8: a batch of one class is even
against even, and 0. s0 is the pre-trained scale, in both; the tuned text tower sees t' with
gradient. p: how much of the training is done after this step (`diminishing`), where the release
counts epochs. On cross-entropy with a frozen text tower (`starft_ce`) it is ours; in the release
both towers train there, too.
Source: Kim et al., StarFT, IJCAI 2025, arXiv:2505.13232, and release (lam 0.5).
"""

from torch import Tensor

from ..diagnostics.energies import energy_vectors, unit
from .regulariser import kld
from .step import Step

FAR = -1e8  # -inf would make a batch of one class NaN


def starft(step: Step, *, diminishing: bool = True) -> Tensor:
    """The divergence from zero-shot over the spurious captions of other classes, in nats."""
    same_class = step.labels[:, None] == step.labels
    u = energy_vectors(unit(step.images), step.spurious, step.start_scale)  # (B, B)
    v = energy_vectors(unit(step.anchor), step.spurious_anchor, step.start_scale)
    divergence = kld((u.masked_fill(same_class, FAR), v.masked_fill(same_class, FAR)))
    return (1 - step.progress) * divergence if diminishing else divergence
