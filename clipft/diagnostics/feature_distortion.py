"""Feature distortion: how far tuning moved the embeddings of images."""

from torch import Tensor

from .energies import check_same_images, unit


def feature_distortion(images: Tensor, anchors: Tensor, *, normalised: bool = False) -> Tensor:
    """Feature distortion of each image: ||F_theta(x) - F_theta0(x)||_2.

    Source: Kumar et al., LP-FT, arXiv:2202.10054; as measured in Lipsum-FT, arXiv:2404.00860.

    Arguments:
        images: (N, D) embeddings by the tuned model.
        anchors: (N, D) embeddings of the same images by the zero-shot model.
        normalised: measure on unit rows.

    Returns:
        (N,), in units of the embedding.

    Raises:
        ConfigError: where shapes differ.

    Example:
        >>> import torch
        >>> clipft.feature_distortion(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2))
        tensor([5.])
    """
    check_same_images(images, anchors)
    if normalised:
        images = unit(images)
        anchors = unit(anchors)
    return (images - anchors).norm(dim=-1)
