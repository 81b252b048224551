"""The explorers of the energy gap and of feature distortion, without a page."""

import contextlib
import functools
import itertools
import json

import numpy as np
import pandas as pd
import pytest
import traitlets
from explorers import distortions
from looking import drawn, table_of, traces, values
from scipy import stats
from test_sweep import toy_sweep
from test_table import TABLE, fake, with_ensemble

pytest.importorskip("anywidget")

from clipft.config import RunConfig
from clipft.errors import ClipftError, ConfigError
from clipft.figures.wise import curves_figure
from clipft.runs.folder import THUMBNAILS
from clipft.runs.run import read_sweep
from clipft.runs.table import results as results_
from clipft.runs.thumbnails import Thumbnails
from clipft.widgets import configs, energy_gap
from clipft.widgets.base import Plot
from clipft.widgets.distortion import DistortionExplorer
from clipft.widgets.energy_gap import EnergyGapExplorer
from clipft.widgets.run_browser import RunBrowser

MANY = fake(recipes=[("ft", 1e-4), ("ft", 1e-5), ("lipsum", 1e-4)])


@pytest.fixture
def results(scored):
    return results_(scored.runs)


def points(explorer):
    """Run -> its point in the picture."""
    found = {}
    for trace in traces(explorer.plot):
        numbers = (trace.get("meta") or {}).get("id", [])
        for number, *place in zip(
            numbers, values(trace["x"]), values(trace["y"]), strict=bool(numbers)
        ):
            found[explorer.runs[number]] = tuple(place)
    return found


def at(shift):
    """A row per run of MANY at alpha 1, a column per metric."""
    rows = MANY[(MANY.alpha == 1) & (MANY.split == shift)]
    return rows.pivot(index="run", columns="metric", values="mean")


def of_figure(figure):
    plot = Plot(figure)
    return drawn(plot)


# energy gap


def test_gap_draws_every_run_and_its_correlation():
    explorer = EnergyGapExplorer(MANY)
    assert explorer.shift == "art/test"
    explorer.shift = "sketch/test"
    want = at("sketch/test")
    assert points(explorer) == {
        run: (row.energy_gap, row.relative_accuracy) for run, row in want.iterrows()
    }
    whole = stats.pearsonr(want.energy_gap, want.relative_accuracy)[0]
    assert explorer.correlation.r == pytest.approx(whole)
    assert f"r = {whole:.2f} [" in explorer.note.value
    colours = {
        trace["name"]: trace["marker"]["color"]
        for trace in traces(explorer.plot)
        if "meta" in trace
    }
    explorer.methods = ("ft",)
    assert explorer.correlation.n == 4
    assert {
        trace["name"]: trace["marker"]["color"]
        for trace in traces(explorer.plot)
        if "meta" in trace
    } == {"FT": colours["FT"]}
    explorer.methods = ()
    assert drawn(explorer.plot) == {} and explorer.correlation.n == 0
    (said,) = explorer.figure().layout.annotations
    assert said.text.startswith("no run with energy_gap")


def test_gap_names_the_two_runs_without_which_r_changes_most():
    explorer = EnergyGapExplorer(MANY)
    part = at(explorer.shift)
    whole = stats.pearsonr(part.energy_gap, part.relative_accuracy)[0]
    changes = {}
    for pair in itertools.combinations(part.index, 2):
        rest = part.drop(index=list(pair))
        changes[pair] = stats.pearsonr(rest.energy_gap, rest.relative_accuracy)[0] - whole
    pair = max(changes, key=lambda pair: abs(changes[pair]))
    said = explorer.note.value.partition("Without ")[2]
    assert [run for run in part.index if f"run {run}" in said] == sorted(pair)
    assert f"r = {whole + changes[pair]:.2f} [" in said and "n = 4" in said
    explorer.methods = ("lipsum",)
    assert "Without" not in explorer.note.value  # two runs


