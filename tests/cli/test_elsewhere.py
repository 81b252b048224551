"""The commands on models that nobody tuned here: adopt, and evaluate with --model."""

import shutil

import pandas as pd
import pytest
from conftest import QUIET, Trained
from test_cli import run_cli

from clipft.evaluation.score import export
from clipft.runs.run import Run


@pytest.fixture
def clipft(monkeypatch, capsys, at_home, tmp_path):
    """The command line beside copies of the scored runs, and a tuned model as files."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(at_home.runs, "runs")
    run = Trained.of(Run.open(f"runs/{at_home.scored[0].id}"))
    export(run, "out", reading=QUIET)

    def call(*arguments):
        return run_cli(monkeypatch, capsys, *arguments)

    call.of = ("--model", at_home.model, "--pretrained", at_home.pretrained)
    call.of += ("--manifest", at_home.manifest, "--device", "cpu")
    call.model = f"{at_home.model}:{at_home.pretrained}"
    call.manifest = at_home.manifest
    return call


def test_adopt_prints_what_it_found_and_the_sweep(clipft):
    adopt = (
        "adopt",
        "out/open_clip_model.safetensors",
        *clipft.of,
        "--head",
        "out/head.safetensors",
    )
    code, out, error = clipft(*adopt, "--name", "theirs")
    assert code == 0, error
    assert "holds the logit scale" in out and "adopted runs/" in out and "sketch/test" in out
    assert "weights chosen: elsewhere" in out
    assert clipft(*adopt, "--name", "theirs", "--no-score")[0] == 0
    assert "theirs" in clipft("results")[1]


def test_evaluate_writes_a_table_and_takes_several(clipft):
    code, out, error = clipft("evaluate", *clipft.of, "--csv", "one.csv")
    assert code == 0, error
    assert "macro F1" in out and "sketch/test" in out and "[" in out
    several = ("evaluate", "--model", clipft.model, "--model", "local-dir:out")
    several += ("--manifest", clipft.manifest)
    code, out, error = clipft(*several, "--markdown", "--csv", "runs/baselines.csv")
    assert code == 0 and out.count("| real/test") == 2, error
    assert pd.read_csv("runs/baselines.csv").run.nunique() == 2
    assert clipft("results")[0] == 0  # a table beside runs is no run
