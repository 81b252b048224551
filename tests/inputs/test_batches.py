"""From files to pixels: broken images are named, the stream is a function of seed and step."""

import io
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from clipft.config import Reading
from clipft.data.images import decode
from clipft.data.splits import Split
from clipft.errors import ImageError, RunError
from clipft.inputs.batches import (
    Batch,
    Pixels,
    Stream,
    few_shot,
    pixel_chunks,
    to_device,
    train_batches,
    train_transform,
)
from clipft.inputs.seeds import rng

ROWS = 11
SIZE = 8
AUGMENT = train_transform(SIZE, (0.3, 1.0), True)


def png(row):
    pixels = np.random.default_rng(row).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def split(tmp_path):
    for row in range(ROWS):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    return split_of([row % 3 for row in range(ROWS)], tmp_path)


def split_of(labels, root=Path()):
    """real/train of these labels, its images named 0.png, 1.png, ..."""
    ids = tuple(f"{row}.png" for row in range(len(labels)))
    return Split("real", "train", root, ids, tuple(labels))


def resize(image):
    return image.resize((SIZE, SIZE))


def as_lists(batches):
    lists = []
    for batch in batches:
        row_numbers = (batch.labels.tolist(), batch.rows.tolist())
        lists.append((batch.pixels.tolist(), *row_numbers, list(batch.bad)))
    return lists


def augmented(split, steps, seed=5, batch_size=4, **options):
    """The augmented batches of these steps; options: workers and skip_bad, or keep_bytes."""
    keep = {}
    if "keep_bytes" in options:
        keep["keep_bytes"] = options.pop("keep_bytes")
    stream = Stream(len(split), batch_size, steps, seed)
    return train_batches(split, AUGMENT, stream, Reading(**options), **keep)


BROKEN = {
    "missing": None,
    "empty": b"",
    "truncated": png(0)[:-60],
    "cut in the header": png(0)[:20],
    "text": b"this is no image",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_image_is_named(tmp_path, content):
    file = tmp_path / "odd.png"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ImageError, match=str(file)) as caught:
        decode(file)
    assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match="unreadable"):
        decode(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of some of these files as well
def test_a_damaged_image_is_an_image_or_an_image_error(tmp_path):
    @settings(deadline=None)
    @given(st.integers(0, len(png(0)) - 1), st.integers(0, 255), st.integers(1, len(png(0))))
    def check(place, value, length):
        content = bytearray(png(0))
        content[place] = value
        (tmp_path / "odd.png").write_bytes(content[:length])
        try:
            found = decode(tmp_path / "odd.png").mode
        except ImageError as error:
            found = str(error)
        assert found == "RGB" or (found.startswith("image unreadable: ") and "odd.png" in found)

    check()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "LA", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    Image.new(mode, (3, 2), 1).save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png").mode, decode(tmp_path / "a.png").size) == ("RGB", (3, 2))


@settings(deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 40),
    st.integers(0, 12),
    st.integers(1, 12),
    st.integers(0, 99),
)
def test_the_stream(rows, batch_size, start, more, seed):
    whole = list(Stream(rows, batch_size, range(start + more), seed))
    draws = [draw for batch in whole for draw in batch]
    assert {len(batch) for batch in whole} == {batch_size}
    assert [number for _, number in draws] == list(range(len(draws)))
    for epoch in range(len(draws) // rows):  # every epoch is a permutation, also across batches
        assert sorted(row for row, _ in draws[epoch * rows : (epoch + 1) * rows]) == list(
            range(rows)
        )
    tail = Stream(rows, batch_size, range(start, start + more), seed)
    assert list(tail) == whole[start:]
    assert len(tail) == more


def test_the_stream_changes_with_seed_and_epoch():
    first, second = list(Stream(50, 50, range(2), 0))
    assert [row for row, _ in first] != [row for row, _ in second]
    assert next(iter(Stream(50, 50, range(2), 1))) != first


def test_batches_are_a_function_of_seed_and_step(split):
    whole = as_lists(augmented(split, range(6)))
    assert as_lists(augmented(split, range(3, 6))) == whole[3:]
    other = as_lists(augmented(split, range(6), seed=6))
    assert all(one[0] != two[0] for one, two in zip(whole, other, strict=True))
    rows = [row for _, _, batch, _ in whole for row in batch]
    assert sorted(rows[:ROWS]) == list(range(ROWS))
    labels = [label for _, batch, _, _ in whole for label in batch]
    assert labels == [row % 3 for row in rows]
    assert np.shape(whole[0][0]) == (4, 3, SIZE, SIZE)


def test_every_batch_is_augmented_anew(split):
    batches = augmented(split.take([0]), range(8), batch_size=1)
    assert len({batch.pixels.numpy().tobytes() for batch in batches}) > 4


def test_batches_leave_the_global_generator_to_others(split):
    list(augmented(split, range(1)))
    torch.manual_seed(1)
    wanted = as_lists(augmented(split, range(2)))
    torch.manual_seed(2)
    assert as_lists(augmented(split, range(2))) == wanted


def test_a_worker_process_makes_the_same_batches(split):
    here = as_lists(augmented(split, range(4), workers=0))
    there = as_lists(augmented(split, range(4), workers=1))
    assert here == there


@pytest.mark.parametrize("keep", [0, 1 << 30])
def test_keeping_images_changes_nothing(split, keep):
    wanted = as_lists(augmented(split, range(6)))
    assert as_lists(augmented(split, range(6), keep_bytes=keep)) == wanted


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_stops_or_is_left_out(split, workers):
    bad = split.root / "7.png"
    bad.write_bytes(png(7)[:-60])
    with pytest.raises(ImageError, match=rf"^image unreadable: {bad} \(.*\); repair it"):
        list(pixel_chunks(split, resize, Reading(workers=workers)))
    (chunk,) = pixel_chunks(split, resize, Reading(workers=workers, skip_bad=True))
    assert list(chunk.bad) == [7]
    assert chunk.rows.tolist() == [row for row in range(ROWS) if row != 7]
    assert len(chunk.pixels) == len(chunk.labels) == ROWS - 1
    batches = list(augmented(split, range(6), workers=workers, skip_bad=True))
    assert [row for batch in batches for row in batch.bad] == [7, 7]  # once in each of two epochs
    assert [len(batch.rows) + len(batch.bad) for batch in batches] == [4] * 6


def test_a_worker_that_is_killed_is_one_line(split):
    def killed(image):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RunError, match=r"ended from outside, .*; try fewer: --workers 1"):
        list(pixel_chunks(split, killed, Reading(workers=1)))