@pytest.mark.parametrize("shift", ["art/test", "sketch/test"])
def test_gap_opens_on_the_run_that_is_furthest_to_the_right(shift):
    explorer = EnergyGapExplorer(MANY, shift=shift)
    assert explorer.selection == at(shift).energy_gap.idxmax()
    assert explorer.runs[explorer.plot.chosen] == explorer.selection
    title = drawn(explorer.plot)["layout"]["title"]["text"]
    row = MANY[MANY.run == explorer.selection].iloc[0]
    assert f"seed {row.seed}, run {explorer.selection}" in title
    assert explorer.selection in explorer.about.value
    empty = EnergyGapExplorer(MANY, selection="")
    assert empty.plot.chosen == -1 and "Click a point" in empty.about.value


def test_gap_live_is_its_static_twin():
    explorer = EnergyGapExplorer(MANY)
    for shift, selection in (("sketch/test", MANY.run[0]), ("art/test", "")):
        explorer.shift = shift
        explorer.selection = selection
        assert drawn(explorer.plot) == of_figure(explorer.figure())


def test_gap_click_opens_the_run(at_home, results):
    explorer = EnergyGapExplorer(results, at_home.runs)
    for run in at_home.scored:
        name = run.id
        explorer.plot.chosen = explorer.runs.index(name)
        assert explorer.selection == name
        assert f"run {name}" in explorer.about.value
        assert f"run {name}" in drawn(explorer.plot)["layout"]["title"]["text"]
        settings = dict(table_of(explorer.about.value).to_numpy())
        assert settings["learning rate"] == "0.003"
        sweep = read_sweep(run.path)
        assert drawn(explorer.curve) == of_figure(curves_figure([sweep], 1.0))
        assert name in drawn(explorer.curve)["layout"]["title"]["text"]
        rows = sweep.rows[explorer.shift]
        most = rows[np.argmax(sweep.energy_gap[-1, rows])]
        gap = f"gap {sweep.energy_gap[-1, most]:.1f}"
        assert gap in explorer.tiles.value.partition("</figure>")[0]
        assert "src='data:image/webp" in explorer.tiles.value
    explorer.plot.chosen = -1
    assert explorer.selection == "" and explorer.tiles.value == ""
    assert drawn(explorer.curve) == {}


def test_gap_tells_settings_in_words_without_digests(at_home):
    """Every setting that is not the default, by its value; nothing that only a machine reads."""
    defaults = RunConfig().model_dump(mode="json")
    for run in at_home.scored:
        recorded = json.loads((run.path / "config.json").read_text())
        shown = configs.changed_settings(run.path)
        assert (shown["method"], shown["data set"]) == (run.name.title, recorded["manifest"])
        assert "model" in shown
        changed = {
            name for name, value in recorded.items() if name in defaults and value != defaults[name]
        }
        assert len(shown) == 3 + len(changed - {"method", "manifest", "model"})
        told = json.dumps(shown)
        for name, value in recorded.items():
            if name.endswith("_digest"):
                assert name not in told and value not in told
        assert "format" not in shown and "title" not in shown


def test_gap_tells_how_a_combination_was_made(tmp_path):
    after = {
        "name": "uniform_soup",
        "options": {"a": 2.0},
        "of": [],
        "among": 3,
        "members": ["abc"],
    }
    recorded = {"method": "ft", "manifest": "mini", "model": "tiny", "after": after, "format": 2}
    (tmp_path / "config.json").write_text(json.dumps(recorded))
    assert configs.changed_settings(tmp_path) == {
        "method": "FT + uniform soup",
        "data set": "mini",
        "model": "tiny",
        "made of runs": "3",
        "options of that": "a 2",
    }


def test_gap_shows_the_images_of_the_shift_that_is_chosen(at_home, results):
    """The images are those of the shift in the menu, also if it changes after the click."""
    name = at_home.scored[0].id
    explorer = EnergyGapExplorer(results, at_home.runs, selection=name)
    explorer.shift = "sketch/test"
    want = EnergyGapExplorer(results, at_home.runs, selection=name, shift="sketch/test")
    assert explorer.tiles.value == want.tiles.value


def test_gap_without_shifts_is_one_line():
    with pytest.raises(ConfigError, match="no run is scored on a shift, as where its data set has"):
        EnergyGapExplorer(TABLE[TABLE.role != "shift"])
    with pytest.raises(ConfigError, match=r"no run is scored on a shift at alpha 0\.7"):
        EnergyGapExplorer(TABLE, alpha=0.7)


