"""Sentences on results, against numbers computed from the tidy rows by plain pandas and SciPy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_table import fake

from clipft.metrics.correlation import correlation
from clipft.runs.findings import findings, tuned_runs

# method, lr -> reference and shift accuracy of the tuned model; zero-shot has 50 / 40 %
TUNED = {("ft", 1e-4): (0.60, 0.38), ("ft", 1e-3): (0.70, 0.20), ("lipsum", 1e-3): (0.62, 0.30)}
RECIPES = tuple(TUNED)
GAPS = {("ft", 1e-4): 2.0, ("ft", 1e-3): 5.0, ("lipsum", 1e-3): 1.0}


def accuracy(method, lr, split, alpha):
    """On a straight path, but for plain fine-tuning, whose mixture is better than that."""
    reference, shift = TUNED[method, lr]
    if split.startswith("real"):
        return 0.5 + alpha * (reference - 0.5)
    bent = 0.06 if method == "ft" and 0 < alpha < 1 else 0
    spread = 0.01 if split.startswith("art") else -0.01
    return 0.4 + alpha * (shift - 0.4) + bent + spread


def small(recipes=RECIPES, seeds=(0, 1), **more):
    table = fake(recipes=recipes, seeds=seeds, accuracy=accuracy, **more)
    is_gap = table.metric == "energy_gap"
    gaps = [GAPS[key] for key in zip(table.method, table.lr, strict=True)]
    table.loc[is_gap, "mean"] = (np.array(gaps) * table.alpha)[is_gap]
    return table


def text(said):
    return "\n".join([*said.ran, *said.found, *said.limits])


def test_what_was_run_and_scored():
    ran = findings(small()).ran
    assert ran[0] == (
        "6 models: tiny, tuned on real of mini by FT (lr 1e-4, 1e-3) and Lipsum-FT (lr 1e-3);"
        " seeds 0 and 1."
    )
    assert "images of real (the reference) and of 2 shifts (art and sketch)" in ran[1]


def test_gains_and_losses_are_those_of_the_rows():
    found = findings(small()).found
    assert found[0].startswith(
        "Before tuning, zero-shot, the model has 50.0 % on real and 40.0 % under shift"
    )
    assert found[1] == ("6 of 6 tuned models are better than zero-shot on real, 0 under shift.")
    assert found[2] == (
        "FT (lr 1e-3) did best on real: there it gained 20.0 points,"
        " and under shift it lost 20.0 points."
    )
    assert found[3] == (
        "FT (lr 1e-4) kept most under shift: there it lost 2.0 points,"
        " and on real it gained 10.0 points."
    )


def test_other_methods_are_held_against_plain_tuning_at_the_same_settings():
    found = text(findings(small()))
    assert (
        "1 of 1 recipe of other methods has more accuracy under shift than FT; the best of them,"
        " Lipsum-FT (lr 1e-3), has 62.0 / 30.0 % (real / shift), FT 70.0 / 20.0 %."
        " Under shift that is +10.0 points [10.0, 10.0], n = 2 seeds, paired;"
        " 1 of 1 such 95 % interval lies above 0."
    ) in found
    # at alpha 0.5 FT at 1e-3 has 60 % on the reference: less than Lipsum-FT's 62
    assert "No scored mixture of FT with zero-shot (WiSE) is as good on both" in found


@pytest.mark.parametrize("seeds", [(4,), (0, 1, 2)])
def test_methods_are_held_against_each_other_seed_by_seed(seeds):
    """What a seed does to both is no difference of the methods."""
    table = small(seeds=seeds)
    is_shift = (table.metric == "accuracy") & (table.role == "shift") & (table.alpha == 1)
    luck = table.seed.map({0: 0.1, 1: 0.0, 2: -0.1, 4: 0.0})
    own = 0.01 * (table.seed == 2) * (table.method == "lipsum")
    table.loc[is_shift, "mean"] += (luck + own)[is_shift]
    said = text(findings(table))
    if seeds == (4,):
        assert "That is one seed of each (n = 1): chance is not told apart." in said
        return
    tests = table[is_shift & (table.lr == 1e-3)].groupby(["method", "seed"])["mean"].mean()
    test = stats.ttest_rel(tests["lipsum"], tests["ft"])
    low, high = 100 * np.array(test.confidence_interval())
    mean = 100 * (tests["lipsum"] - tests["ft"]).mean()
    assert high - low < 4  # not paired: some 45
    assert f"Under shift that is {mean:+.1f} points [{low:.1f}, {high:.1f}], n = 3 seeds" in said


def test_a_mixture_that_is_as_good_is_said_and_named():
    TUNED_LESS = TUNED | {("lipsum", 1e-3): (0.58, 0.30)}

    def weaker(method, lr, split, alpha):
        reference = TUNED_LESS[method, lr][0]
        if split.startswith("real") and method == "lipsum":
            return 0.5 + alpha * (reference - 0.5)
        return accuracy(method, lr, split, alpha)

    said = findings(fake(recipes=RECIPES, accuracy=weaker))
    (limit,) = [line for line in said.limits if "WiSE" in line]
    # FT at 1e-3, half mixed: (50 + 70) / 2 and (40 + 20) / 2 + 6
    assert limit == (
        "1 of 1 tuned recipe of other methods is no better than FT mixed with zero-shot (WiSE):"
        " FT (lr 1e-3) has 60.0 / 36.0 % at alpha 0.5, Lipsum-FT (lr 1e-3) 58.0 / 30.0 %"
        " (+6.0 points [6.0, 6.0], n = 2, under shift, paired by seed)."
    )
    assert "No scored mixture" not in text(said)


def test_recipes_of_other_seeds_are_not_held_against_each_other():
    """A lucky seed alone would else be ahead of a mean over two."""
    table = small()
    lucky = table[(table.method != "lipsum") | (table.seed == 1)]
    assert "recipe of other methods" in text(findings(table))
    said = text(findings(lucky))
    assert "of other methods" not in said and "No scored mixture" not in said


@pytest.mark.parametrize("metric", ["energy_gap", "feature_distortion"])
def test_r_is_scipys_and_its_interval_is_over_recipes(metric):
    rates = [("ft", 1e-4), ("ft", 1e-3), ("ft", 1e-2), ("lipsum", 1e-3), ("lipsum", 1e-4)]
    table = fake(recipes=rates)
    table = pd.concat(
        [table, table[table.metric == "energy_gap"].assign(metric="feature_distortion")],
        ignore_index=True,
    )
    is_distortion = table.metric == "feature_distortion"
    noise = np.random.default_rng(5).uniform(1, 9, int(is_distortion.sum()))
    table.loc[is_distortion, "mean"] = noise
    said = text(findings(table))
    tuned = table[table.alpha == 1.0].set_index("run")
    for split in ("art/test", "sketch/test"):
        rows = tuned[tuned.split == split]
        x = rows[rows.metric == metric]["mean"]
        y = rows[rows.metric == "relative_accuracy"]["mean"][x.index]
        recipe = rows[rows.metric == metric].recipe
        r = stats.pearsonr(x, y).statistic
        found = correlation(x, y, list(recipe))
        assert (found.n, found.recipes) == (len(x), recipe.nunique()) == (2 * recipe.nunique(), 5)
        # Two seeds of five recipes say no more than five points would.
        assert max(abs(np.tanh(np.arctanh(r) + 1.9599 / np.sqrt(2) * np.array([-1, 1])))) <= max(
            abs(found.low), abs(found.high)
        )
        where = f"r = {r:.2f} [{found.low:.2f}, {found.high:.2f}] on {split.split('/')[0]}"
        assert where in said
        if metric == "energy_gap":
            assert "over 10 tuned models of 5 recipes, each with all its seeds" in said
            rho = stats.spearmanr(x, y).statistic
            tau = stats.kendalltau(x, y).statistic
            assert f"Spearman's rho {rho:.2f}, Kendall's tau {tau:.2f} on" in said


@pytest.mark.parametrize(
    ("falls_on", "words"),
    [
        (("art", "sketch"), "The models that moved least kept most of their accuracy."),
        (("art",), "Models that moved less kept more on art; elsewhere open."),
        ((), "No interval lies below 0: whether the two go together is open."),
    ],
)
def test_a_correlation_is_claimed_only_where_its_interval_says_so(falls_on, words):
    gaps = {("ft", lr): gap for gap, lr in enumerate((1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1), 1)}
    table = fake(recipes=list(gaps), seeds=(0, 1, 2))
    is_gap = table.metric == "energy_gap"
    of_rows = [gaps[key] for key in zip(table.method, table.lr, strict=True)]
    table.loc[is_gap, "mean"] = np.array(of_rows, float)[is_gap]
    rng = np.random.default_rng(1)
    for row in table[table.metric == "relative_accuracy"].itertuples():
        gap = gaps[row.method, row.lr]
        falls = row.split.split("/")[0] in falls_on
        noise = rng.normal(0, 0.001 if falls else 1)
        table.loc[row.Index, "mean"] = (1 - 0.1 * gap if falls else 0) + noise
    (sentence,) = [line for line in findings(table).found if line.startswith("Energy gap")]
    assert sentence.endswith(words)
    assert "over 18 tuned models of 6 recipes, each with all its seeds" in sentence


def test_three_recipes_of_many_seeds_claim_nothing():
    """Nine models, and yet three points: they say nothing of the error."""
    table = small(recipes=RECIPES, seeds=(0, 1, 2))
    (sentence,) = [line for line in findings(table).found if line.startswith("Energy gap")]
    assert "[-1.00, 1.00]" in sentence and sentence.endswith("is open.")


def test_one_seed_of_each_recipe_is_no_group():
    recipes = [("ft", 10.0**-power) for power in range(1, 7)]
    table = fake(recipes=recipes, seeds=(3,))
    (sentence,) = [line for line in findings(table).found if line.startswith("Energy gap")]
    assert "over 6 tuned models, 95 % intervals" in sentence


def test_pairs_that_the_gap_orders_wrongly_are_counted():
    """By gap: Lipsum-FT (1, 30 %), FT 1e-4 (2, 38 %), FT 1e-3 (5, 20 %): one pair is wrong."""
    (limit,) = [line for line in findings(small()).limits if "no promise" in line]
    assert "of 3 pairs of recipes 1 is ordered the other way" in limit
    assert limit.endswith(
        "With a gap of 1.00 Lipsum-FT (lr 1e-3) has 30.0 %, with 2.00 FT (lr 1e-4) has 38.0 %."
    )


def test_the_spread_over_seeds_is_the_largest():
    table = fake(recipes=RECIPES, seeds=(0, 1, 2))
    tests = table[(table.alpha == 1) & (table.metric == "accuracy") & (table.role != "val")]
    by_run = tests.groupby(["recipe", "seed", "role"])["mean"].mean()
    largest = 100 * by_run.groupby(["recipe", "role"]).std(ddof=1).max()
    assert f"means over 3 seeds; their standard deviation over seeds is at most {largest:.1f}" in (
        text(findings(table))
    )
    assert "One seed of each recipe" in text(findings(small(seeds=(4,))))


def test_one_recipe_is_said_plainly():
    said = findings(small(recipes=[("ft", 1e-3)], seeds=(0,)))
    assert (
        said.found[1] == "FT (lr 1e-3) gained 20.0 points on real and lost 20.0 points under shift."
    )
    assert not [line for line in said.found if "Energy gap" in line]  # one point has no r


def test_what_is_not_there_is_not_said():
    table = small()
    alone = findings(table[table.role != "shift"])
    assert "under shift" not in text(alone) and "of 0 shift" not in text(alone)
    tuned_only = findings(table[table.alpha == 1.0])
    assert "zero-shot, the model has" not in text(tuned_only)
    assert "gained" not in text(tuned_only)
    without_gap = findings(table[table.metric != "energy_gap"])
    assert "gap" not in text(without_gap)


def test_runs_of_several_kinds_are_only_counted():
    table = small()
    other = table.assign(model="large", model_digest="l1", run="other-" + table.run)
    said = findings(pd.concat([table, other], ignore_index=True))
    assert said.ran[0].startswith("12 runs of several kinds: tiny on mini (real) and large on mini")
    assert said.found == ()


def test_weights_chosen_on_the_test_images_are_said():
    assert "selection: paper" in text(findings(small().assign(selection="paper")))
    assert "selection: paper" not in text(findings(small()))


def test_a_row_per_tuned_run():
    table = small()
    rows = tuned_runs(table).set_index("run")
    assert len(rows) == 6
    assert list(rows.method) == ["ft"] * 4 + ["lipsum"] * 2
    for run, row in rows.iterrows():
        tuned = table[(table.run == run) & (table.alpha == 1)]
        shifts = tuned[tuned.role == "shift"]
        by_metric = shifts.groupby("metric")["mean"].mean()
        assert row.shift_accuracy == pytest.approx(by_metric.accuracy)
        assert row.energy_gap == pytest.approx(by_metric.energy_gap)
    other = table.assign(model="large", model_digest="l1", run="other-" + table.run)
    assert len(tuned_runs(pd.concat([table, other], ignore_index=True))) == 12
