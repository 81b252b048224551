"""What tuning did to a model: energy gap, feature distortion, its path through weight space, and how they go with
robustness. Tensors and arrays only; `reports` asks these questions of finished runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import special, stats

from ..errors import ConfigError
from .energies import quadratic_gap, second_moment, unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from ..data.splits import Weights

ROWS = 4096  # images at a time
FINEST = 1 / 128  # narrowest interval of alphas that `kinks` halves


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
    return torch.cat([quadratic_gap(unit(now), unit(before), moment) for now, before in _parts(images, anchors)])


@dataclass(frozen=True)
class EnergyGap:
    """The energy gap of N images over M random texts, in squared logits: dividing by `scale`^2 gives squared cosines.

    image_error and text_error are the standard errors of the mean over the draw of images and over that of texts.
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
    """The energy gap with its standard errors, by two second moments: no N x M matrix, no N x D copy.

    EG_n = d_n^T S d_n with S = s^2 / M T^T T, and EG_m = t_m^T C t_m with C = s^2 / N sum_n d_n d_n^T. Shapes and
    errors as in `energy_gap`.
    """
    if len(texts) == 0:
        raise ConfigError("no texts to measure the energy gap on; draw some: prompts.random_texts")
    per_image = energy_gap(images, anchors, texts, scale)
    spread = torch.zeros_like(texts[:1].T @ texts[:1])
    for now, before in _parts(images, anchors):
        change = unit(now) - unit(before)
        spread += change.T @ change
    spread *= scale**2 / len(images)
    per_text = torch.cat([((part @ spread) * part).sum(-1) for part in texts.split(ROWS)])
    return EnergyGap(per_image.double().cpu().numpy(), per_text.double().cpu().numpy(), scale)


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
    if len(images) == 0:
        raise ConfigError("no images to measure: the split is empty or every image was skipped")


