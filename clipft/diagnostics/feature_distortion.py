"""Feature distortion: how far tuning moved the embeddings of images."""

from torch import Tensor

from .energies import check_same_images, unit


def feature_distortion(images: Tensor, anchors: Tensor, *, normalised: bool = False) -> Tensor:
    """||F_theta(x) - F_theta0(x)||_2 per image, on unit rows if `normalised`.

    (N, D), (N, D) -> (N,). Source: Kumar et al., LP-FT, arXiv:2202.10054; as measured in Lipsum-FT.
    Raises ConfigError where shapes differ.
    """
    check_same_images(images, anchors)
    if normalised:
        images = unit(images)
        anchors = unit(anchors)
    return (images - anchors).norm(dim=-1)
