"""A run is scored again and compared: what is untouched is equal to the bit, what was changed is
found and named.
"""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import FEW_TEXTS, QUIET
from PIL import Image

from clipft import Run, combine, score, verify
from clipft.errors import ConfigError, RunError
from clipft.evaluation.verify import Difference, Verification
from clipft.models.checkpoints import read_weights, write_weights

ALPHAS = (0.0, 0.5, 1.0)


@pytest.fixture
def run(at_home, tmp_path, monkeypatch) -> Run:
    """A copy of a scored run, to be spoilt; with a cache of its own, which must not matter."""
    shutil.copytree(at_home.runs, tmp_path / "runs")
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    return Run.open(tmp_path / "runs" / at_home.scored[0].id)


def again(run, alphas=(), **more):
    return verify(run.path, alphas, reading=QUIET, **more)


def edited(file, edit):
    """A parquet file with a change."""
    frame = pd.read_parquet(file)
    edit(frame)
    frame.to_parquet(file)


def test_an_untouched_run_is_equal_to_the_bit(run):
    before = {file: file.read_bytes() for file in run.path.iterdir()}
    found = again(run, tolerance=0)
    assert found.is_equal and found.holds and found.alphas == ALPHAS
    # 9 numbers of each image (label, 5 of its prediction, 3 of how it moved), 3 of each metric
    assert found.numbers == 9 * len(run.folder.images()) + 3 * len(run.folder.scores())
    assert str(found) == f"{run.id} verified: {found.numbers} numbers at 3 alphas equal to the bit"
    assert {file: file.read_bytes() for file in run.path.iterdir()} == before
    assert again(run, [0.5]).alphas == (0.5,)


def test_nothing_comes_from_the_cache_and_nothing_goes_there(run, tmp_path):
    again(run, [1])
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_a_changed_byte_of_the_weights_is_found_and_named(run):
    weights = {name: one.clone() for name, one in read_weights(run.folder.weights_file).items()}
    data = bytearray(run.folder.weights_file.read_bytes())
    data[-1] ^= 1  # the exponent of the last weight
    run.folder.weights_file.write_bytes(data)
    changed = read_weights(run.folder.weights_file)
    assert sum(not weights[name].equal(changed[name]) for name in weights) == 1
    found = again(run)
    assert not found.holds and not found.is_equal
    (fault,) = found.faults
    assert fault.startswith(f"{run.folder.weights_file} is not the file that was written (digest ")
    assert "NOT as recorded" in str(found) and "\n" not in str(found)


def test_other_weights_of_an_older_run_show_in_its_scores(run):
    """It has no digest of them; tuned weights count at alpha 0.5 and 1, not at 0."""
    (run.path / "made.json").unlink()
    weights = read_weights(run.folder.weights_file)
    weights["weight"][0, 0] += 1e-2
    write_weights(run.folder.weights_file, weights)
    assert again(run, [0]).is_equal
    found = again(run)
    assert not found.faults and found.largest is not None and not found.is_equal
    assert again(run, tolerance=found.largest.size).holds
    assert not again(run, tolerance=0.99 * found.largest.size).holds


def test_a_changed_score_of_an_image_is_found_and_named(run):
    row = 7

    def raise_nll(frame):
        frame.loc[row, "nll"] += 0.5

    edited(run.folder.images_file, raise_nll)
    told = run.folder.images().iloc[row]
    found = again(run)
    where = f"nll of {told['id']} ({told['split']}, alpha {told['alpha']:g})"
    assert found.largest.where == where
    assert found.largest.size == pytest.approx(0.5 / max(1, told["nll"]), rel=1e-5)
    assert float(found.largest.recorded) == pytest.approx(told["nll"], rel=1e-6)
    assert float(found.largest.again) == pytest.approx(told["nll"] - 0.5, rel=1e-5)
    assert not found.holds and where in str(found)


def test_a_changed_metric_is_found_and_named(run):
    def better(frame):
        frame.loc[(frame.metric == "accuracy") & (frame["split"] == "sketch/test"), "mean"] = 0.99

    edited(run.folder.scores_file, better)
    found = again(run)
    assert "in scores.parquet the mean of accuracy (sketch/test, alpha " in found.largest.where
    assert not found.holds


def test_another_prediction_counts_by_its_images(run):
    def other(frame):
        frame.loc[0, "prediction"] = (frame.loc[0, "prediction"] + 1) % 4

    edited(run.folder.images_file, other)
    told = run.folder.images().iloc[0]
    images = (run.folder.images()["split"] == told["split"]).sum() / len(ALPHAS)
    found = again(run, tolerance=1.01 / images)
    assert found.largest.size == pytest.approx(1 / images) and found.holds and not found.is_equal
    assert found.largest.where.startswith(f"prediction of {told['id']} (")


