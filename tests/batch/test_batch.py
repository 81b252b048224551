"""Batches of notebooks: plans, verdicts, skipping, and the pages they leave."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import date, datetime
from importlib import metadata
from pathlib import Path

import nbformat
import pandas as pd
import plotly.graph_objects as go
import pytest
import yaml
from conftest import held_elsewhere
from nbformat.v4 import new_code_cell, new_notebook
from test_claims import falling, table as tuned_table
from test_cli import run_cli

from clipft.batch import machine
from clipft.batch.overview import claims_sections, figure_sections
from clipft.batch.runner import AGAIN, run_batch
from clipft.batch.spec import Spec, choose, plan, read_spec
from clipft.data.manifests import load_manifest, manifests_folder
from clipft.errors import ConfigError, MissingExtra, RunError
from clipft.figures.pages import save_figure
from clipft.papers.paper import Paper
from clipft.runs.claims import claims
from clipft.runs.recipes import Preset

pytest.importorskip("papermill")


def notebook(path, *sources):
    """A notebook as VS Code writes it: it says of no kernel and no language."""
    cells = [new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def spec_file(folder, **values):
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({"name": "tiny"} | values))
    return path


def states_in(out):
    """How every run of a batch ended, in alphabetical order."""
    files = out.glob("notebooks/*/status.json")
    return sorted(json.loads(file.read_text())["state"] for file in files)


@pytest.fixture
def folder(tmp_path):
    notebook(
        tmp_path / "add.ipynb",
        "a = None\nb: int = 2\nout = ''",
        "open(f'{out}/{a}{b}.txt', 'a').write('x')\n3",
    )
    return tmp_path


def test_plan_is_the_product_of_each_grid_entry(folder):
    grid = [{"a": [1, 2], "b": [3, 4]}, {"a": [9]}]
    spec = Spec.read(
        {
            "name": "t",
            "stages": [{"notebook": "add.ipynb", "parameters": {"out": "{out}"}, "grid": grid}],
        }
    )
    (jobs,) = plan(spec, folder, folder / "out")
    assert [(job.parameters["a"], job.parameters.get("b")) for job in jobs] == [
        (1, 3),
        (1, 4),
        (2, 3),
        (2, 4),
        (9, None),
    ]
    assert len({job.folder for job in jobs}) == 5
    assert {job.parameters["out"] for job in jobs} == {str(folder / "out")}


def test_paths_are_relative_to_the_spec_and_reach_the_kernel_absolute(tmp_path, monkeypatch):
    """In parameters, in settings inside them, and in lists; names and tags stay names."""
    (tmp_path / "specs").mkdir()
    notebook(
        tmp_path / "specs/all.ipynb",
        "manifest = model = pretrained = runs = figures_folder = ''\nsettings: dict = {}\n"
        "members: list = []",
    )
    (tmp_path / "weights.pt").write_bytes(b"")
    (tmp_path / "own.yaml").write_text(
        yaml.safe_dump(load_manifest("emoji_start").model_dump() | {"classes": "own.classes.yaml"})
    )
    shutil.copy(manifests_folder() / "emoji_shift.classes.yaml", tmp_path / "own.classes.yaml")
    paths = {"manifest": "../own.yaml", "model": "local-dir:../tuned", "runs": "{out}/runs"}
    values = {"pretrained": "../weights.pt", "head_from": "../head.safetensors"}
    names = {
        "manifest": "emoji_start",
        "model": "ViT-B-16",
        "pretrained": "openai",
        "head_from": "",
    }
    parameters = paths | {"settings": values, "members": [names, {"settings": paths}]}
    spec = Spec.read({"name": "t", "stages": [{"notebook": "all.ipynb", "parameters": parameters}]})
    monkeypatch.chdir(tmp_path)
    ((job,),) = plan(spec, Path("specs"), tmp_path / "out")
    placed = {
        "manifest": f"{tmp_path}/own.yaml",
        "model": f"local-dir:{tmp_path}/tuned",
        "runs": f"{tmp_path}/out/runs",
    }
    assert {key: job.parameters[key] for key in placed} == placed
    assert job.parameters["members"] == [names, {"settings": placed}]
    assert job.parameters["settings"] == {
        "pretrained": f"{tmp_path}/weights.pt",
        "head_from": f"{tmp_path}/head.safetensors",
    }
    shutil.move(tmp_path / "specs", tmp_path / "moved")  # a job keeps its name: it is not run again
    ((moved,),) = plan(spec, tmp_path / "moved", tmp_path / "out")
    assert moved.folder == job.folder


def test_a_later_stage_is_planned_anew_when_an_earlier_one_changes(folder):
    def last(values):
        stages = [{"notebook": "add.ipynb", "grid": [{"a": values}]}, {"notebook": "add.ipynb"}]
        return plan(Spec.read({"name": "t", "stages": stages}), folder, folder / "out")[1][0].folder

    assert last([1]) == last([1]) != last([1, 2])


def test_the_folders_of_an_unchanged_spec_are_those_of_older_batches(folder, monkeypatch):
    """Another name would run finished work again; they are those of the planner at first."""
    cell = {"cell_type": "code", "source": "a = None\nb: int = 2\nout = ''"}
    cell["metadata"] = {"tags": ["parameters"]}
    (folder / "add.ipynb").write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    recipe = Preset(title="a", settings={"lr": 1.0})
    monkeypatch.setattr("clipft.batch.spec.presets", lambda: {"one/a": recipe})
    deep = [{"preset": "one/a", "settings": {"x": None}}, 3]
    grid = [{"a": ["one/a", deep], "b": [3]}, {"a": [1e-5]}]
    first = {"notebook": "add.ipynb", "parameters": {"out": "{out}"}, "grid": grid}
    spec = Spec.read({"name": "t", "stages": [first, {"notebook": "add.ipynb"}]})
    first_jobs, (last_job,) = plan(spec, folder, folder / "out")
    names = [job.folder.name for job in first_jobs]
    assert names == ["add-8c1ace0f13", "add-f871ff284a", "add-2aeb8aafb2"]
    assert last_job.folder.name == "add-d37276e8f5"


@pytest.mark.parametrize(
    "given",
    [
        "one/a",
        [{"preset": "one/a"}],
        [{"members": [{"preset": "one/a", "seed": 1}, {"preset": "one/b"}]}],
    ],
    ids=["named", "a member", "deep"],
)
def test_a_preset_that_changes_is_run_again(folder, monkeypatch, given):
    recipes = {"one/a": {"lr": 1.0}, "one/b": {"lr": 2.0}, "one/c": {"lr": 3.0}}

    def planned(**changes):
        known = {
            name: Preset(title=name, settings=values)
            for name, values in (recipes | changes).items()
        }
        monkeypatch.setattr("clipft.batch.spec.presets", lambda: known)
        spec = Spec.read(
            {"name": "t", "stages": [{"notebook": "add.ipynb", "parameters": {"a": given}}]}
        )
        return plan(spec, folder, folder / "out")[0][0].folder

    assert planned() == planned(**{"one/c": {"lr": 9.0}}) != planned(**{"one/a": {"lr": 9.0}})


def test_a_presets_manifest_is_looked_at_too(folder, monkeypatch, manifest_file):
    import shutil

    file = shutil.copytree(manifest_file.parent, folder / "manifests") / "mini.yaml"
    known = {"one/a": Preset(title="a", settings={"manifest": str(file)})}
    monkeypatch.setattr("clipft.batch.spec.presets", lambda: known)
    spec = Spec.read(
        {
            "name": "t",
            "stages": [{"notebook": "add.ipynb", "parameters": {"a": [{"preset": "one/a"}]}}],
        }
    )

    def planned(change=("", "")):
        file.write_text(manifest_file.read_text().replace(*change))
        return plan(spec, folder, folder / "out")[0][0].folder

    assert (
        planned()
        == planned(("made up", "other prose"))
        != planned(("holdout: 0.25", "holdout: 0.5"))
    )


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (
            {"stages": [{"notebook": "add.ipynb", "parameters": {"aa": 1}}]},
            "unknown parameter of add.ipynb 'aa'",
        ),
        ({"stages": [{"notebook": "sub.ipynb"}]}, "no notebook"),
        (
            {"stages": [{"notebook": "add.ipynb", "grid": [{"b": [1, "2"]}]}]},
            r"add.ipynb, cell 1 .*: b is '2'",
        ),
        ({"stages": [], "jbos": 2}, "did you mean 'jobs'"),
        ({"stages": [], "images": ["gif"]}, "images.0: .*'png', 'svg' or 'pdf', got 'gif'"),
        ({}, "stages: Field required"),
    ],
)
def test_bad_spec_stops_before_anything_runs(folder, values, wanted):
    with pytest.raises(ConfigError, match=wanted) as caught:
        run_batch(spec_file(folder, **values), folder / "out")
    assert "\n" not in str(caught.value)
    assert not list((folder / "out").glob("notebooks/*"))


def test_missing_spec_and_broken_yaml(folder):
    with pytest.raises(ConfigError, match="unknown batch spec"):
        read_spec(folder / "nowhere.yaml")
    (folder / "broken.yaml").write_text("name: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_spec(folder / "broken.yaml")


def test_missing_papermill_names_the_pip_line(folder, monkeypatch):
    monkeypatch.setattr("clipft.batch.spec.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'clipft\[notebooks\]'"):
        run_batch(spec_file(folder, stages=[{"notebook": "add.ipynb"}]), folder / "out")


def test_the_page_holds_the_claims_of_each_kind_of_runs():
    """Two models are two tables; a kind of which nothing can be asked has none."""
    tiny = tuned_table(falling)
    big = tiny.assign(model="big", model_digest="b1")
    both = claims_sections(pd.concat([tiny, big], ignore_index=True))
    assert [section.heading for section in both] == [
        "Which claims of the papers hold: tiny on mini",
        "Which claims of the papers hold: big on mini",
    ]
    (alone,) = claims_sections(tiny)
    assert alone.heading == "Which claims of the papers hold"
    for row, claim in zip(alone.table.rows, claims(tiny), strict=True):
        assert row[0].endswith(claim.question.text)
        assert row[2:] == (claim.verdict, claim.said)
    assert claims_sections(tiny[(tiny.seed == 0) & (tiny.method == "ft")]) == []
    assert claims_sections(None) == []


def test_the_page_groups_figures_by_paper(tmp_path):
    ours = tuned_table(falling, lrs=(1e-3,), alphas=(0.0, 1.0))
    save_figure(go.Figure(), tmp_path, "energy_gap")
    for name, item in (("wise_ft", "alphas"), ("flyp", "ablations"), ("flyp", "id_ood")):
        paper = Paper.named(name)
        save_figure(paper.make(item, ours, tmp_path).figure, tmp_path, paper.file_name(item))
    files = sorted(tmp_path.glob("*.json"))
    found = {each.heading: [file.stem for file in each.figures] for each in figure_sections(files)}
    assert found == {
        "Figures": ["energy_gap"],
        "Figures and tables of FLYP": ["flyp_ablations", "flyp_id_ood"],
        "Figures and tables of WiSE-FT": ["wise_ft_alphas"],
    }
    assert figure_sections([]) == []


def test_runs_once_and_leaves_an_index(folder, capsys):
    """A date, as YAML reads 2026-11-01, reaches the notebook as its text."""
    grid = [{"a": [1, date(2026, 11, 1)]}]
    stage = {"notebook": "add.ipynb", "parameters": {"out": "{out}"}, "grid": grid}
    path = spec_file(folder, jobs=2, stages=[stage])
    out = run_batch(path, folder / "out")
    begun = time.time()
    run_batch(path, folder / "out")
    assert {f.name: f.read_text() for f in out.glob("*.txt")} == {
        "12.txt": "x",
        "2026-11-012.txt": "x",
    }
    executed = list(out.glob("notebooks/*/run.ipynb"))
    assert len(executed) == 2
    for file in executed:
        assert "widgets" not in nbformat.read(file, 4).metadata
        assert file.stat().st_mtime < begun
    index = (out / "index.html").read_text()
    for page in out.glob("notebooks/*/run.html"):
        assert f"notebooks/{page.parent.name}/run.html" in index
    assert index.count("/run.html") == 2 and "run.ipynb" not in index
    assert "No run is scored." in index
    assert (out / "plotly.min.js").stat().st_size > 1e6
    assert f"open {out / 'index.html'}" in capsys.readouterr().out


def test_the_page_says_what_was_found_and_how_it_was_made(world, folder, monkeypatch, capsys):
    """Of runs made elsewhere; the first notebook that names a run is its page."""
    run = world.train(method="ft", seed=1)
    run.score([0.0, 1.0])
    table = run.table()
    notebook(folder / "look.ipynb", "runs: str = ''", f"print('{run.id}')")
    stage = {"notebook": "look.ipynb", "parameters": {"runs": str(world.runs)}}
    path = spec_file(folder, title="A look", images=[], stages=[stage])
    run_batch(path, folder / "out", jobs=1, only=["look"])
    page = (folder / "out/index.html").read_text()

    tests = table[(table.metric == "accuracy") & (table.role == "reference")]
    gain = 100 * tests.set_index("alpha")["mean"].diff().iloc[-1]
    verb = f"{'gained' if gain > 0 else 'lost'} {abs(gain):.1f} points on real"
    assert (verb if gain else "stayed where it was on real") in page
    (made,) = (folder / "out").glob("notebooks/look-*/run.html")
    assert f"<a id='run-{run.id}'></a>" in page
    assert f'<a href="notebooks/{made.parent.name}/run.html">{run.id}</a>' in page
    command = f"clipft batch {path} --out {folder / 'out'} --jobs 1 --only look"
    assert f"<dt>command</dt><dd>{command}</dd>" in page
    for package in ("torch", "numpy", "plotly"):
        assert f"{package} {metadata.version(package)}" in page
    status = json.loads((made.parent / "status.json").read_text())
    assert f"<dt>machine</dt><dd>{status['machine']}</dd>" in page
    assert abs(datetime.fromisoformat(status["date"]).timestamp() - time.time()) < 3600
    assert f"<dt>date</dt><dd>{status['date']}</dd>" in page


def test_the_machine_names_its_gpu(monkeypatch):
    """The driver's answer is made up: no GPU is needed to test that."""
    asked = []

    def answer(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="Some GPU 80GB\n")

    monkeypatch.setattr("clipft.runs.machine.run_command", answer)
    assert machine.provenance("3")["machine"].endswith("CPU cores, GPU: Some GPU 80GB")
    assert "--id=3" in asked[0]
    assert machine.provenance("")["machine"].endswith("no GPU")
    assert len(asked) == 1


