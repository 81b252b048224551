"""Lists, images and room on the disk are looked for before a model is loaded."""

import shutil

import pytest
from conftest import QUIET, SCORED

from clipft.errors import ConfigError, ImageError, StorageError
from clipft.evaluation.score import score
from clipft.evaluation.verify import verify
from clipft.runs.checks import check_combination, combination
from clipft.runs.run import Run
from clipft.runs.scores import size_of_scores
from clipft.training.combine import combine


@pytest.fixture
def copied(at_home, tree, tmp_path, monkeypatch):
    """The scored runs and their data set, of which a test may spoil something; no model loads."""
    data = shutil.copytree(tree, tmp_path / "data")
    monkeypatch.setenv("CLIPFT_DATA", str(data))
    runs = shutil.copytree(at_home.runs, tmp_path / "runs")
    monkeypatch.setattr("clipft.evaluation.bench.load_clip", None)
    return data / "mini", Run.open(runs / at_home.scored[0].id)


def lose(root, split):
    """Delete an image of a split."""
    lost = split.root / split.ids[0]
    lost.unlink()
    return lost


@pytest.mark.parametrize("name", ["tpgm", "uniform_soup", "greedy_ensemble"])
def test_an_image_to_choose_on(copied, name):
    root, run = copied
    lost = lose(root, run.manifest.split("real/val"))
    with pytest.raises(ImageError, match=f"image missing: {lost}"):
        combine(name, [run], reading=QUIET)


def test_a_combination_that_is_scored_asks_every_list(copied):
    root, run = copied
    given = combination("output_ensemble", [run], {})
    lost = lose(root, run.manifest.split("real/val"))
    check_combination(given)  # it chooses nothing
    with pytest.raises(ImageError, match=f"image missing: {lost}"):
        check_combination(given, scored=True)

    (root / "sketch_test.txt").unlink()
    with pytest.raises(ConfigError, match=r"sketch_test\.txt"):
        check_combination(combination("output_ensemble", [Run.open(run.path)], {}), scored=True)


def test_verify_looks_for_images_first(copied):
    root, run = copied
    lost = lose(root, run.manifest.split("sketch/test"))
    assert verify(run, reading=QUIET).faults[0].startswith(f"image missing: {lost}")


def test_room_for_scores(copied, monkeypatch):
    _, run = copied
    counts = {name: len(run.manifest.split(name)) for name in ("real/val", "real/test")}
    images = sum(counts.values()) + len(run.manifest.shifts()) * counts["real/test"]
    frame = run.folder.images()
    assert len(frame) == images * len(SCORED)
    ids = frame[frame.alpha == 0].id.astype(str).tolist()
    assert size_of_scores(ids, len(SCORED)) > images * len(SCORED) * 4 * 7  # 7 numbers at least
    assert run.folder.images_file.stat().st_size < size_of_scores(ids, 3 * len(SCORED))

    usage = shutil.disk_usage(run.path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StorageError, match=r"are needed in .*runs, 1e-06 GB are free"):
        score(run, [0.25, 0.75], reading=QUIET)
