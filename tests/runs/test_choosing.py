"""Choices without shift labels: by hand, on tables whose every number is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings, strategies as st
from scipy import stats
from test_table import fake

from clipft.data.splits import SplitName
from clipft.errors import ConfigError
from clipft.runs import choosing

ROLES = {"real/val": "val", "real/test": "reference", "sketch/test": "shift", "art/test": "shift"}
SAME = {
    "manifest": "mini",
    "manifest_digest": "m1",
    "model": "tiny",
    "model_digest": "t1",
    "lr": 1e-4,
    "steps": 100,
    "selection": "holdout",
    "reference": "real",
}


def scored(*models):
    """A tidy table of models.

    Each: run, seed, alpha, accuracies of ROLES' splits, energy gap on val, images of val.
    """
    rows = []
    for run, seed, alpha, accuracies, gap, n in models:
        method = run.split("-")[0]
        model = SAME | {
            "run": run,
            "recipe": method,
            "method": method,
            "seed": seed,
            "alpha": alpha,
        }

        for (split, role), accuracy in zip(ROLES.items(), accuracies, strict=True):
            name = SplitName.parse(split)
            head = model | {"split": split, "domain": name.domain, "part": name.part, "role": role}
            tail = {"low": 0, "high": 1, "n": n if role == "val" else 7}
            rows.append(head | {"metric": "accuracy", "mean": accuracy} | tail)
            if gap is not None:
                own_gap = gap if role == "val" else 99
                rows.append(head | {"metric": "energy_gap", "mean": own_gap} | tail)
    return pd.DataFrame(rows)


OF_RESULTS = ("accuracy", "energy_gap", "oracle")  # rules that need no unlabelled images
# val, reference, shifts; the best val is 0.80 of 100 images: its standard error is 0.04
ONE = [
    ("ft-0", 0, 0.0, (0.50, 0.50, 0.60, 0.62), 0.0, 100),
    ("ft-0", 0, 0.25, (0.75, 0.74, 0.70, 0.74), 1.0, 100),  # 0.05 below the best: told apart
    ("ft-0", 0, 0.5, (0.77, 0.78, 0.66, 0.70), 2.0, 100),  # 0.03 below: not told apart
    ("ft-0", 0, 0.75, (0.80, 0.79, 0.60, 0.62), 4.0, 100),
    ("ft-0", 0, 1.0, (0.79, 0.81, 0.40, 0.44), 9.0, 100),
]


def test_candidates_are_the_numbers_of_the_table():
    rows = choosing.candidates(scored(*ONE)).set_index("alpha")
    assert list(rows.index) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert rows.loc[0.25].drop(
        ["run", "method", "lr", "steps", "recipe", "seed"]
    ).to_dict() == pytest.approx(
        {
            "val_accuracy": 0.75,
            "val_gap": 1.0,
            "val_n": 100,
            "val_error": (0.75 * 0.25 / 100) ** 0.5,
            "reference_accuracy": 0.74,
            "shift_accuracy": 0.72,
        }
    )


@pytest.mark.parametrize(
    ("rule", "alpha"), [("accuracy", 0.75), ("energy_gap", 0.5), ("oracle", 0.25)]
)
def test_what_each_rule_takes(rule, alpha):
    rows = choosing.candidates(scored(*ONE))
    assert rows.loc[choosing.pick(rows, rule)].alpha == alpha


@pytest.mark.parametrize(
    ("n", "alpha"), [(1, 0.0), (20, 0.25), (100, 0.5), (400, 0.75), (10**7, 0.75)]
)
def test_one_standard_error_of_the_best(n, alpha):
    """The error: sqrt(0.8 * 0.2 / n) = 0.4, 0.089, 0.04, 0.02, 0.0001.

    The accuracies are 0.3, 0.05, 0.03, 0 and 0.01 below the best.
    """
    rows = choosing.candidates(scored(*[(*model[:5], n) for model in ONE]))
    assert rows.loc[choosing.pick(rows, "energy_gap")].alpha == alpha


def test_of_ties_the_first_is_taken():
    same = [("ft-0", 0, alpha, (0.6, 0.6, 0.5, 0.5), 2.0, 50) for alpha in (0.0, 0.5, 1.0)]
    rows = choosing.candidates(scored(*same))
    assert [rows.loc[choosing.pick(rows, rule)].alpha for rule in OF_RESULTS] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("bound", "alpha"), [(0.8, 0.25), (0.5, 0.5), (0.3, 0.75), (0.81, 0.0), (1.1, 0.0)]
)
def test_agreement_is_a_constraint(bound, alpha):
    """Of those that agree enough the best on val; where none does, the one that agrees most."""
    rows = choosing.candidates(scored(*ONE), with_shift=False)
    assert "shift_accuracy" not in rows
    rows["agreement"] = [1.0, 0.8, 0.6, 0.4, 0.3]
    assert rows.loc[choosing.pick(rows, "agreement", bound)].alpha == alpha
    if bound == choosing.AGREEMENT:
        assert rows.loc[choosing.pick(rows, "agreement")].alpha == alpha


def test_choices_with_the_agreement_on_unlabelled_images():
    agreement = pd.DataFrame({"run": "ft-0", "alpha": [0, 0.25, 0.5, 0.75, 1]})
    agreement["agreement"] = [1.0, 0.9, 0.7, 0.6, 0.3]
    results = scored(*ONE)
    found = choosing.choices(results, agreement=agreement).iloc[0]
    assert found["agreement: alpha"] == 0.25 and found["agreement: shift"] == 0.72
    plain = choosing.choices(results).iloc[0]
    assert plain.equals(found[plain.index])
    # No shift with labels is needed then.
    found = choosing.choices(results[results.role != "shift"], agreement=agreement).iloc[0]
    assert found["agreement: alpha"] == 0.25 and found["energy_gap: alpha"] == 0.5
    assert not [name for name in found.index if "oracle" in name or "shift" in name]


def test_choices_among_the_alphas_of_each_run():
    other = [
        ("lipsum-1", 1, alpha, (0.9 - alpha / 2, 0.5, alpha, alpha), alpha, 100)
        for alpha in (0.0, 1.0)
    ]
    found = choosing.choices(scored(*ONE, *other)).set_index("run")
    assert list(found.index) == ["ft-0", "lipsum-1"] and found.of.tolist() == [5, 2]
    assert found.method.tolist() == ["ft", "lipsum"]
    want = {
        "accuracy: alpha": 0.75,
        "accuracy: reference": 0.79,
        "accuracy: shift": 0.61,
        "energy_gap: alpha": 0.5,
        "energy_gap: reference": 0.78,
        "energy_gap: shift": 0.68,
        "oracle: alpha": 0.25,
        "oracle: reference": 0.74,
        "oracle: shift": 0.72,
    }
    assert found.loc["ft-0", list(want)].to_dict() == pytest.approx(want)
    assert [found.loc["lipsum-1", f"{rule}: alpha"] for rule in OF_RESULTS] == [0.0, 0.0, 1.0]


MODELS = [  # three tuned models of each seed; at alpha 0.5 all would be chosen otherwise
    *[(f"a-{s}", s, 1.0, (0.80, 0.80, 0.30, 0.30), 9.0, 100) for s in (0, 1)],
    *[(f"b-{s}", s, 1.0, (0.78, 0.77, 0.50, 0.50), 3.0, 100) for s in (0, 1)],
    *[(f"c-{s}", s, 1.0, (0.60, 0.60, 0.60, 0.60), 1.0, 100) for s in (0, 1)],
    *[(f"c-{s}", s, 0.5, (0.99, 0.99, 0.99, 0.99), 0.5, 100) for s in (0, 1)],
]


def test_choices_among_the_tuned_models_of_each_seed():
    found = choosing.choices(scored(*MODELS), "models").set_index("seed")
    assert list(found.index) == [0, 1] and found.of.tolist() == [3, 3] and "method" not in found
    for seed, row in found.iterrows():
        runs = [row[f"{rule}: run"] for rule in OF_RESULTS]
        shift = [row[f"{rule}: shift"] for rule in OF_RESULTS]
        reference = [row[f"{rule}: reference"] for rule in OF_RESULTS]
        assert runs == [f"a-{seed}", f"b-{seed}", f"c-{seed}"]
        assert shift == pytest.approx([0.3, 0.5, 0.6])
        assert reference == pytest.approx([0.8, 0.77, 0.6])


def test_the_verdict_counts_and_averages():
    shift = [(0.5, 0.6), (0.5, 0.5), (0.7, 0.4), (0.2, 0.3), (0.1, 0.3)]
    table = pd.DataFrame(shift, columns=["accuracy: shift", "energy_gap: shift"])
    table["accuracy: reference"] = 0.9
    table["energy_gap: reference"] = [0.8, 0.9, 0.9, 0.85, 0.9]
    found = choosing.verdict(table)
    assert (found.n, found.wins, found.ties, found.losses) == (5, 3, 1, 1)
    assert (found.shift, found.reference) == pytest.approx((0.1 / 5, -0.15 / 5))
    # SciPy's t test of paired samples has the same interval.
    test = stats.ttest_rel(table["energy_gap: shift"], table["accuracy: shift"])
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()))
    low, high = 100 * found.low, 100 * found.high
    assert str(found) == (
        "better under shift in 3 of 5, equal in 1, worse in 1; "
        f"mean +2.0 points under shift [{low:.1f}, {high:.1f}], -3.0 on the reference"
    )


def test_the_verdict_of_choices():
    found = choosing.verdict(choosing.choices(scored(*ONE)))
    assert (found.wins, found.ties, found.losses) == (1, 0, 0)
    assert (found.shift, found.reference) == pytest.approx((0.07, -0.01))
    assert np.isnan([found.low, found.high]).all() and "[" not in str(found)  # one run


numbers = st.integers(0, 1000)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=2, max_size=9))
def test_ordered_pairs_are_kendalls_tau(values):
    val, gap, shift = (np.array(column) / 1000 for column in zip(*values, strict=True))
    for column in (val, gap, shift):
        assume(len(set(column)) == len(values))  # tau counts ties otherwise

    models = []
    for i, (v, g, s) in enumerate(zip(val, gap, shift, strict=True)):
        models.append((f"m-{i}", 0, 1.0, (v, 0.5, s, s), g, 50))
    found = choosing.ordered_pairs(scored(*models))
    assert found["accuracy"] == pytest.approx((stats.kendalltau(val, shift).statistic + 1) / 2)
    assert found["energy_gap"] == pytest.approx((stats.kendalltau(-gap, shift).statistic + 1) / 2)


def test_a_tie_is_half_told_and_equal_shifts_do_not_count():
    models = [
        ("a-0", 0, 1.0, (0.8, 0.5, 0.3, 0.3), 2.0, 50),
        ("b-0", 0, 1.0, (0.8, 0.5, 0.5, 0.5), 1.0, 50),
        ("c-0", 0, 1.0, (0.9, 0.5, 0.5, 0.5), 5.0, 50),
        ("d-0", 0, 0.5, (0.1, 0.5, 0.9, 0.9), 9.0, 50),  # not a tuned model
    ]
    found = choosing.ordered_pairs(scored(*models))
    # Pairs that differ under shift: a b (accuracy tied, gap right), a c (accuracy right, gap not).
    assert found == pytest.approx({"accuracy": 0.75, "energy_gap": 0.5})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (lambda: scored(*[(*model[:4], None, 100) for model in ONE]), "no run has an energy gap"),
        (lambda: scored(ONE[0]), "nothing to choose among the alphas"),
        (lambda: scored(*ONE).query("role != 'shift'"), "validation, reference and shift"),
        (lambda: scored(*ONE).query("role != 'val'"), "validation, reference and shift"),
        (lambda: fake().assign(manifest_digest=lambda t: t.run), "several kinds of manifest"),
    ],
)
def test_nothing_to_choose_is_one_line(table, words):
    with pytest.raises(ConfigError, match=words) as raised:
        choosing.choices(table())
    assert "\n" not in str(raised.value)


def test_one_tuned_model_is_no_choice():
    with pytest.raises(ConfigError, match="nothing to choose among the models"):
        choosing.choices(scored(*ONE), "models")


@pytest.mark.parametrize("count", [1, 2])
def test_pairs_need_two_models_that_differ(count):
    models = [(f"m-{i}", 0, 1.0, (0.5 + i / 10, 0.5, 0.4, 0.4), float(i), 50) for i in range(count)]
    with pytest.raises(ConfigError, match=f"{count} tuned models, no two of which differ"):
        choosing.ordered_pairs(scored(*models))


def test_a_run_without_a_gap_is_left_out():
    ensemble = [("ens-0", 0, alpha, (0.9, 0.9, 0.9, 0.9), None, 100) for alpha in (0.0, 1.0)]
    assert choosing.choices(scored(*ONE, *ensemble)).run.tolist() == ["ft-0"]


def test_an_unknown_rule_or_choice_is_refused():
    rows = choosing.candidates(scored(*ONE))
    with pytest.raises(ConfigError, match="acuracy"):
        choosing.pick(rows, "acuracy")
    with pytest.raises(ConfigError, match="model"):
        choosing.choices(scored(*ONE), "model")
    with pytest.raises(ConfigError, match="needs a column agreement; wanted: clipft pick"):
        choosing.pick(rows, "agreement")
