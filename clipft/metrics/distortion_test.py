"""TODO: docstring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..errors import ConfigError


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
        raise ConfigError(
            f"{len(reference)} reference and {len(shift)} shifted images; the test needs two of each"
        )
    means = float(np.mean(reference)), float(np.mean(shift))
    difference, errors = (
        means[0] - means[1],
        [np.var(v, ddof=1) / len(v) for v in (reference, shift)],
    )
    if not any(errors):
        return DistortionTest(*means, difference, difference, difference)
    freedom = sum(errors) ** 2 / sum(
        e**2 / (len(v) - 1) for e, v in zip(errors, (reference, shift), strict=True)
    )
    reach = float(stats.t.ppf(0.975, freedom) * np.sqrt(sum(errors)))
    return DistortionTest(*means, difference, difference - reach, difference + reach)
