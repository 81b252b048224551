"""The desk: questions by name, answers as JSON and bytes."""

import gzip
import json
import re

import numpy as np
import pandas as pd
import pytest
from looking import drawn, moves
from test_sweep import toy_sweep

from clipft.boards import scripts
from clipft.boards.desk import KINDS, Answer, Board, Desk, key_of, painted, rows_of, said
from clipft.errors import ClipftError, MissingExtra
from clipft.figures.wise import sweep_figure

JS_KINDS = {
    "f8": "Float64Array", "f4": "Float32Array", "i4": "Int32Array", "u4": "Uint32Array",
    "u2": "Uint16Array", "u1": "Uint8Array",
}  # fmt: skip


@pytest.mark.parametrize("kind", JS_KINDS)
def test_arrays_come_as_bytes_the_lowest_first(kind):
    values = np.array([[0, 1, 2], [3, 200, 5]], f"<{kind[0]}{kind[1]}")
    for array in (values, values[:, ::-1], values.T):
        answer = Answer(arrays={"a": array})
        assert answer.kinds == {"a": kind}
        back = np.frombuffer(answer.buffers()["a"], f"<{kind}")
        assert back.tolist() == array.ravel().tolist()


def test_a_page_knows_each_kind():
    """`ARRAYS` of store.js."""
    (table,) = re.findall(r"const ARRAYS = \{(.*?)\};", scripts.file_text("store.js"), re.DOTALL)
    assert dict(re.findall(r"(\w+): (\w+)", table)) == JS_KINDS
    assert set(KINDS.values()) == JS_KINDS.keys()


def test_an_array_of_another_kind_is_noticed_here():
    with pytest.raises(KeyError):
        Answer(arrays={"a": np.zeros(3, np.int64)}).kinds  # noqa: B018


def test_a_key_is_the_same_in_any_order():
    one = {"what": "figure", "name": "gap", "methods": ["ft", "é"], "of": {"b": 1, "a": None}}
    other = {"of": {"a": None, "b": 1}, "methods": ["ft", "é"], "name": "gap", "what": "figure"}
    assert key_of(one) == key_of(other)
    assert json.loads(key_of(one)) == one | {"of": {"b": "1", "a": None}}  # numbers are texts
    assert key_of(one) != key_of(one | {"methods": ["é", "ft"]})


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1"), (1.0, "1"), (-0.0, "0"), (0.5, "0.5"), (1e-5, "0.00001"), (1e-7, "1e-7")],
)
def test_a_number_in_a_key_is_written_as_a_page_writes_it(number, text):
    assert json.loads(key_of({"of": [number, {"a": number}]})) == {"of": [text, {"a": text}]}


def test_a_truth_in_a_key_is_no_number():
    assert json.loads(key_of({"a": True, "b": [False]})) == {"a": True, "b": [False]}
    assert key_of({"a": True}) != key_of({"a": 1})


def test_a_desk_answers_what_it_was_taught():
    desk = Desk()
    desk.teach("twice", lambda question: Answer({"is": 2 * question["of"]}))
    desk.teach("figure two", lambda question: Answer({"figure": question["run"]}))
    assert desk.answer({"what": "twice", "of": 4}).json == {"is": 8}
    assert desk.answer({"what": "figure", "name": "two", "run": "r"}).json == {"figure": "r"}


@pytest.mark.parametrize(
    "question", [{}, {"what": "once"}, {"what": None}, {"what": "figure", "name": "one\n"}]
)
def test_what_nobody_knows_is_one_line(question):
    desk = Desk()
    desk.teach("figure two", lambda question: Answer())
    with pytest.raises(ClipftError, match="nobody here knows") as caught:
        desk.answer(question)
    assert "\n" not in str(caught.value)


def test_an_answer_has_no_number_that_json_does_not_know():
    told = {"a": [(1, np.nan), [float("inf"), {"b": -np.inf}]], "c": np.float64("nan"), "d": True}
    desk = Desk()
    desk.teach("odd", lambda question: Answer(told, {"x": np.array([np.nan])}))
    answer = desk.answer({"what": "odd"})
    assert answer.json == {"a": [[1, None], [None, {"b": None}]], "c": None, "d": True}
    assert json.loads(json.dumps(answer.json, allow_nan=False)) == answer.json
    assert np.isnan(answer.arrays["x"]).all()  # an array knows such a number


def test_a_saved_page_answers_what_was_said_so():
    desk = Desk()
    runs = ["a"]
    desk.teach("live", lambda question: Answer())
    desk.teach("sweep", lambda question: Answer(), saved=[{"run": "a"}, {"run": "b"}])
    desk.teach("figure f", lambda question: Answer(), saved=lambda: [{"run": run} for run in runs])
    runs.append("c")  # what comes until it is saved is in it
    assert desk.saved() == [
        {"what": "sweep", "run": "a"},
        {"what": "sweep", "run": "b"},
        {"what": "figure", "name": "f", "run": "a"},
        {"what": "figure", "name": "f", "run": "c"},
    ]


@pytest.mark.parametrize("name", ["plotly", "datatables"])
def test_libraries_come_packed(name):
    if name == "datatables":
        pytest.importorskip("itables")
    answer = Desk().answer({"what": "library", "name": name})
    text = gzip.decompress(answer.buffers()["packed"]).decode()
    assert {"plotly": "plotly.js v", "datatables": "DataTables"}[name] in text
    assert answer.json == {}


def test_a_library_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    scripts.packed.cache_clear()
    with pytest.raises(MissingExtra, match="itables"):
        Desk().answer({"what": "library", "name": "datatables"})


def test_a_picture_leaves_its_slider_to_the_board():
    figure = sweep_figure(toy_sweep(), 0.25)
    answer = painted(figure, bins=3)
    assert answer.json["bins"] == 3 and not answer.arrays
    assert not drawn(answer)["layout"].get("sliders") and figure.layout.sliders
    assert moves(answer)["t"] == [0, 0.25, 0.6, 1]
    assert painted(None, said=1).json == {"figure": "", "moves": {}, "said": 1}


def test_names_in_a_picture_are_letters():
    figure = sweep_figure(toy_sweep(), 0.25)
    figure.update_layout(title="<img src=x> <b>bold</b>")
    title = drawn(painted(figure))["layout"]["title"]["text"]
    assert title == "&lt;img src=x> <b>bold</b>"


def test_what_is_said_is_text():
    table = pd.DataFrame({"a": [1, 2.5], 3: ["<b>", None]})
    missing = str(table.loc[1, 3])
    assert rows_of(table) == {"columns": ["a", "3"], "rows": [["1.0", "<b>"], ["2.5", missing]]}
    part = said("one", 2, heading="h", table=table)
    assert part == {"paragraphs": ["one", "2"], "heading": "h", "table": rows_of(table)}
    assert said() == {"paragraphs": []}


def test_a_board_knows_the_runs_of_its_menu_and_its_points():
    board = Board([["wise"]], Desk(), runs=[("title", "a")])
    assert board.known_runs == {"a"}
    board.charts = {"gap": {"menus": [], "runs": ["b"]}}
    assert board.known_runs == {"a", "b", ""}  # of a picture none may be chosen
    json.dumps(board.about)
    assert board.about["runs"] == [["title", "a"]]
