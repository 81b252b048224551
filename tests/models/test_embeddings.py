"""Embeddings against open_clip, and how often an image is looked at for them."""

import copy
import os
import shutil
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from clipft.config import Reading
from clipft.data.splits import Decoding
from clipft.disk.cache import default_cache, without_memory
from clipft.errors import ConfigError, ImageError
from clipft.inputs import batches as data
from clipft.models import embeddings as features
from clipft.models.load import Clip, load_clip
from clipft.models.students import Classifier, Student, TwoTowers


@pytest.fixture
def run(world):
    """A run that nothing was trained for: its zero-shot model."""
    return world.bench()


@pytest.fixture
def own_tree(world, tree, tmp_path, monkeypatch):
    """A copy of the images that may be changed."""
    shutil.copytree(tree, tmp_path / "data")
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path / "data"))


def extract(run, split="real/test", skip_bad=False):
    reading = Reading(skip_bad=skip_bad)
    return features.extract(run.student, run.manifest.split(split), reading)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["ft", "flyp"])
def test_embeddings_are_open_clips(world, model_folder, checkpoint, method):
    run = world.bench(method=method)
    net, _, preprocess = open_clip.create_model_and_transforms(
        f"local-dir:{model_folder}", load_weights=False
    )
    open_clip.load_checkpoint(net, checkpoint)
    split = run.manifest.split("sketch/test")
    images = []
    for name in split.ids:
        images.append(preprocess(Image.open(split.root / name).convert("RGB")))
    with torch.no_grad():
        want = net.eval().encode_image(torch.stack(images))
    for _ in range(2):  # made, and from the cache
        found = run.features("sketch/test", 0.0)
        np.testing.assert_allclose(found.embeddings, want, rtol=1e-4, atol=1e-5)
        assert found.split == "sketch/test" and found.ids == split.ids
        assert found.label.tolist() == list(split.labels)


@pytest.mark.parametrize(
    "limit", [("clipft.inputs.batches.CHUNK_BYTES", 1), ("clipft.models.embeddings.FORWARD", 3)]
)
def test_parts_do_not_change_embeddings(run, monkeypatch, tmp_path, limit):
    whole = extract(run)
    monkeypatch.setattr("clipft.models.embeddings.ROWS", 7)
    again = extract(run)
    assert np.array_equal(again.embeddings, whole.embeddings) and again.ids == whole.ids
    assert again.label.tolist() == whole.label.tolist()
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(*limit)
    np.testing.assert_allclose(extract(run).embeddings, whole.embeddings, rtol=1e-4, atol=1e-5)


def test_what_workers_hand_over_changes_no_bit(run, monkeypatch):
    """A forward pass sees the same images together, however many are handed over at once."""
    split = run.manifest.split("real/test")
    split = split.take([row % len(split) for row in range(75)])
    monkeypatch.setattr(data, "READ", 32)
    monkeypatch.setattr(data, "CHUNK_BYTES", 1)
    sizes = []
    tower = Student.tower
    monkeypatch.setattr(
        Student, "tower", lambda self, *given: sizes.append(len(given[1])) or tower(self, *given)
    )
    found = []
    for handed, workers in ((32, 0), (8, 0), (8, 2)):
        monkeypatch.setattr(data, "HANDED", handed)
        with without_memory():
            found.append(features.extract(run.student, split, Reading(workers=workers)))
    assert sizes == 3 * [32, 32, 11]
    assert all(np.array_equal(one.embeddings, found[0].embeddings) for one in found)
    assert all(one.ids == split.ids for one in found)


def test_the_second_time_nothing_is_decoded_or_embedded(run, decoded, monkeypatch):
    first = extract(run)
    root = run.manifest.split("real/test").root
    assert sorted(decoded) == sorted(root / name for name in first.ids)
    decoded.clear()
    monkeypatch.setattr(Student, "tower", None)
    second = extract(run)
    assert decoded == []
    assert np.array_equal(first.embeddings, second.embeddings)
    second.embeddings[0] = 0  # a caller's own copy
    assert np.array_equal(extract(run).embeddings, first.embeddings)


def test_a_linear_probe_and_zero_shot_share_embeddings(world, decoded):
    run = world.train(method="lp")
    assert len(decoded) == len(run.train_split()) + len(run.selection_split())
    decoded.clear()
    zero = world.bench()
    zero.features("real/val", 0.0)
    run.features("real/val", 1.0)
    assert decoded == []
    zero.features("sketch/test", 0.0)
    decoded.clear()
    run.all_scores([0.0, 0.5, 1.0])
    domains = {file.parent.parent.name for file in decoded}
    assert domains == {"real", "clipart"}  # sketch is there, too


