"""Files are whole or absent, whatever goes wrong; results are read back as one table."""

import errno
import os
import subprocess
import sys

import pandas as pd
import pytest
import torch

from clipft.disk import files as store
from clipft.disk.lock import lock
from clipft.errors import RunError, StorageError, WeightsError
from clipft.models.checkpoints import read_metadata, read_weights, write_weights
from clipft.runs.labels import LABEL_COLUMNS
from clipft.runs.table import CONFIG_COLUMNS, MADE_COLUMNS, results

WEIGHTS = {
    "w": torch.tensor([1.0, -0.0, float("nan"), float("inf")]),
    "half": torch.randn(3, 2).half(),
    "count": torch.tensor(7),
    "part": torch.arange(12.0).view(3, 4).T,  # not contiguous
}


def names(folder):
    return sorted(os.listdir(folder))


def refuse(code):
    def raises(*_):
        raise OSError(code, os.strerror(code))

    return raises


def test_a_text_is_replaced_whole(tmp_path):
    file = tmp_path / "new/folder/a.txt"
    for text in ("first", "zweite Zeile\u2028é\n", ""):
        store.write_text(file, text)
        assert file.read_text(encoding="utf-8") == text
    assert names(file.parent) == ["a.txt"]
    assert file.stat().st_mode & 0o777 == 0o666 & ~store._umask()


def test_json_comes_back(tmp_path):
    content = {"b": [1, 2.5, None, True], "a": {"é": "x\n"}}
    store.write_json(tmp_path / "a.json", content)
    assert store.read_json(tmp_path / "a.json") == content


def test_a_table_comes_back(tmp_path):
    table = pd.DataFrame({"split": ["a", "b"], "n": [1, 2], "mean": [0.5, None]})
    for frame in (table, table.iloc[:1]):
        store.write_parquet(tmp_path / "new/a.parquet", frame)
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "new/a.parquet"), frame)
    assert names(tmp_path / "new") == ["a.parquet"]


def test_a_folder_appears_whole_and_the_first_stays(tmp_path):
    for text in ("first", "second"):
        with store.atomic_folder(tmp_path / "new/folder") as folder:
            (folder / "a.txt").write_text(text)
            assert names(folder.parent)[0].startswith(".folder.")
    assert (tmp_path / "new/folder/a.txt").read_text() == "first"
    assert names(tmp_path / "new") == ["folder"]


def test_a_folder_that_is_not_finished_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), store.atomic_folder(tmp_path / "folder"):
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.txt"
    store.write_text(file, "old")
    with pytest.raises(ZeroDivisionError), store.atomic(file) as temporary:  # noqa: PT012
        temporary.write_text("half of the n")
        raise ZeroDivisionError
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_refuses_damages_nothing(tmp_path, monkeypatch, call, code):
    file = tmp_path / "a.txt"
    store.write_text(file, "old")
    monkeypatch.setattr(os, call, refuse(code))
    with pytest.raises(StorageError) as caught:
        store.write_text(file, "new")
    assert str(file) in str(caught.value)
    assert os.strerror(code).lower() in str(caught.value)
    assert "\n" not in str(caught.value)
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: store.write_text(path, "x"),
        lambda path: store.write_json(path, {}),
        lambda path: store.write_parquet(path, pd.DataFrame({"a": [1]})),
        lambda path: store.atomic_folder(path).__enter__(),
        lambda path: write_weights(path, WEIGHTS),
        lambda path: store.append_json(path, {}),
        lambda path: lock(path).__enter__(),
    ],
    ids=["text", "json", "table", "folder", "weights", "append", "lock"],
)
def test_a_path_below_a_file_is_refused(tmp_path, write):
    (tmp_path / "file").write_text("old")
    with pytest.raises(StorageError, match="file/below"):
        write(tmp_path / "file/below/a")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


