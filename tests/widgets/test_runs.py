"""The browser of runs and the view of one run, without a page."""

import contextlib
import json
import shutil

import pandas as pd
import pytest
from conftest import CLASSES
from looking import asked, drawn, named, table_of, traces, values
from scipy import stats
from test_table import TABLE

pytest.importorskip("anywidget")

import clipft
from clipft.boards import configs
from clipft.errors import ClipftError, ConfigError
from clipft.runs.table import results as results_
from clipft.widgets.classes import ClassExplorer
from clipft.widgets.explore import RunExplorer
from clipft.widgets.run_browser import RunBrowser
from clipft.widgets.workspace import Workspace


@pytest.fixture(autouse=True)
def live(monkeypatch):
    monkeypatch.delenv("CLIPFT_HEADLESS", raising=False)


@pytest.fixture
def results(scored):
    return results_(scored.runs)


def shown(browser, *, again=False):
    """The table that a page gets, after it looked again."""
    answer = asked(browser, "runs", **({"again": True} if again else {})).json
    names = [column["name"] for column in answer["columns"]]
    return pd.DataFrame(answer["rows"], columns=names).set_index("run")


def test_browser_lists_runs_and_names_what_is_left_out(at_home, results):
    browser = RunBrowser(results, at_home.runs)
    left_out = " ".join(asked(browser, "runs").json["unfinished"])
    assert at_home.begun.name in left_out and at_home.unscored.name in left_out
    ids = {run.id for run in at_home.scored}
    assert set(browser.table.run) == set(shown(browser).index) == ids
    tuned = results[(results.alpha == 1) & (results.metric == "accuracy")]
    for row in tuned[tuned.role == "shift"].itertuples():
        assert shown(browser).loc[row.run, row.split] == pytest.approx(100 * row.mean, abs=1e-5)


def test_settings_of_the_folders_can_be_found(at_home):
    browser = RunBrowser(at_home.runs)
    answer = asked(browser, "runs").json
    for found in answer["findable"]:
        settings = answer["common"] | found["settings"]
        recorded = json.loads((at_home.runs / found["run"] / "config.json").read_text())
        assert settings["batch_size"] == recorded["batch_size"]
        assert settings["method"] == recorded["method"]
        assert recorded["method"] in found["names"]


def test_the_static_twin_is_the_table(at_home):
    browser = RunBrowser(at_home.runs)
    (table,) = browser.figure().data
    head = [name.removeprefix("<b>").removesuffix("</b>") for name in table.header.values]
    twin = pd.DataFrame(dict(zip(head, table.cells.values, strict=True)))
    want = browser.table.round(2).astype(str).reset_index(drop=True)
    pd.testing.assert_frame_equal(twin, want, check_dtype=False)


def test_browser_without_tuned_scores_is_no_raw_error(tmp_path):
    with contextlib.suppress(ClipftError):
        RunBrowser(TABLE[TABLE.alpha != 1.0], tmp_path)


# runs that come while it is open


@pytest.fixture
def arriving(at_home, tmp_path):
    """A folder with one of the scored runs, and a function that moves the other in."""
    runs = tmp_path / "arriving"
    first, second = (run.path for run in at_home.scored)
    shutil.copytree(first, runs / first.name)

    def arrive():
        shutil.copytree(second, tmp_path / second.name).rename(runs / second.name)
        return second.name

    return runs, arrive


@pytest.mark.parametrize("how", ["page", "program"])
def test_a_run_that_came_or_went_is_shown_when_somebody_looks_again(arriving, how):
    runs, arrive = arriving
    browser = RunBrowser(runs)

    def look():
        if how == "program":
            browser.refresh()
        return sorted(shown(browser, again=how == "page").index)

    (there,) = shown(browser).index
    came = arrive()
    assert shown(browser).index.tolist() == [there]
    assert look() == sorted([there, came]) == sorted(browser.table.run)
    shutil.rmtree(runs / came)
    assert look() == [there]


def test_nothing_is_read_where_nothing_changed(arriving, monkeypatch):
    runs, arrive = arriving
    browser = RunBrowser(runs)
    reads = []
    monkeypatch.setattr(
        "clipft.boards.run_desk.results", lambda source: reads.append(source) or results_(source)
    )
    browser.refresh()
    assert reads == []
    arrive()
    browser.refresh()
    browser.refresh()
    assert len(reads) == 1


