"""What methods are worth beside plain WiSE, on tables whose every number is known."""

import numpy as np
import pytest
from scipy import stats
from test_claims import table

from clipft.errors import ConfigError
from clipft.runs.above_wise import above_wise

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def bent(method, lr, seed, role, alpha):
    """FT gains 20 points and loses 30, along a line; Lipsum-FT gains 10 and loses 5, 7, 9."""
    gained, lost = (0.2, 0.3) if method == "ft" else (0.1, 0.05 + 0.02 * seed)
    if method == "kd":
        gained = 0.25
    return (0.5 - lost * alpha) if role == "shift" else (0.6 + gained * alpha)


def rows_of(methods):
    found = above_wise(table(bent, methods=methods, lrs=(1e-4,), alphas=ALPHAS))
    return found.set_index(["method", "what"])


def test_a_model_is_held_against_the_line_at_its_own_reference_accuracy():
    row = rows_of(("ft", "lipsum")).loc["lipsum", "model"]
    # At 0.7 the line of FT has lost 15 points; Lipsum-FT lost 5, 7 and 9.
    above = np.array([0.10, 0.08, 0.06])
    assert row.above == pytest.approx(above.mean())
    reach = stats.t.ppf(0.975, 2) * above.std(ddof=1) / 3**0.5
    assert (row.low, row.high) == pytest.approx((above.mean() - reach, above.mean() + reach))
    assert (row.seeds, row.beyond) == (3, 0)
    assert (row.reference, row["shift"]) == pytest.approx((0.7, 0.43))


def test_a_path_is_held_against_the_line_where_both_are():
    row = rows_of(("ft", "lipsum")).loc["lipsum", "mixed"]
    # Both are straight from zero-shot: the distance grows with the gain, from FT's first alpha on.
    gains = np.linspace(0.05, 0.1, 64)
    distances = [(1.5 * gains - loss * gains / 0.1).mean() for loss in (0.05, 0.07, 0.09)]
    assert row.above == pytest.approx(np.mean(distances))


def test_what_no_mixture_reaches_is_beyond():
    row = rows_of(("ft", "kd")).loc["kd", "model"]
    assert (row.seeds, row.beyond) == (0, 3)
    assert np.isnan(row.above)


def test_the_baseline_itself_is_no_row_and_must_be_mixed():
    assert rows_of(("ft",)).empty
    with pytest.raises(ConfigError, match="no run of ft is scored between its ends"):
        above_wise(table(bent, methods=("ft", "kd"), lrs=(1e-4,), alphas=(0.0, 1.0)))