FULL_DISK = """
import resource, signal, sys, torch
from clipft import errors
from clipft.models.checkpoints import write_weights
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
# To this process the disk is full after 4 kB.
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_weights(sys.argv[1], {"w": torch.ones(100_000)})
except errors.StorageError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("name", "folder", "words"),
    [
        ("file", True, "file: a file is there"),
        ("folder", False, "folder: a folder is there"),
        ("file/below", False, "file is a file"),
        ("file/below/deep", True, "file is a file"),
    ],
)
def test_a_target_in_whose_place_something_else_is(tmp_path, name, folder, words):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=f"cannot write .*{words}"):
        store.check_target(tmp_path / name, folder=folder)


@pytest.mark.parametrize(
    ("name", "folder"),
    [("file", False), ("new", False), ("folder", True), ("folder/a/b", True), ("new/a", False)],
)
def test_a_target_that_can_be_written_is_left_as_it_is(tmp_path, name, folder):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    store.check_target(tmp_path / name, folder=folder)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "kept"


def test_a_target_that_may_not_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("clipft.disk.files.os.access", lambda path, mode: False)
    with pytest.raises(StorageError, match="not permitted"):
        store.check_target(tmp_path / "new")


def test_weights_that_do_not_fit_the_disk(tmp_path):
    file = tmp_path / "a.safetensors"
    write_weights(file, {"w": torch.zeros(2)})
    done = subprocess.run([sys.executable, "-c", FULL_DISK, file], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.startswith(f"cannot write {file}")
    assert read_weights(file)["w"].tolist() == [0, 0]
    assert names(tmp_path) == ["a.safetensors"]


def test_weights_come_back_bit_for_bit(tmp_path):
    write_weights(tmp_path / "a.safetensors", WEIGHTS, {"step": "3"})
    back = read_weights(tmp_path / "a.safetensors")
    assert back.keys() == WEIGHTS.keys()
    for name, tensor in WEIGHTS.items():
        assert (back[name].dtype, back[name].shape) == (tensor.dtype, tensor.shape)
        assert back[name].numpy().tobytes() == tensor.contiguous().numpy().tobytes()
    assert read_metadata(tmp_path / "a.safetensors") == {"step": "3"}
    assert names(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-1],
        lambda b: b[:20],
        lambda b: b[:4],
        lambda b: b"",
        lambda b: b"these are no weights " * 9,
    ],
    ids=["last byte", "in the header", "in the length", "empty", "text"],
)
def test_damaged_weights_name_the_file(tmp_path, damage):
    file = tmp_path / "a.safetensors"
    write_weights(file, WEIGHTS)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(
        WeightsError, match=r"a\.safetensors is truncated or no safetensors file"
    ) as caught:
        read_weights(file)
    assert "\n" not in str(caught.value)


def test_missing_weights_name_the_file(tmp_path):
    for path in (tmp_path / "a.safetensors", tmp_path):
        with pytest.raises(WeightsError, match=f"no weights file {path}"):
            read_weights(path)


@pytest.mark.parametrize(
    ("text", "words"), [(None, "is missing"), ("", "not valid JSON"), ('{"a": ', "not valid JSON")]
)
def test_json_that_cannot_be_read(tmp_path, text, words):
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(RunError, match=words):
        store.read_json(tmp_path / "a.json")


def test_jsonl_leaves_out_a_cut_last_line(tmp_path):
    file = tmp_path / "a.jsonl"
    assert store.read_jsonl(file) == []
    rows = [{"step": 1, "note": "a\u2028b"}, {"step": 2}]
    for row in rows:
        store.append_json(file, row)
    with open(file, "a") as end:
        end.write('{"step": 3, "lo')
    assert store.read_jsonl(file) == rows


HOLD = """
import sys
from clipft.disk.lock import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_held_by_another_process(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="written by another process"), lock(tmp_path / "run"):
            pass
        other.stdin.close()
        assert other.wait() == 0
    with lock(tmp_path / "run"):  # free again
        pass


def test_a_lock_is_freed_by_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), lock(tmp_path):
        raise ZeroDivisionError
    with lock(tmp_path):
        pass


