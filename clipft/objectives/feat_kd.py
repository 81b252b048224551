"""FeatKD: keep the image embeddings themselves, before normalising.

    L = CE + lam * mean_x ||F - F0||^2

Source: Nam et al., Lipsum-FT, arXiv:2404.00860, appendix B.3, which does not give lam.
"""

from torch import Tensor

from .step import Step


def feat_kd(step: Step) -> Tensor:
    """Squared feature distortion, mean over the batch, in squared units of the embedding."""
    return (step.images - step.anchor).square().sum(-1).mean()
