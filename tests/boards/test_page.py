"""Boards in files: what of them lies in a page, and that nothing else is asked for."""

import base64
import gzip
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from explorers import energy_map
from looking import unpacked
from test_sweep import toy_sweep

from clipft.boards import page
from clipft.boards.desk import Answer, Board, Desk, SavedImages, key_of
from clipft.boards.explorers import map_board, reliability_board, wise_board
from clipft.boards.page import (
    NO_ROOM,
    BoardsOfPage,
    last_of,
    page_of,
    place_of,
    record_of,
    save_board,
    save_explorer,
)
from clipft.errors import ConfigError, RunError, StorageError
from clipft.figures.wise import sweep_figure

EVIL = "</script><script>broken(1)</script><!--<img src=x onerror=broken(2)>&amp;\u2028"


class Scripts(HTMLParser):
    """The elements of a page, and what its scripts hold, by their ids."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.bodies = []
        self.inside = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.inside = dict(attrs) if tag == "script" else None
        if tag == "script":
            self.bodies.append((self.inside, ""))

    def handle_data(self, data):
        if self.inside is not None and self.bodies:
            attrs, text = self.bodies[-1]
            self.bodies[-1] = (attrs, text + data)

    def handle_endtag(self, tag):
        self.inside = None

    def json(self, name=None):
        """The data of this id, or those of all boards."""
        told = []
        for attrs, text in self.bodies:
            if attrs.get("type") == "application/json" and attrs.get("id") == name:
                told.append(json.loads(text))
        return told


def board_of(answers, saved=None):
    """A board whose questions `a`, `b`, ... have these answers."""
    desk = Desk()
    for name, answer in answers.items():
        asked = [{}] if saved is None or name in saved else []
        desk.teach(name, lambda question, answer=answer: answer, saved=asked)
    return Board([["wise"]], desk, {"alpha": 0.5})


def random_bytes(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, count).astype(np.uint8)


def test_a_record_holds_the_answers_and_the_same_bytes():
    sweep = toy_sweep(n=20)
    board = map_board(energy_map(sweep), sweep)
    record = json.loads(json.dumps(record_of(board), allow_nan=False))
    assert record["about"] == json.loads(json.dumps(board.about))
    assert record["state"] == json.loads(json.dumps(board.state))
    assert record["left_out"] == 0
    assert record["answers"].keys() == {key_of(question) for question in board.desk.saved()}
    for question in board.desk.saved():
        key = key_of(question)
        answer = board.desk.answer(question)
        told, arrays = unpacked(record, key)
        assert told == json.loads(json.dumps(answer.json))
        assert arrays == answer.buffers()
        assert record["answers"][key]["kinds"] == answer.kinds


def test_what_does_not_fit_is_left_out_and_counted(monkeypatch):
    small, large = random_bytes(1000), random_bytes(5000, 1)
    answers = {name: Answer(arrays={"x": array}) for name, array in {
        "a": small, "b": large, "c": small[::-1].copy()}.items()}  # fmt: skip
    monkeypatch.setattr(page, "ROOM", 4000)
    record = record_of(board_of(answers))
    a, b, c = (record["answers"][key_of({"what": name})] for name in "abc")
    assert b == {"error": NO_ROOM}
    assert unpacked(record, key_of({"what": "a"}))[1] == answers["a"].buffers()
    assert a.keys() == c.keys() == {"kinds", "blobs"}
    assert record["left_out"] == 1
    assert sum(map(len, record["blobs"].values())) <= 4000
    monkeypatch.setattr(page, "ROOM", 100_000)
    assert record_of(board_of(answers))["left_out"] == 0


@pytest.mark.parametrize("kind", ["sweep", "figure wise"])
def test_after_the_first_without_room_no_other_of_its_kind_is_asked(monkeypatch, kind):
    asked = []

    def large(question):
        asked.append(question["n"])
        return Answer(arrays={"x": random_bytes(5000, question["n"])})

    desk = Desk()
    desk.teach(kind, large, saved=[{"n": number} for number in range(4)])
    desk.teach("figure other", lambda question: Answer({"x": 1}), saved=[{}])
    monkeypatch.setattr(page, "ROOM", 9000)  # one of them fits
    record = record_of(Board([["wise"]], desk))
    assert asked == [0, 1]
    own = {"what": "sweep"} if kind == "sweep" else {"what": "figure", "name": "wise"}
    told = [record["answers"][key_of(own | {"n": number})] for number in range(4)]
    assert "blobs" in told[0] and told[1:] == [{"error": NO_ROOM}] * 3
    assert record["left_out"] == 3
    other = key_of({"what": "figure", "name": "other"})
    assert unpacked(record, other)[0] == {"x": 1}


def test_what_nobody_has_is_kept_as_its_error_and_not_counted():
    def missing(question):
        raise RunError("no images")

    board = board_of({"a": Answer({"x": 1})})
    board.desk.teach("b", missing, saved=[{}])
    record = record_of(board)
    assert record["answers"].keys() == {key_of({"what": "a"}), key_of({"what": "b"})}
    assert record["answers"][key_of({"what": "b"})] == {"error": "no images"}
    assert record["left_out"] == 0


def test_the_run_that_is_shown_goes_first_where_there_is_no_room(monkeypatch):
    sweeps = [toy_sweep(number, n=200) for number in range(3)]
    board = wise_board(sweeps, 0.5)
    board.state["run"] = "sweep-2"
    whole = record_of(board)
    own = whole["answers"][key_of({"what": "sweep", "run": "sweep-2"})]["blobs"]
    size = sum(len(whole["blobs"][digest]) for digest in {*own.values()})
    monkeypatch.setattr(page, "ROOM", size)
    answers = record_of(board)["answers"]
    told = [answers[key_of({"what": "sweep", "run": f"sweep-{number}"})] for number in range(3)]
    assert ["blobs" in answer for answer in told] == [False, False, True]
    assert told[:2] == [{"error": NO_ROOM}] * 2


def test_equal_arrays_lie_in_a_page_once():
    array = random_bytes(3000)
    answers = {"a": Answer({"n": 1}, {"x": array}), "b": Answer({"n": 2}, {"y": array.copy()})}
    record = record_of(board_of(answers))
    places = [record["answers"][key_of({"what": name})]["blobs"] for name in ("a", "b")]
    assert places[0]["x"] == places[1]["y"]
    assert len(record["blobs"]) == 3  # and two texts


def test_equal_arrays_of_several_boards_lie_in_a_page_once():
    sweep = toy_sweep(n=30)
    boards = [wise_board([sweep], 0.5), reliability_board(sweep, 0.5, "real/test")]
    records = [record_of(board) for board in boards]
    shared = records[0]["blobs"].keys() & records[1]["blobs"].keys()
    assert shared
    instead = BoardsOfPage().insteads
    place, last = instead.place, instead.last
    assert place({"figure": {}}) == "" == last()
    text = "".join(place({"board": record}) for record in records) + last()
    parsed = Scripts(text)
    (blobs,) = parsed.json("clipft-blobs")
    assert blobs == records[0]["blobs"] | records[1]["blobs"]
    for digest in shared:
        assert text.count(records[0]["blobs"][digest]) == 1
    told = parsed.json()
    assert [one["state"] for one in told] == [json.loads(json.dumps(b.state)) for b in boards]


def test_images_of_one_data_set_lie_in_a_page_once():
    """Each board brings some: the page has them all."""
    boards = [board_of({}) for _ in range(4)]
    few = {"a": b"<image a>", "b": b"image b"}
    boards[0].images = lambda: SavedImages("one", few)
    boards[1].images = lambda: SavedImages("one", {"b": b"image b", "c": b"image c"})
    boards[2].images = lambda: SavedImages("two", {"a": b"another a"})
    records = [json.loads(json.dumps(record_of(board))) for board in boards]
    assert records[3]["images"] == {}
    packed = {name: base64.b64encode(image).decode() for name, image in few.items()}
    assert records[0]["images"] == {"one": packed}

    text = "".join(map(place_of, records)) + last_of(records, plotly=False)
    parsed = Scripts(text)
    assert [own["imagesOf"] for own in parsed.json()] == ["one", "one", "two", ""]
    (images,) = parsed.json("clipft-images")
    found = {of: {n: base64.b64decode(image) for n, image in own.items()}
             for of, own in images.items()}  # fmt: skip
    assert found == {"one": few | {"c": b"image c"}, "two": {"a": b"another a"}}
    assert text.count(packed["b"]) == 1


def test_images_take_of_the_room_of_answers(monkeypatch):
    board = board_of({"a": Answer(arrays={"x": random_bytes(2000)})})
    monkeypatch.setattr(page, "ROOM", 6000)
    assert record_of(board)["left_out"] == 0
    board.images = lambda: SavedImages("of", {"i": random_bytes(3000).tobytes()})
    assert record_of(board)["left_out"] == 1


def test_a_board_without_room_leaves_its_place_to_the_figure(monkeypatch):
    """The next one may fit; what the page has already takes none."""
    answers = {"a": Answer(arrays={"x": random_bytes(3000)})}
    images = SavedImages("of", {"i": random_bytes(1500, 1).tobytes()})
    small, large = board_of(answers), board_of({"a": Answer(arrays={"x": random_bytes(9000, 2)})})
    again = board_of(answers | {"b": answers["a"]})
    for board in (small, again):
        board.images = lambda: images
    records = [record_of(board) for board in (small, large, again)]
    sizes = [
        sum(map(len, [*record["blobs"].values(), *record["images"].get("of", {}).values()]))
        for record in records
    ]
    for room, wanted in (
        (sizes[0] - 1, [False, False, False]),
        (sizes[0], [True, False, True]),
        (sizes[0] + sizes[1] - 100, [True, False, True]),
        (sum(sizes[:2]), [True, True, True]),
    ):
        monkeypatch.setattr(page, "ROOM_OF_PAGE", room)
        instead = BoardsOfPage().insteads
        places = [instead.place({"board": record}) for record in records]
        assert [bool(place) for place in places] == wanted
        parsed = Scripts("".join(places) + instead.last())
        assert len(parsed.json()) == sum(wanted)
        if any(wanted):
            (blobs,), (of,) = parsed.json("clipft-blobs"), parsed.json("clipft-images")
            kept = [record for record, is_in in zip(records, wanted, strict=True) if is_in]
            assert blobs.keys() == set().union(*(record["blobs"] for record in kept))
            assert of == records[0]["images"]
        else:
            assert instead.last() == ""


def test_a_page_asks_for_nothing_outside():
    board = wise_board([toy_sweep()], 0.5)
    text = page_of(record_of(board), "A page", "and what it is")
    parsed = Scripts(text)
    assert "link" not in parsed.tags and "img" not in parsed.tags and "iframe" not in parsed.tags
    assert not any("src" in attrs for attrs, _ in parsed.bodies)
    own = re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.DOTALL)
    assert "http" not in own and "@import" not in own and "url(" not in own
    assert "<title>A page</title>" in text and "<p>and what it is</p>" in text
    (own,) = parsed.json()
    assert own.keys() == {"about", "state", "answers", "imagesOf"}


def test_names_end_no_script_and_make_no_element():
    sweep = toy_sweep(n=10)
    sweep = replace(
        sweep, classes=(EVIL,) * 4, title=EVIL, ids=np.char.add(EVIL, sweep.ids)
    )  # fmt: skip
    board = wise_board([sweep], 0.5)
    board.state["selection"] = [EVIL]
    plain = Scripts(page_of(record_of(wise_board([toy_sweep(n=10)], 0.5)), "x", "y"))
    text = page_of(record_of(board), EVIL, EVIL)
    parsed = Scripts(text)
    assert parsed.tags == plain.tags
    (own,) = parsed.json()
    assert own["state"]["selection"] == [EVIL]
    assert own["about"]["runs"] == [[EVIL, "sweep-0"]]
    (blobs,) = parsed.json("clipft-blobs")
    answer, arrays = unpacked({"answers": own["answers"], "blobs": blobs}, key_of(
        {"what": "sweep", "run": "sweep-0"}))  # fmt: skip
    assert answer["classes"] == [EVIL] * 4
    assert arrays["ids"].decode().startswith(EVIL)


def test_the_browser_of_runs_brings_its_library():
    pytest.importorskip("itables")
    record = record_of(board_of({}))
    without = Scripts(page_of(record, "x")).json("clipft-libraries")[0]
    record["about"]["panes"] = [["wise", "runs"]]
    (libraries,) = Scripts(page_of(record, "x")).json("clipft-libraries")
    assert "datatables" not in without
    text = gzip.decompress(base64.b64decode(libraries["datatables"])).decode()
    assert "DataTables" in text


# files


def test_save_explorer_writes_a_page_and_what_an_index_needs(tmp_path):
    sweep = toy_sweep()
    record = record_of(wise_board([sweep], 0.5))
    figure = sweep_figure(sweep, 0.5)
    file = save_explorer(figure, record, tmp_path / "out", "wise", "a caption")
    assert file == tmp_path / "out/wise.html"
    assert sorted(one.name for one in file.parent.iterdir()) == ["wise.html", "wise.json"]
    kept = json.loads(file.with_suffix(".json").read_text())
    assert kept["board"] == json.loads(json.dumps(record))
    assert kept["figure"]["data"] and kept["caption"] == "a caption"
    text = file.read_text()
    title = figure.layout.title.text.partition("<br>")[0]
    assert f"<h1>{title}</h1><p>a caption</p>" in text
    (own,) = Scripts(text).json()
    assert own["answers"] == record["answers"]


def test_an_explorer_without_a_record_is_its_figure_alone(tmp_path):
    file = save_explorer(sweep_figure(toy_sweep(), 0.5), None, tmp_path, "still", "")
    kept = json.loads(file.with_suffix(".json").read_text())
    assert "board" not in kept and kept["figure"]["data"]
    assert "clipft-board-place" not in re.sub(
        r"<script.*?</script>", "", file.read_text(), flags=re.DOTALL
    )


@pytest.mark.parametrize("name", ["../out", "a/b", "", "x" * 300])
def test_a_name_stays_in_its_folder(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be the name of a file"):
        save_explorer(sweep_figure(toy_sweep(), 0.5), record_of(board_of({})), tmp_path / "o", name)
    assert list(tmp_path.iterdir()) == []


def test_save_board_writes_one_file(tmp_path):
    board = wise_board([toy_sweep()], 0.25)
    file = save_board(board, tmp_path / "page.html", "Title")
    assert list(tmp_path.iterdir()) == [file]
    (own,) = Scripts(file.read_text()).json()
    assert own["state"]["alpha"] == 0.25
    with pytest.raises((StorageError, ConfigError)):
        save_board(board, tmp_path, "a folder")
