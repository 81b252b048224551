"""The explorers of the energy gap and of feature distortion, without a page."""

import contextlib
import functools
import itertools
import json

import pandas as pd
import pytest
from explorers import distortions
from looking import asked, drawn, points, table_of, traces
from scipy import stats
from test_table import TABLE, fake, with_ensemble

pytest.importorskip("anywidget")

from clipft.boards import configs
from clipft.boards.desk import key_of
from clipft.config import RunConfig
from clipft.errors import ClipftError, ConfigError
from clipft.figures.moves import moves_of
from clipft.figures.wise import curves_figure
from clipft.runs.run import read_sweep
from clipft.runs.table import results as results_
from clipft.widgets.distortion import DistortionExplorer
from clipft.widgets.energy_gap import EnergyGapExplorer
from clipft.widgets.run_browser import RunBrowser

MANY = fake(recipes=[("ft", 1e-4), ("ft", 1e-5), ("lipsum", 1e-4)])


@pytest.fixture
def results(scored):
    return results_(scored.runs)


def at(shift):
    """A row per run of MANY at alpha 1, a column per metric."""
    rows = MANY[(MANY.alpha == 1) & (MANY.split == shift)]
    return rows.pivot(index="run", columns="metric", values="mean")


def question(explorer):
    """What a page asks for the picture of these traits."""
    menus = explorer.about["charts"].values()
    (names,) = [[menu["name"] for menu in chart["menus"]] for chart in menus]
    return {name: getattr(explorer, name) for name in names}


def picture(explorer):
    (name,) = explorer.about["charts"]
    return asked(explorer, f"figure {name}", **question(explorer))


def said(explorer):
    return " ".join(picture(explorer).json["said"]["paragraphs"])


def looks(explorer):
    """Method -> the colour of its points."""
    groups = [trace for trace in traces(picture(explorer)) if "meta" in trace]
    return {trace["name"]: trace["marker"]["color"] for trace in groups}


# energy gap


def test_gap_draws_every_run_and_its_correlation():
    explorer = EnergyGapExplorer(MANY)
    assert explorer.shift == "art/test"
    explorer.shift = "sketch/test"
    want = at("sketch/test")
    assert points(picture(explorer), explorer.gaps.runs) == {
        run: (row.energy_gap, row.relative_accuracy) for run, row in want.iterrows()
    }
    whole = stats.pearsonr(want.energy_gap, want.relative_accuracy)[0]
    assert explorer.correlation.r == pytest.approx(whole)
    assert f"r = {whole:.2f} [" in said(explorer)
    rho = stats.spearmanr(want.energy_gap, want.relative_accuracy)[0]
    assert f"Spearman's rho {rho:.2f}" in said(explorer)
    colours = looks(explorer)
    explorer.methods = ["ft"]
    assert explorer.correlation.n == 4
    assert looks(explorer) == {"FT": colours["FT"]}


def test_gap_of_no_method_says_so():
    explorer = EnergyGapExplorer(MANY)
    explorer.methods = []
    assert explorer.correlation.n == 0
    with pytest.raises(ConfigError, match="choose others"):
        picture(explorer)
    (note,) = explorer.figure().layout.annotations
    assert note.text.startswith("no run with energy_gap")


def test_gap_names_the_two_runs_without_which_r_changes_most():
    explorer = EnergyGapExplorer(MANY)
    part = at(explorer.shift)
    whole = stats.pearsonr(part.energy_gap, part.relative_accuracy)[0]
    changes = {}
    for pair in itertools.combinations(part.index, 2):
        rest = part.drop(index=list(pair))
        changes[pair] = stats.pearsonr(rest.energy_gap, rest.relative_accuracy)[0] - whole
    pair = max(changes, key=lambda pair: abs(changes[pair]))
    without = said(explorer).partition("Without ")[2]
    assert [run for run in part.index if f"run {run}" in without] == sorted(pair)
    assert f"r = {whole + changes[pair]:.2f} [" in without and "n = 4" in without
    explorer.methods = ["lipsum"]
    assert "Without" not in said(explorer)  # two runs


@pytest.mark.parametrize("shift", ["art/test", "sketch/test"])
def test_gap_opens_on_the_run_that_is_furthest_to_the_right(shift):
    explorer = EnergyGapExplorer(MANY, shift=shift)
    assert explorer.run == at(shift).energy_gap.idxmax()
    row = MANY[MANY.run == explorer.run].iloc[0]
    name = f"seed {row.seed}, run {explorer.run}"
    assert name in explorer.figure().layout.title.text
    assert name in asked(explorer, "about", run=explorer.run).json["said"]["heading"]
    empty = EnergyGapExplorer(MANY, run="")
    assert empty.run == ""
    assert "Click a point" in asked(empty, "about", run="").json["said"]["paragraphs"][0]


def test_gap_live_is_its_static_twin():
    """But for the ring around the chosen run, which the page draws."""
    explorer = EnergyGapExplorer(MANY, run="")
    for explorer.shift in ("sketch/test", "art/test"):
        assert drawn(picture(explorer)) == json.loads(explorer.figure().to_json())


