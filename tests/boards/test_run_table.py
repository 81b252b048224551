"""The table of many runs against plain pandas, and what the page gets of it."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from test_table import TABLE, fake, mean, with_ensemble

from clipft.boards.run_table import columns, recipe_columns, recipe_table, run_table, runs_answer
from clipft.errors import ConfigError
from clipft.runs.names import title_of

RATES = fake(recipes=[("ft", 1e-4), ("ft", 1e-5), ("lipsum", 1e-4)], seeds=(0, 1, 2))


def test_a_row_per_tuned_run_has_what_the_results_have():
    runs = run_table(RATES).set_index("run")
    assert len(runs) == RATES.run.nunique()
    for run, row in runs.iterrows():
        here = {"run": run, "alpha": 1, "metric": "accuracy"}
        assert row.reference == pytest.approx(100 * mean(RATES, role="reference", **here))
        assert row["shift"] == pytest.approx(100 * mean(RATES, role="shift", **here))
        assert row["sketch/test"] == pytest.approx(100 * mean(RATES, split="sketch/test", **here))
        for metric, factor in {"energy_gap": 1, "ece": 100, "nll": 1}.items():
            want = mean(RATES, run=run, alpha=1, role="shift", metric=metric)
            assert row[metric] == pytest.approx(factor * want)
        told = RATES[RATES.run == run].iloc[0]
        assert (row.lr, row.steps, row.seed) == (told.lr, told.steps, told.seed)
        assert (row.method, row.recipe) == (title_of(told.method), told.recipe)


def test_what_is_looked_for_first_stands_first_and_runs_are_in_the_order_of_methods():
    runs = run_table(RATES)
    first = ["run", "method", "lr", "steps", "seed", "shift", "energy_gap", "reference"]
    assert runs.columns.tolist() == [*first, "art/test", "sketch/test", "ece", "nll", "recipe"]
    shuffled = RATES.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(run_table(shuffled), runs)
    order = list(zip(runs.method, runs.lr, runs.seed, strict=True))
    assert order == sorted(order)


def test_names_and_tags_are_there_where_a_run_has_one():
    table = TABLE.assign(name="", tags="")
    assert not {"name", "tags"} & {*run_table(table).columns}
    run = table.run.iloc[0]
    table.loc[table.run == run, "name"] = "best"
    runs = run_table(table).set_index("run")
    assert "tags" not in runs
    assert runs.loc[run, "name"] == "best"
    assert (runs.drop(index=run)["name"] == "").all()


def test_an_ensemble_has_no_energy_gap_and_a_foreign_model_no_lr():
    table = with_ensemble()
    table.loc[table.method == "lipsum", "steps"] = 0
    runs = run_table(table)
    is_ensemble = runs.method == title_of("ft+output_ensemble")
    assert runs.energy_gap.isna().tolist() == is_ensemble.tolist()
    foreign = runs.method == title_of("lipsum")
    assert runs.lr.isna().tolist() == runs.steps.isna().tolist() == foreign.tolist()
    json.dumps(runs_answer(table), allow_nan=False)


def test_without_shifts_the_reference_alone_is_told():
    runs = run_table(RATES[RATES.role != "shift"])
    assert "shift" not in runs
    run = runs.iloc[0]
    want = mean(RATES, run=run.run, role="reference", alpha=1, metric="energy_gap")
    assert run.energy_gap == pytest.approx(want)
    told = columns(runs, RATES)
    assert [column.name for column in told] == runs.columns.tolist()


def test_recipes_are_means_and_deviations_over_seeds():
    runs = run_table(RATES)
    recipes = recipe_table(runs).set_index("recipe")
    assert len(recipes) == runs.recipe.nunique()
    for recipe, row in recipes.iterrows():
        own = runs[runs.recipe == recipe]
        assert row.seeds == len(own) == 3
        for number in ("shift", "energy_gap", "reference", "art/test", "ece"):
            assert row[number] == pytest.approx(own[number].mean())
            assert row[f"{number}_sd"] == pytest.approx(np.std(own[number], ddof=1))


def test_one_seed_has_no_deviation():
    answer = runs_answer(fake(seeds=(4,)))
    names = [column["name"] for column in answer["recipes"]["columns"]]
    (mean_, deviation) = answer["recipes"]["rows"][0][names.index("shift")]
    assert deviation is None
    assert math.isfinite(mean_)


def test_columns_say_titles_and_digits():
    runs = run_table(RATES)
    by_name = {column.name: column for column in columns(runs, RATES)}
    assert list(by_name) == runs.columns.tolist()
    assert by_name["sketch/test"].title == "sketch %"
    assert by_name["shift"].digits == 1
    assert by_name["lr"].digits is None
    assert by_name["run"].kind == "text"
    assert not by_name["recipe"].shown
    of_recipes = recipe_columns(list(by_name.values()))
    names = [column.name for column in of_recipes]
    assert [name for name in recipe_table(runs) if not name.endswith("_sd")] == names


def test_the_answer_is_the_table_as_json():
    table = RATES.copy()
    table.attrs["unfinished"] = ["abc"]
    answer = json.loads(json.dumps(runs_answer(table), allow_nan=False))
    runs = run_table(table)
    names = [column["name"] for column in answer["columns"]]
    got = pd.DataFrame(answer["rows"], columns=names)
    pd.testing.assert_frame_equal(got, runs.round(6), check_dtype=False, atol=1e-5)
    assert answer["unfinished"] == ["abc"]
    assert [found["run"] for found in answer["findable"]] == runs.run.tolist()
    recipes = pd.DataFrame(answer["recipes"]["rows"])
    assert len(recipes) == runs.recipe.nunique()


def test_settings_that_all_runs_share_are_told_once():
    runs = run_table(RATES)
    settings = {}
    for number, run in enumerate(runs.run):
        settings[run] = {"batch_size": 64, "lam": number, "lr": "recorded otherwise"}
    answer = runs_answer(RATES, settings)
    assert answer["common"] == {"batch_size": 64, "steps": 100}
    for found, row in zip(answer["findable"], runs.itertuples(), strict=True):
        assert found["settings"]["lam"] == settings[row.run]["lam"]
        assert found["settings"]["lr"] == row.lr
        assert found["settings"]["recipe"] == row.recipe
        assert found["names"][1] == row.method


@pytest.mark.parametrize("key", ["manifest_digest", "model_digest"])
def test_runs_that_cannot_be_compared_are_refused(key):
    table = TABLE.copy()
    table.loc[table.seed == 1, key] = "other"
    with pytest.raises(ConfigError, match="runs of several kinds"):
        run_table(table)


def test_without_tuned_scores_that_is_said():
    with pytest.raises(ConfigError, match="no run is scored at alpha 1"):
        run_table(TABLE[TABLE.alpha != 1])