def test_a_folder_that_was_emptied_is_one_line(arriving):
    runs, _ = arriving
    browser = RunBrowser(runs)
    for folder in list(runs.iterdir()):
        shutil.rmtree(folder)
    with pytest.raises(ClipftError) as caught:
        browser.refresh()
    assert "\n" not in str(caught.value)


def test_a_run_that_is_compared_is_read_again_when_it_is_scored_again(arriving):
    runs, arrive = arriving
    came = arrive()
    browser = RunBrowser(results_(runs), runs)
    browser.compared = [folder.name for folder in sorted(runs.iterdir())]
    before = browser.comparison()
    other = next(folder for folder in runs.iterdir() if folder.name != came)
    for name in ("images.parquet", "scores.parquet", "config.json"):
        shutil.copy(other / name, runs / came / name)
    browser.refresh()
    assert not browser.comparison().equals(before)
    assert (browser.comparison()["only first right"] == 0).all()


def test_a_run_of_another_kind_and_a_damaged_one_do_not_end_the_browser(arriving):
    runs, arrive = arriving
    browser = RunBrowser(runs)
    (there,) = shown(browser).index
    came = arrive()
    about = config_of(runs / came)
    (runs / came / "config.json").write_text(json.dumps(about | {"manifest_digest": "other"}))
    browser.refresh()
    assert shown(browser).index.tolist() == [there]
    (runs / came / "config.json").write_text("{")
    with pytest.raises(ClipftError, match="is not valid JSON"):
        browser.refresh()
    assert shown(browser).index.tolist() == [there]
    (runs / came / "config.json").write_text(json.dumps(about))
    browser.refresh()
    assert sorted(shown(browser).index) == sorted([there, came])


def test_names_and_tags_are_shown_when_they_are_given(arriving):
    runs, arrive = arriving
    came = arrive()
    browser = RunBrowser(runs)
    assert "name" not in browser.table
    clipft.label(runs / came, name="my-run", add=["good", "new"])
    table = shown(browser, again=True)
    assert table.loc[came, ["name", "tags"]].tolist() == ["my-run", "good new"]
    answer = asked(browser, "runs").json
    (found,) = [one for one in answer["findable"] if one["run"] == came]
    assert "my-run" in found["names"]
    assert (answer["common"] | found["settings"])["tags"] == "good new"
    (twin,) = browser.figure().data
    assert "my-run" in [cell for column in twin.cells.values for cell in column]


def test_a_table_of_nowhere_is_not_looked_at_again(arriving):
    runs, _ = arriving
    assert asked(RunBrowser(runs), "runs").json["refreshable"]
    browser = RunBrowser(results_(runs))
    assert not asked(browser, "runs").json["refreshable"]
    browser.refresh()
    assert len(browser.table) == 1


# some runs


def test_compared_runs_are_drawn_under_their_names(at_home):
    browser = RunBrowser(at_home.runs)
    runs = [run.id for run in at_home.scored]
    answer = asked(browser, "compare", runs=runs)
    lines = [trace for trace in traces(answer) if trace["mode"] == "lines+markers"]
    for run, curve in zip(at_home.scored, lines, strict=True):
        sweep = run.sweep()
        assert values(curve["x"]) == pytest.approx(100 * sweep.accuracy[:, 0])
        assert values(curve["y"]) == pytest.approx(100 * sweep.accuracy[:, 1:].mean(1))
        assert f"run {run.id}" in curve["hovertemplate"]
    assert answer.json["moves"] == {}
    alone = asked(browser, "compare", runs=runs[:1])
    assert len([trace for trace in traces(alone) if trace["mode"] == "lines+markers"]) == 1
    assert alone.json["tables"] == []


def test_a_run_without_images_or_an_unknown_one_is_one_line(scored, results, tmp_path):
    folder = shutil.copytree(scored.runs, tmp_path / "runs")
    browser = RunBrowser(results, folder)
    first, gone = (run.id for run in scored.scored)
    (folder / gone / "images.parquet").unlink()
    with pytest.raises(ClipftError, match="no scores of single images"):
        asked(browser, "compare", runs=[first, gone])
    for nobody in ("nobody", f"../runs/{first}", scored.unscored.name):
        browser.compared = [first, nobody]
        for compare in (
            lambda: asked(browser, "compare", runs=browser.compared),
            browser.comparison,
        ):
            with pytest.raises(ConfigError, match="unknown run") as caught:
                compare()
            assert nobody in str(caught.value) and "\n" not in str(caught.value)


