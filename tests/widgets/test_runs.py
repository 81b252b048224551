"""The browser of runs and the view of one run, without a page."""

import contextlib
import itertools
import json
import shutil

import pandas as pd
import pytest
from looking import drawn, moving, named, plots, table_of, traces, values
from scipy import stats
from test_table import TABLE, fake

pytest.importorskip("anywidget")

import clipft
from clipft.errors import ClipftError
from clipft.runs.table import results as results_, wide
from clipft.widgets import configs
from clipft.widgets.explore import RunExplorer
from clipft.widgets.run_browser import RunBrowser


@pytest.fixture(autouse=True)
def live(monkeypatch):
    monkeypatch.delenv("CLIPFT_HEADLESS", raising=False)


@pytest.fixture
def results(scored):
    return results_(scored.runs)


def ids(explorer):
    return explorer.matches.run.tolist()


# the filter


def test_browser_lists_filters_and_names_what_is_left_out(at_home, results):
    browser = RunBrowser(results, at_home.runs)
    assert at_home.begun.name in browser.list.value and at_home.unscored.name in browser.list.value
    assert set(browser.table.run) == {run.id for run in at_home.scored}
    shown = table_of(browser.list.value).set_index("run")
    rows = wide(results)
    rows = rows[(rows.alpha == 1) & (rows.role != "val")]
    for row in rows.itertuples():
        want = 100 * row.accuracy
        assert float(shown.loc[row.run, f"{row.split.split('/')[0]} %"]) == pytest.approx(
            want, abs=0.051
        )
    names = [run.id for run in at_home.scored]
    assert sorted([browser.first, browser.second]) == sorted(names)
    browser.query = "lipsum 0.003"
    assert table_of(browser.list.value).run.tolist() == [names[1]]
    assert browser.first == browser.second == names[1]
    assert browser.menus["first"].value == names[1]


def test_a_run_is_found_by_what_pictures_call_it(at_home):
    """Its title and id as a figure has them, whole or any part of the title."""
    browser = RunBrowser(at_home.runs)
    for run in at_home.scored:
        sweep = run.sweep()
        whole = ", ".join(sweep.called)
        for query in (whole, whole.upper(), f"{sweep.title} ({run.id})", run.id, run.id[:5]):
            browser.query = query
            assert ids(browser) == [run.id], query
        parts = sweep.title.split(", ")
        for count in range(1, len(parts) + 1):
            for some in itertools.combinations(parts, count):
                browser.query = " ".join(some)
                assert run.id in ids(browser), some
        browser.query = ""
        shown = table_of(browser.list.value).set_index("run").loc[run.id]
        name = (
            f"{shown.method}, lr {shown.lr}, {shown.steps} steps, seed {shown.seed}, run {run.id}"
        )
        assert name == whole
        assert dict(browser.menus["first"].options)[whole] == run.id


RECIPES = [("ft", 1e-3), ("ft", 3e-4), ("lipsum", 1e-3), ("flyp", 1e-5), ("ft+tpgm", 1e-3)]


@pytest.mark.parametrize(
    ("query", "method", "lr", "seed"),
    [
        ("Lipsum-FT", "lipsum", None, None),
        ("lipsum lr=0.001", "lipsum", 1e-3, None),
        ("LIPSUM 0.001", "lipsum", 1e-3, None),
        ("lr 0.001", None, 1e-3, None),
        ("lr = 1e-3", None, 1e-3, None),
        ("1E-03", None, 1e-3, None),
        ("lr .0003", None, 3e-4, None),
        ("0.00001", "flyp", 1e-5, None),
        ("seed 1", None, None, 1),
        ("seed=0 method=FLYP", "flyp", None, 0),
        ("TPGM, seed 1", "ft+tpgm", None, 1),
        ("FT + TPGM", "ft+tpgm", None, None),
        ("lr 0.01", "none", None, None),
        ("seed 10", "none", None, None),
        ("dropout=0.1", "none", None, None),
        ("nothing of that name", "none", None, None),
        ("", None, None, None),
    ],
)
def test_words_and_numbers_find_what_they_say(query, method, lr, seed, tmp_path):
    table = fake(recipes=RECIPES)
    browser = RunBrowser(table, tmp_path)
    browser.query = query
    wanted = set()
    for run in table.drop_duplicates("run").itertuples():
        fits = method in (None, run.method) and lr in (None, run.lr) and seed in (None, run.seed)
        if fits:
            wanted.add(run.run)
    assert set(ids(browser)) == wanted
    assert (method == "none") == (not wanted)


def test_ft_is_the_method_of_that_name_alone(tmp_path):
    browser = RunBrowser(fake(recipes=RECIPES), tmp_path)
    browser.query = "ft"
    assert set(browser.matches.method) == {"ft", "ft+tpgm"}


