"""CIFAR and its shifts, taken out of miniatures in the formats of their archives."""

import json
import os
import pickle
import shutil
from collections import Counter

import numpy as np
import pytest
from miniatures.cifar import WRITERS, as_images, cifar_manifest, made
from miniatures.drawing import write_all
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100

from clipft.data.layouts import arrays
from clipft.data.manifests import load_manifest
from clipft.errors import ConfigError

FOLDERS = {
    "cifar10": {"python": "cifar-10-batches-py", "binary": "cifar-10-batches-bin"},
    "cifar100": {"python": "cifar-100-python", "binary": "cifar-100-binary"},
}


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """Both data sets, and what was taken out of them."""
    return write_all(WRITERS, tmp_path_factory.mktemp("cifar"))


@pytest.fixture(autouse=True)
def _places(wholes, monkeypatch):
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    monkeypatch.setenv("CLIPFT_CACHE", str(wholes / "cache"))


@pytest.fixture(params=WRITERS)
def name(request):
    return request.param


@pytest.fixture
def copied(wholes, tmp_path, monkeypatch):
    """A function that copies one of them, so that it may be damaged; with a cache of its own."""
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    return lambda name: shutil.copytree(wholes / name, tmp_path / name)


def pixels(split):
    return np.stack([np.asarray(Image.open(split.root / path)) for path in split.ids])


# --- what ships


def test_classes_and_texts():
    ten, hundred = load_manifest("cifar10"), load_manifest("cifar100")
    assert (len(ten.names), len(hundred.names)) == (10, 100)
    assert ten.names == sorted(ten.names) and hundred.names == sorted(hundred.names)
    assert hundred.names[:2] == ["apple", "aquarium fish"] and hundred.names[99] == "worm"
    assert ten.templates == hundred.templates and len(set(ten.templates)) == 18
    corruptions = ten.shifts()[2:]
    assert ten.shifts()[:2] == ["cifar10.1", "cifar10.2"]
    assert corruptions == hundred.shifts() and len(set(corruptions)) == 15


# --- pixels and labels


@pytest.mark.parametrize("version", ["python", "binary"])
def test_pixels_and_labels_are_torchvisions(name, version, wholes, tmp_path, monkeypatch):
    root = wholes / name
    if version == "binary":
        root = WRITERS[name](tmp_path / name, version)
        monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    manifest = cifar_manifest(name, root)
    kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    for key in ("train_list", "test_list"):
        monkeypatch.setattr(kind, key, [(file, None) for file, _ in getattr(kind, key)])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": None})

    theirs = kind(wholes / name, train=False)
    test = manifest.split(f"{name}/test")
    assert list(test.labels) == theirs.targets
    np.testing.assert_array_equal(pixels(test), theirs.data)
    assert manifest.names == [own.replace("_", " ") for own in theirs.classes]

    theirs = kind(wholes / name, train=True)
    by_path = {}
    for part in ("train", "val"):
        split = manifest.split(f"{name}/{part}")
        by_path |= dict(zip(split.ids, zip(split.labels, pixels(split), strict=True), strict=True))
    ours = [by_path[path] for path in sorted(by_path)]
    assert [label for label, _ in ours] == theirs.targets
    np.testing.assert_array_equal(np.stack([image for _, image in ours]), theirs.data)
    held_out = Counter(manifest.split(f"{name}/val").labels)
    assert set(held_out.values()) == {2 if name == "cifar10" else 1}  # a tenth, at least one


@pytest.mark.parametrize(("domain", "seed"), [("cifar10.1", 7), ("cifar10.2", 8)])
def test_new_test_sets(domain, seed, wholes):
    split = cifar_manifest("cifar10", wholes / "cifar10").split(f"{domain}/test")
    labels = np.arange(20) % 10
    want = labels[::-1] if domain == "cifar10.1" else labels
    assert list(split.labels) == want.tolist()
    np.testing.assert_array_equal(pixels(split), as_images(*made(seed, labels))[0])
    assert split.groups == ()


def test_ten_two_as_a_pickled_dictionary_is_the_same(wholes, copied):
    plain = cifar_manifest("cifar10", wholes / "cifar10").split("cifar10.2/test")
    plain_pixels = pixels(plain)
    root = copied("cifar10")
    file = root / "CIFAR-10.2" / "cifar102_test.npz"
    with np.load(file) as content:
        np.save(root / "CIFAR-10.2" / "cifar102_test.npy", dict(content), allow_pickle=True)
    file.unlink()
    split = cifar_manifest("cifar10", root).split("cifar10.2/test")
    assert (split.ids, split.labels) == (plain.ids, plain.labels)
    np.testing.assert_array_equal(pixels(split), plain_pixels)