class Card:
    """A tensor on its way to a card, and what was asked of it."""

    device = torch.device("cpu")

    def __init__(self):
        self.asked = []

    def pin_memory(self):
        self.asked.append("pinned")
        return self

    def to(self, device, **how):
        self.asked.append((device, how))
        return self


@pytest.mark.parametrize("device", ["cuda:1", "cpu"])
def test_a_card_copies_from_pinned_memory_without_waiting(device):
    card = to_device(Card(), device)
    waits_not = ["pinned", ("cuda:1", {"non_blocking": True})]
    assert card.asked == (waits_not if device == "cuda:1" else [("cpu", {})])


def test_batches_for_a_card_are_pinned(split, monkeypatch):
    asked = []

    def loader(images, **options):
        asked.append(options["pin_memory"])
        return iter(())

    monkeypatch.setattr("clipft.inputs.batches.DataLoader", loader)
    for device in ("cpu", "cuda:0"):
        list(augmented(split, range(1), device=device))
    assert asked == [False, True]
    batch = Batch(Card(), Card(), torch.tensor([1])).pin_memory()
    assert batch.pixels.asked == batch.labels.asked == ["pinned"]


@pytest.mark.parametrize("bad", [0, ROWS - 1])
def test_any_row_may_be_bad_in_training(split, bad):
    (split.root / split.ids[bad]).unlink()
    batches = list(augmented(split, range(1), batch_size=ROWS, skip_bad=True))
    assert list(batches[0].bad) == [bad]
    with pytest.raises(ImageError, match=f"image missing: .*{bad}.png"):
        list(augmented(split, range(1), batch_size=ROWS))


@pytest.mark.parametrize("limit", [0, 600 * 3 * SIZE * SIZE])
def test_chunks_hold_the_same_pixels_as_one(split, limit):
    many = split.take([row % ROWS for row in range(1000)])
    (whole,) = pixel_chunks(many, resize)
    chunks = list(pixel_chunks(many, resize, chunk_bytes=limit))
    assert len(chunks) == (4 if limit == 0 else 2)
    for field in ("pixels", "labels", "rows"):
        joined = torch.cat([getattr(chunk, field) for chunk in chunks])
        assert torch.equal(joined, getattr(whole, field))
    want = np.asarray(resize(decode(split.root / "3.png"))).transpose(2, 0, 1)
    assert (whole.pixels[3].numpy() == want).all()


@pytest.mark.parametrize(("workers", "ready"), [(1, 256), (2, 256), (8, 256), (16, 512)])
def test_images_that_wait_are_few_however_many_workers_there_are(
    split, workers, ready, monkeypatch
):
    asked = []

    def loader(images, num_workers, prefetch_factor, batch_size, **_):
        asked.append(num_workers * prefetch_factor * batch_size)
        return DataLoader(images, batch_size, collate_fn=Batch.join)

    monkeypatch.setattr("clipft.inputs.batches.DataLoader", loader)
    (chunk,) = pixel_chunks(split, resize, Reading(workers=workers))
    assert asked == [ready] and len(chunk.rows) == ROWS


