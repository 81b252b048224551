"""Every file that says its version: an older one is read, a newer one is refused in one line."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import QUIET

import clipft
from clipft.errors import ClipftError, RunError
from clipft.models.checkpoints import read_metadata, read_weights, write_weights
from clipft.runs.folder import FORMAT, RunFolder
from clipft.runs.versions import KEY

NEWER = f"of a newer clipft .format {FORMAT + 1}, this one reads up to {FORMAT}.; update clipft"


@pytest.fixture
def runs(scored, tmp_path):
    """A copy of the runs, with their thumbnails."""
    shutil.copytree(scored.runs, tmp_path / "runs")
    shutil.copy(scored.pack, tmp_path / "runs")
    return tmp_path / "runs"


def refused(ask, words):
    with pytest.raises(ClipftError, match=words) as caught:
        ask()
    assert "\n" not in str(caught.value)


def said(file: Path):
    return pq.read_schema(file).metadata[KEY.encode()].decode()


def say(file: Path, version: str | None):
    """Have a parquet file say another version, or none."""
    table = pq.read_table(file)
    metadata = dict(table.schema.metadata)
    metadata.pop(KEY.encode(), None)
    if version is not None:
        metadata[KEY.encode()] = version.encode()
    pq.write_table(table.replace_schema_metadata(metadata), file)


READERS = {
    "scores.parquet": lambda run: clipft.results(run),
    "images.parquet": lambda run: clipft.Run.open(run).scores(1.0),
    "../thumbnails.parquet": lambda run: clipft.WiseExplorer(run).figure(),
}


@pytest.mark.parametrize("name", READERS)
def test_a_table_of_another_version(runs, scored, name, monkeypatch):
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    run = runs / scored.scored[0].id
    file = (run / name).resolve()
    read = READERS[name]
    assert said(file) == str(FORMAT)
    say(file, None)  # as an older clipft wrote it
    read(run)
    for version, words in [(str(FORMAT + 1), NEWER), ("x", "says format 'x', expected 1 ... 2")]:
        say(file, version)
        refused(lambda: read(run), words)
        if name == "images.parquet":
            refused(lambda: RunFolder(run).image_scores(), words)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (FORMAT + 1, NEWER),
        (0, "says format 0, expected 1 ... 2"),
        ("new", "says format 'new'"),
        (None, "says format None"),
        ([2], r"says format \[2\]"),
        (True, "says format True"),
    ],
)
def test_a_run_of_another_version(runs, scored, version, words):
    run = runs / scored.scored[0].id
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"format": version}))
    for ask in (clipft.Run.open, clipft.results, clipft.explore):
        refused(lambda ask=ask: ask(run), words)
    # The others are there, and a list names it.
    assert len(clipft.open_runs(runs)) == 2


def test_a_checkpoint_of_another_version(world):
    def stop(row):
        if row["step"] > 2:
            raise RunError("stopped")

    config = world.config(steps=4, eval_every=2)
    refused(lambda: clipft.train(config, world.runs, reading=QUIET, watch=stop), "stopped")
    (folder,) = world.runs.iterdir()
    file = folder / "checkpoint.safetensors"
    weights = {name: tensor.clone() for name, tensor in read_weights(file).items()}
    metadata = read_metadata(file)
    assert metadata.pop(KEY) == str(FORMAT)
    write_weights(file, weights, metadata | {KEY: str(FORMAT + 1)})
    refused(lambda: clipft.train(config, world.runs, reading=QUIET), NEWER)
    assert file.exists()
    write_weights(file, weights, metadata)  # of an older clipft: it goes on
    run = clipft.train(config, world.runs, reading=QUIET)
    assert run.path == folder and not file.exists()


def test_an_export_of_another_version(at_home, tmp_path):
    folder = clipft.export(at_home.scored[0].path, tmp_path / "out", reading=QUIET)
    record = json.loads((folder / "clipft.json").read_text())
    assert record["version"] == FORMAT
    (folder / "clipft.json").write_text(json.dumps(record | {"version": FORMAT + 1}))
    refused(lambda: clipft.Predictor(folder, device="cpu"), NEWER)
    del record["version"]
    (folder / "clipft.json").write_text(json.dumps(record))
    clipft.Predictor(folder, device="cpu")
