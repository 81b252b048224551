"""Texts of hostile size or shape are refused in a line; names and run folders stay in place."""

import itertools
import json
import os

import pandas as pd
import pytest
import yaml

from clipft.batch.spec import Spec, read_spec
from clipft.disk import files as store
from clipft.disk.inside import check_file_name, leads_out
from clipft.errors import ConfigError, RunError
from clipft.figures.pages import save_figure
from clipft.parsing import DEPTH, JSON_BYTES, VALUES, YAML_BYTES, ParseError, parse_json, parse_yaml
from clipft.runs.folder import RunFolder

NINE = [(f"{b}: &{b}", ", ".join(9 * [f"*{a}"])) for a, b in itertools.pairwise("abcdefghi")]
LAUGHS = "".join(f"{begin} [{aliases}]\n" for begin, aliases in NINE)
MERGED = "".join(f"{begin} {{<<: [{aliases}]}}\n" for begin, aliases in NINE)
YAMLS = {
    "lists": (100_000 * "[", "line 1: more than 100 levels"),
    "mappings": (100_000 * "{a: ", "more than 100 levels"),
    "blocks": (100_000 * "- ", "more than 100 levels"),
    "keys": (100_000 * "? ", "more than 100 levels"),
    "laughs": (f"a: &a [1]\n{LAUGHS}", "its aliases stand for more than"),
    "merged": (f"a: &a {{x: 1}}\n{MERGED}", "its aliases stand for more than"),
    "itself": ("&a [*a, *a]", "more than 100 levels"),
    "far from itself": ("a: &a {b: {c: *a}}", "more than 100 levels"),
    "digits": (f"lr: {5000 * '9'}", "line 1: a number of 5000 letters"),
    "sixties": (f"lr: 1{100_000 * ':1'}", "a number of 200001 letters"),
    "fraction": (f"lr: 1.{5000 * '1'}", "a number of 5002 letters"),
    "twice": ("name: a\nlr: 1\n'name': b\n", "the key 'name' stands in line 1 and in line 3"),
    "twice below": ("a:\n- {b: 1, b: 2}", "the key 'b' stands in line 2 and in line 2"),
    "month": ("a: 2020-13-01", "a value is not what its kind says"),
    "kind": ("a: !!bool x", "a value is not what its kind says"),
    "bytes": ("a: !!binary aGk=", "could not determine a constructor"),
    "objects": ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    "tab": ("a:\n\t- b", "line 2: found character that cannot start any token"),
    "values": (f"[{(VALUES + 1) * '1,'}]", "wanted: at most 4 MB"),
    "old lines": ("- 1\r" * (VALUES + 1), "wanted: at most 4 MB"),
    "letters": ("a" * (YAML_BYTES + 1), "wanted: at most 4 MB"),
}


@pytest.mark.parametrize("name", YAMLS)
def test_hostile_yaml_is_refused(tmp_path, name):
    text, words = YAMLS[name]
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        store.read_yaml(file)
    assert str(caught.value).startswith(f"{file} is not valid YAML: ")
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * (DEPTH - 1) + "]" * (DEPTH - 1),
        "a: &a {x: 1}\nb: {<<: *a, x: 2}\nc: {<<: *a, y: 2}\nd: [*a, *a]",
        "{a: 1, b: [x, 'y', \"z\"], c: 1.5, d: .inf, e: 2020-01-02, f: ~, 1: yes, ~: 0x10}",
        "".join(f"- {{name: number {n}, folder: n{n}, also: [x, y]}}\n" for n in range(200)),
    ],
)
def test_other_yaml_is_read_as_by_the_library(text):
    assert parse_yaml(text) == yaml.safe_load(text)


JSONS = {
    "lists": (100_000 * "[", "more than 100 levels"),
    "objects": (100_000 * '{"a":', "more than 100 levels"),
    "whole": (f"{'[' * 101}{']' * 101}", "more than 100 levels"),
    "hidden": (f'["{300 * "]"}",{300 * "["}{301 * "]"}', "more than 100 levels"),
    "many": (f'["{99 * "]"}",{400_000 * "[],"}{200 * "["}', "more than 100 levels"),
    "digits": ("9" * 5000, "5000 digits"),
    "twice": ('[{"a": 1, "b": 2, "a": 3}]', "the key 'a' stands twice in one object"),
    "half": (r'{"a": "\ud800"}', r"\ud800 is half of a letter"),
    "size": (f"[{JSON_BYTES // 2 * '1,'}1]", "wanted: at most 16 MB"),
    "cut": ('{"a":\n ', "line 2: Expecting value"),
}


@pytest.mark.parametrize("name", JSONS)
def test_hostile_json_is_refused(tmp_path, name):
    text, words = JSONS[name]
    file = tmp_path / "a.json"
    file.write_text(text)
    for read, error in ((store.read_json, RunError), (store.read_foreign_json, ConfigError)):
        with pytest.raises(error) as caught:
            read(file)
        assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ['["' + "[" * 300 + '"]', r'"\ud83d\ude00"', "[" + "[],{}," * 300 + "1]", "NaN", '"\\"[[["'],
)
def test_other_json_is_read_as_by_the_library(text):
    assert json.dumps(parse_json(text)) == json.dumps(json.loads(text))


