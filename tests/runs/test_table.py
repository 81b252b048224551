"""Tables against pandas on the tidy rows, and the names and the order in which methods appear."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from clipft.errors import ConfigError
from clipft.methods import METHODS, POSTHOC
from clipft.metrics.intervals import of_repeats
from clipft.runs import table as tables
from clipft.runs.names import ordered, title_of
from clipft.runs.table import CONFIG_COLUMNS

ALPHAS = (0.0, 0.5, 1.0)
SPLITS = {"real/val": "val", "real/test": "reference", "sketch/test": "shift", "art/test": "shift"}
COLUMNS = ["run", "recipe", "family", *CONFIG_COLUMNS, "reference", "alpha", "split", "role"]
COLUMNS += ["metric", "mean", "low", "high", "n"]


def fake(recipes=(("ft", 1e-4), ("lipsum", 1e-4)), seeds=(0, 1), alphas=ALPHAS, accuracy=None):
    """A results table with random numbers; `accuracy(method, lr, split, alpha)` overrides the
    accuracies.
    """
    rng, rows = np.random.default_rng(0), []
    for (method, lr), seed, alpha, (split, role) in itertools.product(
        recipes, seeds, alphas, SPLITS.items()
    ):
        values = {"accuracy": rng.uniform(0.2, 0.9), "energy_gap": alpha * rng.uniform(1, 9)}
        values |= {"nll": rng.uniform(), "ece": rng.uniform()}
        if role == "shift":
            values["relative_accuracy"] = rng.uniform(0.3, 1)
        if accuracy is not None:
            values["accuracy"] = accuracy(method, lr, split, alpha)
        recipe = f"{method}-{lr}"
        kind = (
            recipe,
            method,
            "mini",
            "m1",
            "tiny",
            "t1",
            method,
            lr,
            100,
            seed,
            "holdout",
            "real",
        )
        head = (f"{recipe}-{seed}", *kind, alpha, split, role)
        rows += [
            (*head, metric, value, value - 0.01, value + 0.01, 50)
            for metric, value in values.items()
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


TABLE = fake()


def with_ensemble():
    """TABLE and an ensemble of FT, which has no energy gap but a distance from WiSE."""
    table = fake(recipes=[("ft", 1e-4), ("lipsum", 1e-4), ("ft+output_ensemble", 1e-4)])
    table.loc[(table.method == "ft+output_ensemble") & (table.metric == "energy_gap"), "metric"] = (
        "wise_distance"
    )
    return table


def mean(table, **where):
    """The mean value of the rows that match, straight from the tidy table."""
    for column, value in where.items():
        table = table[table[column] == value]
    return table["mean"].mean()


def test_best_by_val_looks_at_validation_only():
    def accuracy(method, lr, split, alpha):
        better_on_val = lr == 1e-4
        if alpha != 1.0:  # nor at the mixtures
            better_on_val = not better_on_val
        return 0.6 if better_on_val == (split == "real/val") else 0.4

    table = fake(
        recipes=[("ft", 1e-4), ("ft", 1e-5), ("lipsum", 1e-5), ("lipsum", 1e-4)], accuracy=accuracy
    )
    tests = table[(table.role != "val") & (table.alpha == 1)]
    assert mean(tests, metric="accuracy", lr=1e-5) > mean(tests, metric="accuracy", lr=1e-4)
    assert tables.best_by_val(table) == {"ft": "ft-0.0001", "lipsum": "lipsum-0.0001"}


def test_paths_and_recipes_are_means():
    rows = tables.recipes(TABLE).set_index(["method", "alpha"])
    assert len(rows) == 2 * len(ALPHAS)
    for (method, alpha), row in rows.iterrows():
        here = {"metric": "accuracy", "method": method, "alpha": alpha}
        assert row.reference_accuracy == pytest.approx(mean(TABLE, role="reference", **here))
        assert row.shift_accuracy == pytest.approx(mean(TABLE, role="shift", **here))
        assert row["sketch/test"] == pytest.approx(mean(TABLE, split="sketch/test", **here))
        assert row.seeds == 2


def test_results_table_is_pandas_means():
    frame = tables.results_table(TABLE)
    assert list(frame.columns[:8]) == [
        "method",
        "lr",
        "steps",
        "alpha",
        "seeds",
        "real",
        "art",
        "sketch",
    ]
    zero, tuned = frame.iloc[0], frame[frame.alpha == "1"].set_index("method")
    first = TABLE[(TABLE.run == TABLE.run[0]) & (TABLE.metric == "accuracy") & (TABLE.alpha == 0)]
    assert (zero.method, zero.seeds) == ("zero-shot", "1")
    assert zero["sketch"] == f"{100 * mean(first, split='sketch/test'):.1f}"
    for name, method in {"FT": "ft", "Lipsum-FT": "lipsum"}.items():
        part = TABLE[(TABLE.method == method) & (TABLE.alpha == 1)]
        for split in ("real", "art", "sketch"):
            values = (
                100 * part[(part.split == f"{split}/test") & (part.metric == "accuracy")]["mean"]
            )
            assert tuned.loc[name, split] == f"{values.mean():.1f} ± {values.std():.1f}"
        shifts = part[part.role == "shift"].groupby(["metric", "seed"])["mean"].mean()
        assert (
            tuned.loc[name, "mean shift"]
            == f"{100 * shifts.accuracy.mean():.1f} ± {100 * shifts.accuracy.std():.1f}"
        )
        assert (
            tuned.loc[name, "energy gap"]
            == f"{shifts.energy_gap.mean():.2f} ± {shifts.energy_gap.std():.2f}"
        )
        assert tuned.loc[name, "seeds"] == "2"


def test_repeats_have_a_mean_and_its_interval():
    """FLYP reports the mean of 50 repeats of few shots."""
    table = fake(recipes=[("ft", 1e-4)], seeds=range(50), alphas=(0.0, 1.0))
    row = tables.results_table(table, intervals=True).set_index("alpha").loc["1"]
    of_sketch = (table.metric == "accuracy") & (table.alpha == 1) & (table.split == "sketch/test")
    values = 100 * table[of_sketch]["mean"]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert len(values) == 50 == int(row.seeds)
    assert row.sketch == f"{values.mean():.1f} [{low:.1f}, {high:.1f}]"
    alone = tables.results_table(table[table.seed == 0], intervals=True)
    assert "[" not in alone.sketch.iloc[-1]


@pytest.mark.parametrize("repeats", [2, 5, 50])
def test_the_interval_of_repeats_holds_the_truth_as_often_as_it_says(repeats):
    draws = np.random.default_rng(0).normal(0.6, 0.02, (2000, repeats))
    bounds = np.array([of_repeats(row) for row in draws])
    held = ((bounds[:, 0] <= 0.6) & (bounds[:, 1] >= 0.6)).mean()
    assert abs(held - 0.95) < 0.015  # three standard errors


@pytest.mark.parametrize(("peak", "rows"), [(0.5, ["1", "0.5 (val)"]), (1.0, ["1"]), (0.0, ["1"])])
def test_results_table_picks_the_mixture_by_validation(peak, rows):
    def accuracy(method, lr, split, alpha):  # on the test splits the other way round
        return 0.5 + 0.4 * ((alpha == peak) == (split == "real/val"))

    frame = tables.results_table(fake(recipes=[("ft", 1e-4)], accuracy=accuracy))
    assert frame.alpha.tolist() == ["0", *rows]


def test_a_choice_on_the_reported_split_is_said():
    assert "selection" not in tables.results_table(TABLE)
    assert set(tables.results_table(TABLE.assign(selection="paper")).selection) == {"paper"}


def test_other_settings_are_no_other_seeds():
    """Two runs that differ in lambda are two recipes, though method, lr and steps are the same."""
    table = TABLE[TABLE.method == "lipsum"].copy()
    table["recipe"] = table.run
    frame = tables.results_table(table)
    assert set(frame.seeds) == {"1"}
    assert (frame.method == "Lipsum-FT").sum() == 2


def test_an_alpha_that_one_seed_lacks_is_left_out_of_the_means():
    table = TABLE[~((TABLE.seed == 1) & (TABLE.alpha == 0.5))]
    assert set(tables.recipes(table).alpha) == {0.0, 1.0}


# --- names and order


@pytest.mark.parametrize(
    ("method", "title"),
    [
        ("lipsum", "Lipsum-FT"),
        ("lipsum+tpgm", "Lipsum-FT + TPGM"),
        ("ft+uniform_soup+wise", "FT + uniform soup + WiSE"),
        ("mine", "mine"),
        ("mine+tpgm_c+theirs", "mine + TPGM-C + theirs"),
        ("tpgm+ft", "tpgm + ft"),  # neither is what its place says
    ],
)
def test_a_combination_is_called_after_its_parts(method, title):
    assert title_of(method) == title


def test_titles_tell_all_methods_apart():
    names = [*METHODS, *(f"ft+{name}" for name in POSTHOC), *(f"lipsum+{name}" for name in POSTHOC)]
    assert len({title_of(name) for name in names}) == len(names)


def test_the_order_is_the_registries():
    assert ordered([*reversed(METHODS)]) == [*METHODS]
    assert ordered([f"ft+{name}" for name in reversed(POSTHOC)]) == [
        f"ft+{name}" for name in POSTHOC
    ]


def test_a_combination_stands_behind_its_method():
    first, second, *_ = METHODS
    own = [first, f"{first}+tpgm", f"{first}+tpgm+wise", second, f"{second}+tpgm", "aaa", "zzz"]
    for seed in range(5):
        assert ordered(np.random.default_rng(seed).permutation(own * 2).tolist()) == own


def test_rows_follow_the_registry():
    mixed = ["kd+tpgm", "lipsum", "kd", "ft+wise", "ft"]
    frame = tables.results_table(fake(recipes=[(name, 1e-4) for name in mixed], alphas=(0.0, 1.0)))
    titles = [title_of(name) for name in ("ft", "ft+wise", "kd", "kd+tpgm", "lipsum")]
    assert frame.method.tolist() == ["zero-shot", *titles]


# --- more columns, fewer numbers


def test_calibration_columns_are_pandas_means():
    frame = tables.results_table(TABLE, calibration=True)
    assert list(frame.columns[9:]) == [
        "NLL reference",
        "NLL shift",
        "ECE reference",
        "ECE shift",
        "energy gap",
    ]
    assert list(tables.results_table(TABLE).columns) == [
        name for name in frame if name[:3] not in ("NLL", "ECE")
    ]
    tuned = frame[frame.alpha == "1"].set_index("method")
    for name, method in {"FT": "ft", "Lipsum-FT": "lipsum"}.items():
        for role in ("reference", "shift"):
            part = TABLE[(TABLE.method == method) & (TABLE.alpha == 1) & (TABLE.role == role)]
            runs = part.groupby(["metric", "run"])["mean"].mean()
            assert tuned.loc[name, f"NLL {role}"] == f"{runs.nll.mean():.2f} ± {runs.nll.std():.2f}"
            assert (
                tuned.loc[name, f"ECE {role}"]
                == f"{100 * runs.ece.mean():.1f} ± {100 * runs.ece.std():.1f}"
            )


def test_a_recipe_of_one_seed_has_no_deviation():
    frame = tables.results_table(fake(seeds=(3,)), calibration=True)
    assert set(frame.seeds) == {"1"} and not frame.map(lambda cell: "±" in cell).any(axis=None)


def test_an_ensemble_has_no_energy_gap():
    table = with_ensemble()
    frame = tables.results_table(table).set_index(["method", "alpha"])
    gaps = frame["energy gap"]
    assert gaps["FT + output ensemble", "1"] == "-"
    assert not [
        gap for (method, _), gap in gaps.items() if method in ("FT", "Lipsum-FT") and "±" not in gap
    ]
    part = table[
        (table.method == "ft+output_ensemble") & (table.alpha == 1) & (table.split == "sketch/test")
    ]
    values = 100 * part[part.metric == "accuracy"]["mean"]
    assert (
        frame.loc[("FT + output ensemble", "1"), "sketch"]
        == f"{values.mean():.1f} ± {values.std():.1f}"
    )
    assert tables.wide(table).groupby("method").energy_gap.count().to_dict() == {
        "ft": 24,
        "ft+output_ensemble": 0,
        "lipsum": 24,
    }


def test_ensembles_alone_have_a_table_too():
    table = with_ensemble()
    frame = tables.results_table(table[table.method == "ft+output_ensemble"])
    assert set(frame["energy gap"]) <= {"", "-"}


# --- changes against zero-shot


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_changes_are_differences_of_pandas_means(alpha):
    table = fake(recipes=[("ft", 1e-4), ("ft", 1e-5), ("lipsum", 1e-4)])
    found = tables.changes(table, alpha)
    assert set(found.run) == set(table.run) and len(found) == table.run.nunique()
    for row in found.itertuples():
        for role in ("reference", "shift"):
            here = {"metric": "accuracy", "run": row.run, "role": role}
            want = mean(table, alpha=alpha, **here) - mean(table, alpha=0.0, **here)
            assert getattr(row, role) == pytest.approx(want)
    assert (tables.changes(table, 0.0)[["reference", "shift"]] == 0).all(axis=None)


def test_changes_leave_out_what_has_no_zero_shot():
    table = TABLE[~((TABLE.run == TABLE.run.iloc[0]) & (TABLE.alpha == 0))]
    assert set(tables.changes(table).run) == set(TABLE.run) - {TABLE.run.iloc[0]}
    for missing in (0.0, 1.0):
        with pytest.raises(ConfigError, match="no run is scored at alpha 0 and 1"):
            tables.changes(TABLE[TABLE.alpha != missing])
