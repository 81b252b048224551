"""`clipft lab` becomes the server it was asked for; `clipft thumbnails` packs. No server starts."""

import os
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from test_cli import run_cli

from clipft.batch import lab, shipped
from clipft.errors import ConfigError, MissingExtra
from clipft.runs.folder import THUMBNAILS as PACK

CHECKOUT = Path(lab.__file__).parents[2] / "notebooks"


@pytest.fixture
def became(monkeypatch):
    """What os.execve was called with: program, command, environment."""
    calls = []
    monkeypatch.setattr(os, "execve", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(lab.util, "find_spec", lambda name: name)
    return calls


@pytest.fixture
def package(monkeypatch, tmp_path):
    """An installed wheel: stories in the package, no checkout around it; an empty folder here."""
    stories = tmp_path / "site-packages/clipft/notebooks"
    stories.mkdir(parents=True)
    for name in ("00_a.ipynb", "01_b.ipynb"):
        (stories / name).write_text(f"{name} of the wheel")
    (stories / "notes.txt").write_text("no notebook")
    monkeypatch.setattr(shipped, "PACKAGE", stories.parent)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return stories


def test_lab_opens_on_the_notebooks_of_the_checkout(became):
    lab.open_lab()
    ((program, command, _),) = became
    assert program == command[0] == sys.executable
    assert command[1:3] == ["-m", "jupyterlab"]
    assert set(command[3:]) == {
        f"--ServerApp.root_dir={CHECKOUT.parent}",
        "--LabApp.default_url=/lab/tree/notebooks",
    }


def test_voila_serves_the_folder(became, tmp_path):
    lab.open_lab(tmp_path, ["--port=9000"], voila=True)
    assert became[0][1] == [sys.executable, "-m", "voila", str(tmp_path), "--port=9000"]


def test_the_kernel_is_this_python_and_the_page_is_live(became, monkeypatch):
    monkeypatch.setenv("CLIPFT_HEADLESS", "1")
    monkeypatch.setenv("SOMETHING", "else")
    lab.open_lab()
    environment = became[0][2]
    assert environment["JUPYTER_PREFER_ENV_PATH"] == "1"
    assert environment["SOMETHING"] == "else"
    assert "CLIPFT_HEADLESS" not in environment
    assert os.environ["CLIPFT_HEADLESS"] == "1"


def test_who_may_come_in_is_left_to_jupyter(became):
    """Its token and its loopback stay: clipft says where the notebooks are, and nothing else."""
    lab.open_lab()
    told = [option.partition("=")[0] for option in became[0][1][3:]]
    assert told == ["--ServerApp.root_dir", "--LabApp.default_url"]


def test_a_relative_folder_is_resolved(became, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    lab.open_lab(Path("own"))
    assert f"--ServerApp.root_dir={tmp_path}" in became[0][1]
    assert "--LabApp.default_url=/lab/tree/own" in became[0][1]


@pytest.mark.parametrize("name", ["none", "file"])
def test_no_such_folder_is_one_line(became, tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=f"no folder {re.escape(str(tmp_path / name))}"):
        lab.open_lab(tmp_path / name)
    assert became == []


@pytest.mark.parametrize(("voila", "line"), [(False, "clipft[notebooks]"), (True, "clipft[voila]")])
def test_a_missing_server_names_its_pip_line(became, package, monkeypatch, voila, line):
    monkeypatch.setattr(lab.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=re.escape(f"pip install '{line}'")):
        lab.open_lab(voila=voila)
    assert became == []
    assert list(Path.cwd().iterdir()) == [], (
        "nothing is copied before it is known that it can be opened"
    )


def test_the_extras_that_are_named_exist():
    import tomllib

    extras = tomllib.loads((CHECKOUT.parent / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert any(package.startswith("jupyterlab") for package in extras["notebooks"])
    assert any(package.startswith("voila") for package in extras["voila"])


def test_a_wheel_copies_its_notebooks_and_overwrites_none(became, package):
    own = Path("notebooks/01_b.ipynb")
    own.parent.mkdir()
    own.write_text("my own changes")
    lab.open_lab()
    assert {file.name: file.read_text() for file in own.parent.iterdir()} == {
        "00_a.ipynb": "00_a.ipynb of the wheel",
        "01_b.ipynb": "my own changes",
    }
    assert f"--ServerApp.root_dir={Path.cwd()}" in became[0][1]


def test_a_folder_beside_an_installed_package_is_no_checkout(became, package):
    (package.parent.parent / "notebooks").mkdir()  # somebody else's, in site-packages
    lab.open_lab()
    assert f"--ServerApp.root_dir={Path.cwd()}" in became[0][1]


def test_lab_passes_jupyters_options_on(became, monkeypatch, capsys, tmp_path):
    options = ["--port=9000", "--no-browser", "--ServerApp.token=", "-y"]
    assert run_cli(monkeypatch, capsys, "lab", "--folder", tmp_path, *options)[0] == 0
    assert became[0][1][-4:] == options
    assert became[0][1][2] == "jupyterlab"


def test_lab_with_voila(became, monkeypatch, capsys, tmp_path):
    assert (
        run_cli(monkeypatch, capsys, "lab", "--voila", "--folder", tmp_path, "--no-browser")[0] == 0
    )
    assert became[0][1][2:] == ["voila", str(tmp_path), "--no-browser"]


def test_lab_on_a_folder_that_is_not_there(became, monkeypatch, capsys, tmp_path):
    code, out, err = run_cli(monkeypatch, capsys, "lab", "--folder", tmp_path / "none")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"clipft: no folder {tmp_path / 'none'}")


def test_thumbnails_says_what_it_wrote(world, monkeypatch, capsys):
    run = world.train(steps=2)
    run.score([0.0, 1.0])
    capsys.readouterr()
    code, out, _ = run_cli(monkeypatch, capsys, "thumbnails", "--runs", world.runs)
    file = world.runs / PACK
    assert (code, out) == (0, f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)\n")
    assert set(pd.read_parquet(file).id) == set(pd.read_parquet(run.path / "images.parquet").id)
    assert not list(world.runs.glob("*.tmp"))


def test_thumbnails_of_no_runs_is_one_line(monkeypatch, capsys, tmp_path):
    code, out, err = run_cli(monkeypatch, capsys, "thumbnails", "--runs", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no scored run under" in err
