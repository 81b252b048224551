"""A run is what lies on disk: it opens in milliseconds, without torch, on a read-only folder, for
good.
"""

import json
import shutil
import subprocess
import sys

import pytest
from conftest import FEW_TEXTS, QUIET, Trained, World

from clipft.errors import RunError
from clipft.evaluation import bench
from clipft.evaluation.score import score
from clipft.runs.folder import FORMAT, RunFolder
from clipft.runs.reading import (
    barrier_table,
    class_table,
    compare_runs,
    distortion_table,
    reliability_of,
)
from clipft.runs.run import Run, open_runs
from clipft.runs.table import results
from clipft.training.combine import combine


@pytest.fixture(scope="module")
def scored(tree, manifest_file, model_folder, tmp_path_factory):
    """Two scored runs of the miniature world, for all of this file; do not change them."""
    with pytest.MonkeyPatch.context() as patch:
        base = tmp_path_factory.mktemp("run")
        patch.setenv("CLIPFT_DATA", str(tree))
        patch.setenv("CLIPFT_CACHE", str(base / "cache"))
        world = World(manifest_file, model_folder, base / "runs")
        runs = [world.train(steps=4, eval_every=2, seed=seed) for seed in (0, 1)]
        score(runs, reading=QUIET, gap_texts=FEW_TEXTS)
        yield runs


@pytest.fixture
def carried(scored, tmp_path):
    """A copy of the folder of runs."""
    return shutil.copytree(scored[0].path.parent, tmp_path / "carried")


LOOK = """
import json, sys, time
import clipft
begun = time.perf_counter()
runs = clipft.open_runs(sys.argv[1])
table = clipft.results(sys.argv[1])
sweeps = [run.sweep() for run in runs[:2]]
clipft.WiseExplorer(sweeps).figure()
clipft.EnergyGapExplorer(table, sys.argv[1]).figure()
clipft.RunBrowser(table, sys.argv[1])
clipft.distortion_table(runs[:2]), clipft.class_table(runs[0], sys.argv[2])
clipft.compare_runs(runs[0], runs[1]), clipft.barrier_table(runs[0])
clipft.wise_slider_figure(table), clipft.trade_off_figure(table)
print(json.dumps([len(runs), sorted({"torch", "open_clip"} & set(sys.modules))]))
"""


def test_looking_at_300_runs_loads_no_torch(scored, carried):
    """Runs, tables, explorers, figures: in a process of its own, which then knows no torch."""
    first = carried / scored[0].id
    for number in range(298):
        shutil.copytree(first, carried / f"{number:012d}")
    command = [sys.executable, "-c", LOOK, str(carried), "sketch/test"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [300, []]


def test_reading_writes_nothing(scored, carried):
    """Not a byte, not a lock: every file keeps its time, and no file comes."""

    def state():
        return {file: file.stat().st_mtime_ns for file in carried.rglob("*")}

    first, second = (carried / run.id for run in scored)
    before = state()
    results(carried), distortion_table([first, second]), barrier_table(first)
    class_table(first, "sketch/test"), compare_runs(first, second)
    reliability_of(first, "sketch/test"), Run.open(first).sweep(), Run.open(first).history()
    assert state() == before


def test_scoring_what_is_scored_writes_nothing(scored, carried):
    """`clipft diagnose` of a scored run may look at a folder that it must not change."""
    before = {file: file.stat().st_mtime_ns for file in carried.rglob("*")}
    score(carried, reading=QUIET, gap_texts=FEW_TEXTS)
    assert {file: file.stat().st_mtime_ns for file in carried.rglob("*")} == before


def test_what_was_not_scored_is_one_line_with_the_line_to_run(scored):
    with pytest.raises(RunError, match=r"clipft\.score\('.*', \[0\.37\]\)") as caught:
        distortion_table([scored[0]], 0.37)
    assert "\n" not in str(caught.value)


def test_a_run_of_an_unknown_method_and_a_lost_manifest_is_read(carried, scored):
    """Its title, its classes and its reference lie in its folder."""
    folder = carried / scored[0].id
    recorded = json.loads((folder / "config.json").read_text())
    changes = {"method": "theirs", "title": "Their method", "manifest": "gone.yaml"}
    (folder / "config.json").write_text(json.dumps(recorded | changes))
    run = Run.open(folder)
    assert run.title == "Their method, lr 0.001, 4 steps, seed 0"
    assert run.sweep().classes == ("apple", "bee", "ice cream", "zebra")
    assert run.reference == "real" and "theirs" in set(results(carried).method)


def test_runs_of_one_model_and_data_set_load_one_clip(scored, carried, monkeypatch):
    loaded, load = [], bench.load_clip
    monkeypatch.setattr(bench, "load_clip", lambda *args: loaded.append(args) or load(*args))
    for folder in carried.iterdir():
        (folder / "scores.parquet").unlink()
        (folder / "images.parquet").unlink()
    score(carried, [0.0, 1.0], reading=QUIET, gap_texts=FEW_TEXTS)
    assert len(loaded) == 1
    assert set(results(carried).run) == {run.id for run in scored}


def test_a_folder_of_a_newer_clipft_is_refused(carried, scored):
    folder = carried / scored[0].id
    recorded = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(recorded | {"format": FORMAT + 1}))
    with pytest.raises(RunError, match="of a newer clipft; update clipft"):
        Run.open(folder)


def test_a_folder_of_an_older_clipft_is_read(carried, scored):
    """Without title, format, copy of the manifest and the columns domain and part."""
    import pandas as pd

    folder = carried / scored[0].id
    recorded = json.loads((folder / "config.json").read_text())
    old = {key: value for key, value in recorded.items() if key not in ("title", "format")}
    (folder / "config.json").write_text(json.dumps(old))
    (folder / "manifest.json").unlink()
    for name in ("images", "scores"):
        file = folder / f"{name}.parquet"
        pd.read_parquet(file).drop(columns=["domain", "part"]).to_parquet(file)
    pd.testing.assert_frame_equal(Run.open(folder).table(), scored[0].table())
    new, same = Run.open(folder).scores(0.5), scored[0].scores(0.5)
    assert new.keys() == same.keys() and Run.open(folder).title == scored[0].title
    first = results(carried).groupby("run").recipe.first()
    assert first.nunique() == 1  # two seeds of one recipe, old and new


def test_a_combination_is_titled_by_all_that_was_done(scored, tmp_path):
    run = combine("wise", [Trained.of(scored[0])], {"alpha": 0.4}, QUIET)
    again = combine("wise", [run], {"alpha": 0.5}, QUIET)
    assert again.title.startswith("FT + WiSE + WiSE, lr")
    assert str(again.name) == "ft+wise+wise" and [m.id for m in again.members] == [run.id]
    for made in (run, again):
        shutil.rmtree(made.path)


def test_open_runs_takes_what_people_have(scored, tmp_path):
    folder = scored[0].path
    for given in (scored[0], RunFolder(folder), folder, str(folder), [folder]):
        assert [run.id for run in open_runs(given)] == [scored[0].id]
    assert {run.id for run in open_runs(folder.parent)} == {run.id for run in scored}
    with pytest.raises(RunError, match="no finished run in"):
        open_runs(tmp_path)
