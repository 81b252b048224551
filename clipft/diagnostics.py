"""What tuning did to a model: energy gap, feature distortion, and how they go with robustness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from .energies import quadratic_gap, second_moment, unit
from .errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


def energy_gap(
    images: Tensor, anchors: Tensor, texts: Tensor | None = None, scale: float = 1.0, *, moment: Tensor | None = None
) -> Tensor:
    """EG(x) = mean_t (E_theta(x, t) - E_theta0(x, t))^2 per image, by the second moment of the texts.

    images, anchors (N, D): embeddings of the same images by the tuned and the zero-shot model, normalised here;
    texts (M, D) unit rows with the logit scale s, or their `energies.second_moment` (D, D) at once. -> (N,), in squared
    logits (s is inside). The mean over images is the energy gap of Lipsum-FT, arXiv:2404.00860, section 4.
    Raises ConfigError where shapes differ or neither texts nor moment is given.
    """
    _same_shape(images, anchors)
    if moment is None:
        if texts is None:
            raise ConfigError("energy_gap needs texts (M, D) or their second moment (D, D)")
        moment = second_moment(texts, scale)
    if moment.shape[-1] != images.shape[-1]:
        raise ConfigError(
            f"images have {images.shape[-1]} dimensions, texts {moment.shape[-1]}; use one model for both"
        )
    return quadratic_gap(unit(images), unit(anchors), moment)


def feature_distortion(images: Tensor, anchors: Tensor, normalised: bool = False) -> Tensor:
    """||F_theta(x) - F_theta0(x)||_2 per image: (N, D), (N, D) -> (N,), on unit rows if `normalised`.

    Source: Kumar et al., LP-FT, arXiv:2202.10054; as measured in Lipsum-FT. Raises ConfigError where shapes differ.
    """
    _same_shape(images, anchors)
    if normalised:
        images, anchors = unit(images), unit(anchors)
    return (images - anchors).norm(dim=-1)


def _same_shape(images: Tensor, anchors: Tensor) -> None:
    if images.shape != anchors.shape:
        raise ConfigError(
            f"embeddings of shape {tuple(images.shape)} and {tuple(anchors.shape)}; wanted: the same images twice"
        )


@dataclass(frozen=True)
class Correlation:
    """Pearson's r over n points with its 95 % confidence interval (Fisher); all nan where it is undefined."""

    r: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if np.isnan(self.r):
            return f"r undefined (n = {self.n})"
        return f"r = {self.r:.2f} [{self.low:.2f}, {self.high:.2f}], n = {self.n}"


def correlation(x: np.ndarray, y: np.ndarray) -> Correlation:
    """Pearson's r of two vectors; undefined below three points or where one of them is constant."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape:
        raise ConfigError(f"correlation of {x.shape} and {y.shape} values; wanted: one y for each x")
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(np.nan, np.nan, np.nan, len(x))
    found = stats.pearsonr(x, y)
    interval = found.confidence_interval() if len(x) > 3 else None
    return Correlation(
        float(found.statistic), float(interval.low if interval else -1), float(interval.high if interval else 1), len(x)
    )
