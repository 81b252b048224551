"""images.parquet against one table that pandas writes: many row groups, groups in some splits,
older files; and what a sweep holds in memory.
"""

import tracemalloc
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import QUIET

from clipft.data.splits import Split
from clipft.errors import StorageError
from clipft.evaluation.mixtures import Judge, score_splits
from clipft.inputs.batches import Batch, Pixels
from clipft.inputs.ranks import ALONE
from clipft.models.embeddings import Point
from clipft.runs.folder import RunFolder
from clipft.runs.image_scores import Gathered, ImagesFile, write_images
from clipft.runs.scores import Listed, from_frame, to_frame

TEXTS = ["split", "domain", "part", "id"]


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch):
    monkeypatch.setattr("clipft.runs.image_scores.ROWS", 7)


def split_of(domain, rows, groups=False):
    """Rows whose ids come in no order of letters."""
    ids = tuple(f"{domain}/{row * 7 % rows:03d}.png" for row in range(rows))
    labels = tuple(row % 3 for row in range(rows))
    words = tuple("odd" if row % 2 else "even" for row in range(rows)) if groups else ()
    return Split(domain, "test", Path(), ids, labels, groups=words)


SPLITS = [split_of("sketch", 20), split_of("art", 5, groups=True), split_of("real", 11)]


def gathered(alphas=(0.5, 0.0), splits=SPLITS, left_out=()):
    """What a sweep says of these splits, in chunks of 3; some rows could not be read."""
    found = Gathered()
    for split in splits:
        rows = np.array([row for row in range(len(split)) if row not in left_out])
        for first in range(0, len(rows), 3):
            chunk = rows[first : first + 3]
            for alpha in alphas:
                draw = np.random.default_rng([*chunk, round(10 * alpha)])
                columns = {
                    "prediction": draw.integers(0, 3, len(chunk)),
                    "confidence": draw.random(len(chunk), np.float32),
                    "nll": draw.random(len(chunk)),
                }
                found.add(split, alpha, chunk, columns)
    return found


def by_pandas(path, *stores):
    """As an older clipft wrote it: one table in memory, ids as categories in order of letters."""
    frame = pd.concat([to_frame(list(store)) for store in stores])
    frame = frame.sort_values("alpha", kind="stable", ignore_index=True)
    frame.astype(dict.fromkeys(TEXTS, "category")).to_parquet(path)


def same(path, other):
    """Row for row the same texts and numbers, whatever the categories' order is."""
    one, two = (pd.read_parquet(file) for file in (path, other))
    for name in TEXTS:
        assert one[name].dtype == "category"
        one[name], two[name] = one[name].astype(str), two[name].astype(str)
    pd.testing.assert_frame_equal(one, two, check_like=True)


@pytest.mark.parametrize("left_out", [(), (0, 4, 19)], ids=["all", "some unreadable"])
def test_many_row_groups_hold_what_one_table_does(tmp_path, left_out):
    scores = gathered(left_out=left_out)
    write_images(tmp_path / "images.parquet", scores)
    assert pq.ParquetFile(tmp_path / "images.parquet").num_row_groups >= 9
    by_pandas(tmp_path / "whole.parquet", scores)
    same(tmp_path / "images.parquet", tmp_path / "whole.parquet")

    wanted = {(one.split, one.alpha): one for one in from_frame(to_frame(list(scores)))}
    read = ImagesFile(tmp_path / "images.parquet")
    assert set(read.keys) == set(wanted) and len(read) == 6
    for one in read:
        other = wanted[one.split, one.alpha]
        assert one.ids == other.ids
        assert (one.group is not None) == (one.split == "art/test")
        for name, column in one.columns().items():
            assert np.array_equal(column, getattr(other, name)), name
    whole = next(iter(ImagesFile(tmp_path / "images.parquet", with_ids=False)))
    assert whole.ids == () and len(whole.label) == len(wanted[whole.split, whole.alpha].label)