def test_failed_run_is_named_and_the_others_are_kept(folder):
    notebook(folder / "div.ipynb", "a = 1", "print(1 / a)")
    path = spec_file(folder, stages=[{"notebook": "div.ipynb", "grid": [{"a": [0, 1]}]}])
    wanted = rf"1 of 2 runs failed.*cell In \[3\] `print\(1 / a\)`: ZeroDivisionError: .*; {AGAIN}$"
    with pytest.raises(RunError, match=wanted) as caught:
        run_batch(path, folder / "out")
    assert "\n" not in str(caught.value)
    assert len(list(folder.glob("out/notebooks/*/run.html"))) == 2
    assert states_in(folder / "out") == ["failed", "ok"]


def test_run_over_its_time_is_stopped(folder):
    notebook(folder / "sleep.ipynb", "a = 1", "import time\ntime.sleep(600)")
    with pytest.raises(
        RunError, match=rf"1 of 1 runs failed.*stopped after 4 s, the spec's timeout .*; {AGAIN}$"
    ):
        run_batch(
            spec_file(folder, timeout=4.0, stages=[{"notebook": "sleep.ipynb"}]), folder / "out"
        )
    assert states_in(folder / "out") == ["timeout"]


def test_a_dead_kernel_fails_its_run_alone_and_the_same_command_goes_on(folder):
    """The second try finds a flag and lives; the run that was finished is not touched."""
    source = "# a heading\nimport os\nopen(f'{out}/ran{a}', 'a').write('x')\n"
    source += "if a and not os.path.exists(f'{out}/flag'):\n    os._exit(9)"
    notebook(folder / "die.ipynb", "a: int = 0\nout: str = ''", source)
    stage = {"notebook": "die.ipynb", "parameters": {"out": "{out}"}, "grid": [{"a": [0, 1]}]}
    path = spec_file(folder, jobs=1, stages=[stage])
    out = folder / "out"
    with pytest.raises(
        RunError, match=rf"1 of 2 runs .*cell In \[3\] `# a heading`: its kernel died.*; {AGAIN}$"
    ):
        run_batch(path, out)
    states = {}
    for file in out.glob("notebooks/*/status.json"):
        parameters = json.loads((file.parent / "params.json").read_text())
        states[parameters["a"]] = json.loads(file.read_text())["state"]
    assert states == {0: "ok", 1: "failed"}
    (out / "flag").touch()
    run_batch(path, out)
    assert ((out / "ran0").read_text(), (out / "ran1").read_text()) == ("x", "xx")
    assert states_in(out) == ["ok", "ok"]