def test_chunks_end_where_they_did_whatever_is_unreadable(split):
    (split.root / "7.png").write_bytes(b"this is no image")
    many = split.take([row % ROWS for row in range(600)])
    chunks = pixel_chunks(many, resize, Reading(skip_bad=True), announce=False, chunk_bytes=0)
    assert [len(chunk.rows) + len(chunk.bad) for chunk in chunks] == [256, 256, 88]


@pytest.mark.parametrize("keep", [0, 1 << 30])
def test_pixels_are_the_same_each_time_and_decoded_once_if_they_fit(split, keep, monkeypatch):
    (split.root / "7.png").write_bytes(b"this is no image")
    lines = []
    decoded = []

    def counted(path, how):
        decoded.append(path)
        return decode(path, how)

    monkeypatch.setattr("clipft.inputs.batches.write", lines.append)
    monkeypatch.setattr("clipft.inputs.batches.decode", counted)
    pixels = Pixels(split, resize, Reading(skip_bad=True), keep_bytes=keep)
    assert as_lists(pixels) == as_lists(pixels)
    assert len(decoded) == (2 * ROWS if keep == 0 else ROWS)
    file = split.root / "7.png"
    assert lines == [f"skipped 1 of {ROWS} images of real/train, the first is {file}"]


def test_a_flip_and_a_whole_crop_are_the_image_or_its_mirror():
    image = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    )
    whole = np.asarray(image)
    assert (np.asarray(train_transform(SIZE, (1.0, 1.0), False)(image)).shape) == (SIZE, SIZE, 3)
    flip = train_transform(SIZE, (1.0, 1.0), True).transforms[1]
    torch.manual_seed(0)
    shots = [np.asarray(flip(image)) for _ in range(20)]
    mirror = whole[:, ::-1]
    assert {shot.tobytes() for shot in shots} == {whole.tobytes(), mirror.tobytes()}


def test_joined_batches_keep_their_order_and_bad_rows():
    parts = []
    for rows, bad in (([4, 1], [9]), ([], [3]), ([2], [])):
        parts += [Batch.unread(row) for row in bad]
        for row in rows:
            pixels = torch.full((1, 3, 2, 2), row, dtype=torch.uint8)
            parts.append(Batch(pixels, torch.tensor([10 * row]), torch.tensor([row])))
    whole = Batch.join(parts)
    assert (whole.rows.tolist(), whole.labels.tolist(), list(whole.bad)) == (
        [4, 1, 2],
        [40, 10, 20],
        [9, 3],
    )
    assert whole.pixels[:, 0, 0, 0].tolist() == [4, 1, 2]
    assert len(Batch.join([Batch.unread(0)]).rows) == 0


labels_of_three = st.lists(st.integers(0, 2), max_size=30).map(lambda rest: [0, 1, 2, *rest])


@settings(deadline=None)
@given(labels_of_three, st.integers(1, 8), st.integers(0, 99))
def test_few_shot_takes_as_many_of_every_class(labels, shots, seed):
    whole = split_of(labels)
    drawn = few_shot(whole, shots, rng(seed, "few_shot"))
    for label in range(3):
        assert drawn.labels.count(label) == min(shots, labels.count(label))
    rows = [whole.ids.index(name) for name in drawn.ids]
    assert rows == sorted(set(rows))
    assert [labels[row] for row in rows] == list(drawn.labels)
    assert drawn == few_shot(whole, shots, rng(seed, "few_shot"))


def test_few_shot_follows_the_seed():
    whole = split_of([row % 3 for row in range(60)])
    assert len({few_shot(whole, 2, rng(seed, "few_shot")).ids for seed in range(20)}) > 10


@pytest.mark.parametrize("part", ["train", "val"])
def test_few_shots_follow_what_there_is(part):
    """A class with one image has it in train, and none held out."""
    rows = replace(split_of([0, 2, 2]), part=part)
    drawn = few_shot(rows, 2, rng(0, "few_shot"))
    assert drawn.labels == (0, 2, 2)


def test_a_few_shot_run_is_as_small_in_selection(world):
    run = world.bench(shots=1, seed=0)
    other = world.bench(shots=1, seed=1)
    assert sorted(run.train_split().labels) == sorted(run.selection_split().labels) == [0, 1, 2, 3]
    assert set(run.train_split().ids) <= set(run.manifest.split("real/train").ids)
    assert run.train_split().ids != other.train_split().ids
    two = world.bench(shots=2)
    assert len(two.train_split()) == len(two.selection_split()) == 8
