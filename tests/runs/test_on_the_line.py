"""Lines in probits and logits against SciPy and NumPy; effective robustness shift by shift."""

import numpy as np
import pytest
from scipy import special, stats
from test_table import TABLE, fake

from clipft.errors import ConfigError
from clipft.figures.on_the_line import on_the_line_figure
from clipft.runs.on_the_line import line_table, robustness_table
from clipft.runs.table import effective, paths

RATES = [("ft", 1e-5), ("ft", 1e-4), ("ft", 1e-3), ("lipsum", 1e-4)]
RUNS = fake(recipes=RATES)


def on_a_line(slope, offset):
    """Runs of which probit(shift) is exactly on a line of probit(reference)."""
    rng = np.random.default_rng(0)
    reference = {}

    def accuracy(method, lr, split, alpha):
        at = reference.setdefault((method, lr, alpha), rng.uniform(0.3, 0.8))
        if split.startswith("real"):
            return at
        return special.ndtr(slope * special.ndtri(at) + offset)

    return fake(recipes=RATES, seeds=(0,), accuracy=accuracy)


@pytest.mark.parametrize("slope", [0.7, -0.4])
def test_a_line_is_found_and_a_falling_one_is_flagged(slope):
    table = line_table(on_a_line(slope, 0.2), by="method")
    ft = table[table.family == "ft"]
    assert ft.slope.to_numpy() == pytest.approx(slope)
    assert ft.offset.to_numpy() == pytest.approx(0.2)
    assert ft.r2.to_numpy() == pytest.approx(1)
    assert ft.off_the_line.tolist() == [slope < 0] * 2
    lipsum = table[table.family == "lipsum"]  # one model is no line
    assert lipsum.slope.isna().all() and not lipsum.off_the_line.any()


def test_numbers_are_scipys():
    table = line_table(RUNS, by="all")
    models = paths(RUNS)
    models = models[models.alpha == 1]
    for row in table.itertuples():
        fit = stats.linregress(
            special.ndtri(models.reference_accuracy), special.ndtri(models[row.split])
        )
        assert (row.slope, row.offset) == pytest.approx((fit.slope, fit.intercept))
        assert row.r2 == pytest.approx(fit.rvalue**2)
        reach = stats.t.ppf(0.975, len(models) - 2) * fit.stderr
        assert (row.slope_low, row.slope_high) == pytest.approx(
            (fit.slope - reach, fit.slope + reach)
        )
        assert row.low <= row.r <= row.high and row.n == len(models)


def test_a_wise_path_is_a_family_and_what_has_no_probit_is_left_out():
    def accuracy(_, __, split, alpha):
        return 1.0 if alpha == 1 and split == "art/test" else 0.5 + 0.1 * alpha

    table = line_table(fake(accuracy=accuracy), by="run", alpha=None)
    assert len(table) == 4 * 2
    assert table.groupby("split").n.first().to_dict() == {"art/test": 2, "sketch/test": 3}


def test_the_zero_shot_that_runs_share_is_one_model():
    def accuracy(_, lr, split, alpha):
        return 0.5 if alpha == 0 else 0.5 + (0.1 + 40 * lr) * alpha

    table = line_table(fake(recipes=RATES, accuracy=accuracy), by="all", alpha=None)
    models = paths(fake(recipes=RATES, accuracy=accuracy))
    assert table.n.unique().tolist() == [(models.alpha > 0).sum() + 1]


def test_families_and_alphas_that_are_not_there_are_refused():
    with pytest.raises(ConfigError, match="colour"):
        line_table(TABLE, by="colour")
    with pytest.raises(ConfigError, match=r"alpha 0\.3"):
        line_table(TABLE, alpha=0.3)
    with pytest.raises(ConfigError, match="shift"):
        line_table(TABLE[TABLE.role != "shift"])


def test_robustness_is_what_is_above_the_line_in_logits():
    table = robustness_table(RUNS, ["ft"])
    models = paths(RUNS)
    models = models[models.alpha == 1].set_index("run")
    base = models[models.method == "ft"]
    for row in table.itertuples():
        slope, offset = np.polyfit(
            special.logit(base.reference_accuracy), special.logit(base[row.split]), 1
        )
        at = models.loc[row.run]
        expected = special.expit(slope * special.logit(at.reference_accuracy) + offset)
        assert row.expected == pytest.approx(expected)
        assert row.effective_robustness == pytest.approx(at[row.split] - expected)
        # At least as wide as by the images of the shift alone, which are +- 0.01.
        assert row.low <= row.effective_robustness - 0.01
        assert row.high >= row.effective_robustness + 0.01
        assert row.baselines == len(base)


def test_on_one_shift_it_is_the_effective_robustness():
    one = RUNS[RUNS.split != "art/test"]
    whole = effective(one, ["ft"]).set_index("run").effective_robustness
    assert robustness_table(one, ["ft"]).set_index("run").effective_robustness.to_dict() == (
        pytest.approx(whole.to_dict())
    )


def test_any_rows_are_baselines():
    path = RUNS[RUNS.run == "lipsum-0.0001-0"]  # a WiSE path of three alphas
    table = robustness_table(RUNS, path)
    assert (table.baselines == 3).all()
    own = table[(table.run == "lipsum-0.0001-0") & (table.split == "art/test")].iloc[0]
    models = paths(path)
    slope, offset = np.polyfit(
        *special.logit(models[["reference_accuracy", "art/test"]]).to_numpy().T, 1
    )
    at = special.logit(own.reference_accuracy)
    assert own.expected == pytest.approx(special.expit(slope * at + offset))


def test_without_noise_of_images_the_interval_is_that_of_the_line():
    still = RUNS.assign(low=RUNS["mean"], high=RUNS["mean"])
    row = robustness_table(still, ["ft"]).iloc[0]
    models = paths(still)
    base = models[(models.alpha == 1) & (models.method == "ft")]
    x, y = special.logit(base.reference_accuracy), special.logit(base[row.split])
    fit = stats.linregress(x, y)
    at = special.logit(row.reference_accuracy)
    error = np.sqrt(((y - fit.intercept - fit.slope * x) ** 2).sum() / (len(x) - 2))
    spread = np.sqrt(1 / len(x) + (at - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum())
    reach = stats.t.ppf(0.975, len(x) - 2) * error * spread
    middle = fit.intercept + fit.slope * at
    ends = row.shift_accuracy - special.expit([middle + reach, middle - reach])
    assert (row.low, row.high) == pytest.approx(tuple(ends))


def test_two_baselines_give_no_interval():
    two = RUNS[RUNS.run.isin(["ft-1e-05-0", "ft-0.001-0"]) & (RUNS.alpha == 1)]
    table = robustness_table(RUNS, two)
    assert table.low.isna().all() and table.effective_robustness.notna().all()


def test_the_figure_has_probits_slopes_and_baselines():
    figure = on_the_line_figure(RUNS, RUNS[RUNS.alpha == 0])
    models = paths(RUNS)
    models = models[models.alpha == 1]
    points = [trace for trace in figure.data if trace.mode == "markers"]
    marks = [trace for trace in points if trace.name != "baselines"]
    drawn = np.concatenate([trace.x for trace in marks])
    want = special.ndtri(np.tile(models.reference_accuracy, 2))
    assert sorted(drawn) == pytest.approx(sorted(want))
    assert any("slope" in text for trace in marks for text in trace.customdata)
    assert len(points) - len(marks) == 2  # a panel each