def test_files_that_are_none_or_not_text(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # nobody writes to it: who opens it waits for ever
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("pipe", "link", "."):
        for read in (store.read_yaml, store.read_json, store.read_foreign_json):
            with pytest.raises((ConfigError, RunError)):
                read(tmp_path / name)
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(ConfigError, match="line 2: the byte 0xe9 is not UTF-8"):
        store.read_yaml(file)
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")  # as Windows marks a text
    assert store.read_yaml(file) == {"a": 1}


def test_rows_of_a_history_that_are_none_are_left_out(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1}\n5\n[]\n\xff\n' + 200_000 * b"[" + b'\n{"loss": NaN}\n')
    assert [sorted(row) for row in store.read_jsonl(file)] == [["step"], ["loss"]]


def test_a_large_spec_is_refused_unread(tmp_path, monkeypatch):
    file = tmp_path / "spec.yaml"
    with file.open("wb") as hole:
        hole.truncate(50 << 20)
    monkeypatch.setattr(type(file), "read_bytes", None)
    with pytest.raises(ConfigError, match="it has 52 MB; wanted: at most 4 MB"):
        read_spec(file)


# --- names

LEAVING = ["../../x", "/abs", "..", ".", "a/b", "", " ", "a\0b", 300 * "x", "a\\b", "a\nb", "\x1b"]


@pytest.mark.parametrize("name", LEAVING)
def test_names_that_would_leave_their_folder(tmp_path, name):
    for use in (
        lambda: check_file_name(name, of="a thing"),
        lambda: Spec.read({"name": name, "stages": []}),
        lambda: save_figure(None, tmp_path, name),
    ):
        with pytest.raises(ConfigError) as caught:
            use()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    with pytest.raises(RunError, match="no id of a run"):
        RunFolder(tmp_path / "runs/a").beside(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "a.b", "..a", "a b", "été", "-", "200" + 190 * "x"])
def test_names_of_files(name):
    assert check_file_name(name, of="a thing") == name
    assert Spec.read({"name": name, "stages": []}).name == name


def test_grids_without_an_end_are_counted_and_refused():
    grid = {f"p{number}": list(range(100)) for number in range(10)}
    stage = {"notebook": "n.ipynb", "grid": [grid]}
    with pytest.raises(ConfigError, match="the grids ask for 100000000000000000000 jobs"):
        Spec.read({"name": "a", "stages": [stage]})


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        *((path, True) for path in ("/x", "..", "../x", "a/../../x", "C:\\x", "C:/x", "\\\\x\\y")),
        *((path, True) for path in ("a\\..\\..\\x", "./../x")),
        *((path, False) for path in ("a", "a/b", "./a", "..a/b..", "a//b", "...")),
    ],
)
def test_paths_that_lead_out(path, leads):
    assert leads_out(path) == leads
    assert leads_out(f"link/../{path}")  # wherever the link leads
    if "\\" not in path:
        inside = os.path.normpath(os.path.join("/root/folder", path)).startswith("/root/folder")
        assert inside != leads or path[1:2] == ":"


def test_a_spreadsheet_computes_nothing_of_a_name(tmp_path):
    harmless = ["a", "-", "-0.5 [-1, +2]", "+1.5 %", "a=1", "", "x@y"]
    formulas = ["=1+1", "@SUM(1)", "+cmd|x", "-1+cmd|x", "\t=1", "-x.png"]
    table = pd.DataFrame({"name": [*harmless, *formulas], "mean": -1.5})
    file = tmp_path / "a.csv"
    store.write_csv(file, table)
    back = pd.read_csv(file, keep_default_na=False)
    assert back["name"].tolist() == [*harmless, *(f"'{text}" for text in formulas)]
    assert back["mean"].eq(-1.5).all()
    assert table["name"].tolist() == [*harmless, *formulas]


# --- run folders that are links


@pytest.fixture
def runs(tmp_path):
    """A folder of runs that is a link to another disk, with a run in it; and a place outside."""
    disk = tmp_path / "big disk"
    (disk / "a").mkdir(parents=True)
    (disk / "a/config.json").write_text("{}")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/config.json").write_text("{}")
    (tmp_path / "runs").symlink_to(disk)
    return tmp_path / "runs"


def test_a_folder_of_runs_may_be_a_link(runs):
    with RunFolder(runs / "a").lock():
        RunFolder(runs / "a").log({"step": 1})
    assert RunFolder(runs / "a").history() == [{"step": 1}]
    (runs / "b").symlink_to("a")  # another name of a run, in the same folder
    with RunFolder(runs / "b").lock():
        pass


@pytest.mark.parametrize("name", ["", "metrics.jsonl", ".lock", "weights.safetensors"])
def test_nothing_is_written_through_a_link_out_of_it(runs, name):
    outside = runs.parent / "outside"
    target = outside / name if name else outside
    if name:
        target.write_text("mine")
        (runs / "a" / name).symlink_to(target)
    else:
        (runs / "b").symlink_to(outside)
    before = {file: file.read_text() for file in outside.iterdir()}
    folder = RunFolder(runs / ("a" if name else "b"))
    with pytest.raises(RunError, match=r"is a link to .*outside.*, out of .*runs"), folder.lock():
        folder.log({"step": 1})
    assert {file: file.read_text() for file in outside.iterdir()} == before
    assert folder.config() == {}  # it is read as ever


def test_the_error_of_a_text_is_one_short_line():
    with pytest.raises(ParseError) as caught:
        parse_yaml("!" * 100_000)
    assert len(str(caught.value)) < 300
