"""The energy gap: how far tuning moved the energies of images and random texts, with its errors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .energies import (
    check_same_images,
    check_same_model,
    quadratic_form,
    quadratic_gap,
    second_moment,
    unit,
)

ROWS = 4096  # images, or texts, at a time


def energy_gap(
    images: Tensor,
    anchors: Tensor,
    texts: Tensor | None = None,
    scale: float = 1.0,
    *,
    moment: Tensor | None = None,
) -> Tensor:
    """Energy gap of each image: EG(x) = mean_t (E_theta(x, t) - E_theta0(x, t))^2.

    Computed by the texts' second moment, without any N x M matrix. The mean over images is the
    energy gap of Lipsum-FT, arXiv:2404.00860, equation 6.

    Arguments:
        images: (N, D) embeddings by the tuned model; normalised here.
        anchors: (N, D) embeddings of the same images by the zero-shot model; normalised here.
        texts: (M, D) unit rows.
        scale: the logit scale s, which is inside the gap.
        moment: (D, D), `energies.second_moment` of the texts, in place of texts and scale.

    Returns:
        (N,), in squared logits.

    Raises:
        ConfigError: where shapes differ, or neither texts nor moment is given.

    Example:
        >>> import torch
        >>> before = torch.eye(3)
        >>> after = before[[1, 0, 2]]  # two images change places, the third stays
        >>> clipft.energy_gap(after, before, texts=torch.eye(3), scale=10.0)
        tensor([66.6667, 66.6667,  0.0000])
    """
    check_same_images(images, anchors)
    if moment is None:
        if texts is None:
            raise ConfigError("energy_gap needs texts (M, D) or their second moment (D, D)")
        moment = second_moment(texts, scale)
    check_same_model(images.shape[-1], moment.shape[-1])
    chunks = _chunks(images, anchors)
    return torch.cat([quadratic_gap(unit(now), unit(before), moment) for now, before in chunks])


@dataclass(frozen=True)
class EnergyGap:
    """The energy gap of N images over M random texts, in squared logits.

    Divided by `scale`^2 it is in squared cosines. image_error and text_error are the standard
    errors of the mean over the draw of images and over that of texts.
    """

    per_image: np.ndarray
    per_text: np.ndarray
    scale: float

    @property
    def mean(self) -> float:
        """EG, the mean over images and texts."""
        return float(self.per_image.mean())

    @property
    def image_error(self) -> float:
        """Standard deviation over images / sqrt(N)."""
        return _standard_error(self.per_image)

    @property
    def text_error(self) -> float:
        """Standard deviation over texts / sqrt(M)."""
        return _standard_error(self.per_text)

    @property
    def error(self) -> float:
        """Both errors together, as images and texts are drawn independently."""
        return float(np.hypot(self.image_error, self.text_error))

    def per_class(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Mean gap of each class (C,), nan where it has no image."""
        count = np.bincount(labels, minlength=classes)
        return np.bincount(labels, self.per_image, classes) / np.where(count, count, np.nan)


def measure_gap(images: Tensor, anchors: Tensor, texts: Tensor, scale: float) -> EnergyGap:
    """The energy gap with its standard errors, by two second moments: no N x M matrix, no copy.

    EG_n = d_n^T S d_n with S = s^2 / M T^T T, and EG_m = t_m^T C t_m with
    C = s^2 / N sum_n d_n d_n^T. Shapes and errors as in `energy_gap`.
    """
    if len(texts) == 0:
        raise ConfigError("no texts to measure the energy gap on; draw some: prompts.random_texts")
    per_image = energy_gap(images, anchors, texts, scale)
    spread = torch.zeros_like(texts[:1].T @ texts[:1])
    for now, before in _chunks(images, anchors):
        change = unit(now) - unit(before)
        spread += change.T @ change
    spread *= scale**2 / len(images)
    per_text = torch.cat([quadratic_form(chunk, spread) for chunk in texts.split(ROWS)])
    return EnergyGap(per_image.double().cpu().numpy(), per_text.double().cpu().numpy(), scale)


def _chunks(images: Tensor, anchors: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(images.split(ROWS), anchors.split(ROWS), strict=True)


def _standard_error(values: np.ndarray) -> float:
    """Of the mean of independent draws; of a single one it is not known."""
    if len(values) < 2:
        return float("nan")
    return float(values.std(ddof=1) / np.sqrt(len(values)))
