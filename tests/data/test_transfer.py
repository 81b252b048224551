"""Transfer sets in small, against torchvision's classes where it has one."""

import os
import shutil
import sys
from collections import Counter

import numpy as np
import pytest
from miniatures.drawing import samples, write_all
from miniatures.transfer import PCAM, WRITERS, annotations
from PIL import Image
from scipy.io import loadmat, savemat
from torchvision import datasets

import clipft
from clipft.data.check import check_images
from clipft.data.images import decode
from clipft.data.manifests import load_manifest
from clipft.data.splits import METRICS
from clipft.errors import ClipftError, ConfigError, MissingExtra

PARTS = ("train", "val", "test")
SIZES = {  # images of a miniature: train, val, test
    "caltech101": (202, 101, 101),
    "cars": (196, 196, 196),
    "flowers102": (204, 102, 102),
    "patchcamelyon": (12, 10, 8),
    "rendered_sst2": (12, 10, 8),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The folder that CLIPFT_DATA names; not to be changed."""
    return write_all(WRITERS, tmp_path_factory.mktemp("transfer"))


@pytest.fixture
def data(here, tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPFT_DATA", str(here))
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    return here


def rows(manifest, part):
    """(path on this disk, label) of a split, in its order."""
    return samples(manifest.split(f"{manifest.reference}/{part}"))


@pytest.mark.parametrize("name", WRITERS)
def test_sizes_and_roles(data, name):
    manifest = load_manifest(name)
    assert manifest.domains == (name,) and manifest.shifts() == []
    found = {part: rows(manifest, part) for part in PARTS}
    assert tuple(len(found[part]) for part in PARTS) == SIZES[name]
    paths = [path for part in PARTS for path, _ in found[part]]
    assert len(set(paths)) == len(paths) and all(os.path.isfile(path) for path in paths)
    for part in PARTS:
        assert {label for _, label in found[part]} == set(range(len(manifest.names)))
    assert check_images(manifest).wrong == []


def test_caltech101_is_torchvisions(data):
    theirs = datasets.Caltech101(data / "caltech101")
    manifest = load_manifest("caltech101")
    assert theirs.categories == [row.slug for row in manifest.class_names]
    files = [
        f"{theirs.root}/101_ObjectCategories/{theirs.categories[label]}/image_{index:04d}.jpg"
        for label, index in zip(theirs.y, theirs.index, strict=True)
    ]
    ours = [row for part in PARTS for row in rows(manifest, part)]
    assert sorted(ours) == sorted(zip(files, theirs.y, strict=True))


def test_flowers102_is_torchvisions(data, monkeypatch):
    unhashed = {key: (name, None) for key, (name, _) in datasets.Flowers102._file_dict.items()}
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", unhashed)
    manifest = load_manifest("flowers102")
    for part in PARTS:
        theirs = datasets.Flowers102(data / "flowers102", split=part)
        files = map(str, theirs._image_files)
        assert rows(manifest, part) == list(zip(files, theirs._labels, strict=True))
    named = {0: "pink primrose", 15: "globe flower", 62: "black-eyed susan", 101: "blackberry lily"}
    assert {label: manifest.names[label] for label in named} == named
    other = {
        pair for pair in zip(manifest.names, datasets.Flowers102.classes, strict=True)
        if pair[0] != pair[1]
    }  # fmt: skip
    assert len(other) == 3 and ("globe flower", "globe-flower") in other


def test_cars_are_torchvisions(data):
    manifest = load_manifest("cars")
    theirs = datasets.StanfordCars(data / "cars", split="test")
    assert theirs.classes == manifest.names and len(set(manifest.names)) == 196
    assert rows(manifest, "test") == theirs._samples
    trained = datasets.StanfordCars(data / "cars", split="train")._samples
    assert sorted(rows(manifest, "train") + rows(manifest, "val")) == sorted(trained)


def test_rendered_sst2_is_torchvisions(data):
    manifest = load_manifest("rendered_sst2")
    for part in PARTS:
        theirs = datasets.RenderedSST2(data / "rendered_sst2", split=part)
        assert rows(manifest, part) == theirs._samples
        assert theirs.classes == manifest.names


def test_patchcamelyon_is_torchvisions(data):
    manifest = load_manifest("patchcamelyon")
    for part in PARTS:
        theirs = datasets.PCAM(data / "patchcamelyon", split=part)
        ours = rows(manifest, part)
        assert len(ours) == len(theirs)
        for (file, label), (image, target) in zip(ours, theirs, strict=True):
            assert label == target
            assert np.array_equal(np.asarray(Image.open(file)), np.asarray(image))
    split = load_manifest("patchcamelyon").split("patchcamelyon/train")
    written = {file: file.stat().st_mtime_ns for file in split.root.rglob("*.png")}
    assert len(written) == sum(SIZES["patchcamelyon"])
    load_manifest("patchcamelyon").split("patchcamelyon/train")
    assert {file: file.stat().st_mtime_ns for file in split.root.rglob("*.png")} == written
    assert decode(next(iter(written)), split.decoding).size == (96, 96)


def test_patchcamelyon_without_h5py_says_what_to_install(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"h5py is not installed; .*'clipft\[hdf5\]'"):
        load_manifest("patchcamelyon").split("patchcamelyon/train")


@pytest.mark.parametrize("name", WRITERS)
def test_texts_are_those_of_clips_release(name):
    """Spelled with their hyphens, and captions are the templates of the head, as in FLYP."""
    manifest = load_manifest(name)
    assert not manifest.captions and manifest.templates != "openai"
    assert not [text for text in manifest.names if "_" in text or "  " in text]
    counts = {"caltech101": 34, "cars": 8}
    assert len(manifest.templates) == counts.get(name, 1)
    assert manifest.metric in METRICS


# --- one domain, no shift


def test_a_run_without_a_shift(data, world, monkeypatch):
    """Trained, scored, tabled, drawn and explored; what needs a shift says so."""
    monkeypatch.setenv("CLIPFT_DATA", str(data))
    run = world.train(manifest="rendered_sst2", steps=2, eval_every=2)
    run.score([0, 0.5, 1])
    table = clipft.results(run)
    assert set(table["split"]) == {"rendered_sst2/val", "rendered_sst2/test"}
    scores = run.scores(1.0)["rendered_sst2/test"]
    right = np.mean(scores.label == scores.prediction)
    (printed,) = clipft.results_table(table).query("method == 'FT'").rendered_sst2
    assert printed == f"{100 * right:.1f}"

    drawn = [
        clipft.accuracy_figure(run.table()),
        clipft.wise_curve_figure(table),
        clipft.wise_slider_figure(table),
        clipft.sweep_figure(run.sweep()),
        clipft.trade_off_figure(table),
        clipft.explore(run),
        clipft.RunBrowser(world.runs),
    ]
    assert all(drawn)
    for needs_a_shift in (clipft.EnergyGapExplorer, clipft.energy_gap_figure, clipft.choices):
        with pytest.raises(ConfigError, match=r"shift|no run with energy_gap"):
            needs_a_shift(table)


# --- damage


def link_or_copy(source, target):
    """An image is one file with that of the other tests; what lists them may be written to."""
    link = str(source).endswith((".jpg", ".png"))
    os.link(source, target) if link else shutil.copyfile(source, target)


@pytest.fixture
def copy(data, tmp_path, monkeypatch):
    """A function that makes a copy which may be damaged."""

    def make(name):
        monkeypatch.setenv("CLIPFT_DATA", str(tmp_path))
        return shutil.copytree(data / name, tmp_path / name, copy_function=link_or_copy)

    return make


def rewrite(file, **changes):
    """Change variables of a .mat file, as they are read."""
    values = {key: value for key, value in loadmat(file).items() if not key.startswith("__")}
    savemat(file, values | {key: change(values) for key, change in changes.items()})


def cut(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def rewrite_hdf5(file, name, array):
    import h5py

    with h5py.File(file, "w") as opened:
        opened[name] = array


def unlabelled(root):
    file = root / "stanford_cars/cars_test_annos_withlabels.mat"
    shutil.copyfile(root / "stanford_cars/devkit/cars_test_annos.mat", file)


def two_swapped(values):
    names = values["class_names"].copy()
    names[0, [3, 4]] = names[0, [4, 3]]
    return names


FLOWERS, CARS = "flowers-102", "stanford_cars"
DAMAGE = {
    "caltech101: no images": (
        lambda root: shutil.rmtree(root / "caltech101/101_ObjectCategories"),
        "no {root}/caltech101/101_ObjectCategories; wanted: Caltech-101 as its card says",
    ),
    "caltech101: a class is missing, as in copies of 100 classes": (
        lambda root: shutil.rmtree(root / "caltech101/101_ObjectCategories/Faces_easy"),
        "101_ObjectCategories has no image of Faces_easy; wanted: Caltech-101 as",
    ),
    "caltech101: a class more": (
        lambda root: (root / "caltech101/101_ObjectCategories/ant").rename(
            root / "caltech101/101_ObjectCategories/ants"
        ),
        "101_ObjectCategories/ants: unknown class 'ants'; did you mean 'ant'?",
    ),
    "caltech101: unpacked beside": (
        lambda root: (root / "caltech101").rename(root / "caltech-101"),
        "no {root}/caltech101/101_ObjectCategories; wanted: Caltech-101 as its card says",
    ),
    "flowers102: no labels": (
        lambda root: (root / FLOWERS / "imagelabels.mat").unlink(),
        "no {root}/flowers-102/imagelabels.mat; wanted: Oxford Flowers-102 as its card says",
    ),
    "flowers102: no images": (
        lambda root: shutil.rmtree(root / FLOWERS / "jpg"),
        "no {root}/flowers-102/jpg; wanted: Oxford Flowers-102 as its card says",
    ),
    "flowers102: labels of fewer images": (
        lambda root: rewrite(
            root / FLOWERS / "imagelabels.mat", labels=lambda v: v["labels"][:, :99]
        ),
        "of 99 in {root}/flowers-102/imagelabels.mat; wanted: both of one download",
    ),
    "flowers102: labels from 0": (
        lambda root: rewrite(root / FLOWERS / "imagelabels.mat", labels=lambda v: v["labels"] - 1),
        "imagelabels.mat has an image of class 0; wanted: 1 to 102, of Oxford Flowers-102",
    ),
    "flowers102: an image in two parts": (
        lambda root: rewrite(root / FLOWERS / "setid.mat", valid=lambda v: v["trnid"][:, :102]),
        "flowers-102/jpg/image_{number:05d}.jpg twice, in train and in val; wanted: once",
    ),
    "flowers102: a split is not there": (
        lambda root: savemat(root / FLOWERS / "setid.mat", {"trnid": [1, 2]}),
        "setid.mat holds no valid; wanted: trnid, valid, tstid",
    ),
    "flowers102: a file that was cut": (
        lambda root: cut(root / FLOWERS / "imagelabels.mat"),
        "imagelabels.mat cannot be read as a MATLAB file: ",
    ),
    "cars: no devkit": (
        lambda root: shutil.rmtree(root / CARS / "devkit"),
        "no {root}/stanford_cars/devkit/cars_meta.mat; wanted: Stanford Cars as its card says",
    ),
    "cars: no images of tests": (
        lambda root: shutil.rmtree(root / CARS / "cars_test"),
        "no {root}/stanford_cars/cars_test; wanted: Stanford Cars as its card says",
    ),
    "cars: tests without labels": (
        unlabelled,
        "cars_test_annos_withlabels.mat: annotations have no class; wanted: fname and class; ",
    ),
    "cars: a class more": (
        lambda root: rewrite(
            root / CARS / "devkit/cars_meta.mat",
            class_names=lambda v: np.append(v["class_names"], [["a bicycle"]], axis=1),
        ),
        "cars_meta.mat has 197 classes; wanted: the 196 of Stanford Cars",
    ),
    "cars: another order of classes": (
        lambda root: rewrite(root / CARS / "devkit/cars_meta.mat", class_names=two_swapped),
        "cars_meta.mat has Acura TSX Sedan 2012 as class 4; wanted: the order in which ",
    ),
    "cars: an image of no class": (
        lambda root: savemat(
            root / CARS / "devkit/cars_train_annos.mat",
            {"annotations": annotations(["00001.jpg", "00002.jpg"], [1, 197])},
        ),
        "cars_train_annos.mat has an image of class 197; wanted: 1 to 196, of Stanford Cars",
    ),
    "cars: an image twice": (
        lambda root: savemat(
            root / CARS / "devkit/cars_train_annos.mat",
            {"annotations": annotations(["00001.jpg", "00001.jpg"], [1, 2])},
        ),
        "names stanford_cars/cars_train/00001.jpg twice, in train and in train; wanted: once",
    ),
    "rendered_sst2: a part is missing": (
        lambda root: shutil.rmtree(root / "rendered-sst2/valid"),
        "no {root}/rendered-sst2/valid; wanted: Rendered SST2 as its card says",
    ),
    "rendered_sst2: a class is missing": (
        lambda root: shutil.rmtree(root / "rendered-sst2/valid/positive"),
        "rendered-sst2/valid has no image of positive; wanted: Rendered SST2 as its card says",
    ),
    "rendered_sst2: a class more": (
        lambda root: shutil.copytree(
            root / "rendered-sst2/test/positive", root / "rendered-sst2/test/neutral"
        ),
        "rendered-sst2/test/neutral: unknown class 'neutral'; ",
    ),
    "patchcamelyon: a file is missing": (
        lambda root: (root / PCAM.format(part="valid", what="y")).unlink(),
        "no {root}/pcam/camelyonpatch_level_2_split_valid_y.h5; wanted: PatchCamelyon as its",
    ),
    "patchcamelyon: labels of fewer images": (
        lambda root: rewrite_hdf5(
            root / PCAM.format(part="valid", what="y"), "y", np.zeros((9, 1, 1, 1), np.uint8)
        ),
        "split_valid_x.h5: 10 images and 9 labels; wanted: as many",
    ),
    "patchcamelyon: a label of no class": (
        lambda root: rewrite_hdf5(
            root / PCAM.format(part="test", what="y"), "y", np.full((8, 1, 1, 1), 2, np.uint8)
        ),
        "split_test_y.h5: image 0 has label 2; wanted: 0 ... 1",
    ),
    "patchcamelyon: no colours": (
        lambda root: rewrite_hdf5(
            root / PCAM.format(part="test", what="x"), "x", np.zeros((8, 96, 96), np.uint8)
        ),
        "split_test_x.h5: images are uint8 of shape (8, 96, 96); wanted: uint8 (N, H, W, 3)",
    ),
    "patchcamelyon: a file that is still packed": (
        lambda root: (root / PCAM.format(part="train", what="x")).write_bytes(b"\x1f\x8b"),
        "split_train_x.h5 cannot be read as an HDF5 file: ",
    ),
    "patchcamelyon: another file": (
        lambda root: rewrite_hdf5(
            root / PCAM.format(part="train", what="x"), "mask", np.zeros((12, 96, 96, 1), np.uint8)
        ),
        "split_train_x.h5 holds no x; wanted: one of PatchCamelyon's files",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_copy_is_one_line(copy, damage):
    name = damage.split(":")[0]
    hurt, words = DAMAGE[damage]
    root = copy(name)
    number = int(loadmat(root / FLOWERS / "setid.mat")["trnid"][0, 0]) if FLOWERS in words else 0
    hurt(root)
    with pytest.raises(ClipftError) as caught:
        load_manifest(name).split(f"{name}/train")
    assert words.format(root=root, number=number) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_of_another_name(copy, name):
    root = copy(name)
    root.rename(root.with_name(f"{name}_v2"))
    title = load_manifest(name).title
    with pytest.raises(ConfigError, match=f"no folder {root}; put {title} there"):
        load_manifest(name).split(f"{name}/train")


@pytest.mark.parametrize("name", ["cars", "flowers102"])
def test_a_list_that_names_a_missing_file(copy, name):
    root = copy(name)
    split = load_manifest(name).split(f"{name}/test")
    (root / split.ids[3]).unlink()
    (wrong,) = check_images(load_manifest(name)).wrong
    images = sum(SIZES[name])
    assert wrong.startswith(f"missing: 1 of {images}, e.g. image missing: {root / split.ids[3]}")


@pytest.mark.parametrize("name", ["caltech101", "rendered_sst2"])
def test_an_image_in_two_splits(copy, name):
    root = copy(name)
    train, test = (load_manifest(name).split(f"{name}/{part}") for part in ("train", "test"))
    (root / test.ids[0]).unlink()
    shutil.copyfile(root / train.ids[0], root / test.ids[0])
    (wrong,) = check_images(load_manifest(name)).wrong
    assert wrong.startswith("the same image in several splits: 1, e.g. ")
    assert Counter(wrong.split())[f"({name}/train)"] == 1