def test_more_runs_than_can_be_told_apart_are_refused(at_home):
    browser = RunBrowser(at_home.runs)
    with pytest.raises(ConfigError, match="13 runs; at most 12"):
        asked(browser, "compare", runs=[at_home.scored[0].id] * 13)


def test_browser_compares_as_scipy_does(at_home, results):
    browser = RunBrowser(results, at_home.runs)
    browser.compared = runs = [run.id for run in at_home.scored]
    frames = [
        pd.read_parquet(at_home.runs / run / "images.parquet").query("alpha == 1") for run in runs
    ]
    found = browser.comparison().set_index("split")
    assert found.index.tolist() == ["real/test", "clipart/test", "sketch/test"]
    assert set(found.run) == {runs[1]}
    told = table_of(asked(browser, "compare", runs=runs).json["tables"][1]).set_index("split")
    for split, row in found.iterrows():
        one, other = (
            f[f.split == split].set_index("id").pipe(lambda g: g.prediction == g.label).astype(bool)
            for f in frames
        )
        other = other[one.index]
        b = int((one & ~other).sum())
        c = int((other & ~one).sum())
        assert (row["only first right"], row["only this right"]) == (b, c)
        assert row.p == (f"{stats.binomtest(b, b + c).pvalue:.2g}" if b + c else "1")
        assert float(row["first %"]) == pytest.approx(100 * one.mean(), abs=0.051)
        assert float(row["this %"]) == pytest.approx(100 * other.mean(), abs=0.051)
        assert float(row["difference"].split()[0]) == pytest.approx(
            100 * (other.mean() - one.mean()), abs=0.051
        )
        assert told.loc[split].tolist() == row.astype(str).tolist()


def test_runs_that_saw_other_images_are_not_compared(scored, results, tmp_path):
    folder = shutil.copytree(scored.runs, tmp_path / "runs")
    file = folder / scored.scored[1].id / "images.parquet"
    frame = pd.read_parquet(file).astype({"id": str})
    frame["id"] = "other/" + frame.id
    frame.to_parquet(file)
    browser = RunBrowser(results, folder)
    with pytest.raises(ConfigError) as caught:
        asked(browser, "compare", runs=[run.id for run in scored.scored])
    assert "\n" not in str(caught.value)


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def test_settings_that_differ_are_those_of_the_files(at_home):
    folders = [run.path for run in at_home.scored]
    abouts = [config_of(folder) for folder in folders]
    differ = configs.told_table(folders)
    keys = abouts[0].keys() - {"title"}  # it follows from the method
    other_settings = {key for key in keys if abouts[0][key] != abouts[1][key]}
    assert set(differ.setting) == other_settings == {"method"}
    assert differ.iloc[0].tolist()[1:] == [about["method"] for about in abouts]
    assert differ.columns.tolist() == ["setting", *(f"run {folder.name}" for folder in folders)]
    browser = RunBrowser(at_home.runs)
    tables = asked(browser, "compare", runs=[run.id for run in at_home.scored]).json["tables"]
    assert table_of(tables[0]).equals(differ.astype(str))


def test_settings_that_differ_are_said_in_words(at_home, tmp_path):
    """No digest is shown: what has one name and two contents is said to be another."""
    folders = []
    for name, changes in {
        "first": {"lam": None, "betas": [0.9, 0.999], "flip": True, "lr": 1e-5},
        "second": {"lam": 0.5, "betas": [0.9, 0.98], "flip": False, "lr": 1e-4},
        "third": {"lam": None, "betas": [0.9, 0.999], "flip": True, "lr": 1e-3},
    }.items():
        folders.append(shutil.copytree(at_home.scored[0].path, tmp_path / name))
        about = config_of(folders[-1]) | changes
        if name == "second":
            about |= {"model_digest": "0" * 12, "manifest": "other", "manifest_digest": "1" * 12}
        (folders[-1] / "config.json").write_text(json.dumps(about))
    differ = configs.told_table(folders).set_index("setting")
    here = config_of(folders[0])
    assert differ.loc["lam"].tolist() == ["default", "0.5", "default"]
    assert differ.loc["betas"].tolist() == ["0.9, 0.999", "0.9, 0.98", "0.9, 0.999"]
    assert differ.loc["flip"].tolist() == ["yes", "no", "yes"]
    assert differ.loc["lr"].tolist() == ["1e-05", "0.0001", "0.001"]
    assert differ.loc["manifest"].tolist() == [here["manifest"], "other", here["manifest"]]
    other = f"{here['model']}, other weights"
    assert differ.loc["model"].tolist() == [here["model"], other, here["model"]]
    assert len(differ) == 6
    assert "digest" not in differ.reset_index().to_string()