def test_any_setting_is_found_where_the_folder_is_there(at_home):
    browser = RunBrowser(at_home.runs)
    config = at_home.scored[0].config
    browser.query = f"batch_size={config.batch_size} eval_every = {config.eval_every}"
    assert at_home.scored[0].id in ids(browser)
    browser.query = f"batch_size={config.batch_size + 1}"
    assert ids(browser) == []


def test_browser_emptied_by_a_filter_and_filled_again(at_home, results):
    browser = RunBrowser(results, at_home.runs)
    browser.query = "nothing of that name"
    assert (browser.first, browser.second, browser.compared.value) == ("", "", "")
    assert browser.menus["first"].options == ()
    assert "0 of 2 runs" in browser.list.value
    assert traces(browser.plot) == [], "curves of runs that are not chosen any more"
    browser.figure()
    browser.query = ""
    assert browser.first and browser.second and "Settings that differ" in browser.compared.value
    assert traces(browser.plot)


def test_the_static_twin_is_the_table_that_is_shown(at_home):
    browser = RunBrowser(at_home.runs)
    for query in ("", "lipsum"):
        browser.query = query
        (table,) = browser.figure().data
        head = [name.removeprefix("<b>").removesuffix("</b>") for name in table.header.values]
        twin = pd.DataFrame(dict(zip(head, table.cells.values, strict=True)))
        pd.testing.assert_frame_equal(twin, table_of(browser.list.value))


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


def test_a_run_that_came_is_shown_and_the_choice_stays(arriving):
    runs, arrive = arriving
    browser = RunBrowser(runs)
    (there,) = ids(browser)
    browser.query = "lr=0.003"
    pictures = []
    browser.plot.observe(lambda change: pictures.append(change["new"]), "figure")
    browser.refresh()
    assert pictures == [] and "1 of 1 runs" in browser.list.value
    came = arrive()
    assert ids(browser) == [there]
    browser.refresh()
    assert sorted(ids(browser)) == sorted([there, came]) and "2 of 2 runs" in browser.list.value
    assert (browser.query, browser.first, browser.second) == ("lr=0.003", there, there)
    assert pictures == [], "the same two runs are not drawn again"
    browser.second = came
    browser.query = "lipsum"
    browser.refresh()
    assert ids(browser) == [came]
    shutil.rmtree(runs / came)
    browser.refresh()
    assert ids(browser) == [] and browser.first == ""
    browser.query = ""
    assert ids(browser) == [there] and browser.first == there


def test_a_run_that_is_chosen_is_read_again_when_it_is_scored_again(arriving):
    runs, arrive = arriving
    came = arrive()
    browser = RunBrowser(results_(runs), runs)
    browser.first, browser.second = (run.name for run in sorted(runs.iterdir()))
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
    (there,) = ids(browser)
    came = arrive()
    about = config_of(runs / came)
    (runs / came / "config.json").write_text(json.dumps(about | {"manifest_digest": "other"}))
    browser.refresh()
    assert ids(browser) == [there]
    (runs / came / "config.json").write_text("{")
    browser.refresh()
    assert "is not valid JSON" in browser.list.value and "&lt;" not in browser.list.value
    (runs / came / "config.json").write_text(json.dumps(about))
    browser.refresh()
    assert sorted(ids(browser)) == sorted([there, came])


def test_names_and_tags_are_found_and_shown_as_text(arriving):
    runs, arrive = arriving
    came = arrive()
    browser = RunBrowser(runs)
    assert "name" not in browser.table
    clipft.label(runs / came, name="my-run", add=["good", "new"])
    (runs / ids(browser)[0] / "label.json").write_text('{"name": "<img src=x onerror=alert()>"}')
    browser.refresh()
    assert "<img" not in browser.list.value
    shown = table_of(browser.list.value).set_index("run")
    assert shown.loc[came, ["name", "tags"]].tolist() == ["my-run", "good new"]
    for query in ("my-run", "tags=good", "TAGS=new lipsum", "good", "name=my"):
        browser.query = query
        assert ids(browser) == [came], query
    browser.query = "tags=goo"
    assert ids(browser) == []
    browser.query = "my-run"
    assert list(dict(browser.menus["first"].options)) == [
        f"Lipsum-FT, lr 0.003, 6 steps, seed 0, run {came}, my-run"
    ]
    (table,) = browser.figure().data
    assert "my-run" in [cell for column in table.cells.values for cell in column]


