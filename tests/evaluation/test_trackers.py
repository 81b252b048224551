"""Trackers show what a run's folder holds, each step once; what fails in them ends no training.

Read back by TensorBoard's own reader, and out of the files that W&B keeps offline.
"""

import json
import signal
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace

import pytest
from conftest import QUIET

from clipft import score, train
from clipft.disk.files import read_jsonl
from clipft.errors import ConfigError, MissingExtra, Stopped
from clipft.evaluation import trackers

BOARD = replace(QUIET, log="tensorboard")
WANDB = replace(QUIET, log="wandb")
SHORT = {"steps": 6, "eval_every": 2}
KILLED = """
import json, os, signal, sys
from clipft import Reading, RunConfig, train
def die(row):
    if row["step"] == 5:
        os.kill(os.getpid(), signal.SIGKILL)
train(
    RunConfig.read(json.loads(sys.argv[1])), sys.argv[2], watch=die,
    reading=Reading(device="cpu", workers=0, progress=False, log="tensorboard"),
)
"""


def kept(run):
    """Name -> [(step, value)] of the run's history."""
    rows = defaultdict(list)
    for row in read_jsonl(run.path / "metrics.jsonl"):
        for name, value in row.items():
            if name != "step":
                rows[name].append((row["step"], pytest.approx(value, rel=1e-6)))
    return dict(rows)


def accuracies(run):
    """Split -> accuracy of the tuned model."""
    table = run.table()
    rows = table[(table.metric == "accuracy") & (table.alpha == 1.0)]
    return dict(zip("accuracy/" + rows.split, map(pytest.approx, rows["mean"]), strict=True))


def on_board(run):
    """Name -> [(step, value)] as TensorBoard reads its files, and the names of its plugins."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run.path / "tensorboard"))
    board.Reload()
    tags = board.Tags()
    found = {}
    for tag in tags["scalars"]:
        found[tag] = [(event.step, event.value) for event in board.Scalars(tag)]
    return found, board


def test_tensorboard_shows_the_history_and_after_scoring_the_accuracies(world):
    run = train(world.config(method="lipsum", **SHORT), world.runs, reading=BOARD)
    found, board = on_board(run)
    assert found == kept(run) and len(found["loss"]) == 6 and len(found["val_accuracy"]) == 3
    assert len(found) > 4  # the terms of the loss, too
    (text,) = board.Tensors("settings/text_summary")
    assert b"method: lipsum" in text.tensor_proto.string_val[0]
    score(run, [0.0, 1.0], reading=BOARD)
    found, board = on_board(run)
    expected = {name: [(6, value)] for name, value in accuracies(run).items()}
    assert len(expected) == 4 and found == kept(run) | expected
    score(run, [1.0], reading=BOARD)
    assert on_board(run)[0] == found


def test_after_a_kill_no_step_is_lost_on_the_board_and_none_is_there_twice(world):
    settings = world.settings(**SHORT)
    command = [sys.executable, "-c", KILLED, json.dumps(settings), str(world.runs)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    run = train(world.config(**SHORT), world.runs, reading=BOARD)
    assert on_board(run)[0] == kept(run)
    assert [step for step, _ in kept(run)["loss"]] == [1, 2, 3, 4, 5, 6]


def records_of(content):
    """The records of a file in LevelDB's log format, behind W&B's head of seven bytes: blocks of
    32 KiB; each part of a record has a checksum, its length, and whether it is the last.
    """
    place, record = 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        if left < 7 or kind == 0:
            place += left
            continue
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def in_wandb(folder):
    """Records of W&B's own files below a folder: per start its rows {step: values}; its settings;
    its summary.
    """
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # its own process closes the files a little after a run is finished
    starts, settings, summary, ids = [], {}, {}, set()
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        rows = {}
        starts.append(rows)
        for content in records_of(file.read_bytes()):
            record = Record()
            record.ParseFromString(content)
            if record.HasField("run"):
                ids.add(record.run.run_id)
                for item in record.run.config.update:
                    settings[item.key] = json.loads(item.value_json)
            for item in record.config.update:
                settings[item.key] = json.loads(item.value_json)
            values = {}
            for item in record.history.item:
                values[item.key or item.nested_key[0]] = json.loads(item.value_json)
            if values:
                rows.setdefault(record.history.step.num, {}).update(values)
            for item in record.summary.update:
                summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        assert record.HasField("exit"), f"{file} has no end"
    return starts, settings, summary, ids


def test_wandb_goes_on_under_the_runs_own_id(world, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for kind in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{kind}_DIR", str(tmp_path / "own"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def stop(row):
        if row["step"] == 5:
            raise Stopped("enough")

    config = world.config(**SHORT)
    with pytest.raises(Stopped):
        train(config, world.runs, reading=WANDB, watch=stop)
    run = train(config, world.runs, reading=WANDB)
    score(run, [0.0, 1.0], reading=WANDB)
    starts, settings, summary, ids = in_wandb(run.path)
    assert ids == {run.id} and settings["method"] == "ft" and settings["steps"] == 6
    assert sorted(starts[0]) == [1, 2, 3, 4, 5] and sorted(starts[1]) == [1, 2, 3, 4, 5, 6]
    for name, rows in kept(run).items():
        assert [(step, row[name]) for step, row in starts[1].items() if name in row] == rows
    assert {name: summary[name] for name in accuracies(run)} == accuracies(run)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("fails", ["__init__", "begin", "log", "finish"])
def test_a_tracker_that_fails_is_one_line_and_the_run_is_the_same(
    world, monkeypatch, tmp_path, capsys, fails
):
    def refuse(*_):
        raise OSError("No space\nleft on device")

    plain = world.train(tmp_path / "plain", **SHORT)
    monkeypatch.setattr(trackers.Board, fails, refuse)
    run = train(world.config(**SHORT), world.runs, reading=BOARD)
    said = capsys.readouterr().out
    line = f"{run.id} is not tracked any more, and goes on: OSError: No space left on device\n"
    assert said.count(line) == 1
    assert run.folder.weights_file.read_bytes() == plain.folder.weights_file.read_bytes()


def test_a_tracker_changes_nothing_of_a_run(world, tmp_path):
    run = train(world.config(**SHORT), world.runs, reading=BOARD)
    plain = world.train(tmp_path / "plain", **SHORT)
    assert run.id == plain.id
    assert run.folder.weights_file.read_bytes() == plain.folder.weights_file.read_bytes()


def test_unknown_and_missing_trackers_are_one_line_before_the_work(world, monkeypatch):
    with pytest.raises(ConfigError, match="unknown tracker 'tensorbord'; did you mean 'tensorb"):
        replace(QUIET, log="tensorbord")
    monkeypatch.setattr("clipft.runs.checks.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"wandb is not installed.*clipft\[wandb\]"):
        train(world.config(**SHORT), world.runs, reading=WANDB)
    assert not world.folder(**SHORT).exists()