# one run, and all


def test_explore_shows_the_run_in_tabs(at_home):
    run = at_home.scored[1]
    explorer = clipft.explore(run.path)
    assert isinstance(explorer, RunExplorer)
    (tabs,) = explorer.about["panes"]
    assert {"wise", "classes", "confusions", "reliability", "training"} <= set(tabs)
    training = asked(explorer, "figure training", run=explorer.run)
    validations = [row for row in run.folder.history() if "val_accuracy" in row]
    curve = named(training, "validation")
    assert values(curve["x"]) == [row["step"] for row in validations]
    layout = drawn(training)["layout"]
    assert layout["title"]["text"] == f"{run.title}, run {run.id}"
    assert layout["xaxis"]["range"] == [0, run.config.steps]
    told = table_of(training.json["said"]["table"])
    assert told.astype(str).equals(run.accuracies().astype(str))


def test_explore_opens_at_the_scored_alpha_nearest_to_a_half(at_home):
    sweep = at_home.scored[0].sweep()
    nearest = min(sweep.alphas, key=lambda alpha: abs(alpha - 0.5))
    assert clipft.explore(at_home.scored[0].path).alpha == pytest.approx(nearest)
    assert clipft.explore(at_home.scored[0].path, alpha=0.3).alpha == 0.3


def test_confusions_follow_alpha_and_split(at_home):
    run = at_home.scored[0]
    sweep = run.sweep()
    names = [name.replace("_", " ") for name in CLASSES]
    one, all_of_them = RunExplorer(run.path, 0.0), ClassExplorer(run.path, 0.0)
    for alpha in (0.0, 0.9):
        one.alpha = all_of_them.alpha = alpha
        place = abs(sweep.alphas - alpha).argmin()
        for split in sweep.splits:
            wrong = (sweep.split == split) & (sweep.prediction[place] != sweep.label)
            assert one.confusions(split).here.sum() == wrong.sum()
            all_of_them.split = split
            table = all_of_them.confusions()
            assert table.here.sum() == wrong.sum()
            pairs = zip(sweep.label[wrong], sweep.prediction[place, wrong], strict=True)
            want = {(names[label], names[taken]) for label, taken in pairs}
            kept = table[table.here > 0]
            assert set(zip(kept["class"], kept["taken for"], strict=True)) == want
            assert all_of_them.figure().data
    all_of_them.split = "nowhere"
    with pytest.raises(ConfigError, match="nowhere"):
        all_of_them.confusions()


def test_similar_classes_are_told_by_their_numbers(at_home):
    sweep = at_home.scored[0].sweep()
    a, b, c, _ = sweep.classes
    names = ["class", "similar", "cosine"]
    rows = [(a, b, 0.9), (a, c, 0.5), (b, a, 0.9), ("not here", a, 0.1)]
    explorer = ClassExplorer(sweep, similar=pd.DataFrame(rows, columns=names))
    told = asked(explorer, "similar", run=explorer.run).json["similar"]
    assert told == {0: [[1, 0.9], [2, 0.5]], 1: [[0, 0.9]]}
    assert explorer.about["similar"] and not ClassExplorer(sweep).about["similar"]


def test_a_view_of_a_run_can_be_linked(at_home):
    run = at_home.scored[0].path
    whole = RunExplorer(run, 0.2)
    calibration = clipft.ReliabilityExplorer(run)
    clipft.link(whole, calibration)
    assert calibration.alpha == 0.2
    calibration.alpha = 0.7
    assert whole.alpha == 0.7
    calibration.selection = some = [str(whole.sweep.ids[0])]
    assert whole.selection == some


def test_a_workspace_shows_each_run_of_its_folder(at_home):
    workspace = Workspace(at_home.runs, maps=False)
    ids = [run.id for run in at_home.scored]
    assert sorted(run for _, run in workspace.about["runs"]) == sorted(ids)
    for run in at_home.scored:
        workspace.run = run.id
        picture = asked(workspace, "figure wise", run=run.id)
        (x,) = values(named(picture, "tuned")["x"])
        assert x == pytest.approx(100 * run.sweep().accuracy[-1, 0])
        assert run.id in workspace.figure().layout.title.text
        assert asked(workspace, "sweep", run=run.id).json["run"] == run.id
    views = {view for pane in workspace.about["panes"] for view in pane}
    assert "map" not in views and {"wise", "gap", "runs"} <= views