def test_the_button_and_the_seconds(arriving):
    """What the page sends; that nothing is asked twice is the page's part."""
    runs, arrive = arriving
    browser = RunBrowser(runs)
    answers = []
    browser.refreshing.send = answers.append
    arrive()
    browser.refreshing._handle_custom_msg("refresh", [])
    assert len(ids(browser)) == 2 and len(answers) == 1
    browser.every = 3
    assert browser.refreshing.value == 3
    browser.refreshing.value = 0.001  # typed in the page
    assert browser.every == browser.refreshing.value == 0.5
    assert not hasattr(RunBrowser(results_(runs)), "refreshing")  # a table of nowhere


# two runs


def test_both_runs_are_drawn_under_their_names(at_home):
    browser = RunBrowser(at_home.runs)
    first, second = (
        clipft.read_sweep(at_home.runs / run) for run in (browser.first, browser.second)
    )
    title = drawn(browser.plot)["layout"]["title"]["text"]
    assert title.index(", ".join(first.called)) < title.index(f"dotted: {', '.join(second.called)}")
    curve = named(browser.plot, second.title)
    assert curve["showlegend"] is True and curve["line"]["dash"] == "dot"
    assert (
        second.title in curve["hovertemplate"] and f"run {browser.second}" in curve["hovertemplate"]
    )
    lines = [trace for trace in traces(browser.plot) if trace["mode"] == "lines+markers"]
    for trace, sweep in zip(lines, (first, second), strict=True):
        assert values(trace["x"]) == pytest.approx(100 * sweep.accuracy[:, 0])
        assert values(trace["y"]) == pytest.approx(100 * sweep.accuracy[:, 1:].mean(1))
    assert browser.plot.moves == {}


def test_a_click_on_the_thin_curve_makes_it_the_first(at_home):
    browser = RunBrowser(at_home.runs)
    first, second = browser.first, browser.second
    curve = named(browser.plot, clipft.read_sweep(at_home.runs / second).title)
    for wanted in ((second, first), (first, second)):
        browser.plot.chosen = curve["meta"]["id"]
        assert (browser.first, browser.second) == wanted
        assert tuple(menu.value for menu in browser.menus.values()) == wanted
        assert drawn(browser.plot)["layout"]["title"]["text"].index(wanted[0]) > 0
        assert browser.plot.chosen == -1


def test_a_run_beside_itself_is_drawn_once(at_home):
    browser = RunBrowser(at_home.runs)
    browser.second = browser.first
    assert len([one for one in traces(browser.plot) if one["mode"] == "lines+markers"]) == 1
    assert "<table" not in browser.compared.value


def test_browser_draws_no_other_run_beside_an_error(scored, results, tmp_path):
    folder = shutil.copytree(scored.runs, tmp_path / "runs")
    browser = RunBrowser(results, folder)
    gone = browser.second
    browser.menus["second"].value = browser.first
    (folder / gone / "images.parquet").unlink()
    browser.sweep_of.cache_clear()
    browser.menus["second"].value = gone
    assert "no scores of single images" in browser.compared.value
    assert traces(browser.plot) == [], "curves of runs other than those that are chosen"


def test_browser_compares_as_scipy_does(at_home, results):
    browser = RunBrowser(results, at_home.runs)
    frames = [
        pd.read_parquet(at_home.runs / name / "images.parquet").query("alpha == 1")
        for name in (browser.first, browser.second)
    ]
    found = browser.comparison().set_index("split")
    assert found.index.tolist() == ["real/test", "clipart/test", "sketch/test"]
    shown = table_of(browser.compared.value).set_index("split")
    for split, row in found.iterrows():
        one, other = (
            f[f.split == split].set_index("id").pipe(lambda g: g.prediction == g.label).astype(bool)
            for f in frames
        )
        other = other[one.index]
        b = int((one & ~other).sum())
        c = int((other & ~one).sum())
        assert (row["only first right"], row["only second right"]) == (b, c)
        assert row.p == (f"{stats.binomtest(b, b + c).pvalue:.2g}" if b + c else "1")
        assert float(row["first %"]) == pytest.approx(100 * one.mean(), abs=0.051)
        assert float(row["difference"].split()[0]) == pytest.approx(
            100 * (other.mean() - one.mean()), abs=0.051
        )
        assert shown.loc[split, "p"] == row.p


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def test_settings_that_differ_are_those_of_the_files(at_home):
    folders = [run.path for run in at_home.scored]
    abouts = [config_of(folder) for folder in folders]
    differ = configs.config_diff(*folders)
    keys = abouts[0].keys() - {"title"}  # it follows from the method
    other_settings = {key for key in keys if abouts[0][key] != abouts[1][key]}
    assert set(differ.setting) == other_settings == {"method"}
    assert differ.iloc[0].tolist()[1:] == [about["method"] for about in abouts]


