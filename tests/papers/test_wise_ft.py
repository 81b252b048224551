"""WiSE-FT's items against what was typed before the drawing, pandas on tidy rows, and the CSV."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import special
from test_flyp import at, with_configs
from test_table import fake

from clipft.data import manifests
from clipft.papers.wise_ft import ALPHAS, ITEMS, PAPER
from clipft.runs.names import title_of

TYPED = yaml.safe_load((Path(__file__).parent / "wise_ft_items.yaml").read_text())
TABLE = fake(recipes=[("ft", 1e-4), ("lp", 1e-4)])
BASES = [("scratch_ft", 1e-4), ("scratch_ft", 1e-5)]
WITH_LINE = fake(recipes=[("ft", 1e-4), ("lp", 1e-4), *BASES])
TENTHS = [round(0.1 * step, 1) for step in range(11)]


@pytest.fixture(scope="module")
def published():
    """The alpha table of the CSV as it lies, a dictionary a row."""
    with open(manifests.manifests_folder() / "published/additional.csv", newline="") as file:
        return [row for row in csv.DictReader(file) if row["table"] == ITEMS["alphas"].number]


def test_every_item_is_there_and_in_the_batch():
    assert list(ITEMS) == list(TYPED) and len(ITEMS) == 5
    spec = yaml.safe_load((Path(__file__).parents[2] / "papermill_runs/wise_ft.yaml").read_text())
    stage = spec["stages"][0]
    assert [items for (items,) in stage["grid"][0]["items"]] == list(ITEMS)
    assert stage["parameters"]["paper"] == PAPER.name == "wise_ft"


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_is_a_figure_with_a_caption(name, tmp_path):
    made = PAPER.make(name, TABLE, tmp_path)
    text = made.figure.to_json()
    # Without data and without an ensemble at hand there is a line that says so.
    assert bool(json.loads(text)["data"]) != (name in ("domains", "weight_and_output_space"))
    assert "NaN" not in text
    assert "n = " in made.caption and "seeds" in made.caption and made.caption.endswith(".")
    typed = TYPED[name]
    if "inferred" in (typed.get("axes"), typed.get("model")):
        assert "inferred" in made.caption
    if typed.get("unknown") == "numbers":
        assert "no numbers of the paper" in made.caption


@pytest.mark.parametrize("name", [name for name in TYPED if TYPED[name].get("scale") == "logit"])
def test_a_figure_on_logit_axes_is_as_typed(name, tmp_path):
    typed = TYPED[name]
    made = PAPER.make(name, TABLE, tmp_path)
    first = made.figure.layout
    assert typed["x"] in first.xaxis.title.text and typed["y"] in first.yaxis.title.text
    ticks = zip(first.xaxis.tickvals, first.xaxis.ticktext, strict=True)
    for value, text in ticks:
        assert value == pytest.approx(special.logit(float(text) / 100))
    symbols = {t.name: t.marker.symbol for t in made.figure.data if t.showlegend}
    for symbol, named in typed["marks"].items():
        if named == "mixtures":
            assert symbols[typed["names"][0]] == symbol
        else:
            assert symbols[named] == symbol
    assert set(typed["names"]) <= set(symbols)


def test_points_lie_at_the_logits_of_their_means(tmp_path):
    table = fake(recipes=[("ft", 1e-4), ("lp", 1e-4)], alphas=TENTHS)
    made = PAPER.make("effective_robustness", table, tmp_path)
    (curve,) = [t for t in made.figure.data if t.name == "FT + WiSE" and t.xaxis == "x"]
    rows = at(table, metric="accuracy", method="ft")
    reference = at(rows, role="reference").groupby("alpha")["mean"].mean()
    shift = at(rows, role="shift").groupby("alpha")["mean"].mean()
    assert reference.index.tolist() == TYPED["effective_robustness"]["alphas"]
    assert list(curve.x) == pytest.approx(special.logit(reference).tolist())
    assert list(curve.y) == pytest.approx(special.logit(shift).tolist())
    panels = made.drawn.groupby("panel").shift_of.first().to_dict()
    assert set(panels.values()) == {"", "art/test", "sketch/test"}
    single = made.drawn[(made.drawn.shift_of == "art/test") & (made.drawn.alpha == 0.3)]
    want = 100 * at(rows, split="art/test", alpha=0.3)["mean"].mean()
    assert single[single.method == "ft"]["shift"].item() == pytest.approx(want)


def test_the_grey_line_is_fitted_in_logits_and_robustness_is_the_height_above(tmp_path):
    made = PAPER.make("effective_robustness", WITH_LINE, tmp_path)
    drawn = made.drawn[(made.drawn.shift_of == "") & ~made.drawn.published.astype(bool)]
    tuned = at(WITH_LINE, metric="accuracy", method="scratch_ft", alpha=1.0)
    by_run = tuned.groupby(["run", "role"])["mean"].mean().unstack()
    slope, offset = np.polyfit(special.logit(by_run.reference), special.logit(by_run["shift"]), 1)
    for point in drawn.itertuples():
        line = special.expit(slope * special.logit(point.reference / 100) + offset)
        assert point.expected == pytest.approx(100 * line)
    assert (drawn.mark == "baseline").sum() == len(by_run) == 4
    names = {t.name for t in made.figure.data}
    assert {"their logit-linear fit", "models of the reference alone"} <= names
    (line,) = [t for t in made.figure.data if t.name == "their logit-linear fit" and t.xaxis == "x"]
    assert np.diff(line.y) == pytest.approx(slope * np.diff(line.x))
    # The dotted lines are as high as the largest effective robustness of each curve.
    heights = (drawn["shift"] - drawn.expected)[drawn.mark.isin(["mixture", "end"])]
    tops = heights.groupby(drawn.name).max()
    dotted = [t for t in made.figure.data if t.line.dash == "dot" and t.xaxis == "x"]
    shown = [100 * np.diff(special.expit(np.array(t.y)))[0] for t in dotted]
    assert sorted(shown) == pytest.approx(sorted(tops))
    assert "scratch_ft" not in made.caption  # nothing is missing


@pytest.mark.parametrize("seeds", [(), (0,)])
def test_below_two_models_of_the_reference_there_is_no_line(seeds, tmp_path):
    few = fake(recipes=BASES[:1], seeds=seeds)
    table = pd.concat([TABLE, few]) if len(few) else TABLE
    made = PAPER.make("effective_robustness", table, tmp_path)
    assert "their logit-linear fit" not in {t.name for t in made.figure.data}
    assert made.drawn.expected.isna().all()
    assert "clipft train method=scratch_ft" in made.caption


def test_runs_of_random_weights_are_baselines_and_no_other_kind(tmp_path):
    random = fake(recipes=[("ft", 7.0), ("ft", 8.0)], seeds=(0,))
    random = random.assign(model_digest="other")
    of_random = {"ft_7.0": {"pretrained": "none"}, "ft_8.0": {"pretrained": "none"}}
    table = with_configs(pd.concat([TABLE, random]), tmp_path, **of_random)
    made = PAPER.make("effective_robustness", table, tmp_path)
    base = made.drawn[(made.drawn.mark == "baseline") & (made.drawn.shift_of == "")]
    assert set(base.runs) == set(random.run)
    assert set(made.drawn[made.drawn.mark == "end"].recipe.dropna()) == {"ft-0.0001", "lp-0.0001"}
    assert made.drawn[made.drawn.shift_of == ""].expected.notna().any()


def test_every_published_point_is_a_row_of_the_file(published, tmp_path):
    made = PAPER.make("effective_robustness", TABLE, tmp_path)
    theirs = made.drawn[made.drawn.published.astype(bool)]
    alphas = [float(point.variant.removeprefix("alpha=")) for point in theirs.itertuples()]
    assert alphas == TYPED["effective_robustness"]["published"]
    for point in theirs.itertuples():
        numbers = {
            row["split"]: 100 * float(row["mean"])
            for row in published
            if row["variant"] == point.variant
        }
        assert (point.table, point.csv) == (ITEMS["alphas"].number, "additional")
        assert point.reference == pytest.approx(numbers["imagenet"])
        assert point.shift == pytest.approx(numbers["mean_shift"])
    hollow = [t for t in made.figure.data if (t.name or "").endswith("published")]
    assert len(hollow) == 1 and hollow[0].marker.symbol.endswith("open")


def test_the_alpha_tables_published_rows_are_the_file(published, tmp_path):
    typed = TYPED["alphas"]
    made = PAPER.make("alphas", TABLE, tmp_path)
    (theirs,) = [frame for title, frame in made.rows.items() if title.startswith("Paper")]
    theirs = theirs.set_index("setting")
    assert theirs.index.tolist() == [f"alpha={alpha}" for alpha in typed["published"]]
    assert set(typed["columns"]) <= set(theirs.columns)
    for row in published:
        column = row["split"].replace("_", " ")
        assert theirs.loc[row["variant"], column] == f"{100 * float(row['mean']):.1f}"
    # Read off the review's slide: 71.5, 70.0, 67.5.
    assert theirs["mean of both"].astype(float).tolist() == pytest.approx(
        [71.5, 70.0, 67.5], abs=0.1
    )


def test_our_alpha_table_has_a_block_per_classifier(tmp_path):
    step = TYPED["alphas"]["alphas"]["step"]
    alphas = [round(step * number, 2) for number in range(ALPHAS)]
    assert alphas[-1] == TYPED["alphas"]["alphas"]["last"]
    table = fake(recipes=[("ft", 1e-4), ("lp", 1e-4)], alphas=alphas)
    made = PAPER.make("alphas", table, tmp_path)
    blocks = {title: frame for title, frame in made.rows.items() if title.startswith("Ours:")}
    for title, name in zip(blocks, TYPED["alphas"]["blocks"], strict=True):
        assert name.replace("-", " ") in title
    ours = next(iter(blocks.values())).set_index("setting")
    assert len(ours) == ALPHAS  # zero-shot is alpha 0
    rows = at(table, metric="accuracy", method="ft", alpha=0.35)
    by_run = rows.groupby(["run", "role"])["mean"].mean().unstack()
    both = 100 * (by_run.reference + by_run["shift"]) / 2
    assert ours.loc["alpha=0.35", "mean of both"] == f"{both.mean():.1f} ± {both.std():.1f}"
    assert "clipft wise" not in made.caption
    (changes,) = [frame for title, frame in made.rows.items() if title.startswith("Changes")]
    means = (
        100
        * at(table, metric="accuracy", method="ft", role="reference")
        .groupby("alpha")["mean"]
        .mean()
    )
    ours_is = means[0.35] - means[1.0]
    want = f"{ours_is:+.1f} | -1.6 | {ours_is + 1.6:+.1f}"  # 79.7 and 81.3
    assert changes.set_index("setting").loc["alpha=0.35", "reference"] == want
    assert "clipft wise RUN" in PAPER.make("alphas", TABLE, tmp_path).caption


def test_heads_on_fts_tower_are_points_at_their_alphas(tmp_path):
    head = "ft+wise_head"
    table = fake(recipes=[("lp", 1e-4), (head, 0.75), (head, 0.25)])
    after = {
        f"{head}_{alpha}": {"after": {"name": "wise_head", "options": {"alpha": alpha}}}
        for alpha in (0.75, 0.25)
    }
    with_configs(table, tmp_path, **after)
    made = PAPER.make("classifier_curve", table, tmp_path)
    heads = made.drawn[(made.drawn.method == head) & (made.drawn.mark == "mixture")]
    assert heads.label.tolist() == ["alpha=0.25", "alpha=0.75"]
    for point in heads.itertuples():
        rows = at(table, metric="accuracy", recipe=point.recipe, alpha=1.0, role="reference")
        assert point.reference == pytest.approx(100 * rows["mean"].mean())
    (trace,) = [t for t in made.figure.data if t.name == title_of(head)]
    assert len(trace.x) == 2  # it does not begin at the zero-shot model


def test_weights_mixed_are_compared_with_logits_mixed(tmp_path):
    table = fake(recipes=[("ft", 1e-4), ("ft+output_ensemble", 1e-4)], seeds=(0, 1))
    extra = at(table, metric="nll", method="ft+output_ensemble")
    table = pd.concat(
        [table, *(extra.assign(metric=f"wise_{m}") for m in ("distance", "agreement"))]
    )
    table[["domain", "part"]] = table.split.str.split("/", expand=True)
    for run in table.run.unique():
        (tmp_path / run).mkdir()
        config = {}
        if "ensemble" in run:
            config = {"after": {"members": [run.replace("+output_ensemble", "")]}}
        (tmp_path / run / "config.json").write_text(json.dumps(config))
    made = PAPER.make("weight_and_output_space", table, tmp_path)
    titles = [note.text for note in made.figure.layout.annotations]
    assert [title.split(" (")[0] for title in titles] == TYPED["weight_and_output_space"]["panels"]
    for name, method in (("WiSE", "ft"), ("ensemble", "ft+output_ensemble")):
        (trace,) = [t for t in made.figure.data if t.name == f"art, {name}" and t.showlegend]
        rows = at(table, metric="accuracy", method=method, split="art/test")
        assert list(trace.y) == pytest.approx((100 * rows.groupby("alpha")["mean"].mean()).tolist())
    assert "n = 4 runs" in made.caption
    without = PAPER.make("weight_and_output_space", TABLE, tmp_path)
    assert "clipft combine output_ensemble" in without.caption


def test_images_of_one_class_stand_in_a_row_per_domain(world):
    run = world.train()
    run.score([0.0, 1.0])
    from clipft import results

    made = PAPER.make("domains", results(world.runs), world.runs)
    (sheet,) = made.figure.data
    domains = list(made.figure.layout.yaxis.ticktext)
    assert domains == list(run.manifest.domains)
    # Five test images of a class, and a grey tile where a sixth would be.
    height, width, _ = np.array(sheet.z).shape
    assert (height // len(domains), width // 6) == (64, 64)
    grey = np.array(sheet.z)[:64, -64:]
    assert (grey == 128).all() and not (np.array(sheet.z)[:64, :-64] == 128).all()


def test_what_is_drawn_is_written(tmp_path):
    made = PAPER.make("effective_robustness", WITH_LINE, tmp_path)
    PAPER.save_rows(made, tmp_path, "effective_robustness")
    points = pd.read_csv(tmp_path / "wise_ft_effective_robustness.csv")
    ours = points[~points.published]
    assert ours.runs.notna().all() and (ours.n == 150).all() and (ours.seeds > 0).all()
    assert {"expected", "command", "table", "csv", "variant"} <= set(points.columns)