def test_alpha_zero_is_shared_by_all_runs(world, decoded):
    first, second = (world.train(lr=lr, steps=2) for lr in (1e-3, 2e-3))
    before = first.all_scores([0.0])
    decoded.clear()
    after = second.all_scores([0.0])
    assert decoded == []
    for one, other in zip(before, after, strict=True):
        assert np.array_equal(one.nll, other.nll)
        assert np.array_equal(one.prediction, other.prediction)
    second.all_scores([1.0])
    assert len(decoded) == sum(map(len, second.reported_splits()))


def test_tuned_embeddings_are_kept_for_themselves(world, decoded):
    run = world.train(lr=3e-3)

    def embeddings(alpha):
        return run.features("real/test", alpha).embeddings

    zero = embeddings(0.0)
    tuned = embeddings(1.0)
    assert not np.allclose(zero, tuned, atol=1e-3)
    decoded.clear()
    assert np.array_equal(embeddings(1.0), tuned) and np.array_equal(embeddings(0.0), zero)
    assert decoded == []


def test_images_that_look_otherwise_have_embeddings_of_their_own(own_tree, run, decoded):
    split = run.manifest.split("real/test")
    exif = Image.Exif()
    exif[0x0112] = 3
    file = split.root / split.ids[2]
    Image.open(file).convert("RGB").save(file, exif=exif)
    stored = features.extract(run.student, split)
    decoded.clear()
    seen = features.extract(run.student, replace(split, decoding=Decoding("viewer")))
    assert len(decoded) == len(split)
    changed = np.abs(seen.embeddings - stored.embeddings).max(1) > 1e-4
    assert np.flatnonzero(changed).tolist() == [2]


@pytest.mark.parametrize("change", ["size", "time", "content of one size"])
def test_a_replaced_image_is_embedded_again(own_tree, run, decoded, change):
    before = extract(run)
    split = run.manifest.split("real/test")
    file = split.root / split.ids[3]
    then = file.stat()
    if change == "size":
        Image.new("RGB", (30, 30), "red").save(file)
        os.utime(file, ns=(then.st_atime_ns, then.st_mtime_ns))
    elif change == "time":
        os.utime(file, ns=(then.st_atime_ns, then.st_mtime_ns + 1_000_000_000))
    else:
        file.write_bytes((split.root / split.ids[7]).read_bytes())
    decoded.clear()
    after = extract(run)
    assert len(decoded) == len(split)
    changed = np.abs(after.embeddings - before.embeddings).max(1) > 1e-4
    assert np.flatnonzero(changed).tolist() == ([] if change == "time" else [3])
    decoded.clear()
    extract(run)
    assert decoded == []


def test_another_preprocessing_is_embedded_again(run, decoded):
    extract(run)
    decoded.clear()
    run.student.preprocessing = run.student.preprocessing | {"interpolation": "nearest"}
    extract(run)
    assert len(decoded) == len(run.manifest.split("real/test"))


def test_an_unreadable_image_is_left_out_and_nothing_is_kept(own_tree, run, capsys):
    whole = extract(run)
    split = run.manifest.split("real/test")
    default_cache().prune()
    bad = split.root / split.ids[2]
    content = bad.read_bytes()
    bad.write_bytes(content[:100])
    with pytest.raises(ImageError, match=bad.name):
        extract(run)
    for _ in range(2):
        found = extract(run, skip_bad=True)
        assert found.ids == split.ids[:2] + split.ids[3:]
        assert found.label.tolist() == [*split.labels[:2], *split.labels[3:]]
        np.testing.assert_allclose(
            found.embeddings, np.delete(whole.embeddings, 2, 0), rtol=1e-4, atol=1e-5
        )
        printed = capsys.readouterr().out
        assert printed.count("\n") == 1
        assert f"skipped 1 of {len(split)} images of real/test, the first is {bad}" in printed
    assert default_cache().entries() == []
    bad.write_bytes(content)
    assert np.array_equal(extract(run).embeddings, whole.embeddings)


def test_no_readable_image_at_all(own_tree, run):
    split = run.manifest.split("real/test")
    for name in split.ids:
        (split.root / name).unlink()
    with pytest.raises(
        ImageError, match="no image of real/test can be read, the first is"
    ) as caught:
        extract(run, skip_bad=True)
    assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match="image missing"):
        extract(run)


def test_damaged_embeddings_are_made_again(run, capsys, decoded):
    whole = extract(run)
    (entry,) = [entry for entry in default_cache().entries() if entry.kind == "embeddings"]
    assert "real/test, 20 images" in entry.title
    file = entry.path / "embeddings.npy"
    content = bytearray(file.read_bytes())
    content[-2] ^= 8
    file.write_bytes(content)
    default_cache().verified.clear()
    decoded.clear()
    assert np.array_equal(extract(run).embeddings, whole.embeddings)
    assert len(decoded) == 20
    assert capsys.readouterr().out.count("are damaged") == 1


def test_a_cache_that_is_off_changes_nothing(run, tmp_path, monkeypatch, capsys):
    whole = extract(run)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        assert np.array_equal(extract(run).embeddings, whole.embeddings)
    assert capsys.readouterr().out.count("the cache is off") == 1


