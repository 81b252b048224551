"""FLYP: fine-tune like you pre-train, by the symmetric contrastive loss on (image, caption) pairs.

    L = (CE(s I G^T, i) + CE(s G I^T, i)) / 2,   I, G (B, D) unit embeddings of images and captions

Both towers and the scale train; two images of one class in a batch stay each other's negatives.
mask: leave such pairs out of the denominators. Ablations: the image tower alone; cross-entropy over
all classes, whose logits are `s f g(T_c)^T` with one template a class and step; both losses added.
One fixed caption in place of sampled ones is the run's setting `captions: fixed`.
Source: Goyal et al., CVPR 2023, arXiv:2212.00638, and release. With random weights it pre-trains a
CLIP.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..diagnostics.energies import energy_vectors, unit
from .step import Step


def flyp(step: Step, *, mask: bool = False) -> Tensor:
    """The mean of both directions' cross-entropies, in nats."""
    scores = energy_vectors(unit(step.images), step.captions, step.scale)  # (B, B)
    own = torch.arange(len(scores), device=scores.device)
    if mask:
        # -inf has weight 0 in the log-sum-exp and gets no gradient
        collision = (step.labels[:, None] == step.labels) & (own[:, None] != own)
        scores = scores.masked_fill(collision, -torch.inf)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
