"""A run is what lies on disk: it opens in milliseconds, without torch, on a read-only folder, for
good.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FEW_TEXTS, QUIET, Trained, World

import clipft as widgets
from clipft.errors import ClipftError, RunError
from clipft.evaluation import bench
from clipft.evaluation.score import export, score
from clipft.figures.training import training_figure
from clipft.runs.folder import RunFolder
from clipft.runs.reading import (
    barrier_table,
    class_table,
    compare_runs,
    distortion_table,
    reliability_of,
)
from clipft.runs.run import Run, open_runs, read_sweep
from clipft.runs.table import results
from clipft.runs.thumbnails import Thumbnails, pack_thumbnails
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


def test_looking_at_60_runs_loads_no_torch(scored, carried):
    """Runs, tables, explorers, figures: in a process of its own, which then knows no torch."""
    first = carried / scored[0].id
    for number in range(58):
        shutil.copytree(first, carried / f"{number:012d}")
    command = [sys.executable, "-c", LOOK, str(carried), "sketch/test"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [60, []]


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

    def counted(*args, **options):
        loaded.append(args)
        return load(*args, **options)

    monkeypatch.setattr(bench, "load_clip", counted)
    for folder in carried.iterdir():
        (folder / "scores.parquet").unlink()
        (folder / "images.parquet").unlink()
    score(carried, [0.0, 1.0], reading=QUIET, gap_texts=FEW_TEXTS)
    assert len(loaded) == 1
    assert set(results(carried).run) == {run.id for run in scored}


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
    run, other = scored
    folder = run.path
    short = folder.parent / run.id[:5]
    for given in (run, RunFolder(folder), folder, str(folder), [folder], short, str(short), [run]):
        assert [opened.id for opened in open_runs(given)] == [run.id]
    both = {run.id, other.id}
    for given in (folder.parent, str(folder.parent), [run, other.path], (run, [other])):
        assert {opened.id for opened in open_runs(given)} == both
        assert set(results(given).run) == both
    assert all(isinstance(opened, Run) for opened in open_runs(folder.parent))
    for nothing, words in ((tmp_path, "no finished run in"), (tmp_path / "runs", "no run and no")):
        with pytest.raises(RunError, match=words):
            open_runs(nothing)
    with pytest.raises(RunError, match="no finished run was given"):
        open_runs([])


def test_the_first_letters_of_an_id_are_enough(scored, carried, monkeypatch):
    """In a folder of runs, here, and in runs/; what fits two runs names both."""
    run, other = scored
    assert Run.open(carried / run.id[:4]).id == run.id
    monkeypatch.chdir(carried)
    assert Run.open(run.id[:4]).path == Path(run.id)
    carried.rename(carried.parent / "runs")
    monkeypatch.chdir(carried.parent)
    assert Run.open(run.id[:4]).path == Path("runs") / run.id
    (Path("runs") / other.id).rename(Path("runs") / f"{run.id[:6]}000000")
    with pytest.raises(RunError, match=f"fits 2 runs: .*{run.id}.*; give more") as caught:
        Run.open(run.id[:6])
    assert "\n" not in str(caught.value)
    assert Run.open(run.id).id == run.id
    for nothing in ("abc0", "runs/abc0", "runs/none", 3, None):
        with pytest.raises(RunError, match=r"no run at .*wanted|is no run; wanted"):
            Run.open(nothing)


def test_every_reader_takes_a_run_its_folder_or_its_letters(scored, carried, monkeypatch):
    """The same answers, whatever a run is given as; explorers too."""
    run, _ = scored
    monkeypatch.chdir(carried.parent)
    for given in (run, carried / run.id, f"{carried.name}/{run.id[:5]}"):
        read_sweep(given), class_table(given, "sketch/test"), barrier_table(given)
        reliability_of(given, "sketch/test"), compare_runs(given, given)
        assert set(distortion_table(given).run) == {run.id}
        explorers = [widgets.WiseExplorer(given), widgets.ReliabilityExplorer(given)]
        explorers += [widgets.EnergyGapExplorer(given), widgets.RunBrowser(given)]
        explorers += [widgets.DistortionExplorer(given), widgets.explore(given)]
        assert all(explorer.figure() for explorer in explorers)
    for several in (str(carried), carried, [carried / one.id for one in scored], scored):
        assert len(widgets.WiseExplorer(several).sweeps) == 2
        explorer = widgets.EnergyGapExplorer(several)
        curve = {"what": "figure", "name": "curve", "run": run.id}
        answer = explorer.board.desk.answer(curve)  # it knows where the runs lie
        assert "WiSE curve" in answer.json["figure"]
        browser = widgets.RunBrowser(several)
        browser.compared = [one.id for one in scored]
        assert browser.comparison().p.tolist()
        assert widgets.explore(several).shown.run.nunique() == 2


def test_a_run_shows_itself(scored, carried):
    """One line in a console; in a notebook what it is, and its accuracies as they were scored."""
    run = scored[0]
    assert "\n" not in repr(run)
    for words in (run.id, "FT, lr 0.001, 4 steps, seed 0", "on mini, reference real"):
        assert words in repr(run)
    page = run._repr_html_()
    table = run.table()
    tests = table[(table.metric == "accuracy") & (table.part == "test") & table.alpha.isin([0, 1])]
    assert len(tests) == 6
    for row in tests.itertuples():
        assert row.split in page
        assert f"{100 * row.mean:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]" in page
    assert "digest" not in page
    (carried / run.id / "scores.parquet").unlink()
    assert "not scored yet" in Run.open(carried / run.id)._repr_html_()


def test_the_history_of_a_run_is_a_table(scored):
    lines = (scored[0].path / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    history = scored[0].history()
    assert history.step.tolist() == [row["step"] for row in rows]
    assert history.loss.dropna().tolist() == [row["loss"] for row in rows if "loss" in row]
    assert training_figure(history) == training_figure(rows)


def test_a_copied_runs_folder_works_elsewhere(
    tree, model_folder, manifest_file, tmp_path, monkeypatch
):
    """Trained by a relative path, copied; the manifest is gone, another folder is worked in."""
    begun, away = tmp_path / "begun", tmp_path / "away"
    shutil.copytree(manifest_file.parent, begun)
    away.mkdir()
    monkeypatch.setenv("CLIPFT_DATA", str(tree))
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(begun)
    world = World("mini.yaml", model_folder, Path("runs"))
    ids = [world.train(steps=4, eval_every=2, seed=seed).id for seed in (0, 1)]
    shutil.copytree("runs", away / "copied")
    monkeypatch.chdir(away)
    shutil.rmtree(begun)

    runs = score("copied", [0.0, 0.5, 1.0], reading=QUIET, gap_texts=FEW_TEXTS)
    assert {run.id for run in runs} == set(ids)
    assert set(results("copied").run) == set(ids) and set(results("copied").manifest) == {"mini"}
    assert Thumbnails(runs[0].sweep())[runs[0].sweep().ids[0]]
    soup = combine("uniform_soup", "copied", {}, QUIET)
    assert {member.id for member in soup.members} == set(ids)
    assert export(soup, "tuned", 0.5, reading=QUIET).is_dir()
    pack_thumbnails("copied")
    monkeypatch.delenv("CLIPFT_DATA")
    with pytest.raises(ClipftError, match=r"where is mini\?.*CLIPFT_DATA"):
        score("copied", [0.25], reading=QUIET, gap_texts=FEW_TEXTS)


def test_a_manifest_named_in_two_ways_makes_one_soup(world, tmp_path, monkeypatch):
    one = world.train(steps=2)
    shutil.copytree(Path(world.manifest).parent, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    other = world.train(steps=2, seed=1, manifest="mini.yaml", reference="real")
    assert len(combine("uniform_soup", [one, other], {}, QUIET).members) == 2
