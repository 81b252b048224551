"""The papers' claims are tested on runs: what holds, fails, is open, or cannot be asked."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from scipy import stats
from test_table import COLUMNS

from clipft.errors import ConfigError
from clipft.metrics.curves import ahead
from clipft.runs.claims import Claim, Evidence, claims

SPLITS = {
    "real/test": "reference",
    "real/val": "val",
    "sketch/test": "shift",
    "clipart/test": "shift",
}
LRS = (1e-5, 1e-4, 1e-3)
ZERO_SHOT = {"reference": 0.6, "val": 0.6, "shift": 0.5}


def run_rows(method, lr, seed, alphas, accuracy):
    """The rows of one run; accuracy(method, lr, seed, role, alpha) where alpha is above 0."""
    name = f"{method}-{lr}"
    kind = (name, method, "mini", "m1", "tiny", "t1", method, lr, 100, seed, "holdout", "real")
    for alpha, (split, role) in itertools.product(alphas, SPLITS.items()):
        value = ZERO_SHOT[role] if alpha == 0 else accuracy(method, lr, seed, role, alpha)
        measured = {"accuracy": value, "feature_distortion": (2.0 if role == "shift" else 1.0)}
        if role == "shift":
            measured |= {"energy_gap": 1e4 * lr + seed / 10, "relative_accuracy": value}
        for metric, mean in measured.items():
            yield (f"{name}-{seed}", *kind, alpha, split, role, metric, mean, mean, mean, 50)


def table(accuracy, methods=("ft", "lipsum", "kd"), lrs=LRS, seeds=(0, 1, 2), alphas=(0.0, 1.0)):
    rows = []
    for method, lr, seed in itertools.product(methods, lrs, seeds):
        rows += run_rows(method, lr, seed, alphas, accuracy)
    return pd.DataFrame(rows, columns=COLUMNS)


def falling(method, lr, seed, role, alpha):
    """Gains on the reference with lr and loses under shift; Lipsum-FT loses 4 points less."""
    step = LRS.index(lr) + 1
    noise = 0.001 * seed
    if role != "shift":
        return 0.6 + 0.05 * step * alpha + noise
    kept = 0.04 if method == "lipsum" else 0.0
    return 0.5 - 0.03 * step * alpha + kept * alpha + noise


def by_letter(found):
    return {claim.question.letter: claim for claim in found}


def test_what_holds_fails_and_cannot_be_asked():
    found = by_letter(claims(table(falling)))
    assert found["a"].verdict == "holds"
    assert found["b"].verdict == "holds"
    assert found["c"].verdict in ("holds", "open")
    (above_kd,) = found["d"].evidence
    assert above_kd.what == "Lipsum-FT above KD"
    assert above_kd.value == pytest.approx(0.04)
    assert found["d"].verdict == "holds"
    assert {found[letter].verdict for letter in "efg"} == {"not tested"}
    assert str(found["f"]).endswith(
        "needs both at the same two learning rates or more, with two seeds"
    )

    upside_down = table(lambda *where: 1.1 - falling(*where))
    assert by_letter(claims(upside_down))["d"].verdict == "fails"


def test_a_difference_is_students_over_seeds():
    random = np.random.default_rng(0)
    noise = {seed: random.normal(0, 0.01) for seed in range(5)}

    def noisy(method, lr, seed, role, alpha):
        own = noise[seed] if (role, method) == ("shift", "ft") else 0.0
        return falling(method, lr, 0, role, alpha) + own

    lost = by_letter(claims(table(noisy, seeds=range(5))))["a"].evidence[1]
    values = [-0.09 + noise[seed] for seed in range(5)]
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert (lost.value, lost.low, lost.high) == pytest.approx((np.mean(values), low, high))
    assert lost.n == 5


def test_wise_is_held_against_ft_at_the_alpha_of_validation():
    def bent(method, lr, seed, role, alpha):
        rise = 0.3 * alpha * (1 - alpha) + 0.001 * seed * alpha
        return ZERO_SHOT[role] + rise + (0.05 if role != "shift" else -0.05) * alpha

    rows = table(bent, methods=["ft"], alphas=(0.0, 0.25, 0.5, 0.75, 1.0))
    lifted = by_letter(claims(rows))["e"]
    assert [each.what for each in lifted.evidence] == [
        "reference at alpha 0.5",
        "shift at alpha 0.5",
    ]
    assert lifted.verdict == "holds"


def test_mixtures_without_a_tuned_model_are_no_claim():
    rows = table(falling, methods=["ft"], alphas=(0.0, 0.5))
    assert {claim.verdict for claim in claims(rows)} == {"not tested"}


def test_two_rates_and_two_seeds_are_the_least():
    assert by_letter(claims(table(falling, lrs=LRS[:1])))["d"].verdict == "not tested"
    assert by_letter(claims(table(falling, seeds=[3])))["d"].verdict == "not tested"
    assert by_letter(claims(table(falling, seeds=[3])))["a"].verdict == "not tested"


def test_curves_are_of_one_family():
    """A second lambda of Lipsum-FT at one rate is no point of the curve."""
    rows = table(falling)
    stray = rows[(rows.recipe == "lipsum-0.001")].copy()
    stray["mean"] *= 0.1
    stray[["recipe", "family"]] = "other"
    stray["run"] += "x"
    whole = pd.concat([rows, stray], ignore_index=True)
    assert by_letter(claims(whole))["d"].evidence == by_letter(claims(rows))["d"].evidence


def test_runs_of_two_kinds_are_refused():
    other = table(falling).assign(model="big", model_digest="b1")
    with pytest.raises(ConfigError, match="several kinds of model"):
        claims(pd.concat([table(falling), other]))


def test_a_verdict_counts():
    above = Evidence("x", 0.02, 0.01, 0.03, n=5, unit="points")
    below = Evidence("y", -0.02, -0.03, -0.01, n=5, unit="points")
    unsure = Evidence("z", 0.02, -0.01, 0.05, n=5, expected="below")
    question = claims(table(falling))[0].question
    assert [each.verdict for each in (above, below, unsure)] == ["holds", "fails", "open"]
    assert Claim(question, (above, below, unsure)).verdict == (
        "holds in 1, fails in 1, open in 1 of 3"
    )
    assert str(above) == "x: +2.0 points [1.0, 3.0], n = 5: holds"


fractions = st.floats(0, 1, allow_nan=False)
polylines = st.lists(st.tuples(fractions, fractions), min_size=3, max_size=6)


@given(polylines, polylines, st.floats(-1, 1))
def test_ahead_is_antisymmetric_and_moves_with_the_curve(one, other, up):
    one, other = np.array(one), np.array(other)
    other[0] = one[0]
    found = ahead(one, other)
    low = max(one[1:, 0].min(), other[1:, 0].min())
    high = min(one[1:, 0].max(), other[1:, 0].max())
    assert np.isnan(found) == (low >= high)
    assert ahead(other, one) == pytest.approx(-found, abs=1e-9, nan_ok=True)
    assert ahead(one + np.array([0, up]), other) == pytest.approx(found + up, abs=1e-9, nan_ok=True)


def test_ahead_equals_interpolation_where_curves_rise():
    one = np.array([[0.5, 0.5], [0.6, 0.5], [0.7, 0.45], [0.8, 0.3]])
    other = np.array([[0.5, 0.5], [0.55, 0.45], [0.75, 0.2]])
    levels = np.linspace(0.6, 0.75, 64)
    wanted = np.interp(levels, *one.T) - np.interp(levels, *other.T)
    assert ahead(one, other) == pytest.approx(wanted.mean())
    turned = np.vstack([one, [0.65, 0.1]])  # a rate too large: the curve turns back, below
    assert ahead(turned, other) == pytest.approx(wanted.mean())
    assert np.isnan(ahead(one, other[:1])) and np.isnan(ahead(one[:0], other))
    assert np.isnan(ahead(one[:2], other + np.array([[0, 0], [0.3, 0], [0.3, 0]])))
