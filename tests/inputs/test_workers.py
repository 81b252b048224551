"""Where `workers` is auto: processes only where they pay for being forked."""

from pathlib import Path

import pytest

from clipft.config import Reading
from clipft.data.splits import Split
from clipft.errors import ConfigError
from clipft.inputs import workers
from clipft.inputs.workers import worker_count


@pytest.fixture
def split(tmp_path, monkeypatch):
    """A split of photographs of 60 kB on a machine of four cores with room."""
    monkeypatch.setattr(workers, "processors", lambda: 4)
    monkeypatch.setattr(workers, "_room", lambda: 8 << 30)
    (tmp_path / "photo.jpg").write_bytes(bytes(60_000))
    (tmp_path / "emoji.png").write_bytes(bytes(2_000))
    return photographs(tmp_path, "photo.jpg")


def photographs(root: Path, name: str) -> Split:
    return Split("real", "test", root, ids=(name,) * 50, labels=(0,) * 50)


def count(split: Split, *, images=10_000, batch_size=256, device="cuda", asked="auto", **more):
    reading = Reading(device=device, workers=asked)
    return worker_count(reading, split, images=images, batch_size=batch_size, **more)


def test_many_photographs_are_read_by_all_cores(split):
    assert count(split) == 4
    assert count(split, device="cpu") == 4
    assert count(split, training=True) == 4


def test_few_or_small_ones_and_those_kept_in_memory_by_none(split):
    assert count(split, images=160) == 0
    assert count(photographs(split.root, "emoji.png"), images=10**9) == 0
    assert count(split, device="cpu", training=True) == 0
    assert count(photographs(split.root, "not there.jpg")) == 0


def test_no_more_than_the_machine_bears(split, monkeypatch):
    # 64 MB of shared memory, as a container has it: a worker dies of a bus error, pytorch#5040
    monkeypatch.setattr(workers, "_room", lambda: 64 << 20)
    assert count(split) == 0
    monkeypatch.setattr(workers, "_room", lambda: 300 << 20)
    assert count(split) == 1
    monkeypatch.setattr(workers, "_room", lambda: 1 << 40)
    monkeypatch.setattr(workers, "processors", lambda: 64)
    assert count(split) == 8


def test_what_waits_is_bounded_by_the_machine_as_a_whole(split, monkeypatch):
    monkeypatch.setattr(workers, "_room", lambda: 64 << 20)
    assert count(split, batch_size=16, waiting=256) == 0
    monkeypatch.setattr(workers, "_room", lambda: 300 << 20)
    assert count(split, batch_size=16, waiting=256) == 4


def test_none_where_a_process_is_not_forked(split, monkeypatch):
    monkeypatch.setattr("multiprocessing.get_start_method", lambda **_: "spawn")
    assert count(split) == 0


@pytest.mark.parametrize("asked", [0, 1, 7])
def test_a_number_is_a_number(split, asked):
    assert count(split, images=1, asked=asked) == asked


@pytest.mark.parametrize("asked", ["4", "many", -1, 1.5, None])
def test_anything_else_is_refused(asked):
    with pytest.raises(ConfigError, match="expected auto, or 0 or more"):
        Reading(workers=asked)