def test_a_corruption_is_five_severities_of_the_test_images(name, wholes):
    """hendrycks/robustness#21 and #57: the rows are 5 x 10 000, the lowest severity first."""
    split = cifar_manifest(name, wholes / name).split("frost/test")
    assert split.groups == tuple(f"severity {n}" for n in range(1, 6) for _ in range(10))
    assert split.labels[:10] * 5 == split.labels
    folder = "CIFAR-10-C" if name == "cifar10" else "CIFAR-100-C"
    np.testing.assert_array_equal(pixels(split), np.load(wholes / name / folder / "frost.npy"))
    assert split.take([49, 0]).groups == ("severity 5", "severity 1")


# --- taken out once


def test_images_are_taken_out_once_a_domain_and_again_when_the_arrays_change(copied, monkeypatch):
    root = copied("cifar10")
    reads = []
    plain = arrays._write

    def counted(place, *rest, **named):
        reads.append(place.parent.name)
        plain(place, *rest, **named)

    monkeypatch.setattr(arrays, "_write", counted)
    first = cifar_manifest("cifar10", root).split("fog/test")
    again = cifar_manifest("cifar10", root).split("fog/test")
    assert reads == ["fog"] and again.ids == first.ids and first.root == again.root
    assert sorted(path.name for path in first.root.iterdir()) == ["fog"]

    file = root / "CIFAR-10-C" / "fog.npy"
    np.save(file, 255 - np.load(file))
    os.utime(file, (1, 1))
    changed = cifar_manifest("cifar10", root).split("fog/test")
    assert reads == ["fog", "fog"]
    np.testing.assert_array_equal(pixels(changed), np.load(file))


def test_images_are_whole_or_absent(copied, monkeypatch):
    manifest = cifar_manifest("cifar10", copied("cifar10"))
    plain = Image.Image.save

    def stops(image, file, *rest):
        if file.name == "0000007.png":
            raise KeyboardInterrupt
        plain(image, file, *rest)

    monkeypatch.setattr(Image.Image, "save", stops)
    with pytest.raises(KeyboardInterrupt):
        manifest.split("cifar10/test")
    assert list((manifest.place / "cifar10").iterdir()) == []
    monkeypatch.undo()


def test_two_copies_do_not_mix(wholes, tmp_path):
    here = cifar_manifest("cifar10", wholes / "cifar10")
    other = cifar_manifest("cifar10", tmp_path / "cifar10")
    assert here.place != other.place and here.digest() == other.digest()


# --- damaged copies


class Boom:
    def __reduce__(self):
        return os.mkdir, ("pickled code was run",)


def _lose(*parts):
    def lose(root):
        path = root.joinpath(*parts)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return lose


def _cut(*parts):
    return lambda root: root.joinpath(*parts).write_bytes(root.joinpath(*parts).read_bytes()[:-9])


def _save(content, *parts):
    return lambda root: np.save(root.joinpath(*parts), content)


def _pickled(content, *parts):
    return lambda root: root.joinpath(*parts).write_bytes(pickle.dumps(content, protocol=2))


def _swapped_names(*parts):
    def swap(root):
        content = arrays.read_pickle(root.joinpath(*parts))
        key = next(key for key in content if key in ("label_names", "fine_label_names"))
        content[key][0], content[key][1] = content[key][1], content[key][0]
        root.joinpath(*parts).write_bytes(pickle.dumps(content, protocol=2))

    return swap


def _binary_cut(root):
    shutil.rmtree(root / "cifar-10-batches-py")
    WRITERS["cifar10"](root / "x", "binary")
    shutil.move(root / "x" / "cifar-10-batches-bin", root)
    _cut("cifar-10-batches-bin", "test_batch.bin")(root)


