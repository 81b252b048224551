"""The table of many runs against pandas, run by run; what is kept of it is never stale."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest

from clipft.config import RunConfig
from clipft.disk.cache import default_cache
from clipft.disk.files import write_json
from clipft.errors import ConfigError, RunError
from clipft.runs import many
from clipft.runs.folder import RunFolder
from clipft.runs.labels import Label
from clipft.runs.table import results

COUNT = 12
SPLITS = {"real/val": "val", "real/test": "reference", "sketch/test": "shift"}
BY_GROUPS = {"name": "mini", "metric": {"reference": "accuracy", "shift": "worst_group"}}


def make_run(runs, number, alphas=(0.0, 1.0), metrics=("accuracy", "nll"), **changes):
    """A scored run's folder, each with numbers of its own; the seed is the number."""
    folder = runs / f"{number:012x}"
    config = RunConfig(seed=number).model_dump(mode="json") | {"manifest_digest": "12345"}
    write_json(folder / "config.json", config | {"model_digest": "aa", "format": 2} | changes)
    rows = []
    rng = np.random.default_rng(number)
    for alpha in alphas:
        for split, role in SPLITS.items():
            for metric in metrics:
                numbers = rng.random(3).tolist()
                domain, part = split.split("/")
                rows.append(("real", alpha, split, domain, part, role, metric, *numbers, 50))
    columns = ["reference", "alpha", "split", "domain", "part", "role", "metric"]
    frame = pd.DataFrame(rows, columns=[*columns, "mean", "low", "high", "n"])
    frame.to_parquet(folder / "scores.parquet")
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder of runs of several kinds, of files that count as old; a cache of its own."""
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(many, "SETTLED", -1 << 62)
    monkeypatch.setattr(many, "MANY", 8)
    monkeypatch.setattr(many, "NEW", 0.1)
    folder = tmp_path / "runs"
    for number in range(COUNT - 4):
        make_run(folder, number, lr=[1e-5, 1e-3][number % 2])
    make_run(folder, COUNT - 4, alphas=(0.0, 0.37, 1.0), lr=0, steps=0, method="theirs")
    grouped = make_run(folder, COUNT - 3, metrics=("accuracy", "worst_group", "ece"))
    write_json(grouped / "manifest.json", BY_GROUPS)
    after = {"name": "tpgm", "options": {}, "of": ["wise"], "members": ["a"], "among": 1}
    made = make_run(folder, COUNT - 2, after=after)
    part = {"work": "training", "steps": 4, "step_seconds": 2.0, "seconds": 3.0, "threads": 2}
    write_json(made / "made.json", {"parts": [part | {"device": "one CPU"}]})
    write_json(made / "label.json", {"name": "mine", "tags": ["good", "new"], "note": "so so"})
    older = make_run(folder, COUNT - 1)
    frame = pd.read_parquet(older / "scores.parquet")
    frame.drop(columns=["domain", "part"]).to_parquet(older / "scores.parquet")
    return folder


def plain(runs):
    """The table as pandas makes it, a run at a time."""
    tables = []
    for file in sorted(runs.glob("*/scores.parquet")):
        folder = file.parent
        config = json.loads((folder / "config.json").read_text())
        table = pd.read_parquet(file)
        if "domain" not in table:
            table.insert(3, "domain", [split.split("/")[0] for split in table.split])
            table.insert(4, "part", [split.split("/")[1] for split in table.split])
        keys = ["manifest", "manifest_digest", "model", "model_digest"]
        keys += ["method", "lr", "steps", "seed", "selection"]
        about = {"run": folder.name} | {key: config[key] for key in keys}
        if config.get("after"):
            about["method"] += "+wise+tpgm"
        for place, (key, value) in enumerate(about.items()):
            table.insert(place, key, value)
        by_groups = (folder / "manifest.json").exists()
        is_shift = table.role == "shift"
        table["scored_by"] = np.where(is_shift & by_groups, "worst_group", "accuracy")
        made = (folder / "made.json").exists()
        table["together"] = ""
        table["protocol"], table["precision"], table["scored_in"] = "clipft", "32-true", "32-true"
        table["versions"] = "not recorded"
        table["device"] = "one CPU" if made else "not recorded"
        table["threads"] = "2" if made else "not recorded"
        table["seconds_per_step"] = 0.5 if made else np.nan
        label = folder / "label.json"
        label = json.loads(label.read_text()) if label.exists() else {"name": "", "tags": []}
        table["name"] = label["name"]
        table["tags"] = " ".join(sorted(label["tags"]))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def assert_equal(runs):
    """The table is pandas', column by column, kinds of columns too."""
    found = results(runs)
    want = plain(runs)
    assert list(found.columns[:3]) == ["run", "recipe", "family"]
    pd.testing.assert_frame_equal(found.drop(columns=["recipe", "family"]), want)
    return found


@pytest.fixture
def read(monkeypatch):
    """The names of the runs whose scores were read from their folders, as they are read."""
    names = []
    score_rows = RunFolder.score_rows

    def noted(folder):
        names.append(folder.name)
        return score_rows(folder)

    monkeypatch.setattr(RunFolder, "score_rows", noted)
    return names


