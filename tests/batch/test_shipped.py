"""Specs by name: a path first, then the folder here, then what comes with clipft."""

import shutil
from pathlib import Path

import pytest
import yaml
from test_batch import notebook

from clipft.batch import shipped
from clipft.batch.notebook import works_in
from clipft.batch.runner import run_batch
from clipft.batch.spec import place_of, plan, read_spec
from clipft.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(monkeypatch, tmp_path):
    """An empty folder to work in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def wheel(monkeypatch, tmp_path):
    """An installed package with one spec and its notebook; nobody may write there."""
    package = tmp_path / "site-packages/clipft"
    (package / "notebooks").mkdir(parents=True)
    (package / "papermill_runs").mkdir()
    source = "runs: str = '../runs'\nout: str = ''"
    notebook(package / "notebooks/look.ipynb", source, "open(f'{out}/runs', 'w').write(runs)")
    parameters = {"runs": "../papermill_runs/out/other/runs", "out": "{out}"}
    stage = {"notebook": "../notebooks/look.ipynb", "parameters": parameters}
    spec = {"name": "mine", "images": [], "stages": [stage]}
    (package / "papermill_runs/mine.yaml").write_text(yaml.safe_dump(spec))
    monkeypatch.setattr(shipped, "PACKAGE", package)
    return package


def test_a_name_of_the_checkout_is_its_file(here):
    assert shipped.find_spec("demo") == ROOT / "papermill_runs/demo.yaml"
    assert place_of(read_spec("demo"), shipped.find_spec("demo")) == (
        ROOT / "papermill_runs/out/demo"
    )


def test_a_path_goes_before_the_folder_here_and_that_before_what_is_shipped(here, wheel):
    assert shipped.find_spec("mine") == wheel / "papermill_runs/mine.yaml"
    shutil.copytree(wheel / "papermill_runs", here / "papermill_runs")
    assert shipped.find_spec("mine") == Path("papermill_runs/mine.yaml")
    shutil.copy(wheel / "papermill_runs/mine.yaml", here / "mine")
    assert shipped.find_spec("mine") == Path("mine")


@pytest.mark.parametrize("name", ["miner", "../mine", "papermill_runs/mine", "."])
def test_an_unknown_name_lists_what_there_is(here, wheel, name):
    with pytest.raises(ConfigError, match=r"unknown batch spec .*mine") as caught:
        shipped.find_spec(name)
    assert "\n" not in str(caught.value)


def test_a_spec_of_the_wheel_works_in_an_empty_folder(here, wheel, capsys):
    """What it makes and reads lies in papermill_runs here, and nothing in the wheel."""
    files = sorted(wheel.rglob("*"))
    out = run_batch("mine")
    assert out == here / "papermill_runs/out/mine"
    assert (out / "runs").read_text() == f"{here}/papermill_runs/out/other/runs"
    assert "<dd>clipft batch mine</dd>" in (out / "index.html").read_text()
    assert sorted(wheel.rglob("*")) == files
    ((job,),) = plan(read_spec("mine"), shipped.find_spec("mine").parent, out)
    assert job.done
    assert works_in(job.notebook, job.folder) == job.folder
    assert works_in(here / "own.ipynb", job.folder) == here
