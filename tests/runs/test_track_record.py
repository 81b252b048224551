"""The record of estimates and what rules lose: by hand, on models whose every number is known."""

import numpy as np
import pandas as pd
import pytest

from clipft import regrets, track_record
from clipft.errors import ConfigError
from clipft.runs import choosing, track_record as records
from clipft.runs.shift_estimates import COLUMNS

ALPHAS = (0.0, 0.5, 1.0)
STEPS = 100
SPLITS = ("art/test", "sketch/test")


def estimates_of(*models, splits=SPLITS, reference="real"):
    """A table of estimates.

    Each model: run, recipe, alpha, val accuracy, accuracy of each split, agreement of each split.
    mean_confidence is 0.1 above the truth, val_gap is alpha, atc orders backwards.
    """
    rows = []
    for run, recipe, alpha, val, accuracies, agreement in models:
        for split, accuracy, agrees in zip(splits, accuracies, agreement, strict=True):
            said = {
                "val_accuracy": (val, val),
                "mean_confidence": (accuracy + 0.1, accuracy + 0.1),
                "atc": (1 - accuracy, 1 - accuracy),
                "agreement": (agrees, np.nan),
                "val_gap": (-alpha, np.nan),
                "aline_s": (val, val),
            }
            about = {"run": run, "recipe": recipe, "method": "ft", "lr": 1e-3 * (1 + int(run[-1]))}
            about |= {"steps": STEPS, "seed": 0, "manifest_digest": "m", "model_digest": "t"}
            about |= {"reference": reference, "alpha": alpha, "split": split, "n": 100}
            about |= {"accuracy": accuracy, "val_accuracy": val, "val_n": 100, "why": ""}
            for estimator, (value, estimate) in said.items():
                told = {"estimator": estimator, "value": value, "estimate": estimate}
                rows.append(about | told | {"low": np.nan, "high": np.nan})
    return pd.DataFrame(rows, columns=COLUMNS)


def family(recipes=5, seeds=2):
    """Models that lose under shift what they gain on val, more so with each recipe."""
    models = []
    for recipe in range(recipes):
        for seed in range(seeds):
            for alpha in ALPHAS:
                way = alpha * (1 + recipe + 0.1 * seed)
                lost = 0.05 * way
                accuracies = (0.7 - lost, 0.6 - 2 * lost)
                agreement = (1 - 0.06 * way, 1 - 0.12 * way)
                run = f"r{seed}-{recipe}"
                models.append((run, f"c{recipe}", alpha, 0.5 + 0.03 * way, accuracies, agreement))
    return models


def row_of(table, **where):
    for key, value in where.items():
        table = table[table[key] == value]
    assert len(table) == 1, where
    return table.iloc[0]


def test_the_record_of_each_estimator_by_hand():
    record = track_record(estimates_of(*family()))
    assert set(record.models) == {"tuned", "mixed"}
    confident = row_of(record, models="tuned", split="art/test", estimator="mean_confidence")
    assert (confident.n, confident.recipes, confident.fitted) == (10, 5, False)
    assert (confident.mae, confident.mae_low, confident.mae_high) == pytest.approx((10, 10, 10))
    assert (confident.spearman, confident.pairs) == pytest.approx((1, 1))
    backwards = row_of(record, models="mixed", split="art/test", estimator="atc")
    assert (backwards.n, backwards.spearman, backwards.pairs) == pytest.approx((20, -1, 0))
    assert backwards.line_r < -0.99


def test_a_fitted_line_is_that_of_the_other_shifts():
    table = estimates_of(*family())
    rows = table[(table.estimator == "agreement") & (table.alpha == 1)]
    line = np.polyfit(*rows.loc[rows.split == "sketch/test", ["value", "accuracy"]].to_numpy().T, 1)
    here = rows[rows.split == "art/test"]
    wanted = 100 * np.abs(np.polyval(line, here.value) - here.accuracy).mean()
    found = row_of(track_record(table), models="tuned", split="art/test", estimator="agreement")
    assert found.mae == pytest.approx(wanted) and found.fitted


def test_agreement_on_the_line_is_refused_by_other_shifts():
    record = track_record(estimates_of(*family()))
    refused = record[record.refused != ""]
    assert set(refused.estimator) == {"aline_s"}
    assert refused.refused.str.contains("the better on val, the worse").all()
    few = track_record(estimates_of(*family(recipes=1)))
    assert (
        "2 models; wanted: 5"
        in row_of(few, models="tuned", split="art/test", estimator="aline_s").refused
    )


# val, shift, agreement: the best on val is 0.80; a point below it there are two more
ONE = [
    ("r0-1", "a", 0.0, 0.50, (0.60,), (1.0,)),
    ("r0-1", "a", 0.5, 0.795, (0.55,), (0.9,)),
    ("r0-1", "a", 1.0, 0.80, (0.40,), (0.7,)),
    ("r1-2", "b", 0.0, 0.50, (0.60,), (1.0,)),
    ("r1-2", "b", 0.5, 0.78, (0.62,), (0.8,)),
    ("r1-2", "b", 1.0, 0.791, (0.58,), (0.6,)),
]