def test_the_table_is_that_of_pandas_and_is_read_once(runs, read):
    first = assert_equal(runs)
    assert sorted(read) == sorted(set(first.run)) and len(read) == COUNT
    read.clear()
    pd.testing.assert_frame_equal(assert_equal(runs), first)
    assert read == []
    # Recipes are the same where a run is looked at alone.
    for folder in sorted(runs.iterdir())[-5:]:
        alone = results(folder)
        same = first[first.run == folder.name].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, same, check_dtype=False)  # lr 0 and 1e-5
    assert first.recipe.nunique() == 4 and first.family.nunique() == 3


def test_ten_new_runs_cost_ten(runs, read):
    results(runs)
    read.clear()
    new = [make_run(runs, number).name for number in range(100, 110)]
    assert_equal(runs)
    assert sorted(read) == new
    read.clear()
    assert_equal(runs)
    assert read == []  # they are more than NEW of all, so they were kept with the rest
    one = make_run(runs, 200).name
    for _ in range(2):
        read.clear()
        assert_equal(runs)
        assert read == [one]  # cheaper than to write all again


def scored_again(runs):
    """Other numbers in a file of the same size and time."""
    file = sorted(runs.glob("*/scores.parquet"))[3]
    frame = pd.read_parquet(file)
    before = file.stat()
    frame["mean"] = frame["mean"].to_numpy()[::-1]
    frame.to_parquet(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size


def exchanged(runs):
    """Two runs whose folders change their names."""
    first, second, *_ = sorted(runs.iterdir())
    first.rename(runs / "away")
    second.rename(first)
    (runs / "away").rename(second)


def moved_in(runs):
    """A run that was written long ago, elsewhere, in place of another."""
    gone = sorted(runs.iterdir())[5]
    shutil.rmtree(gone)
    other = make_run(runs.parent / "other", 300)
    for file in other.iterdir():
        os.utime(file, (0, 0))
    other.rename(gone)


def deleted(runs):
    shutil.rmtree(sorted(runs.iterdir())[7])


def tagged(runs):
    Label(name="new-name", tags=("a", "b")).write(RunFolder(sorted(runs.iterdir())[2]))


def untagged(runs):
    next(runs.glob("*/label.json")).unlink()


def made_otherwise(runs):
    next(runs.glob("*/made.json")).unlink()


@pytest.mark.parametrize(
    "change", [scored_again, exchanged, moved_in, deleted, tagged, untagged, made_otherwise]
)
def test_what_is_kept_is_never_stale(runs, change):
    before = results(runs)
    change(runs)
    after = assert_equal(runs)
    assert not after.equals(before)


def test_a_file_that_may_be_written_within_the_same_tick_is_not_kept(runs, read, monkeypatch):
    monkeypatch.setattr(many, "SETTLED", 3600 * 10**9)
    for _ in range(2):
        read.clear()
        results(runs)
        assert len(read) == COUNT
    assert default_cache().entries() == []


def test_another_code_reads_anew(runs, read, monkeypatch):
    results(runs)
    monkeypatch.setattr(many, "code_digest", lambda: "other")
    read.clear()
    assert_equal(runs)
    assert len(read) == COUNT


def test_a_damaged_entry_is_made_again(runs, read, capsys):
    results(runs)
    (entry,) = default_cache().entries()
    assert entry.kind == "results" and "runs in runs" in entry.title
    file = entry.path / "numbers.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    default_cache().verified.clear()
    read.clear()
    assert_equal(runs)
    assert len(read) == COUNT and "damaged" in capsys.readouterr().out
    assert len(default_cache().entries()) == 1
    assert not list(default_cache().arrays.glob(".*"))


def test_reading_writes_nothing_beside_the_runs(runs):
    before = {file: file.stat().st_mtime_ns for file in runs.rglob("*")}
    results(runs)
    assert {file: file.stat().st_mtime_ns for file in runs.rglob("*")} == before


def test_texts_that_repeat_are_held_once(runs, monkeypatch):
    """The memory that Arrow gave, each buffer once, against what a text in each row takes."""
    monkeypatch.setattr(many, "BLOCK", 16)
    found = results(runs)
    for name in ("versions", "manifest", "split", "metric"):
        chunks = found[name].array._pa_array.chunks
        buffers = [buffer for chunk in chunks for buffer in chunk.buffers() if buffer]
        held = sum({buffer.address: buffer.size for buffer in buffers}.values())
        assert held < found[name].array.nbytes / 2, name


def test_runs_are_chosen_by_settings_columns_and_tags(runs):
    whole = results(runs)
    for where, count in [
        ({"lr": 1e-3}, (COUNT - 4) // 2),
        ({"batch_size": 256, "seed": 3}, 1),
        ({"tags": "good"}, 1),
        ({"tags": "good new"}, 1),
        ({"name": "mine"}, 1),
        ({"method": "theirs"}, 1),
        ({"reference": "real"}, COUNT),
    ]:
        chosen = results(runs, where=where)
        assert chosen.run.nunique() == count
        same = whole[whole.run.isin(chosen.run)].reset_index(drop=True)
        pd.testing.assert_frame_equal(chosen, same, check_dtype=False)  # lr 0 and 1e-5
    with pytest.raises(RunError, match=r"none of the 12 scored runs .* has tags=goo$"):
        results(runs, where={"tags": "goo"})
    with pytest.raises(ConfigError, match="unknown setting or column 'sead'; did you mean 'seed'"):
        results(runs, where={"sead": 1})
