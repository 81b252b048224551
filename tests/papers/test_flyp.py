"""FLYP's items against what was typed before the drawing, pandas on tidy rows, and the CSV."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from test_table import fake

from clipft.data import manifests
from clipft.papers.flyp import ITEMS, PAPER
from clipft.runs.names import title_of

TYPED = yaml.safe_load((Path(__file__).parent / "flyp_items.yaml").read_text())
METHODS = ("ft", "l2sp", "lp_ft", "flyp", "flyp_image", "flyp_ce", "flyp_with_ce")
TABLE = fake(recipes=[(name, 1e-4) for name in METHODS])
F1 = TABLE[TABLE.metric == "accuracy"].assign(metric="macro_f1")
TABLE = pd.concat([TABLE, F1], ignore_index=True)
CURVES = ["curves_full", "ablation_curves"]


@pytest.fixture(scope="module")
def published():
    """The CSV as it lies, a dictionary a row."""
    with open(manifests.manifests_folder() / "published/flyp.csv", newline="") as file:
        return list(csv.DictReader(file))


def with_configs(table, folder, **of_recipe):
    """Run folders that tell of each recipe what the results do not."""
    for run, recipe in table[["run", "recipe"]].drop_duplicates().itertuples(index=False):
        (folder / run).mkdir()
        config = of_recipe.get(recipe.replace("-", "_"), {})
        (folder / run / "config.json").write_text(json.dumps(config))
    return table


def few_shot_runs(folder):
    """FT with 4 and with 16 images per class, FLYP with 4, and FT with all."""
    recipes = [("ft", 4.0), ("ft", 16.0), ("flyp", 4.0), ("ft", 0.0)]
    table = fake(recipes=recipes)
    shots = {f"{name}_{k}": {"shots": int(k)} for name, k in recipes}
    return with_configs(table, folder, **shots)


def at(table, **where):
    """Rows with these values."""
    for column, value in where.items():
        table = table[table[column] == value]
    return table


def test_every_item_is_there_and_in_the_batch():
    assert list(ITEMS) == list(TYPED) and len(ITEMS) == 8
    spec = yaml.safe_load((Path(__file__).parents[2] / "papermill_runs/flyp.yaml").read_text())
    stage = spec["stages"][0]
    assert [items for (items,) in stage["grid"][0]["items"]] == list(ITEMS)
    assert stage["parameters"]["paper"] == PAPER.name == "flyp"


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_is_a_figure_with_a_caption(name, tmp_path):
    made = PAPER.make(name, TABLE, tmp_path)
    text = made.figure.to_json()
    # Without runs of few images there is nothing but a line that says so.
    empty = name in ("curves_few_shot", "few_shot")
    assert bool(json.loads(text)["data"]) != empty
    assert "NaN" not in text
    assert "n = " in made.caption and "seeds" in made.caption and made.caption.endswith(".")
    typed = TYPED[name]
    if "inferred" in (typed.get("axes"), typed.get("metrics")):
        assert "inferred" in made.caption
    if "unknown" in typed:
        unknown = typed["unknown"]
        assert ("no numbers of the paper" if unknown == "numbers" else unknown) in made.caption
    else:
        assert "FLYP's slides" in made.caption


@pytest.mark.parametrize("name", [name for name in TYPED if "x" in TYPED[name]])
def test_a_figure_of_curves_is_as_typed(name, tmp_path):
    typed = TYPED[name]
    table = few_shot_runs(tmp_path) if typed.get("shots") else TABLE
    made = PAPER.make(name, table, tmp_path)
    assert {axis.title.text for axis in made.figure.select_xaxes()} == {typed["x"] + " (%)"}
    assert {axis.title.text for axis in made.figure.select_yaxes()} == {typed["y"] + " (%)"}
    assert {title_of(method) for method in ITEMS[name].methods} == set(typed["names"])
    symbols = {t.name: t.marker.symbol for t in made.figure.data if t.showlegend}
    for symbol, named in typed["marks"].items():
        assert next(each for key, each in symbols.items() if named in key) == symbol


def test_a_curve_goes_from_zero_shot_to_tuned_and_its_star_is_validations(tmp_path):
    def accuracy(_method, _lr, split, alpha):
        if split == "real/val":
            return {0.0: 0.4, 0.5: 0.7, 1.0: 0.6}[alpha]
        return {0.0: 0.5, 0.5: 0.6, 1.0: 0.9}[alpha] - (0.3 if "art" in split else 0)

    made = PAPER.make("curves_full", fake(accuracy=accuracy, recipes=[("ft", 1e-4)]), tmp_path)
    ours = made.drawn[~made.drawn.published.astype(bool)]
    curve = ours[ours.mark != "chosen"]
    assert curve.alpha.tolist() == [0.0, 0.5, 1.0]
    assert curve.reference.tolist() == pytest.approx([50, 60, 90])
    # The mean of art and sketch.
    assert curve["shift"].tolist() == pytest.approx([35, 45, 75])
    (chosen,) = ours[ours.mark == "chosen"].itertuples()
    assert chosen.alpha == 0.5 and chosen.reference == pytest.approx(60)
    (line,) = [t for t in made.figure.data if t.name == "FT"]
    assert list(line.x) == pytest.approx([50, 60, 90])
    assert list(line.y) == pytest.approx([35, 45, 75])
    assert "clipft train method=ft" in made.caption  # the other three are missing


@pytest.mark.parametrize("name", CURVES)
def test_every_curve_is_a_mean_of_the_tidy_rows(name, tmp_path):
    drawn = PAPER.make(name, TABLE, tmp_path).drawn
    ours = drawn[~drawn.published.astype(bool) & (drawn.mark != "start")]
    assert set(ours.name) == set(TYPED[name]["names"])
    for point in ours.itertuples():
        rows = at(TABLE, metric="accuracy", method=point.method, alpha=point.alpha)
        means = 100 * rows.groupby("role")["mean"].mean()
        assert point.reference == pytest.approx(means["reference"])
        assert point.shift == pytest.approx(means["shift"])
        assert point.runs.split() == sorted(rows.run.unique()) and point.seeds == 2


def test_every_published_point_is_a_row_of_the_file(published, tmp_path):
    made = PAPER.make("curves_full", TABLE, tmp_path)
    theirs = made.drawn[made.drawn.published.astype(bool)]
    assert theirs.method.tolist() == TYPED["curves_full"]["published"]["rows"]
    for point in theirs.itertuples():
        numbers = {
            row["split"]: 100 * float(row["mean"])
            for row in published
            if (row["table"], row["benchmark"]) == (point.table, point.benchmark)
            and row["method"] == point.method
        }
        assert point.csv == "flyp"
        assert point.reference == pytest.approx(numbers["imagenet"])
        assert point.shift == pytest.approx(numbers["mean_shift"])
    hollow = [t for t in made.figure.data if (t.name or "").endswith("published")]
    assert len(hollow) == len(theirs) and all(t.marker.symbol.endswith("open") for t in hollow)


@pytest.mark.parametrize("name", ["id_ood", "wilds", "state_of_the_art"])
def test_the_papers_side_of_a_table_is_the_file(name, published, tmp_path):
    typed = TYPED[name]
    made = PAPER.make(name, TABLE, tmp_path)
    theirs = {title: frame for title, frame in made.rows.items() if title.startswith("Paper")}
    assert len(theirs) == typed.get("blocks", 1)
    item = ITEMS[name]
    wanted = [row for row in published if row["table"] == item.number]
    wanted = [row for row in wanted if row["benchmark"] in item.benchmarks]
    for row in wanted:
        (frame,) = [frame for title, frame in theirs.items() if f": {row['benchmark']}" in title]
        frame = frame[frame.method == row["method"]]
        if name == "state_of_the_art":
            frame = frame[frame.setting == row["model"]]
        renamed = {"mean_shift": "mean shift", "id_test": "id", "test": "ood"}
        column = renamed.get(row["split"], row["split"])
        want = f"{100 * float(row['mean']):.1f}"
        want += f" ± {100 * float(row['std']):.1f}" if row["std"] else ""
        assert frame[column].item() == want
    for frame in theirs.values():
        assert set(frame.method) == set(typed["rows"])
        assert set(typed["columns"]) <= set(frame.columns)
        assert len(frame) == typed.get("lines", len(typed["rows"]))
        if "models" in typed:
            assert set(frame.setting) == set(typed["models"])


def test_wilds_are_scored_as_these_benchmarks_are(published, tmp_path):
    made = PAPER.make("wilds", TABLE, tmp_path)
    of_fmow = {(r["split"], r["metric"]) for r in published if r["benchmark"] == "fmow"}
    assert of_fmow == {("id_test", "accuracy"), ("test", "worst_region_accuracy")}
    (ours,) = [frame for title, frame in made.rows.items() if title.startswith("Ours")]
    values = 100 * at(TABLE, metric="macro_f1", method="flyp", alpha=1.0, split="real/test")["mean"]
    want = f"{values.mean():.1f} ± {values.std():.1f}"
    assert ours.set_index("method").loc["FLYP", "real"] == want


def test_changes_of_ours_stand_beside_the_papers(tmp_path):
    made = PAPER.make("id_ood", TABLE, tmp_path)
    (frame,) = [frame for title, frame in made.rows.items() if title.startswith("Changes")]
    accuracy = at(TABLE, metric="accuracy")
    tuned = 100 * at(accuracy, method="ft", alpha=1.0).groupby("role")["mean"].mean()
    # Zero-shot is the same model in every run: the first of them stands for it.
    first = 100 * at(accuracy, run="ft-0.0001-0", alpha=0.0).groupby("role")["mean"].mean()
    ours = tuned - first
    # 68.3 / 58.7 and 81.4 / 54.8 on the slides.
    for column, role, theirs in (("reference", "reference", 13.1), ("mean shift", "shift", -3.9)):
        own = 100 * at(accuracy, method="ft", alpha=1.0, role=role).groupby("seed")["mean"].mean()
        ends = stats.t.interval(0.95, len(own) - 1, ours[role] - theirs, stats.sem(own))
        want = f"{ours[role]:+.1f} | {theirs:+.1f} | {ours[role] - theirs:+.1f}"
        assert frame[column].item() == f"{want} [{ends[0]:.1f}, {ends[1]:.1f}]"
    assert frame.method.tolist() == ["FT"]


def test_of_the_same_data_and_model_each_number_is_compared(tmp_path):
    same = {"manifest": "imagenet", "model": "ViT-B-16", "reference": "imagenet"}
    table = TABLE.assign(**same)
    made = PAPER.make("id_ood", table, tmp_path)
    (frame,) = [frame for title, frame in made.rows.items() if title.startswith("Ours minus")]
    tuned = at(table, metric="accuracy", method="ft", alpha=1.0, role="shift")
    own = 100 * tuned.groupby("seed")["mean"].mean()
    want = own.mean() - 54.8
    ends = stats.t.interval(0.95, len(own) - 1, want, stats.sem(own))
    cell = frame.set_index("method").loc["FT", "mean shift"]
    assert cell == f"{want:+.1f} [{ends[0]:.1f}, {ends[1]:.1f}]"


def test_few_shot_runs_alone_are_few_shot(tmp_path):
    table = few_shot_runs(tmp_path)
    drawn = PAPER.make("curves_few_shot", table, tmp_path).drawn
    assert drawn.groupby("panel").name.agg(set).to_dict() == {
        "ours: mini, k=4": {"Zero-shot", "FT", "FLYP"},
        "ours: mini, k=16": {"Zero-shot", "FT"},
    }
    made = PAPER.make("few_shot", table, tmp_path)
    (frame,) = made.rows.values()
    assert frame.setting.tolist() == ["", "k=4", "k=16", "k=4"]
    full = PAPER.make("curves_full", table, tmp_path)
    assert set(full.drawn.recipe.dropna()) == {"ft-0.0"}


def test_ablations_are_told_by_their_settings(tmp_path):
    table = fake(recipes=[("flyp", 1.0), ("flyp", 2.0), ("flyp", 3.0), ("flyp_with_ce", 1.0)])
    masked = {"options": {"mask": True}}
    with_configs(table, tmp_path, **{"flyp_2.0": masked, "flyp_3.0": {"captions": "fixed"}})
    (frame,) = PAPER.make("ablations", table, tmp_path).rows.values()
    settings = frame.groupby("method").setting.apply(set)
    assert settings["FLYP"] == {"as FLYP", *TYPED["ablations"]["settings"]}
    assert set(frame.method) == {"Zero-shot", *TYPED["ablations"]["names"]}
    assert "options.mask" not in PAPER.make("ablations", table, tmp_path).caption
    assert "options.mask" in PAPER.make("ablations", TABLE, tmp_path).caption


def test_without_runs_the_caption_says_what_makes_them(tmp_path):
    none = fake(recipes=[("kd", 1e-4)])
    for name, item in ITEMS.items():
        made = PAPER.make(name, none, tmp_path)
        assert "n = 0 runs" in made.caption and item.command in made.caption


def test_what_is_drawn_is_written(tmp_path):
    PAPER.save_rows(PAPER.make("curves_full", TABLE, tmp_path), tmp_path, "curves_full")
    points = pd.read_csv(tmp_path / "flyp_curves_full.csv")
    ours = points[~points.published]
    assert {"recipe", "runs", "n", "seeds", "command", "alpha"} <= set(points.columns)
    assert (ours.n == 3 * 50).all()  # three test splits of 50 images
    assert points[points.published].table.tolist() == ["slides", "slides"]
    assert np.isfinite(points[["reference", "shift"]]).all(axis=None)
