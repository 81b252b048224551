"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .energies import _same_shape, unit

if TYPE_CHECKING:
    from torch import Tensor


def feature_distortion(images: Tensor, anchors: Tensor, normalised: bool = False) -> Tensor:
    """||F_theta(x) - F_theta0(x)||_2 per image: (N, D), (N, D) -> (N,), on unit rows if `normalised`.

    Source: Kumar et al., LP-FT, arXiv:2202.10054; as measured in Lipsum-FT. Raises ConfigError where shapes differ.
    """
    _same_shape(images, anchors)
    if normalised:
        images, anchors = unit(images), unit(anchors)
    return (images - anchors).norm(dim=-1)
