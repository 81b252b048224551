"""What runs do without: what goes, what stays and why, and what works afterwards."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pandas as pd
import pytest
from conftest import FEW_TEXTS, QUIET, SCORED, carried

import clipft
from clipft import cli
from clipft.disk.files import file_digest
from clipft.disk.leftovers import temporary_prefix
from clipft.errors import ConfigError, RunError
from clipft.runs.folder import RunFolder
from clipft.runs.labels import Label
from clipft.runs.listing import choose
from clipft.runs.pruning import best_runs, needed_members

DAY = 24 * 3600
DEAD = 1 << 30  # no process has this number


@pytest.fixture
def runs(scored, tmp_path):
    """A copy of two scored runs, one that is not scored, and one that was begun."""
    return shutil.copytree(scored.runs, tmp_path / "runs")


def fates(pruned):
    return {(row.run, row.what): row.fate for row in pruned.itertuples()}


def test_weights_go_and_every_number_stays(runs, scored):
    before = clipft.results(runs)
    curves = [clipft.read_sweep(run.path).accuracy for run in scored.scored]
    ids = [run.id for run in scored.scored]
    size = {run: (runs / run / "weights.safetensors").stat().st_size for run in ids}
    asked = clipft.prune(runs, weights=True, dry_run=True)
    assert all((runs / run / "weights.safetensors").exists() for run in ids)
    gone = clipft.prune(runs, weights=True)
    assert gone.run.tolist() == asked.run.tolist() and gone.bytes.tolist() == asked.bytes.tolist()
    assert {row.run: row.bytes for row in gone.itertuples() if row.fate == "gone"} == size
    assert fates(gone)[scored.unscored.name, "weights"] == "stays: it is not scored"
    assert (runs / scored.unscored.name / "weights.safetensors").exists()
    assert not any((runs / run / "weights.safetensors").exists() for run in ids)

    pd.testing.assert_frame_equal(clipft.results(runs), before)
    opened = [clipft.Run.open(runs / run) for run in ids]
    for run, curve in zip(opened, curves, strict=True):
        assert (run.sweep().accuracy == curve).all()
    clipft.compare_runs(*opened)
    clipft.distortion_table(opened)
    assert clipft.prune(runs, weights=True).fate.tolist() == ["stays: it is not scored"]


def test_what_asks_the_model_says_how_to_make_it_again(runs, at_home):
    run = clipft.Run.open(runs / at_home.scored[0].id)
    clipft.prune(run, weights=True)
    for ask in (
        lambda: clipft.score(run, [0.25], reading=QUIET),
        lambda: clipft.export(run, runs.parent / "out", reading=QUIET),
        lambda: clipft.layer_table(run, QUIET),
        lambda: clipft.combine("uniform_soup", [run], reading=QUIET),
        lambda: clipft.verify(run, reading=QUIET),
    ):
        with pytest.raises(RunError, match=r"pruned; bring .* clipft train --preset none") as said:
            ask()
        assert "\n" not in str(said.value) and f"--runs {runs} (FILE" in str(said.value)
    assert clipft.score(run, SCORED, reading=QUIET)[0].id == run.id  # what is there needs no model


def test_trained_again_the_weights_are_the_same(at_home, world, monkeypatch, capsys):
    """By the command that the message says; scores stay, and hold."""
    run = world.train(steps=3, eval_every=1)
    run.score([0.0, 1.0])
    file = run.path / "weights.safetensors"
    weights = file.read_bytes()
    table = run.table()
    clipft.prune(run.path, weights=True)
    with pytest.raises(RunError, match="--preset none") as said:
        clipft.score(run.path, [0.25], reading=QUIET)
    command = str(said.value).partition("the same again: clipft ")[2]
    command = command.removesuffix(" (FILE: the manifest of mini)")
    command = command.replace("manifest=FILE", f"manifest={world.manifest}")
    words = [*shlex.split(command), "--no-score", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["clipft", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code, capsys.readouterr()
    assert file.read_bytes() == weights
    pd.testing.assert_frame_equal(clipft.Run.open(run.path).table(), table)
    assert clipft.verify(run.path, alphas=[1.0], reading=QUIET).holds
    steps = [row["step"] for row in RunFolder(run.path).history()]
    assert steps == sorted(steps) and len(set(steps)) > 2


def test_a_training_again_that_fails_leaves_the_scores(world):
    run = world.train(steps=3, eval_every=3)
    run.score([0.0, 1.0])
    clipft.prune(run.path, weights=True)

    def fail(row):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        clipft.train(world.config(steps=3, eval_every=3), world.runs, reading=QUIET, watch=fail)
    assert len(clipft.Run.open(run.path).table()) > 0


def test_what_another_run_needs_stays_unless_told(world):
    """An ensemble is scored from its members, a combination without weights is made of them."""
    members = [world.train(steps=2, eval_every=2, seed=seed) for seed in (0, 1)]
    for run in members:
        run.score([0.0, 1.0])
    runs = world.runs
    soup = clipft.combine("uniform_soup", members, reading=QUIET)
    clipft.score(soup, [1.0], reading=QUIET, gap_texts=FEW_TEXTS)
    assert needed_members(runs) == set()
    digest = file_digest(soup.folder.weights_file)
    assert clipft.prune(soup, weights=True).fate.tolist() == ["gone"]
    assert needed_members(runs) == {run.id for run in members}
    stay = clipft.prune(runs, weights=True)
    assert set(stay.fate) == {"stays: another run needs it"} and len(stay) == 2

    assert clipft.combine("uniform_soup", members, reading=QUIET).id == soup.id
    assert file_digest(soup.folder.weights_file) == digest
    ensemble = clipft.combine("output_ensemble", members[:1], reading=QUIET)
    assert needed_members(runs) == {members[0].id}
    kept = fates(clipft.prune(runs, weights=True))
    assert kept[members[0].id, "weights"] == "stays: another run needs it"
    assert kept[members[1].id, "weights"] == kept[soup.id, "weights"] == "gone"
    assert clipft.prune(members[0], weights=True, members=True).fate.tolist() == ["gone"]
    with pytest.raises(RunError, match="clipft train"):
        clipft.score(ensemble, [0.5], reading=QUIET)


def test_weights_from_elsewhere_stay(runs, scored):
    run = scored.scored[0].id
    config = json.loads((runs / run / "config.json").read_text())
    config |= {"adopted": {"trains": "vision", "weights": "x"}, "lr": 0.0, "steps": 0}
    (runs / run / "config.json").write_text(json.dumps(config))
    assert "tuned elsewhere" in clipft.prune(runs / run, weights=True).fate[0]


# --- left-overs and unfinished runs


def age(folder, days):
    for file in [folder, *folder.iterdir()]:
        os.utime(file, (time.time() - days * DAY,) * 2)


def test_what_killed_processes_left_goes(runs, scored):
    run = runs / scored.scored[0].id
    dead = temporary_prefix("images.parquet").replace(f"-{os.getpid()}-", f"-{DEAD}-")
    left_over = f"{dead}abc.tmp"
    (run / left_over).write_bytes(b"12345")
    (run / ".staged.x.tmp").mkdir()
    (run / ".staged.x.tmp" / "file").write_bytes(b"123")
    (run / "checkpoint.safetensors").write_bytes(b"1" * 10)  # killed between two steps of finish
    (run / ".label.json.abc.tmp").write_bytes(b"1")  # which is written without the lock
    (runs / ".thumbnails.parquet.a.tmp").write_bytes(b"1234")
    (runs / ".thumbnails.parquet.b.tmp").write_bytes(b"young, still written")
    os.utime(runs / ".thumbnails.parquet.a.tmp", (0, 0))
    before = {file for file in runs.rglob("*") if file.name != ".lock"}
    would = clipft.prune(runs, dry_run=True)
    assert {file for file in runs.rglob("*") if file.name != ".lock"} == before
    gone = clipft.prune(runs)
    assert gone.bytes.tolist() == would.bytes.tolist() == [18, 4]
    assert set(would.fate) == {"would go"} and set(gone.fate) == {"gone"}
    left = {file.name for file in before} - {file.name for file in runs.rglob("*")}
    assert left == {
        *(left_over, ".staged.x.tmp", "file", "checkpoint.safetensors"),
        ".thumbnails.parquet.a.tmp",
    }
    assert clipft.prune(runs).empty


def test_unfinished_runs_go_by_their_age(runs, scored):
    begun = runs / scored.begun.name
    (begun / "checkpoint.safetensors").write_bytes(b"123")
    (begun / ".lock").touch()
    age(begun, 3)
    assert clipft.prune(runs).empty and clipft.prune(runs, unfinished=3.5).empty
    for _ in range(2):  # to look makes nothing younger
        would = clipft.prune(runs, unfinished=2.5, dry_run=True)
        assert fates(would) == {(begun.name, "unfinished run"): "would go"} and begun.exists()
    assert fates(clipft.prune(runs, unfinished=2.5)) == {(begun.name, "unfinished run"): "gone"}
    assert not begun.exists() and len(list(runs.iterdir())) == 3
    with pytest.raises(ConfigError, match="expected 0 or more"):
        clipft.prune(runs, unfinished=-1)


HOLD = """
import sys
from clipft.disk.lock import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder):
    """Another process writes the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "held\n"
        yield
        other.stdin.close()
        assert other.wait() == 0


def test_a_run_that_is_written_stays(runs, scored):
    begun = runs / scored.begun.name
    (begun / ".a.tmp").touch()
    age(begun, 9)
    with held(begun):
        for dry_run in (True, False):
            fate = fates(clipft.prune(runs, unfinished=1, dry_run=dry_run))
            assert fate == {(begun.name, "unfinished run"): "stays: another process writes it"}
    assert begun.exists()
    assert fates(clipft.prune(runs, unfinished=1))[begun.name, "unfinished run"] == "gone"


def test_nothing_outside_is_touched(runs, scored, tmp_path):
    """A run that is a link, and links in a run, to files that are not ours."""
    outside = shutil.copytree(runs / scored.begun.name, tmp_path / "outside")
    (outside / "precious").write_text("kept")
    (outside / ".x.tmp").touch()
    (runs / "linked").symlink_to(outside)
    begun = runs / scored.begun.name
    (begun / ".staged.y.tmp").symlink_to(outside)
    (begun / "deep").mkdir()
    (begun / "deep" / "link").symlink_to(outside)
    before = sorted(outside.rglob("*"))
    assert fates(clipft.prune(runs))[begun.name, "left over"] == "gone"
    assert not (begun / ".staged.y.tmp").is_symlink() and (outside / "precious").exists()
    fate = fates(clipft.prune(runs, weights=True, unfinished=0))
    assert fate[begun.name, "unfinished run"] == "gone" and not begun.exists()
    assert fate["linked", "left over"] == "stays: the run is a link"
    assert sorted(outside.rglob("*")) == before and (outside / "precious").read_text() == "kept"


# --- which runs


def test_words_choose_runs(runs, scored):
    ft, lipsum = (run.id for run in scored.scored)
    Label(name="my-run", tags=("good", "old")).write(RunFolder(runs / ft))
    Label(tags=("good",)).write(RunFolder(runs / scored.begun.name))

    def chosen(*words):
        return {run.folder.name for run in choose(runs, words)}

    everything = {ft, lipsum, scored.unscored.name, scored.begun.name}
    assert chosen() == everything
    assert chosen("method=lipsum") == chosen(lipsum[:6]) == chosen(str(runs / lipsum)) == {lipsum}
    assert chosen("my-run") == chosen("name=my-run") == chosen("tags=old") == {ft}
    assert chosen("tags=good") == {ft, scored.begun.name}
    assert chosen("tags=good", "state=unfinished") == chosen("seed=8") == {scored.begun.name}
    assert chosen("my-run", lipsum) == {ft, lipsum}
    assert chosen("my-run", lipsum, "method=ft") == {ft}
    assert chosen("state=finished") == {scored.unscored.name}
    for words, kind, said in [
        (["lr=7"], RunError, "no run under .* is lr=7"),
        (["sead=1"], ConfigError, "unknown setting 'sead'; did you mean 'seed'"),
        (["nothing"], RunError, "no run at"),
        ([f"{runs.parent}/other/{ft}"], RunError, "does not lie in"),
    ]:
        with pytest.raises(kind, match=said) as caught:
            chosen(*words)
        assert "\n" not in str(caught.value)
    with pytest.raises(RunError, match="no run under"):
        choose(runs.parent / "empty", [])


def test_a_damaged_run_does_not_hide_the_others(runs, scored):
    (runs / scored.begun.name / "config.json").write_text("{")
    rows = {run.folder.name: run.row()["state"] for run in choose(runs, [])}
    assert rows[scored.begun.name] == "damaged" and rows[scored.scored[0].id] == "scored"
    assert clipft.prune(runs, unfinished=0).empty


def test_the_best_of_each_method_are_those_of_validation(runs, scored):
    """Both methods have one recipe that is scored, which is therefore its best."""
    assert best_runs(runs) == {run.id for run in scored.scored}


def test_a_copy_without_weights_lists_so(scored, tmp_path, monkeypatch):
    runs = carried(scored, tmp_path / "copy", monkeypatch)
    states = {run.folder.name: run.row()["state"] for run in choose(runs, [])}
    assert states[scored.scored[0].id] == "scored, no weights"
    assert states[scored.begun.name] == "unfinished"


def test_a_disk_that_refuses_is_one_line(runs, scored, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    (runs / scored.scored[0].id / ".a.tmp").touch()
    monkeypatch.setattr("clipft.runs.pruning.Path.unlink", refuse)
    (fate,) = clipft.prune(runs).fate
    assert fate.startswith("stays: cannot write") and "\n" not in fate