def test_gap_tells_of_the_run_that_is_clicked(at_home, results):
    explorer = EnergyGapExplorer(results, at_home.runs)
    assert {run for _, run in explorer.about["runs"]} == {run.id for run in at_home.scored}
    for run in at_home.scored:
        explorer.run = run.id
        assert f"run {run.id}" in explorer.figure().layout.title.text
        about = asked(explorer, "about", run=run.id).json["said"]
        assert f"run {run.id}" in about["heading"]
        assert dict(table_of(about["table"]).to_numpy())["learning rate"] == "0.003"
        curve = asked(explorer, "figure curve", run=run.id)
        still, _ = moves_of(curves_figure([read_sweep(run.path)], 1.0))
        assert drawn(curve) == json.loads(still.to_json())
        assert run.id in drawn(curve)["layout"]["title"]["text"]


def test_a_saved_page_has_the_pictures_of_what_is_chosen():
    """Also of methods and measures that its menus do not offer."""
    explorer = EnergyGapExplorer(MANY)
    explorer.methods = ["ft"]
    explorer.x = "nll"
    explorer.y = "ece"
    answers = explorer.record()["answers"]
    asks = {"what": "figure", "name": "gap", **question(explorer)}
    assert key_of(asks) in answers
    for shift in explorer.gaps.shifts:
        for menu in explorer.about["charts"]["gap"]["menus"][1:3]:
            for measure in menu["saved"]:
                own = asks | {"shift": shift, menu["name"]: measure}
                assert key_of(own) in answers


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


@pytest.mark.parametrize("name", ["run", "shift", "x", "y"])
def test_gap_of_what_is_not_there_is_no_raw_error(name):
    with pytest.raises(ClipftError, match="nobody"):
        EnergyGapExplorer(TABLE, **{name: "nobody"})
    explorer = EnergyGapExplorer(TABLE)
    if name == "run":
        with pytest.raises(ClipftError, match="nobody"):
            explorer.run = "nobody"
    else:
        setattr(explorer, name, "nobody")
        with pytest.raises(ClipftError, match="nobody"):
            picture(explorer)


def test_gap_names_a_run_whose_folder_is_missing(at_home, results, tmp_path):
    explorer = EnergyGapExplorer(results, at_home.runs)
    explorer.gaps.folder = tmp_path
    about = asked(explorer, "about", run=explorer.run).json["said"]
    assert explorer.run in about["heading"]
    assert "missing or no file" in about["paragraphs"][0]
    with pytest.raises(ClipftError):
        asked(explorer, "figure curve", run=explorer.run)


# feature distortion


def test_distortion_draws_the_table():
    table = distortions()
    explorer = DistortionExplorer(table, kind="normalised")
    for shift, kind in itertools.product(("clipart/test", "sketch/test"), ("raw", "normalised")):
        explorer.shift = shift
        explorer.kind = kind
        part = table[(table.split == shift) & (table.kind == kind)]
        wanted = {row.run: (row.reference, row.shifted) for row in part.itertuples()}
        assert points(picture(explorer), sorted(table.run.unique())) == wanted
        assert explorer.shown.run.tolist() == part.run.tolist()
        assert drawn(picture(explorer)) == json.loads(explorer.figure().to_json())
        holds, fails = ((part.verdict == word).sum() for word in ("holds", "fails"))
        counts = f"the theory holds in {holds}, fails in {fails}"
        assert "4 runs; by 95 % intervals" in said(explorer) and counts in said(explorer)


def test_distortion_tells_of_each_run():
    table = distortions()
    explorer = DistortionExplorer(table)
    assert explorer.run == "" and "Click a point" in picture(explorer).json["hint"]
    for run in sorted(table.run.unique()):
        explorer.run = run
        here = table[(table.run == run) & (table.split == explorer.shift) & (table.kind == "raw")]
        (row,) = here.itertuples()
        told = picture(explorer).json["of_run"][run]
        assert f"seed {row.seed}, run {run}" in told[0]
        interval = f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]: {row.verdict}"
        assert interval in told[-1]
        assert f"run {run}" in explorer.figure().layout.title.text
    with pytest.raises(ClipftError, match="nobody"):
        explorer.run = "nobody"
    assert explorer.run == run


def test_distortion_of_an_empty_table_is_one_line():
    with pytest.raises(ConfigError, match="no feature distortion to draw"):
        DistortionExplorer(distortions().iloc[:0])


@pytest.mark.parametrize("name", ["run", "shift", "kind"])
def test_distortion_of_what_is_not_there_is_no_raw_error(name):
    with pytest.raises(ClipftError):
        DistortionExplorer(distortions(), **{name: "nobody"})


def test_distortion_of_one_kind_opens_on_it():
    table = distortions()
    assert DistortionExplorer(table[table.kind == "normalised"]).kind == "normalised"
