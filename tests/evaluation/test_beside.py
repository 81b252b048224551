"""Images that are no reported split: the same engine, files of their own, no labels."""

import shutil

import numpy as np
import pytest
import torch
from conftest import QUIET

from clipft import results, shift_estimates
from clipft.errors import ConfigError, ImageError, RunError
from clipft.evaluation.beside import score_beside, unlabelled_split
from clipft.evaluation.predictions import predictions
from clipft.runs.run import Run
from clipft.runs.scores import measure

ALPHAS = [0.0, 0.5, 1.0]


@pytest.fixture
def runs(at_home, tmp_path):
    """Copies of the scored runs, which a test may write into."""
    folder = tmp_path / "runs"
    for run in at_home.scored:
        shutil.copytree(run.path, folder / run.id)
    return folder


@pytest.fixture
def photos(at_home, tmp_path):
    """The sketches of the test part, and what is no image, without their labels."""
    folder = tmp_path / "photos"
    sketches = Run.open(at_home.scored[0].folder).manifest.split("sketch/test")
    for name in sketches.ids:
        file = folder / name.removeprefix("sketch/")
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sketches.root / name, file)
    (folder / "notes.txt").write_text("no image")
    return folder


def test_a_split_without_labels(photos, at_home):
    manifest = Run.open(at_home.scored[0].folder).manifest
    split = unlabelled_split(photos, manifest)
    assert split.name == "photos/test" and len(split) == 20 and set(split.labels) == {-1}
    assert all((photos / name).is_file() for name in split.ids)
    assert split.decoding == manifest.decoding
    (photos / "apple").rename(photos.parent / "sketch")
    same_name = unlabelled_split(photos.parent / "sketch", manifest)
    assert same_name.name == "sketch (unlabelled)/test"
    (photos / "empty").mkdir()
    with pytest.raises(ImageError, match="no image in the folder"):
        unlabelled_split(photos / "empty", manifest)
    with pytest.raises(ConfigError, match="no folder"):
        unlabelled_split(photos / "nowhere", manifest)


def test_it_says_what_the_run_says_of_the_same_images(runs, photos):
    """The photographs are those of sketch/test, which was scored with its labels."""
    run, other = (Run.open(folder) for folder in sorted(runs.iterdir()))
    before = {file.name: file.read_bytes() for file in run.path.iterdir() if file.is_file()}
    table = results(runs)
    split = unlabelled_split(photos, run.manifest)
    found = score_beside([run, other], [split], ALPHAS, reading=QUIET)

    assert set(found) == {run.id, other.id}
    for each in (run, other):
        for alpha in ALPHAS:
            reported = each.scores(alpha)["sketch/test"]
            mine = found[each.id].read(("photos/test", alpha))
            place = {name.removeprefix("sketch/"): row for row, name in enumerate(reported.ids)}
            rows = [place[name] for name in mine.ids]
            np.testing.assert_array_equal(mine.prediction, reported.prediction[rows])
            for name in ("confidence", "entropy", "logsumexp", "feature_distortion"):
                np.testing.assert_allclose(
                    getattr(mine, name), getattr(reported, name)[rows], rtol=1e-4, atol=1e-6
                )
            assert np.isnan(mine.nll).all()
            with pytest.raises(ConfigError, match="no labels"):
                measure(mine)

    # Nothing else of the run was written, and no table shows it.
    after = {file.name: file.read_bytes() for file in run.path.iterdir() if file.is_file()}
    (extra,) = after.keys() - before.keys()
    assert extra.startswith("beside-") and {name: after[name] for name in before} == before
    assert results(runs).equals(table) and run.scores(1).keys() == other.scores(1).keys()


def test_a_second_call_reads_and_another_alpha_is_added(runs, photos, decoded):
    run = Run.open(sorted(runs.iterdir())[0])
    split = unlabelled_split(photos, run.manifest)
    first = score_beside(run, [split], [0, 1], reading=QUIET)[run.id].read(("photos/test", 1.0))
    assert len(decoded) == 20
    again = score_beside(run, [split], [0, 1], reading=QUIET)[run.id]
    assert len(decoded) == 20 and again.keys == [("photos/test", 0.0), ("photos/test", 1.0)]
    more = score_beside(run, [split], [0.5], reading=QUIET)[run.id]
    assert len(decoded) == 40 and more.keys == [("photos/test", 0.5)]
    both = score_beside(run, [split], [0.5, 1], reading=QUIET)[run.id]
    np.testing.assert_array_equal(both.read(("photos/test", 1.0)).confidence, first.confidence)
    assert len(list(run.path.glob("beside-*"))) == 1
    # Another image under an old name is another split.
    (photos / split.ids[0]).write_bytes((photos / split.ids[0]).read_bytes() + b" ")
    score_beside(run, [split], [0], reading=QUIET)
    assert len(list(run.path.glob("beside-*"))) == 2


def test_labelled_splits_and_estimates(runs):
    run = Run.open(sorted(runs.iterdir())[0])
    split = run.manifest.split("sketch/val") if run.manifest.has("sketch/val") else None
    split = split or run.manifest.split("sketch/train")
    found = score_beside(run, [split], [0, 1], reading=QUIET)
    scores = found[run.id].read((split.name, 1.0))
    assert scores.correct.shape == (len(split),) and np.isfinite(scores.nll).all()
    table = shift_estimates(run, [0, 1], beside=found, resamples=0)
    rows = table[(table["split"] == split.name) & (table.alpha == 1)].set_index("estimator")
    assert (rows.accuracy == scores.correct.mean()).all()
    assert np.isfinite(rows.loc["agreement", "value"])


def test_what_cannot_be_scored_is_one_line(runs, photos):
    run = Run.open(sorted(runs.iterdir())[0])
    split = unlabelled_split(photos, run.manifest)
    with pytest.raises(ConfigError, match="nothing to score beside"):
        score_beside(run, [], [1])
    with pytest.raises(ConfigError, match="two splits are called photos/test"):
        score_beside(run, [split, split], [1])
    score_beside(run, [split], [1], reading=QUIET)
    run.folder.weights_file.unlink()
    assert score_beside(run, [split], [1], reading=QUIET)[run.id].keys == [("photos/test", 1.0)]
    with pytest.raises(RunError, match="without weights"):
        score_beside(run, [split], [0.5], reading=QUIET)


def test_predictions_of_images_without_a_label():
    logits = torch.randn(6, 4)
    labels = torch.tensor([0, -1, 2, 3, -1, 1])
    known = predictions(logits, labels.clamp(min=0))
    found = predictions(logits, labels)
    for name in ("prediction", "confidence", "entropy", "logsumexp"):
        assert torch.equal(getattr(found, name), getattr(known, name))
    is_known = labels >= 0
    assert torch.equal(found.nll[is_known], known.nll[is_known])
    assert found.nll[~is_known].isnan().all()
