"""FLYP: fine-tune like you pre-train, by the symmetric contrastive loss on (image, caption) pairs.

    L = (CE(s I G^T, i) + CE(s G I^T, i)) / 2,   I, G (B, D) unit embeddings of images and captions

Both towers and the scale train; two images of one class in a batch stay each other's negatives.
Source: Goyal et al., CVPR 2023, arXiv:2212.00638, and release. With random weights it pre-trains a CLIP.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..energies import energy_vectors, unit
from .registry import Step, method


@method("flyp", title="FLYP", paper="arXiv:2212.00638", needs=("captions",), trains="both")
def flyp(step: Step) -> Tensor:
    """The mean of both directions' cross-entropies, in nats."""
    scores = energy_vectors(unit(step.images), step.captions, step.scale)  # (B, B)
    own = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