def test_settings_that_differ_are_said_in_words(at_home, tmp_path):
    """No digest is shown: what has one name and two contents is said to be another."""
    folders = []
    for name, changes in {
        "first": {"lam": None, "betas": [0.9, 0.999], "flip": True, "lr": 1e-5},
        "second": {"lam": 0.5, "betas": [0.9, 0.98], "flip": False, "lr": 1e-4},
    }.items():
        folders.append(shutil.copytree(at_home.scored[0].path, tmp_path / name))
        about = config_of(folders[-1]) | changes
        if name == "second":
            about |= {"model_digest": "0" * 12, "manifest": "other", "manifest_digest": "1" * 12}
        (folders[-1] / "config.json").write_text(json.dumps(about))
    differ = configs.config_diff(*folders).set_index("setting")
    here = config_of(folders[0])
    assert differ.loc["lam"].tolist() == ["default", "0.5"]
    assert differ.loc["betas"].tolist() == ["0.9, 0.999", "0.9, 0.98"]
    assert differ.loc["flip"].tolist() == ["yes", "no"]
    assert differ.loc["lr"].tolist() == ["1e-05", "0.0001"]
    assert differ.loc["manifest"].tolist() == [here["manifest"], "other"]
    assert differ.loc["model"].tolist() == [here["model"], f"{here['model']}, other weights"]
    assert len(differ) == 6
    assert "digest" not in differ.reset_index().to_string()


def test_browser_traits_and_menus_are_one(at_home, results):
    browser = RunBrowser(results, at_home.runs)
    browser.menus["first"].value = other = browser.second
    assert browser.first == other
    browser.first = name = next(run.id for run in at_home.scored if run.id != other)
    assert browser.menus["first"].value == name, (
        "the page shows another run than the one that is compared"
    )


def test_browser_of_other_images_says_so(scored, results, tmp_path):
    folder = shutil.copytree(scored.runs, tmp_path / "runs")
    file = folder / scored.scored[1].id / "images.parquet"
    frame = pd.read_parquet(file).astype({"id": str})
    frame["id"] = "other/" + frame.id
    frame.to_parquet(file)
    browser = RunBrowser(results, folder)
    assert browser.compared.value.startswith("<p>") and "<table" not in browser.compared.value


def test_browser_without_tuned_scores_is_no_raw_error(tmp_path):
    with contextlib.suppress(ClipftError):
        RunBrowser(TABLE[TABLE.alpha != 1.0], tmp_path)


def test_browser_opens_on_a_folder_of_runs_alone(elsewhere, scored):
    browser = RunBrowser(results_(elsewhere), elsewhere)
    assert "McNemar" in browser.compared.value and scored.begun.name in browser.list.value
    assert traces(browser.plot)


# one run


def test_explore_shows_the_run_in_three_tabs(at_home):
    run = at_home.scored[1]
    explorer = RunExplorer(run.path)
    assert explorer.tabs.titles == ("alpha", "training", "confusions")
    wise, training = plots(explorer)
    assert wise is explorer.wise.plot and training is explorer.training
    validations = [row for row in run.folder.history() if "val_accuracy" in row]
    curve = named(training, "validation")
    assert values(curve["x"]) == [row["step"] for row in validations]
    layout = drawn(training)["layout"]
    assert layout["title"]["text"] == f"{run.title}, run {run.id}"
    assert layout["xaxis"]["range"] == [0, run.config.steps]
    assert explorer.figure() == explorer.wise.figure()


def test_explore_opens_at_the_scored_alpha_nearest_to_a_half(at_home):
    sweep = at_home.scored[0].sweep()
    nearest = min(sweep.alphas, key=lambda alpha: abs(alpha - 0.5))
    assert clipft.explore(at_home.scored[0].path).alpha == pytest.approx(nearest)
    assert clipft.explore(at_home.scored[0].path, alpha=0.3).slider.value == 0.3


def test_confusions_follow_alpha_and_split(at_home):
    explorer = RunExplorer(at_home.scored[0].path, 0.0)
    sweep = explorer.sweep
    for alpha, split in itertools.product((0.0, 0.9), sweep.splits):
        explorer.alpha = alpha
        explorer.split = split
        assert explorer.wise.alpha == explorer.slider.value == alpha
        place = abs(sweep.alphas - alpha).argmin()
        wrong = (sweep.split == split) & (sweep.prediction[place] != sweep.label)
        table = table_of(explorer.confused.value)
        assert table.images.astype(int).sum() == wrong.sum()
        assert split in explorer.confused.value


def test_a_view_of_a_run_can_be_linked(at_home):
    run = at_home.scored[0].path
    whole = RunExplorer(run, 0.2)
    calibration = clipft.ReliabilityExplorer(run)
    clipft.link(whole, calibration)
    assert calibration.alpha == 0.2
    calibration.alpha = 0.7
    assert whole.alpha == whole.wise.alpha == 0.7
    assert moving(whole.wise.plot, "at alpha")["x"]
