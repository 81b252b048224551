"""The command line: what it prints, its exit codes, and one line for every mistake."""

import subprocess
import sys

import pytest

from clipft import cli


def run_cli(monkeypatch, capsys, *arguments):
    """Exit code, stdout, stderr of `clipft ...`, in this process."""
    monkeypatch.setattr(sys, "argv", ["clipft", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code or 0
    return code, *capsys.readouterr()


@pytest.fixture
def clipft(monkeypatch, capsys, world):
    monkeypatch.setattr("clipft.runs.GAP_TEXTS", 50)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        return run_cli(monkeypatch, capsys, *arguments)

    call.world = world
    return call


def settings(world, **changes):
    import json

    return [f"{key}={json.dumps(value)}" for key, value in world.settings(**changes).items()]


def test_lists(clipft):
    from clipft import METHODS
    from clipft.manifests import available

    code, out, _ = clipft("methods")
    assert code == 0 and all(method.title in out for method in METHODS.values())
    code, out, _ = clipft("datasets")
    assert code == 0 and all(name in out for name in available())
    assert "CC-BY-SA" in clipft("datasets", "emoji_shift")[1]


def test_train_then_score_then_results(clipft, tmp_path):
    world = clipft.world
    code, out, _ = clipft("train", *settings(world), "--runs", world.runs, "--device", "cpu")
    assert code == 0 and "sketch/test" in out
    folder = world.runs / world.config().id
    code, out, _ = clipft("wise", folder, "--alpha", "0.25", "--device", "cpu")
    assert code == 0 and "0.25" in out
    assert clipft("evaluate", folder, "--device", "cpu")[0] == 0
    code, out, _ = clipft("results", "--runs", world.runs, "--csv", tmp_path / "table.csv")
    assert code == 0 and "zero-shot" in out
    import pandas as pd

    assert set(pd.read_csv(tmp_path / "table.csv").run) == {world.config().id}


def test_settings_from_a_file_and_the_line(clipft, tmp_path):
    import yaml

    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(clipft.world.settings(steps=3)))
    code, _, _ = clipft(
        "train", "--config", file, "seed=5", "--no-score", "--runs", clipft.world.runs, "--device", "cpu"
    )
    assert code == 0
    assert (clipft.world.runs / clipft.world.config(steps=3, seed=5).id / "weights.safetensors").exists()


MISTAKES = [
    (["train", "method=lipsm"], "did you mean 'lipsum'"),
    (["train", "manifest=emoji_shfit"], "did you mean 'emoji_shift'"),
    (["train", "stepz=3"], "did you mean 'steps'"),
    (["train", "steps"], "wanted: KEY=VALUE"),
    (["train", "crop=[0.5"], "lists are written [0.5, 1.0]"),
    (["train", "--config", "."], "cannot read"),
    (["train", "--workers", "-1"], "--workers"),
    (["trian"], "trian"),
    (["train", "--device", "cpu:0"], "no device 'cpu:0'"),
    (["train", "pretrained=openai"], "no checkpoint file 'openai'"),
    (["train", "--device", "cuda"], "no device 'cuda'"),
    (["train", "--config", "nowhere.yaml"], "no such file"),
    (["datasets", "domainet"], "did you mean 'domainnet'"),
    (["batch", "papermill_runs/dmeo.yaml"], "unknown batch spec"),
    (["results", "--runs", "nowhere"], "no scored run under nowhere"),
    (["evaluate", "nowhere"], "is missing"),
    (["wise", "nowhere", "--alpha", "1.5"], "expected 0 (zero-shot) ... 1 (tuned)"),
]


@pytest.mark.parametrize(
    ("arguments", "wanted"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_mistake_is_one_line_and_exit_code_2(clipft, arguments, wanted):
    code, _, err = clipft(*arguments)
    assert (code, err.count("\n"), err.startswith("clipft: ")) == (2, 1, True)
    assert wanted in err


def test_full_disk_is_one_line(clipft, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clipft.store.os.fsync", full)
    code, _, err = clipft("train", *settings(clipft.world), "--runs", clipft.world.runs, "--device", "cpu")
    assert (code, err.count("\n")) == (2, 1) and "no space left on device" in err
    assert not list(clipft.world.runs.rglob("*.tmp"))


def test_unwritable_runs_folder_is_one_line(clipft, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = clipft("train", *settings(clipft.world), "--runs", tmp_path / "file/runs", "--device", "cpu")
    assert (code, err.count("\n")) == (2, 1) and "cannot write" in err


def test_truncated_tuned_weights_are_one_line(clipft):
    run = clipft.world.train()
    file = run.folder / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    code, _, err = clipft("evaluate", run.folder, "--device", "cpu")
    assert (code, err.count("\n")) == (2, 1) and "weights.safetensors is truncated" in err
    assert not (run.folder / "scores.parquet").exists()


def test_doctor_names_what_is_missing(clipft, monkeypatch):
    code, out, _ = clipft("doctor")
    assert code == 0 and "torch" in out and "devices" in out
    from clipft import doctor

    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None)
    assert "pip install 'clipft[emoji]'" in clipft("doctor")[1]


@pytest.mark.parametrize("arguments", [["-c", "import clipft"], ["-m", "clipft.cli", "--help"]])
def test_start_does_not_import_torch(arguments):
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "clipft" in imported and not imported & {"torch", "numpy", "pandas", "plotly", "open_clip"}


@pytest.mark.parametrize("content", ["[]", "{}", "{", ""])
def test_a_broken_run_folder_is_one_line(clipft, content):
    run = clipft.world.train()
    run.score([0.0, 1.0], progress=False)
    (run.folder / "config.json").write_text(content)
    for command in (["evaluate", run.folder, "--device", "cpu"], ["results", "--runs", clipft.world.runs]):
        code, _, err = clipft(*command)
        assert (code, err.count("\n")) == (2, 1), err


def test_damaged_scores_are_one_line(clipft):
    run = clipft.world.train()
    (run.folder / "scores.parquet").write_bytes(b"")
    for command in (["evaluate", run.folder, "--device", "cpu"], ["results", "--runs", clipft.world.runs]):
        code, _, err = clipft(*command)
        assert (code, err.count("\n"), "is damaged" in err) == (2, 1, True), err


def test_runs_of_several_kinds_are_several_tables(clipft):
    for reference in ("real", "sketch"):
        clipft.world.train(reference=reference).score([0.0, 1.0], progress=False)
    code, out, _ = clipft("results", "--runs", clipft.world.runs)
    assert (code, out.count("reference real"), out.count("reference sketch")) == (0, 1, 1)


def test_yaml_numbers_as_people_write_them(clipft):
    clipft(
        "train",
        *settings(clipft.world, steps=3),
        "lr=1e-3",
        "--no-score",
        "--runs",
        clipft.world.runs,
        "--device",
        "cpu",
    )
    assert (clipft.world.runs / clipft.world.config(steps=3, lr=1e-3).id).exists()