@pytest.mark.parametrize("splits", [SPLITS, SPLITS[::2]], ids=["groups in one", "no groups"])
def test_an_older_file_is_added_to(tmp_path, splits):
    folder = RunFolder(tmp_path)
    old, new = gathered([0.0, 1.0], splits), gathered([0.5], splits)
    by_pandas(folder.images_file, old)
    for alphas, rows in (([0.0, 1.0], 2), ([0.0, 0.5, 1.0], 3)):
        assert folder.image_scores().alphas == alphas
        images = pd.read_parquet(folder.images_file)
        assert len(images) == rows * sum(map(len, splits)) and images.alpha.is_monotonic_increasing
        if rows == 2:
            folder.add_images(new)
    by_pandas(tmp_path / "whole.parquet", old, new)
    same(folder.images_file, tmp_path / "whole.parquet")


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_ends_half_way_leaves_the_older_file(tmp_path, monkeypatch, fault):
    folder = RunFolder(tmp_path)
    write_images(folder.images_file, gathered([0.0]))
    before = folder.images_file.read_bytes()
    write_table = pq.ParquetWriter.write_table
    written = []

    def refuse(self, table, *more):
        written.append(table)
        if len(written) == 4:
            raise fault
        write_table(self, table, *more)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", refuse)
    with pytest.raises((StorageError, KeyboardInterrupt)):
        folder.add_images(gathered([0.5]))
    assert folder.images_file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [folder.images_file]


def test_records_have_no_name_on_the_disk(tmp_path):
    scores = Gathered(tmp_path)
    columns = dict.fromkeys(("prediction", "confidence", "nll"), np.arange(3))
    scores.add(SPLITS[0], 0.0, np.arange(3), columns)
    assert not list(tmp_path.iterdir())  # so that a kill leaves nothing
    assert scores[0].prediction.tolist() == [0, 1, 2]


def test_scores_of_several_stores_are_one():
    one, other = gathered([0.0]), gathered([1.0])
    both = Listed([one, other])
    assert both.alphas == [0.0, 1.0] and len(both) == 6
    assert both.among(other.keys).alphas == [1.0]
    assert other.among(other.keys[:1]).alphas == [1.0]


# --- memory

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


class Plain(torch.nn.Module):
    """A student whose embedding is the mean colour."""

    precision = "32-true"
    most_images = None
    device = torch.device("cpu")
    preprocessing: dict = {}
    activation: dict = {}

    def forward(self, images):
        return images.float().mean((2, 3)), None, None


class Counting(Judge):
    """Says something of each image, in memory that is traced; counts embeddings that are held."""

    def __init__(self):
        self.mixtures = SimpleNamespace(student=Plain(), reading=QUIET, ranks=ALONE)
        self.points = dict.fromkeys(ALPHAS, Point(lambda: None))
        self.alphas = list(ALPHAS)
        self.held = []
        self.most = 0

    def __call__(self, known, embeddings):
        for alpha, now in embeddings:
            self.held.append(weakref.ref(now))
            self.held = [held for held in self.held if held() is not None]
            self.most = max(self.most, len(self.held))
            columns = {name: np.zeros(len(now)) for name in ("prediction", "confidence", "nll")}
            yield alpha, {name: torch.from_numpy(column) for name, column in columns.items()}


def peak_of_sweep(rows, path):
    """Bytes that a sweep and its images.parquet hold at most, beside the split; of chunks of 50."""
    split = split_of("real", rows)
    pixels = torch.zeros(50, 3, 2, 2, dtype=torch.uint8)
    parts = torch.arange(rows).split(50)
    shown = Pixels(split, None)
    shown._chunks = (Batch(pixels, torch.tensor(split.labels)[part], part) for part in parts)
    judge = Counting()
    tracemalloc.start()
    pool = pa.default_memory_pool().bytes_allocated()
    try:
        scores = Gathered()
        score_splits(judge, [split], scores, {split.name: shown})
        write_images(path, scores)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert judge.most <= 2
    assert pa.default_memory_pool().bytes_allocated() <= pool + (1 << 16)
    assert pq.ParquetFile(path).metadata.num_rows == rows * len(ALPHAS)
    return peak


def test_a_sweeps_memory_does_not_grow_with_its_images(tmp_path, monkeypatch):
    monkeypatch.setattr("clipft.runs.image_scores.ROWS", 300)
    peak_of_sweep(100, tmp_path / "warm.parquet")  # what is imported and kept at the first time
    few, many = (peak_of_sweep(rows, tmp_path / f"{rows}.parquet") for rows in (300, 1500))
    # A number for each image and alpha is 8 bytes; labels and the places of records are fewer.
    assert (many - few) / 1200 < 8 * len(ALPHAS)