def test_results_of_several_kinds_are_one_line(tmp_path):
    other = pd.concat([TABLE, fake(seeds=(5,)).assign(model="large", model_digest="l")])
    for make in (EnergyGapExplorer, functools.partial(RunBrowser, runs=tmp_path)):
        with pytest.raises(ConfigError, match="several kinds of model"):
            make(other)


def test_gap_of_ensembles_alone_is_no_raw_error():
    """Another measure, or one line; models without a byte-pair text tower have no gap either."""
    table = with_ensemble()
    with contextlib.suppress(ClipftError):
        EnergyGapExplorer(table[table.method == "ft+output_ensemble"])


def test_gap_of_a_run_that_is_not_there_is_no_raw_error():
    explorer = EnergyGapExplorer(TABLE)
    with pytest.raises((ClipftError, traitlets.TraitError)):
        explorer.selection = "nobody"
    with pytest.raises(ClipftError, match="nobody"):
        EnergyGapExplorer(TABLE, selection="nobody")


def test_gap_with_a_damaged_pack_of_images_says_so(elsewhere, scored):
    (elsewhere / THUMBNAILS).write_bytes(b"no parquet")
    name = scored.scored[0].id
    explorer = EnergyGapExplorer(results_(elsewhere), elsewhere, selection=name)
    assert "is damaged" in explorer.about.value
    assert explorer.tiles.value == ""


def test_an_ensemble_has_no_moved_images():
    sweep = toy_sweep(gap=False)
    moved = energy_gap.moved_html(sweep, "real/test", Thumbnails(sweep))
    assert "an ensemble has none" in moved


def test_gap_names_a_run_whose_folder_is_missing(tmp_path):
    explorer = EnergyGapExplorer(TABLE, tmp_path, selection=TABLE.run[0])
    assert "missing or no file" in explorer.about.value
    assert drawn(explorer.curve) == {}


# feature distortion


def test_distortion_draws_the_table():
    table = distortions()
    explorer = DistortionExplorer(table, kind="normalised")
    for shift, kind in itertools.product(("clipart/test", "sketch/test"), ("raw", "normalised")):
        explorer.shift = shift
        explorer.kind = kind
        part = table[(table.split == shift) & (table.kind == kind)]
        wanted = {row.run: (row.reference, row.shifted) for row in part.itertuples()}
        assert points(explorer) == wanted
        assert drawn(explorer.plot) == of_figure(explorer.figure())
        holds, fails = ((part.verdict == word).sum() for word in ("holds", "fails"))
        counts = f"the theory holds in {holds}, fails in {fails}"
        assert "4 runs; by 95 % intervals" in explorer.note.value and counts in explorer.note.value


def test_distortion_click_chooses_a_run():
    table = distortions()
    explorer = DistortionExplorer(table)
    assert explorer.selection == "" and "Click a point" in explorer.note.value
    for number, run in enumerate(sorted(table.run.unique())):
        explorer.plot.chosen = number
        assert explorer.selection == run
        here = table[(table.run == run) & (table.split == explorer.shift) & (table.kind == "raw")]
        (row,) = here.itertuples()
        assert f"seed {row.seed}, run {run}" in explorer.note.value
        interval = f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]: {row.verdict}"
        assert interval in explorer.note.value
        assert f"run {run}" in drawn(explorer.plot)["layout"]["title"]["text"]
    explorer.plot.chosen = -1
    assert explorer.selection == "" and "Click a point" in explorer.note.value
    explorer.selection = run
    assert explorer.plot.chosen == number
    with pytest.raises(ClipftError, match="nobody"):
        explorer.selection = "nobody"


def test_distortion_of_an_empty_table_is_one_line():
    with pytest.raises(ConfigError, match="no feature distortion to draw"):
        DistortionExplorer(distortions().iloc[:0])


def test_distortion_of_one_kind_opens_on_it():
    table = distortions()
    assert DistortionExplorer(table[table.kind == "normalised"]).kind == "normalised"