PY, PY100, C = "cifar-10-batches-py", "cifar-100-python", "CIFAR-10-C"
DAMAGES = {
    "no arrays": (
        "cifar10",
        "cifar10",
        _lose(PY),
        "no cifar-10-batches-py or cifar-10-batches-bin",
    ),
    "no arrays of 100": (
        "cifar100",
        "cifar100",
        _lose(PY100),
        "no cifar-100-python or cifar-100-b",
    ),
    "a batch less": ("cifar10", "cifar10", _lose(PY, "data_batch_3"), "no .*data_batch_3; wanted"),
    "no meta": ("cifar100", "cifar100", _lose(PY100, "meta"), "no .*meta; wanted: CIFAR-100"),
    "another order": (
        "cifar10",
        "cifar10",
        _swapped_names(PY, "batches.meta"),
        "batches.meta: automobile; wanted: the 10 classes in order",
    ),
    "another order of 100": (
        "cifar100",
        "cifar100",
        _swapped_names(PY100, "meta"),
        "meta: aquarium_fish; wanted: the 100 classes in order",
    ),
    "cut short": ("cifar10", "cifar10", _cut(PY, "test_batch"), "test_batch: cannot be read"),
    "binary, cut short": ("cifar10", "cifar10", _binary_cut, "are no whole images; get it again"),
    "code in a pickle": (
        "cifar10",
        "cifar10",
        _pickled({"data": Boom()}, PY, "test_batch"),
        r"test_batch: cannot be read: .*mkdir; wanted: arrays alone",
    ),
    "another pickle": ("cifar100", "cifar100", _pickled({"x": 1}, PY100, "test"), "is this CIFAR"),
    "no dictionary": ("cifar100", "cifar100", _pickled([1], PY100, "test"), "it holds a list"),
    "no 10.1": ("cifar10", "cifar10.1", _lose("CIFAR-10.1"), "no .*cifar10.1_v6_data.npy; wanted"),
    "labels of 10.1": (
        "cifar10",
        "cifar10.1",
        _save(np.arange(3), "CIFAR-10.1", "cifar10.1_v6_labels.npy"),
        "20 images and 3 labels; wanted: as many",
    ),
    "an eleventh class": (
        "cifar10",
        "cifar10.1",
        _save(np.full(20, 10), "CIFAR-10.1", "cifar10.1_v6_labels.npy"),
        "has label 10; wanted: 0 ... 9",
    ),
    "code in an array": (
        "cifar10",
        "cifar10.1",
        _save(np.array(Boom(), dtype=object), "CIFAR-10.1", "cifar10.1_v6_labels.npy"),
        "wanted: arrays alone",
    ),
    "no 10.2": ("cifar10", "cifar10.2", _lose("CIFAR-10.2"), "no .*cifar102_test.npy; wanted"),
    "cut 10.2": ("cifar10", "cifar10.2", _cut("CIFAR-10.2", "cifar102_test.npz"), "cannot be read"),
    "no corruption": ("cifar10", "snow", _lose(C, "snow.npy"), "no .*snow.npy; wanted"),
    "no labels": ("cifar10", "snow", _lose(C, "labels.npy"), "no .*labels.npy; wanted"),
    "no corruption of 100": ("cifar100", "snow", _lose("CIFAR-100-C"), "no .*snow.npy; wanted"),
    "a severity less": (
        "cifar10",
        "snow",
        _save(np.zeros((42, 32, 32, 3), np.uint8), C, "snow.npy"),
        "42 images; wanted: as many of each of 5 severities",
    ),
    "fractions": ("cifar10", "snow", _save(np.zeros((50, 32, 32, 3)), C, "snow.npy"), "float64"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_gives_its_one_line(damage, copied, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    name, domain, break_it, words = DAMAGES[damage]
    root = copied(name)
    break_it(root)
    manifest = cifar_manifest(name, root)
    with pytest.raises(ConfigError, match=words) as caught:
        manifest.split(f"{domain}/test")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pickled code was run").exists()
    assert not list(manifest.place.glob(f"{domain}/*/*.json")) or domain in WRITERS
    others = {"cifar10.1", "cifar10.2", name} - {domain}
    for other in others & {*manifest.domains}:  # of what is whole nothing is said
        assert len(manifest.split(f"{other}/test"))


def test_without_data_one_line_says_where_it_belongs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match=f"no folder {tmp_path}/{name}; put CIFAR-"):
        load_manifest(name).split(f"{name}/train")


def test_what_is_kept_beside_the_images(wholes):
    split = cifar_manifest("cifar10", wholes / "cifar10").split("snow/test")
    kept = json.loads((split.root / "snow" / "test" / "rows.json").read_text())
    assert kept["labels"] == list(split.labels)
    assert [row[0] for row in kept["made_of"]] == ["snow.npy", "labels.npy"]
