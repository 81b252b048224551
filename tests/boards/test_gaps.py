"""What a board asks of many runs, against pandas and scipy."""

import json

import pytest
from explorers import distortions
from looking import drawn, points, table_of
from scipy import stats
from test_table import TABLE, fake, with_ensemble

from clipft.boards.desk import Desk
from clipft.boards.explorers import distortion_board, gap_board
from clipft.boards.gap import Distortions, Gaps
from clipft.errors import ClipftError, ConfigError
from clipft.figures.distortion import distortion_figure
from clipft.figures.energy_gap import Choice, energy_gap_figure
from clipft.figures.moves import moves_of
from clipft.figures.wise import curves_figure
from clipft.runs.run import read_sweep
from clipft.runs.table import results

MANY = fake(recipes=[("ft", 1e-4), ("ft", 1e-5), ("lipsum", 1e-4)])
ASKED = {"shift": "sketch/test", "x": "energy_gap", "y": "accuracy", "methods": ["ft", "lipsum"]}


def same(answer, figure):
    return drawn(answer) == json.loads(moves_of(figure)[0].to_json())


def test_a_picture_is_that_of_the_figure_function():
    gaps = Gaps(MANY)
    for methods in (["ft", "lipsum"], ["lipsum"]):
        answer = gaps.answer(ASKED | {"methods": methods})
        choice = Choice(["sketch/test"], methods)
        assert same(answer, energy_gap_figure(MANY, "energy_gap", "accuracy", 1.0, choice))
        rows = MANY[(MANY.alpha == 1) & (MANY.split == "sketch/test") & MANY.method.isin(methods)]
        wide = rows.pivot(index="run", columns="metric", values="mean")
        wanted = {run: (row.energy_gap, row.accuracy) for run, row in wide.iterrows()}
        assert points(answer, gaps.runs) == wanted
        r = stats.pearsonr(wide.energy_gap, wide.accuracy)[0] if len(wide) > 2 else None
        first = answer.json["said"]["paragraphs"][0]
        assert "r undefined" in first if r is None else f"r = {r:.2f} [" in first


def test_recipes_not_runs_are_counted():
    """Seeds of one recipe are no independent runs."""
    first = Gaps(MANY).answer(ASKED).json["said"]["paragraphs"][0]
    assert "n = 6 of 3 recipes" in first and "over the recipes" in first


def test_a_method_without_the_measure_is_not_offered():
    gaps = Gaps(with_ensemble())
    assert set(gaps.looks("energy_gap")) == {"ft", "lipsum"}
    assert "ft+output_ensemble" in gaps.looks("accuracy")
    menus = {menu["name"]: menu for menu in gaps.chart("energy_gap")["menus"]}
    assert [value for _, value in menus["methods"]["options"]] == ["ft", "lipsum"]
    with pytest.raises(ConfigError, match="choose others"):
        gaps.answer(ASKED | {"methods": ["ft+output_ensemble"]})


def test_menus_offer_what_is_there():
    gaps = Gaps(MANY)
    menus = {menu["name"]: menu for menu in gaps.chart("energy_gap")["menus"]}
    assert [value for _, value in menus["shift"]["options"]] == ["art/test", "sketch/test"]
    measures = {value for _, value in menus["x"]["options"]}
    assert measures == {"energy_gap", "accuracy", "nll", "ece", "relative_accuracy"}
    assert set(menus["x"]["saved"]) == {"energy_gap"}
    assert set(menus["y"]["saved"]) < measures - {"energy_gap"}
    for menu in menus.values():  # whatever is chosen has a picture
        for _, value in menu["options"]:
            chosen = [value] if menu.get("many") else value
            assert drawn(gaps.answer(ASKED | {menu["name"]: chosen}))["data"]


@pytest.mark.parametrize("change", [{"shift": "nowhere"}, {"x": "nothing"}, {"y": "nothing"}])
def test_what_is_not_there_is_one_line(change):
    with pytest.raises(ConfigError, match=r"nowhere|nothing") as caught:
        Gaps(MANY).answer(ASKED | change)
    assert "\n" not in str(caught.value)


def test_a_run_is_told_with_its_settings_and_its_curve(at_home):
    gaps = Gaps(results(at_home.runs), at_home.runs)
    desk = Desk()
    gaps.teach(desk, ASKED)
    run = at_home.scored[1]
    about = desk.answer({"what": "about", "run": run.id}).json["said"]
    assert about["heading"] == f"Lipsum-FT, lr 0.003, 6 steps, seed 0, run {run.id}"
    settings = dict(table_of(about["table"]).to_numpy())
    assert (settings["method"], settings["steps"]) == ("Lipsum-FT", "6")
    curve = gaps.curve({"run": run.id})
    assert same(curve, curves_figure([read_sweep(run.path)], 1.0))


def test_without_a_folder_there_is_no_curve_and_a_name_alone():
    desk = Desk()
    Gaps(TABLE).teach(desk, ASKED)
    run = TABLE.run.iloc[0]
    assert set(desk.answer({"what": "about", "run": run}).json["said"]) == {"heading", "paragraphs"}
    with pytest.raises(ClipftError, match="nobody here knows"):
        desk.answer({"what": "figure", "name": "curve", "run": run})


def test_a_missing_folder_is_said(tmp_path):
    run = TABLE.run.iloc[0]
    told = Gaps(TABLE, tmp_path).about({"run": run}).json["said"]
    assert run in told["heading"] and "missing or no file" in told["paragraphs"][0]


def test_a_curve_of_an_unknown_run_is_one_line(at_home):
    gaps = Gaps(results(at_home.runs), at_home.runs)
    for run in ("nobody", f"../runs/{at_home.scored[0].id}", at_home.unscored.name):
        with pytest.raises(ConfigError, match="unknown run") as caught:
            gaps.curve({"run": run})
        assert "\n" not in str(caught.value)


def test_a_board_of_gaps_begins_with_a_picture_that_is_there():
    board = gap_board(Gaps(MANY), run="")
    for question in board.first:
        board.desk.answer(question)
    assert {"shift", "x", "y", "methods", "run"} <= board.state.keys()
    assert board.known_runs == {"", *MANY.run}


# feature distortion


def test_distortion_is_that_of_the_figure_function():
    table = distortions()
    own = Distortions(table)
    for shift in own.shifts:
        for kind in own.kinds:
            answer = own.answer({"shift": shift, "kind": kind})
            assert same(answer, distortion_figure(table, kind, shifts=[shift]))
            part = table[(table.split == shift) & (table.kind == kind)]
            assert set(answer.json["of_run"]) == set(part.run)
            verdicts = part.verdict.value_counts()
            (line,) = answer.json["said"]["paragraphs"]
            for word in ("holds", "fails", "open"):
                assert f"{word} in {verdicts.get(word, 0)}" in line


def test_distortion_of_each_choice_is_saved():
    board = distortion_board(Distortions(distortions()))
    asked = {(one["shift"], one["kind"]) for one in board.desk.saved()}
    wanted = {
        (shift, kind) for shift in ("sketch/test", "clipart/test") for kind in ("raw", "normalised")
    }
    assert asked == wanted and len(board.desk.saved()) == 4
    assert board.state["kind"] == "raw"


def test_distortion_of_nothing_is_one_line():
    with pytest.raises(ConfigError, match="no feature distortion"):
        Distortions(distortions().iloc[:0])