def make_run(runs, name, method, accuracy=None):
    config = {
        "method": method,
        "lr": 1e-5,
        "steps": 10,
        "seed": 3,
        "selection": "holdout",
        "manifest": "x",
        "model": "y",
        "manifest_digest": "xx",
        "model_digest": "yy",
    }
    store.write_json(runs / name / "config.json", config)
    if accuracy is not None:
        row = (
            "real",
            1.0,
            "real/test",
            "reference",
            "accuracy",
            accuracy,
            accuracy - 0.1,
            accuracy + 0.1,
            50,
        )
        columns = ["reference", "alpha", "split", "role", "metric", "mean", "low", "high", "n"]
        pd.DataFrame([row], columns=columns).to_parquet(runs / name / "scores.parquet")


def test_results_are_one_table_of_the_finished_runs(tmp_path):
    make_run(tmp_path, "bb", "lipsum", 0.5)
    make_run(tmp_path, "aa", "ft", 0.25)
    make_run(tmp_path, "cc", "ft")
    table = results(tmp_path)
    split = ["split", "domain", "part", "role"]
    rest = ["reference", "alpha", *split, "metric", "mean", "low", "high", "n"]
    rest += ["scored_by", "together"]
    assert list(table.columns) == [
        *("run", "recipe", "family", *CONFIG_COLUMNS, *rest, *MADE_COLUMNS, *LABEL_COLUMNS)
    ]
    split = ["real/test", "real", "test", "reference"]
    same = [1e-5, 10, 3, "holdout", "real", 1.0, *split, "accuracy"]
    scored = ["accuracy", ""]
    assert table.drop(
        columns=["recipe", "family", *MADE_COLUMNS, *LABEL_COLUMNS]
    ).values.tolist() == [
        ["aa", "x", "xx", "y", "yy", "ft", *same, 0.25, 0.25 - 0.1, 0.25 + 0.1, 50, *scored],
        ["bb", "x", "xx", "y", "yy", "lipsum", *same, 0.5, 0.5 - 0.1, 0.5 + 0.1, 50, *scored],
    ]
    assert table.recipe.nunique() == 2
    assert table.attrs["unfinished"] == ["cc"]


def combined(runs, name, seed=3, options=None, of=(), method="lipsum", after="tpgm", among=1):
    """A scored run folder that a post-hoc method made."""
    make_run(runs, name, method, 0.5)
    config = store.read_json(runs / name / "config.json") | {"seed": seed}
    done = {
        "name": after,
        "options": options or {},
        "of": list(of),
        "among": among,
        "members": [f"of seed {seed}"],
    }
    store.write_json(runs / name / "config.json", config | {"after": done})


def test_a_combination_is_named_after_its_method(tmp_path):
    combined(tmp_path, "aa")
    combined(tmp_path, "bb", of=["uniform_soup"], method="ft", after="wise")
    make_run(tmp_path, "cc", "ft", 0.5)
    table = results(tmp_path)
    assert table.method.tolist() == ["lipsum+tpgm", "ft+uniform_soup+wise", "ft"]
    assert (set(table.lr), set(table.steps)) == ({1e-5}, {10})
    assert "after" not in table


def test_seeds_of_a_combination_are_one_recipe(tmp_path):
    combined(tmp_path, "a", seed=0)
    combined(tmp_path, "b", seed=1)
    others = [
        {"options": {"lr": 0.1}},
        {"after": "tpgm_c"},
        {"of": ["wise"]},
        {"method": "ft"},
        {"among": 2},
    ]
    for number, other in enumerate(others):
        combined(tmp_path, f"c{number}", seed=0, **other)
    make_run(tmp_path, "d", "lipsum", 0.5)
    first, second, *rest = results(tmp_path).recipe
    assert first == second
    assert len({first, *rest}) == 1 + len(others) + 1


def test_results_without_a_finished_run(tmp_path):
    make_run(tmp_path, "cc", "ft")
    for runs in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunError, match="no scored run under"):
            results(runs)


def test_the_cache_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path))
    assert store.cache_dir() == tmp_path
    monkeypatch.delenv("CLIPFT_CACHE")
    assert store.cache_dir().name == "clipft"
