"""Mean corruption error against its formula written out, and means that never mix real and made."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_sweep import toy_sweep
from test_table import COLUMNS, fake

from clipft.boards.run_table import run_table
from clipft.errors import ConfigError
from clipft.figures.corruption import corruption_figure
from clipft.figures.energy_gap import energy_gap_figure
from clipft.figures.parallel import parallel_figure
from clipft.figures.style import domain_of
from clipft.figures.wise import wise_curve_figure
from clipft.runs import table as tables
from clipft.runs.choosing import candidates
from clipft.runs.corruption import corruption_table, made_against_real, mce_lines

REAL = {"real/val": "val", "real/test": "reference", "sketch/test": "shift", "art/test": "shift"}
KINDS = ("fog", "shot_noise", "crop")
SEVEN = ("fog", "snow", "frost", "crop", "jpeg", "contrast", "brightness")
MADE = [f"made_{kind}_{level}/test" for kind in KINDS for level in (1, 3, 5)]


def with_made(real=True, **about):
    """A results table with made shifts, with or without real ones."""
    splits = {split: role for split, role in REAL.items() if real or role != "shift"}
    rng = np.random.default_rng(1)
    table = fake(**about)
    one = table[(table.split == "sketch/test")]
    kept = [table[table.split.isin(list(splits))]]
    for split in MADE:
        more = one.assign(split=split)
        noise = rng.uniform(-0.1, 0.1, len(one))
        more["mean"] = (more["mean"] * 0.7 + noise).clip(0.01, 0.99)
        kept.append(more)
    return pd.concat(kept, ignore_index=True)[COLUMNS]


def accuracy_of(table, **where):
    rows = table[table.metric == "accuracy"]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1
    return rows["mean"].iloc[0]


def test_mce_is_the_papers_formula():
    table = with_made()
    errors = corruption_table(table)
    assert len(errors) == 4 * 3 * len(KINDS)
    for row in errors.to_dict("records"):
        at = {"run": row["run"]}
        error = base = lost = base_lost = 0.0
        clean = 1 - accuracy_of(table, **at, alpha=row["alpha"], split="real/test")
        base_clean = 1 - accuracy_of(table, **at, alpha=0.0, split="real/test")
        for level in (1, 3, 5):
            split = f"made_{row['kind']}_{level}/test"
            own = 1 - accuracy_of(table, **at, alpha=row["alpha"], split=split)
            zero = 1 - accuracy_of(table, **at, alpha=0.0, split=split)
            error += own
            base += zero
            lost += own - clean
            base_lost += zero - base_clean
        assert row["error"] == pytest.approx(error / 3)
        assert row["ce"] == pytest.approx(error / base)
        if base_lost > 0:
            assert row["relative_ce"] == pytest.approx(lost / base_lost)
        else:
            assert np.isnan(row["relative_ce"])
    # mCE is over the kinds of ImageNet-C: crop is ours.
    for _, own in errors.groupby(["run", "alpha"]):
        assert own.mce.iloc[0] == pytest.approx(own[own.kind != "crop"].ce.mean())
    assert (errors[errors.alpha == 0].ce == 1).all()
    assert (errors[errors.alpha == 0].mce == 1).all()


def test_mce_in_lines_is_the_mean_over_seeds():
    table = with_made()
    errors = corruption_table(table)
    line = mce_lines(table)[0]
    own = errors[(errors.recipe == "ft-0.0001") & (errors.alpha == float(line["alpha"]))]
    assert line["method"] == "FT"
    assert line["mCE"] == f"{100 * own.drop_duplicates('run').mce.mean():.1f}"
    assert mce_lines(fake()) == []
    with pytest.raises(ConfigError, match="no made shift was scored; wanted: runs on a manifest"):
        corruption_table(fake())
    tuned = table[table.alpha == 1]
    with pytest.raises(ConfigError, match="no run is scored at alpha 0 and on made shifts"):
        corruption_table(tuned)
    # `clipft results` prints its other tables all the same.
    assert mce_lines(tuned) == []


def test_a_mean_over_shifts_is_over_real_ones_where_there_are_any():
    table, plain = with_made(), fake()
    for function in (tables.paths, candidates):
        both, without = function(table), function(plain)
        pd.testing.assert_series_equal(both.shift_accuracy, without.shift_accuracy)
    lines, before = tables.results_table(table), tables.results_table(plain)
    assert lines["mean shift"].equals(before["mean shift"])
    assert lines["energy gap"].equals(before["energy gap"])
    assert "mean made shift" in lines and "mean made shift" not in before
    assert not [column for column in lines if "fog" in column]  # too many to read
    few = table[~table.split.isin(MADE[3:])]
    assert "fog 3 (made)" in tables.results_table(few)
    own, other = (run_table(rows).set_index("run") for rows in (table, plain))
    for column in ("shift", "energy_gap", "ece"):
        pd.testing.assert_series_equal(own[column], other[column])
    assert "made_fog_3/test" in own
    changed = [tables.changes(rows)["shift"] for rows in (table, plain)]
    pd.testing.assert_series_equal(*changed)


def test_a_run_on_made_shifts_alone_has_no_mean_of_real_ones():
    table = with_made()
    is_real = table.split.isin([split for split, role in REAL.items() if role == "shift"])
    lines = tables.results_table(table[~(is_real & (table.method == "lipsum"))])
    lipsum = lines[lines.method.str.startswith("Lipsum")]
    assert lipsum["mean shift"].isna().all() and lipsum["mean made shift"].notna().all()
    # Whatever the index: rows of several tables may have the same one.
    twice = table.set_index(table.index % 7)
    assert len(tables.of_means(twice)) == len(tables.of_means(table)) == (~made_in(table)).sum()


def made_in(table):
    return table.split.isin(MADE)


def test_a_figure_has_room_for_many_made_shifts():
    one = with_made()
    rows = one[one.split == "made_fog_3/test"]
    kinds = [f"made_{kind}_{level}/test" for kind in SEVEN for level in range(1, 6)]
    many = [one[~made_in(one)], *(rows.assign(split=split) for split in kinds)]
    figure = energy_gap_figure(pd.concat(many, ignore_index=True), "energy_gap", "accuracy")
    titles = [note.text for note in figure.layout.annotations]
    assert titles[0].startswith("art") and titles[1].startswith("sketch")
    assert sum("(made)" in title for title in titles) == 35


def test_where_all_shifts_are_made_the_mean_says_so():
    table = with_made(real=False)
    lines = tables.results_table(table)
    assert "mean shift" not in lines
    told = tables.paths(table)
    rows = table[(table.role == "shift") & (table.metric == "accuracy")]
    means = rows.groupby(["run", "alpha"])["mean"].mean()
    own = told.set_index(["run", "alpha"]).shift_accuracy
    pd.testing.assert_series_equal(own.sort_index(), means, check_names=False)
    assert 100 * means.loc["ft-0.0001-0", 1.0] > 0
    assert tables.scored_by(table).words["shift"] == "accuracy (made)"
    assert tables.scored_by(with_made()).words["shift"] == "accuracy"
    for figure in (wise_curve_figure(table), parallel_figure(table)):
        assert "(made)" in figure.to_json()


def test_a_sweeps_mean_and_keys():
    splits = ("real/test", "sketch/test", "made_fog_3/test")
    sweep = toy_sweep(splits=splits)
    assert sweep.splits == list(splits)
    assert sweep.counted == [1]
    np.testing.assert_array_equal(sweep.shift_accuracy, sweep.accuracy[:, 1])
    alone = toy_sweep(splits=("real/test", "made_fog_3/test"))
    np.testing.assert_array_equal(alone.shift_accuracy, alone.accuracy[:, 1])
    assert alone.said_of_shifts.words["shift"] == "accuracy (made)"
    rows = sweep.rows["made_fog_3/test"]
    assert sweep.keys[rows].tolist() == [f"made_fog_3:{name}" for name in sweep.ids[rows]]
    real = sweep.rows["real/test"]
    assert sweep.keys[real].tolist() == sweep.ids[real].tolist()
    assert domain_of("made_fog_3/test") == "fog 3 (made)"


def test_made_against_real_is_a_correlation_over_runs():
    recipes = [("ft", rate) for rate in (1e-3, 1e-4, 1e-5)] + [("lipsum", 1e-4)]
    table = with_made(recipes=recipes)
    told = made_against_real(table)
    assert set(told["by"]) == {"made", "reference", *KINDS}
    assert set(told["shift"]) == {"sketch", "art"}
    rows = table[(table.metric == "accuracy") & (table.alpha == 1)]
    by_run = rows.pivot(index="run", columns="split", values="mean")
    for shift, by in itertools.product(("sketch", "art"), ("made", "fog", "reference")):
        columns = [split for split in MADE if by in ("made", split.split("_")[1])]
        x = by_run[columns or ["real/test"]].mean(axis=1)
        row = told[(told["shift"] == shift) & (told["by"] == by)].iloc[0]
        assert row.r == pytest.approx(stats.pearsonr(x, by_run[f"{shift}/test"])[0])
        assert row.spearman == pytest.approx(stats.spearmanr(x, by_run[f"{shift}/test"])[0])
        assert row.low <= row.r <= row.high and row.n == 8
    for lacking, missing in ((fake(), "made"), (with_made(real=False), "real")):
        with pytest.raises(ConfigError, match=f"no {missing} shift was scored at alpha 1"):
            made_against_real(lacking)


def test_the_figure_has_a_panel_for_each_kind():
    table = with_made()
    figure = corruption_figure(table)
    assert [panel.text for panel in figure.layout.annotations[:3]] == ["shot noise", "fog", "crop"]
    assert [trace.name for trace in figure.data[:3]] == ["zero-shot", "FT", "Lipsum-FT"]
    ft = figure.data[1]
    assert list(ft.x) == [0, 1, 3, 5]
    rows = table[(table.metric == "accuracy") & (table.alpha == 1) & (table.method == "ft")]
    means = rows.groupby("split")["mean"].mean()
    wanted = [means[split] for split in ("real/test", *MADE[3:6])]
    assert list(ft.y) == pytest.approx([100 * mean for mean in wanted])
