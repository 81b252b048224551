"""`clipft runs` and `clipft results --watch`: what they print, and what they do."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from test_cli import run_cli

import clipft as library


@pytest.fixture
def runs(scored, tmp_path):
    return shutil.copytree(scored.runs, tmp_path / "runs")


@pytest.fixture
def clipft(monkeypatch, capsys, runs):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(runs.parent)
    return lambda *arguments: run_cli(monkeypatch, capsys, "runs", *arguments)


def test_runs_are_listed_labelled_and_found(clipft, runs, scored):
    ft, lipsum = (run.id for run in scored.scored)
    code, out, err = clipft()
    assert (code, err) == (0, "")
    for words in (f"{ft}  ft ", f"{lipsum}  lipsum ", "scored", "finished", "unfinished", "4 runs"):
        assert words in out
    assert "tags" not in out and "note" not in out  # nobody labelled any

    assert clipft("name", ft[:6], "my-run") == (0, f"runs/{ft} is called my-run\n", "")
    code, out, _ = clipft("tag", "my-run", lipsum, "+good", "+new")
    assert out == f"runs/{ft}: good new\nruns/{lipsum}: good new\n"
    assert clipft("tag", "method=ft", "state=scored", "-new")[1] == f"runs/{ft}: good\n"
    assert clipft("note", "my-run", "<img src=x onerror=alert()>")[0] == 0
    assert library.Run.open("runs/my-run").id == ft
    assert library.results("runs", where={"tags": "new"}).run.unique().tolist() == [lipsum]
    code, out, _ = clipft("list", "tags=good", "--markdown")
    assert "| id" in out and "| good new |" in out and "onerror" in out and "2 runs" in out
    assert "unfinished" not in out
    assert clipft("name", "my-run", "")[1] == f"runs/{ft} has no name\n"
    assert "no run at" in clipft("name", "my-run", "other")[2]
    assert json.loads((runs / ft / "label.json").read_text())["tags"] == ["good"]


def test_a_name_is_of_one_run(clipft, scored):
    ft, lipsum = (run.id for run in scored.scored)
    assert clipft("name", ft, "mine")[0] == 0
    code, out, err = clipft("name", lipsum, "mine")
    assert (code, out) == (2, "") and f"runs/{ft} is called mine already" in err
    assert clipft("name", ft, "mine")[0] == 0  # its own
    # A copy brings its name along: then both are named.
    shutil.copytree(f"runs/{ft}", "runs/123456789abc")
    code, _, err = clipft("tag", "mine", "+x")
    assert code == 2 and f"fits 2 runs: 123456789abc, {ft}" in err and err.count("\n") == 1


def test_pruning_is_dry_unless_told(clipft, runs, scored):
    ids = [run.id for run in scored.scored]
    files = [runs / run / "weights.safetensors" for run in ids]
    code, out, err = clipft("prune", "--weights", "--unfinished", "0")
    assert code == 0 and err == "" and out.count("would go") == 3 and "it is not scored" in out
    assert "nothing was removed: to do it, --yes" in out
    assert all(file.exists() for file in files) and scored.begun.name in out
    code, out, _ = clipft("prune", "--weights", "--keep-best", "--yes")
    assert "gone" not in out and all(file.exists() for file in files)
    before = sum(file.stat().st_size for file in runs.rglob("*") if file.is_file())
    code, out, _ = clipft("prune", "method=ft", "state=scored", "--weights", "--yes")
    after = sum(file.stat().st_size for file in runs.rglob("*") if file.is_file())
    assert out.count("gone") == 1 and "1 run: " in out and after < before
    assert [file.exists() for file in files] == [False, True]
    code, out, _ = clipft("prune", "--unfinished", "0", "--yes")
    assert out.count("gone") == 1 and not (runs / scored.begun.name).exists()
    assert "scored, no weights" in clipft()[1]


def test_a_training_that_keeps_no_weights(world, monkeypatch, capsys):
    """Scored, then dropped; the same command again trains nothing."""
    told = [f"{key}={json.dumps(value)}" for key, value in world.settings(steps=2).items()]
    words = [*told, "--runs", world.runs, "--no-keep-weights", "--preset", "none"]
    words += ["--seeds", "0,1"]
    code, out, _ = run_cli(monkeypatch, capsys, "train", *words)
    assert code == 0 and out.count("trained ") == 2
    assert not list(world.runs.glob("*/weights.safetensors"))
    assert library.results(world.runs).run.nunique() == 2
    code, again, _ = run_cli(monkeypatch, capsys, "train", *words)
    assert code == 0 and "trained " not in again
    assert out.endswith(again) and "2 repeats" in again


# --- results --watch


def watching(runs, *options):
    command = [sys.executable, "-m", "clipft", "results", "--watch", "--runs", runs]
    return subprocess.Popen(
        [*command, "--interval", "0.05", *options], stdout=subprocess.PIPE, text=True
    )


def until(process, words):
    """The lines up to the first that has these words."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError(f"{words!r} did not come: {''.join(lines)}")


def test_the_watched_table_follows_a_batch_and_ends_when_told(scored, tmp_path):
    """One run after the other is moved in, as a batch does it; each is a picture."""
    ft, lipsum = (run.path for run in scored.scored)
    runs = tmp_path / "runs"
    with watching(runs, "--until", "2") as process:
        assert "0 runs scored, 0 not" in until(process, "runs scored")
        shutil.copytree(ft, tmp_path / ft.name).rename(runs_made(runs) / ft.name)
        assert "Lipsum-FT" not in until(process, "1 runs scored") + until(process, "FT  ")
        shutil.copytree(lipsum, tmp_path / lipsum.name).rename(runs / lipsum.name)
        until(process, "2 runs scored, 0 not")
        rest = process.stdout.read()
        assert "Lipsum-FT" in rest and "zero-shot" in rest
        assert process.wait() == 0


def runs_made(runs):
    runs.mkdir()
    return runs


def test_on_a_terminal_one_picture_is_drawn_until_ctrl_c(scored):
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "clipft", "results", "--watch", "--runs", scored.runs]
    environment = os.environ | {"COLUMNS": "160", "LINES": "50", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while not (b"2 runs scored, 2 not" in shown and b"Lipsum-FT" in shown):
            shown += os.read(ours, 1 << 16)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    os.close(ours)
