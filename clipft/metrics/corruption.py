"""Corruption error: how much worse a model is on disturbed images, against another model.

    CE_c = sum_s E_{s,c} / sum_s E0_{s,c}
    relative CE_c = sum_s (E_{s,c} - E) / sum_s (E0_{s,c} - E0)

E: errors (1 - accuracy) of the model at severity s of kind c, and on clean images; E0: of the base
model, here zero-shot. mCE and relative mCE are means over kinds. Source: Hendrycks and Dietterich,
arXiv:1903.12261, section 4.
"""

import numpy as np
from numpy.typing import ArrayLike


def corruption_error(error: ArrayLike, base: ArrayLike) -> float:
    """CE of one kind: errors at each severity, (S,) and (S,); not a number where base has none."""
    return _ratio(np.sum(error), np.sum(base))


def relative_corruption_error(
    error: ArrayLike, base: ArrayLike, clean: float, base_clean: float
) -> float:
    """Relative CE of one kind; not a number where the base model loses nothing."""
    lost = np.asarray(error, dtype=float) - clean
    base_lost = np.asarray(base, dtype=float) - base_clean
    return _ratio(lost.sum(), base_lost.sum())


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below > 0 else float("nan")