def _parts(images: Tensor, anchors: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(images.split(ROWS), anchors.split(ROWS), strict=True)


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


@dataclass(frozen=True)
class DistortionTest:
    """Mean feature distortion on reference and on shifted images, and their difference with its 95 % interval.

    Feature-distortion theory says that tuning moves the features of reference images more (difference > 0): `verdict`.
    """

    reference: float
    shifted: float
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """`holds`, `fails`, or `open` where the interval holds 0."""
        return "holds" if self.low > 0 else "fails" if self.high < 0 else "open"


def distortion_test(reference: np.ndarray, shift: np.ndarray) -> DistortionTest:
    """Whether distortion (N,) of reference images exceeds that (M,) of shifted ones, with Welch's interval.

    Source: a prediction of Kumar et al., arXiv:2202.10054. Raises ConfigError below two images.
    """
    if min(len(reference), len(shift)) < 2:
        raise ConfigError(f"{len(reference)} reference and {len(shift)} shifted images; the test needs two of each")
    means = float(np.mean(reference)), float(np.mean(shift))
    difference, errors = means[0] - means[1], [np.var(v, ddof=1) / len(v) for v in (reference, shift)]
    if not any(errors):
        return DistortionTest(*means, difference, difference, difference)
    freedom = sum(errors) ** 2 / sum(e**2 / (len(v) - 1) for e, v in zip(errors, (reference, shift), strict=True))
    reach = float(stats.t.ppf(0.975, freedom) * np.sqrt(sum(errors)))
    return DistortionTest(*means, difference, difference - reach, difference + reach)


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


def leave_one_out(x: np.ndarray, y: np.ndarray, groups: Sequence[str]) -> dict[str, Correlation]:
    """The correlation without each group (a method, say) in turn: does it hang on one of them? In order of names."""
    x, y, groups = np.asarray(x), np.asarray(y), np.asarray(groups)
    if len(groups) != len(x):
        raise ConfigError(f"{len(groups)} groups for {len(x)} points; wanted: one for each")
    return {str(name): correlation(x[groups != name], y[groups != name]) for name in np.unique(groups)}


def effective_robustness(
    shift: np.ndarray, reference: np.ndarray, base_shift: np.ndarray, base_reference: np.ndarray
) -> np.ndarray:
    """Accuracy under shift above what baseline models of the same reference accuracy have; fractions, (N,) -> (N,).

    The baselines (K,) are fitted by a line in logits: logit(shift) = a logit(reference) + b. Sources: Taori et al.,
    arXiv:2007.00644; Miller et al., arXiv:2107.04649. Raises ConfigError for an accuracy of 0 or 1 or fewer than two
    different baselines.
    """
    if len(shift) != len(reference) or len(base_shift) != len(base_reference):
        raise ConfigError("effective robustness needs as many accuracies under shift as on the reference")
    x, y, at = (special.logit(np.asarray(v, dtype=float)) for v in (base_reference, base_shift, reference))
    if not all(np.isfinite(v).all() for v in (x, y, at)):
        raise ConfigError("effective robustness needs accuracies between 0 and 1, exclusive: their logits are fitted")
    if len(x) < 2 or np.ptp(x) == 0:
        raise ConfigError(f"{len(x)} baseline models of one reference accuracy; a line needs two different ones")
    slope, offset = np.polyfit(x, y, 1)
    return np.asarray(shift) - special.expit(slope * at + offset)


def kinks(alphas: Sequence[float], curves: np.ndarray, tolerance: float) -> list[float]:
    """Middles of the intervals beside each alpha at which a curve leaves the line between its neighbours.

    alphas (A,) rising, curves (A, K); a curve bends at an inner alpha where it is further than `tolerance` from that
    line. Raises ConfigError for a tolerance that is not above 0.
    """
    if not tolerance > 0:
        raise ConfigError(f"the tolerance of adaptive alphas is {tolerance}, expected a fraction above 0, e.g. 0.01")
    found = set()
    for i in range(1, len(alphas) - 1):
        left, here, right = alphas[i - 1 : i + 2]
        part = (here - left) / (right - left)
        if np.abs(curves[i] - (1 - part) * curves[i - 1] - part * curves[i + 1]).max() > tolerance:
            found |= {(a + b) / 2 for a, b in ((left, here), (here, right)) if b - a > FINEST}
    return sorted(found)


@dataclass(frozen=True)
class Barrier:
    """How far a loss rises above the line between the ends of the path from theta0 to theta, and at which alpha."""

    height: float
    alpha: float


def barrier(alphas: Sequence[float], losses: Sequence[float]) -> Barrier:
    """The loss barrier: max over alpha of L(alpha) - (1 - alpha) L(0) - alpha L(1), 0 at the ends.

    Source: Frankle et al., Linear mode connectivity, arXiv:1912.05671. Raises ConfigError without alphas 0 and 1.
    """
    at = dict(zip(alphas, losses, strict=True))
    if not {0.0, 1.0} <= at.keys():
        raise ConfigError(f"a path from zero-shot to tuned needs alpha 0 and 1, got {sorted(at)}")
    rise = {a: loss - (1 - a) * at[0.0] - a * at[1.0] for a, loss in at.items() if 0 < a < 1} | {0.0: 0.0}
    top = max(sorted(rise), key=rise.get)
    return Barrier(float(rise[top]), float(top))


def layer_distances(anchor: Weights, tuned: Weights) -> dict[str, tuple[float, float]]:
    """Layer -> (||theta - theta0||, the same over ||theta0||), in the order of the model.

    A layer is what stands before and at the first number in a tensor's name (a block), else the name without its end;
    it is called the same in models with one and with two trained towers.
    """
    sums: dict[str, list[float]] = {}
    for name, before in anchor.items():
        if before.is_floating_point():
            whole = sums.setdefault(_layer(name), [0.0, 0.0])
            whole[0] += float((tuned[name].double() - before.double()).square().sum())
            whole[1] += float(before.double().square().sum())
    return {name: (moved**0.5, (moved / size) ** 0.5 if size else float("nan")) for name, (moved, size) in sums.items()}


def _layer(name: str) -> str:
    name = name.removeprefix("clip.")
    block = re.match(r".*?\.\d+(?=\.|$)", name)
    if block:
        return block[0]
    if name in ("weight", "bias"):
        return "head"
    stem, dot, end = name.rpartition(".")
    return stem if dot and end in ("weight", "bias") else name
