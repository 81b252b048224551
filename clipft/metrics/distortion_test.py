"""Does tuning move the features of reference images more than those of shifted ones?"""

from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError


@dataclass(frozen=True)
class DistortionTest:
    """Mean feature distortion on reference and on shifted images; their difference, 95 % interval.

    Feature-distortion theory says that tuning moves the features of reference images more
    (difference > 0): `verdict`.
    """

    reference: float
    shifted: float
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """`holds`, `fails`, or `open` where the interval holds 0."""
        if self.low > 0:
            return "holds"
        if self.high < 0:
            return "fails"
        return "open"


def distortion_test(reference: np.ndarray, shift: np.ndarray) -> DistortionTest:
    """Whether distortion (N,) of reference images exceeds that (M,) of shifted ones (Welch).

    Source: a prediction of Kumar et al., arXiv:2202.10054. Raises ConfigError below two images.
    """
    from scipy import stats

    if min(len(reference), len(shift)) < 2:
        images = f"{len(reference)} reference and {len(shift)} shifted images"
        raise ConfigError(f"{images}; the test needs two of each")

    # Squared standard errors of the two means; their sum is that of the difference.
    reference_error = np.var(reference, ddof=1) / len(reference)
    shift_error = np.var(shift, ddof=1) / len(shift)
    error = reference_error + shift_error

    reach = 0.0
    if error != 0:
        weighted = reference_error**2 / (len(reference) - 1) + shift_error**2 / (len(shift) - 1)
        freedom = error**2 / weighted
        reach = float(stats.t.ppf(0.975, freedom) * np.sqrt(error))

    means = (float(np.mean(reference)), float(np.mean(shift)))
    difference = means[0] - means[1]
    return DistortionTest(*means, difference, low=difference - reach, high=difference + reach)