def test_the_student_is_left_as_it_was(run):
    for training in (True, False):
        run.student.train(training)
        extract(run)
        assert run.student.training == training


# --- digests


def test_students_of_one_clip_have_one_tower(world):
    clip = load_clip(world.model, world.pretrained)
    run = world.bench()
    students = [
        TwoTowers(clip, run.prompts),
        TwoTowers(clip, run.prompts, frozen_text=True),
        Classifier(clip, run.zero_shot),
        Classifier(clip, run.zero_shot, "absorbed"),
        Classifier(clip, run.zero_shot[:, :2]),
    ]
    digests = {features.tower_digest(student.state_dict()) for student in students}
    assert len(digests) == 1
    (digest,) = digests
    for student in students:
        only_the_tower_counts(student.state_dict(), digest)


@torch.no_grad()
def only_the_tower_counts(weights, digest):
    """And all of it: every tensor's last bit and the precision."""
    for name, tensor in weights.items():
        if "visual." not in name and tensor.is_floating_point():
            tensor.add_(1)
    assert features.tower_digest(weights) == digest
    for name, tensor in weights.items():
        if "visual." in name:
            changed = weights | {name: torch.nextafter(tensor, tensor + 1)}
            assert features.tower_digest(changed) != digest, name
    halves = {name: tensor.half() for name, tensor in weights.items()}
    assert features.tower_digest(halves) != digest


def test_files_are_named_by_order_size_time_and_presence(own_tree, run):
    split = run.manifest.split("real/test")
    found = [features.files_digest(split)]
    found.append(features.files_digest(split.take(reversed(range(len(split))))))
    found.append(features.files_digest(split.take(range(5))))
    file = split.root / split.ids[0]
    os.utime(file, ns=(1, 1))
    found.append(features.files_digest(split))
    file.unlink()
    found.append(features.files_digest(split))
    assert len(set(found)) == len(found)


# --- texts


def test_texts_are_embedded_once(world, monkeypatch):
    first = world.bench()
    head = first.zero_shot
    gap = first.gap_texts
    torch.testing.assert_close(gap.norm(dim=-1), torch.ones(50))
    torch.testing.assert_close(head, first.clip.zero_shot_head(first.prompts), rtol=0, atol=0)
    monkeypatch.setattr(Clip, "embed_texts", None)
    second = world.bench(seed=4)
    assert torch.equal(second.zero_shot, head) and torch.equal(second.gap_texts, gap)
    monkeypatch.undo()


def test_other_texts_or_another_clip_are_other_entries(world, tmp_path):
    run = world.bench()
    one = features.texts(run.clip, run.prompts[:, 0], "some")
    two = features.texts(run.clip, run.prompts[:, 1], "some")
    another = copy.deepcopy(run.clip)
    with torch.no_grad():
        another.model.token_embedding.weight[:] *= 1.5
        another._digest = ""
    three = features.texts(another, run.prompts[:, 0], "some")
    assert not torch.equal(one, two) and not torch.equal(one, three)
    torch.testing.assert_close(three, another.embed_texts(run.prompts[:, 0]))


# --- a device without room


class Narrow(torch.nn.Module):
    """A student whose device has room for so many images."""

    precision = "32-true"
    most_images = None
    device = torch.device("cpu")

    def __init__(self, room):
        super().__init__()
        self.room = room
        self.sizes = []

    def forward(self, images):
        self.sizes.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("no room")
        return images.float().mean((2, 3)), None, None


def test_a_forward_pass_takes_as_many_images_as_there_is_room_for(capsys):
    pixels = torch.arange(600 * 3 * 2 * 2).reshape(600, 3, 2, 2).to(torch.uint8)
    student = Narrow(40)
    for _ in range(2):
        found = features.embed(student, pixels)
        assert torch.equal(found, pixels.float().mean((2, 3)))
    assert student.sizes[:4] == [256, 128, 64, 32]
    assert max(student.sizes[3:]) == 32  # it does not try again what did not fit
    assert capsys.readouterr().out.count("no room") == 1


def test_no_room_for_one_image_is_one_line():
    with pytest.raises(ConfigError, match="one image of 3 x 2 x 2 in 32-true do not fit into"):
        features.embed(Narrow(0), torch.zeros(5, 3, 2, 2, dtype=torch.uint8))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_no_room_on_a_card_is_said_with_its_memory_and_what_to_try(monkeypatch, precision):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1 << 29, 8 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some Card")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    student = Narrow(0)
    student.device = torch.device("cuda")
    student.precision = precision
    with pytest.raises(ConfigError) as caught:
        features._take_fewer(student, torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    line = str(caught.value)
    assert "the 8.0 GiB of Some Card (free now: 0.5 GiB); try: end other processes" in line
    assert "a smaller model, --device cpu" in line
    assert ("--precision bf16-mixed" in line) == (precision == "32-true")