def test_a_changed_image_is_found_and_named(run, tree, tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPFT_DATA", str(shutil.copytree(tree, tmp_path / "data")))
    name = run.folder.images().query("split == 'sketch/test'")["id"].iloc[3]
    file = tmp_path / "data/mini" / name
    pixels = np.asarray(Image.open(file)).copy()
    pixels[:10] = 255 - pixels[:10]
    Image.fromarray(pixels).save(file)
    found = again(run)
    assert not found.holds and f" of {name} (sketch/test, alpha " in found.largest.where
    file.unlink()
    found = again(run)
    fault = f"image missing: {file}, the first of 1 of sketch/test"
    assert found.faults == (fault,) and not found.holds


def test_another_model_and_another_manifest_are_named(run):
    config = json.loads((run.path / "config.json").read_text())
    for key, words in (("model_digest", "other weights of"), ("manifest_digest", "manifest")):
        (run.path / "config.json").write_text(json.dumps(config | {key: "0" * 12}))
        (fault,) = again(run).faults
        assert words in fault and "train" not in fault


def test_a_damaged_file_is_a_line(run):
    run.folder.images_file.write_bytes(b"no parquet")
    found = again(run)
    assert not found.holds and "images.parquet is damaged" in str(found)


def test_an_older_run_verifies(run):
    """Without a record of how it was made, a copy of the manifest, a title; its energy gaps were
    measured on as many texts as today's.
    """
    config = json.loads((run.path / "config.json").read_text())
    for key in ("format", "title", "protocol", "text_rate", "rows_digest"):
        del config[key]
    for name in ("made.json", "images.parquet", "scores.parquet"):
        (run.path / name).unlink()
    (run.path / "config.json").write_text(json.dumps(config))
    score(run.path, ALPHAS, reading=QUIET)
    (run.path / "made.json").unlink()
    found = again(run)
    assert found.is_equal, str(found)


@pytest.mark.parametrize("name", ["uniform_soup", "wise", "output_ensemble"])
def test_a_run_of_a_posthoc_method_verifies(run, at_home, name):
    given = [run.path]
    if name != "wise":
        given.append(run.path.parent / at_home.scored[1].id)
    made = combine(name, given, reading=QUIET)
    score(made, ALPHAS, gap_texts=FEW_TEXTS, reading=QUIET)
    found = again(made)
    assert found.is_equal, str(found)
    spoilt = run if made.is_ensemble else made
    data = bytearray(spoilt.folder.weights_file.read_bytes())
    data[-1] ^= 1
    spoilt.folder.weights_file.write_bytes(data)
    assert f"{spoilt.folder.weights_file} is not the file" in again(made).faults[0]


@pytest.mark.parametrize(
    ("alphas", "error", "words"),
    [
        ([0.3], RunError, "is not scored at alpha 0.3; recorded: 0, 0.5, 1"),
        ([1.5], ConfigError, "alpha is 1.5, expected 0"),
    ],
)
def test_an_alpha_that_is_not_there_is_a_line(run, alphas, error, words):
    with pytest.raises(error, match=words):
        again(run, alphas)


def test_what_cannot_be_scored_again_is_a_line(run, at_home):
    with pytest.raises(RunError, match=r"holds no scores of single images.*clipft wise"):
        verify(run.path.parent / at_home.unscored.name, reading=QUIET)
    run.folder.weights_file.unlink()
    with pytest.raises(RunError, match="is a copy without weights"):
        again(run)


def test_a_difference_within_the_tolerance_is_said_with_what_it_was_scored_with(run):
    made = json.loads((run.path / "made.json").read_text())
    for part in made["parts"]:
        part["device"] = "Some GPU"
    (run.path / "made.json").write_text(json.dumps(made))
    assert again(run).is_equal

    def nudge(frame):
        frame.loc[3, "confidence"] += 1e-4

    edited(run.folder.images_file, nudge)
    found = again(run)
    assert found.holds and not found.is_equal
    assert "within 0.001: confidence of" in str(found) and " on Some GPU, threads " in str(found)


def test_the_text_of_what_came_of_it():
    largest = Difference(0.25, "nll of a.png (b/test, alpha 1)", "1", "1.25")
    base = Verification("15fe", 9, (1.0,), 0.001, (), largest)
    line = "15fe NOT as recorded: largest difference 0.25, beyond 0.001: nll of a.png"
    assert str(base).startswith(line)
    assert str(replace(base, tolerance=0.3)).startswith("15fe verified: largest difference 0.25, w")


def test_another_list_of_training_images_is_named(run, tree, tmp_path, monkeypatch):
    """No score of the run shows it."""
    monkeypatch.setenv("CLIPFT_DATA", str(shutil.copytree(tree, tmp_path / "data")))
    file = tmp_path / "data/mini/real_train.txt"
    file.write_text("\n".join(file.read_text().splitlines()[1:]) + "\n")
    (fault,) = again(run, [1]).faults
    assert "other images or labels than its data set lists today" in fault