@pytest.mark.parametrize(("signal", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_stopped_batch_says_how_to_go_on_and_leaves_no_process(folder, signal, code):
    import signal as signals

    notebook(
        folder / "sleep.ipynb",
        "out = ''",
        "import os, time\nopen(f'{out}/pid', 'w').write(f'{os.getpid()}')",
        "time.sleep(600)",
    )
    stage = {"notebook": "sleep.ipynb", "parameters": {"out": "{out}"}}
    pid = folder / "out/pid"
    path = spec_file(folder, stages=[stage])
    batch = subprocess.Popen(
        [sys.executable, "-m", "clipft.cli", "batch", str(path), "--out", str(folder / "out")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (pid.exists() and pid.read_text()) and batch.poll() is None:
        time.sleep(0.1)
    batch.send_signal(getattr(signals, signal))
    _, err = batch.communicate(timeout=60)
    assert (batch.returncode, err) == (code, f"clipft: stopped; {AGAIN}\n")
    deadline = time.time() + 20
    while os.path.exists(f"/proc/{pid.read_text()}") and time.time() < deadline:
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{pid.read_text()}")


def chosen(folder, *only):
    stages = [
        {
            "notebook": "add.ipynb",
            "grid": [{"a": ["lipsum/table_1", "table_11", ["table_2", {"deep": "x y"}]], "b": [5]}],
        },
        {"notebook": "sum.ipynb", "grid": [{"seed": [1, 11]}]},
    ]
    notebook(folder / "sum.ipynb", "seed: int = 1")
    stages = plan(Spec.read({"name": "t", "stages": stages}), folder, folder / "out")
    jobs = itertools.chain.from_iterable(choose(stages, only))
    return [next(iter(job.parameters.values())) for job in jobs]


@pytest.mark.parametrize(
    ("only", "count", "first"),
    [
        ((), 5, "lipsum/table_1"),
        (["table_1"], 1, "lipsum/table_1"),
        (["table_11"], 1, "table_11"),
        (["table_2"], 1, ["table_2", {"deep": "x y"}]),
        (["x y"], 1, ["table_2", {"deep": "x y"}]),
        (["sum"], 2, 1),
        (["seed=1"], 1, 1),
        (["11"], 1, 11),
        (["table_1", "sum"], 3, "lipsum/table_1"),
    ],
)
def test_only_what_is_named(folder, only, count, first):
    values = chosen(folder, *only)
    assert (len(values), values[0]) == (count, first)


def test_an_unknown_word_for_only_lists_what_there_is(folder):
    with pytest.raises(
        ConfigError, match="unknown word for --only 'table_12'; did you mean 'table_"
    ) as caught:
        chosen(folder, "table_11", "table_12")
    assert "seed=11" in str(caught.value) and "\n" not in str(caught.value)


def test_the_command_runs_only_what_is_named(folder, monkeypatch, capsys):
    stage = {"notebook": "add.ipynb", "parameters": {"out": "{out}"}, "grid": [{"a": [1, 2]}]}
    path = spec_file(folder, stages=[stage])
    code, _, _ = run_cli(
        monkeypatch, capsys, "batch", path, "--out", folder / "out", "--only", "a=2"
    )
    assert code == 0 and [file.name for file in folder.glob("out/*.txt")] == ["22.txt"]
    assert (folder / "out/index.html").read_text().count("/run.html") == 1
    code, _, err = run_cli(
        monkeypatch, capsys, "batch", path, "--out", folder / "out", "--only", "a=3"
    )
    assert code == 2 and err.startswith("clipft: unknown word for --only 'a=3'; did you mean 'a=")


def test_two_batches_in_one_folder_are_refused(folder):
    path = spec_file(folder, stages=[{"notebook": "add.ipynb"}])
    with held_elsewhere(folder / "out"), pytest.raises(RunError, match="another process"):
        run_batch(path, folder / "out")


def test_gpus_are_dealt_out(folder, monkeypatch):
    """Each run sees one of the given ids; no GPU is needed to test that."""
    monkeypatch.setattr("clipft.batch.machine.ask", lambda *command: ("4", "7"))
    notebook(
        folder / "gpu.ipynb",
        "a = 1\nout = ''",
        "import os\nopen(f'{out}/{a}', 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])",
    )
    stage = {"notebook": "gpu.ipynb", "parameters": {"out": "{out}"}, "grid": [{"a": [1, 2]}]}
    run_batch(spec_file(folder, stages=[stage]), folder / "out", jobs=2, gpus="4,7")
    assert {(folder / "out" / name).read_text() for name in "12"} == {"4", "7"}
    assert "4" not in os.environ.get("CUDA_VISIBLE_DEVICES", "")