@pytest.mark.parametrize(
    ("rule", "candidates", "regret", "accuracy"),
    [
        ("val_accuracy", "close", 18, 0.40),  # of 0.55, 0.40 and 0.58
        ("agreement", "close", 3, 0.55),
        ("agreement", "close or zero-shot", 0, 0.60),
        ("agreement", "all", 2, 0.60),
        ("mean_confidence", "all", 0, 0.62),
        ("atc", "close", 18, 0.40),
        ("accuracy_then_gap", "all", 7, 0.55),  # one error is 0.04: of all but zero-shot's
        ("smallest_alpha", "close", 3, 0.55),
        ("smallest_steps", "close", 3, 0.55),
        ("smallest_steps", "all", 7, 0.55),
        ("zero_shot", "close", -2, 0.60),
        ("zero_shot", "all", 2, 0.60),
    ],
)
def test_what_rules_lose_that_choose_a_model(rule, candidates, regret, accuracy):
    table = regrets(estimates_of(*ONE, splits=("art/test",)))
    found = row_of(table, chooses="model", candidates=candidates, rule=rule)
    assert (found.regret, found.accuracy) == pytest.approx((regret, accuracy))
    assert found.zero_shot == (accuracy == 0.60) and found.n == 1
    assert np.isnan([found.low, found.high]).all()  # two recipes


def test_what_rules_lose_that_choose_the_alpha_of_each_run():
    table = regrets(estimates_of(*ONE, splits=("art/test",)))
    found = row_of(table, chooses="alpha", candidates="all", rule="val_accuracy")
    assert found.n == 2 and found.regret == pytest.approx((20 + 4) / 2)
    assert found.val_lost == 0 and found.val_accuracy == pytest.approx((0.80 + 0.791) / 2)
    found = row_of(table, chooses="alpha", candidates="all", rule="zero_shot")
    assert found.val_lost == pytest.approx((30 + 29.1) / 2) and found.zero_shot == 1


@pytest.mark.parametrize("bound", records.BOUNDS)
def test_rules_are_those_of_choosing(bound):
    table = estimates_of(*ONE, splits=("art/test",))
    (field,) = records.fields_of(table)
    rows = field.models.assign(agreement=field.value["agreement"], val_gap=-field.value["val_gap"])
    rows["val_error"] = (rows.val_accuracy * (1 - rows.val_accuracy) / rows.val_n) ** 0.5
    everything = np.ones((1, len(rows)), bool)
    rules = {(rule.name, rule.bound): rule for rule in records.rules_of(field, records.BOUNDS)}
    (chosen,) = rules["agreement_bound", bound].choose(everything)
    assert chosen == choosing.pick(rows, "agreement", bound)
    (gap,) = [rule for rule in rules.values() if rule.name == "accuracy_then_gap"]
    assert gap.choose(everything)[0] == choosing.pick(rows, "energy_gap")


def test_the_bound_is_fitted_on_other_shifts():
    """Where tuning harms the other shift, the bound is high; this one's labels have no say."""
    good = [(*model[:4], (model[4][0], 0.9), model[5]) for model in family()]
    fields = records.fields_of(estimates_of(*good))
    by_split = {field.split: field for field in fields}
    # On the sketches nothing is lost, so the best on val is the best.
    assert records.fitted_bound(by_split["art/test"], fields) == min(records.FITTED)
    assert records.fitted_bound(by_split["sketch/test"], fields) > 0.9
    table = regrets(estimates_of(*good))
    rows = table[(table.rule == "agreement_fitted") & (table["split"] == "sketch/test")]
    assert (rows.bound == records.fitted_bound(by_split["sketch/test"], fields)).all()
    of_one = records.fields_of(estimates_of(*ONE, splits=("art/test",)))
    assert np.isnan(records.fitted_bound(of_one[0], of_one))


def test_what_was_chosen_on_the_shift_s_own_domain_has_no_say():
    """Models whose reference is the sketches know labels of sketches: of their validation part."""
    of_sketches = estimates_of(*family(), splits=("art/test", "real/test"), reference="sketch")
    table = pd.concat([estimates_of(*family()), of_sketches], ignore_index=True)
    fields = {(field.reference, field.split): field for field in records.fields_of(table)}
    told = records._others(fields["real", "sketch/test"], [*fields.values()], same_reference=False)
    assert [(other.reference, other.split) for other in told] == [("real", "art/test")]
    told = records._others(fields["real", "art/test"], [*fields.values()], same_reference=False)
    assert {other.reference for other in told} == {"real", "sketch"}


def test_intervals_of_regrets_hold_them():
    table = regrets(estimates_of(*family()))
    assert table.low.notna().all()
    assert ((table.low <= table.regret + 1e-9) & (table.regret <= table.high + 1e-9)).all()
    own = table[table.rule != "zero_shot"]  # which need not be among the candidates
    assert (own.regret >= -1e-9).mean() > 0.9


def test_a_record_of_runs(scored):
    record = track_record(scored.runs)
    assert set(record["split"]) == {"sketch/test", "clipart/test"}
    assert record[record.estimator == "val_accuracy"].mae.notna().all()
    assert len(regrets(scored.runs)) > 100


def test_nothing_to_look_at_is_one_line():
    table = estimates_of(*ONE, splits=("art/test",))
    with pytest.raises(ConfigError, match="no shift with labels"):
        track_record(table.assign(accuracy=np.nan))
    with pytest.raises(ConfigError, match="several model_digest"):
        track_record(table.assign(model_digest=table.run))
    with pytest.raises(ConfigError, match="expected runs"):
        track_record(table.drop(columns="why"))
