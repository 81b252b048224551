"""ImageNet and its shifts, read from a miniature in the layout of their archives."""

import csv
import json
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import open_clip
import pytest
import torch
from miniatures.imagenet import (
    BOTH,
    OF_A,
    OF_R,
    PAIRS,
    SYNSETS,
    V2,
    draw,
    imagenet_manifest,
    write_imagenet,
)
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import ImageFolder
from torchvision.datasets.imagenet import parse_devkit_archive

from clipft.data.class_lists import synsets
from clipft.data.images import decode
from clipft.data.layouts.asked import Asked
from clipft.data.layouts.imagenet import imagenet_v2
from clipft.data.manifests import Manifest, load_manifest
from clipft.data.splits import Decoding, Split, hold_out
from clipft.errors import ConfigError, ImageError
from clipft.evaluation.predictions import predictions

SHIFTS = ["imagenetv2", "imagenet-r", "imagenet-a", "imagenet-sketch", "objectnet"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_imagenet(tmp_path_factory.mktemp("imagenet"))


@pytest.fixture
def copied(whole, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(whole, tmp_path / "imagenet")


@pytest.fixture
def manifest(whole, monkeypatch):
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    return imagenet_manifest(whole)


# --- what ships


def test_classes_are_open_clips_names_in_the_order_of_synsets():
    shipped = load_manifest("imagenet")
    assert shipped.names == list(open_clip.IMAGENET_CLASSNAMES)  # hyphens and all, as prompted
    folders = [name.folder for name in shipped.class_names]
    assert folders == sorted(folders) and len(set(folders)) == 1000
    # Typed from the ImageNet site.
    assert {shipped.label_of_folder[synset] for synset in ("n01440764", "n15075141")} == {0, 999}
    assert [shipped.names[label] for label in (0, 1, 999)] == ["tench", "goldfish", "toilet paper"]
    assert shipped.shifts() == SHIFTS


def test_a_copy_for_a_run_needs_no_library(monkeypatch):
    shipped = load_manifest("imagenet")
    copy = json.loads(json.dumps(shipped.copy_for_run()))
    monkeypatch.setattr("clipft.data.manifests.LISTS", {})
    again = Manifest.from_copy(copy)
    assert again.digest() == shipped.digest()
    assert again.names[999] == "toilet paper"


def test_a_manifest_of_ones_own_names_the_list(tmp_path):
    values = {"name": "own", "domains": ["imagenet"], "reference": "imagenet"}
    values |= {"classes": "imagenet", "kept": {"imagenet": {"layout": "imagenet"}}}
    assert len(Manifest.of(values, tmp_path / "own.yaml").class_names) == 1000
    with pytest.raises(ConfigError, match=r"no such file: .*imagenett"):
        assert Manifest.of(values | {"classes": "imagenett"}, tmp_path / "own.yaml").class_names


def test_looking_at_it_loads_no_torch():
    code = "import sys; from clipft.data.manifests import load_manifest as load\n"
    code += (
        "load('imagenet').class_names; assert not {'torch', 'timm', 'open_clip'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("package", ["open_clip", "timm"])
def test_without_a_library_it_says_so(package, monkeypatch):
    find = "clipft.data.class_lists.util.find_spec"
    monkeypatch.setattr(find, lambda name: None)
    from clipft.data import class_lists

    with pytest.raises(ConfigError, match=f"{package} is not installed; try pip install {package}"):
        class_lists._package(package)


# --- labels


def test_train_is_torchvisions_image_folder(manifest, whole):
    rows = {}
    for part in ("train", "val"):
        split = manifest.split(f"imagenet/{part}")
        rows |= dict(zip(split.ids, split.labels, strict=True))
        assert set(Counter(split.labels).values()) == {2 if part == "train" else 1}
    theirs = ImageFolder(whole / "train")
    assert rows == {_below(whole, path): label for path, label in theirs.samples}
    test = manifest.split("imagenet/test")
    theirs = ImageFolder(whole / "val")
    assert list(zip(test.ids, test.labels, strict=True)) == [
        (_below(whole, path), label) for path, label in theirs.samples
    ]


def _below(root, path):
    return path.removeprefix(f"{root}/")


def test_labels_of_v2_are_numbers_not_letters(manifest, whole):
    """modestyachts/ImageNetV2#10: sorted as words, folder 100 was class 2."""
    split = manifest.split("imagenetv2/test")
    assert split.labels == tuple(range(len(SYNSETS)))
    assert [path.split("/")[2] for path in split.ids] == [f"{synset}.jpeg" for synset in SYNSETS]
    by_letters = [label for _, label in ImageFolder(whole / V2).samples]
    names = sorted(SYNSETS, key=lambda synset: str(synsets("imagenet").index(synset)))
    assert by_letters == list(range(len(SYNSETS))) and names != SYNSETS  # what would be wrong


def test_v2_of_all_classes_by_their_numbers(tmp_path):
    folders = load_manifest("imagenet").label_of_folder
    for number in range(1000):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "x.jpeg").touch()
    rows = imagenet_v2(Asked(tmp_path, "v2", "imagenetv2", folders, "ImageNet"))["test"]
    assert [path.split("/")[1] for path in rows.ids] == [str(label) for label in rows.labels]
    assert rows.labels == list(range(1000))


def test_v2_may_have_synsets_as_folders(copied, monkeypatch):
    """modestyachts/ImageNetV2#4: another edition of the same images."""
    for number in (copied / V2).iterdir():
        number.rename(number.with_name(synsets("imagenet")[int(number.name)]))
    assert imagenet_manifest(copied).split("imagenetv2/test").labels == tuple(range(len(SYNSETS)))


@pytest.mark.parametrize(
    ("domain", "own"), [("imagenet-r", {*BOTH, *OF_R}), ("imagenet-a", {*BOTH, *OF_A})]
)
def test_r_and_a_are_masked_to_their_classes(manifest, domain, own):
    split = manifest.split(f"{domain}/test")
    labels = [SYNSETS.index(synset) for synset in sorted(set(SYNSETS) & set(_list_of(domain)))]
    assert {*own} <= {SYNSETS[label] for label in labels}
    assert split.labels == tuple(labels) == split.allowed
    assert (
        manifest.split("imagenet-sketch/test").allowed
        == manifest.split("imagenet/test").allowed
        == ()
    )


def _list_of(domain):
    names = synsets(domain.replace("-", "_"))
    assert len(set(names)) == 200
    return names


# --- val as it comes


def _flatten(root):
    """Val as its archive has it: -> (name, label) of each image."""
    named = []
    for file in sorted((root / "val").glob("*/*.JPEG")):
        named.append((file.stem, SYNSETS.index(file.parent.name)))
        file.rename(root / "val" / file.name)
    for folder in (root / "val").glob("n*"):
        folder.rmdir()
    return named


def _write_solution(root, named):
    with (root / "LOC_val_solution.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ImageId", "PredictionString"])
        for name, label in reversed(named):
            writer.writerow([name, f"{SYNSETS[label]} 1 2 30 40 {SYNSETS[label]} 5 6 7 8 "])


def _write_devkit(root, named):
    """The devkit's files; its numbers go backwards, so that no order helps."""
    data = root / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O")]
    kinds.append(("num_children", "O"))
    count = len(SYNSETS)
    rows = [(count - label, wnid, "w", "g", 0) for label, wnid in enumerate(SYNSETS)]
    rows.append((count + 1, "n00001740", "entity", "g", 3))  # a class above others
    savemat(data / "meta.mat", {"synsets": np.array(rows, dtype=kinds)})
    truth = "".join(f"{count - label}\n" for _, label in sorted(named))
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)


@pytest.mark.parametrize("write", [_write_solution, _write_devkit])
def test_val_as_it_comes_is_val_in_folders(copied, manifest, write):
    """huggingface/pytorch-image-models#1081, tensorflow/tpu#712: labels of another order."""
    in_folders = manifest.split("imagenet/test")
    write(copied, _flatten(copied))
    flat = imagenet_manifest(copied).split("imagenet/test")
    assert [path.split("/")[-1] for path in in_folders.ids] == [p[4:] for p in flat.ids]
    assert flat.labels == in_folders.labels
    assert all((copied / path).is_file() for path in flat.ids)


def _cut_solution(root):
    _write_solution(root, _flatten(root))
    file = root / "LOC_val_solution.csv"
    file.write_text(file.read_text().rpartition(",")[0] + "\n")


def _cut_devkit(root):
    _write_devkit(root, _flatten(root))
    file = root / "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
    file.write_text(file.read_text() + "99\n")


def _cut_places(root):
    file = root / "objectnet-1.0/mappings/pytorch_to_imagenet_2012_id.json"
    file.write_text("{}")


@pytest.mark.parametrize(
    ("split", "hurt", "named"),
    [
        ("imagenet/test", _cut_solution, "LOC_val_solution.csv"),
        ("imagenet/test", _cut_devkit, "data"),
        ("objectnet/test", _cut_places, "mappings"),
    ],
)
def test_a_cut_file_of_labels_is_one_line(copied, split, hurt, named):
    hurt(copied)
    with pytest.raises(ConfigError, match=rf"/{named} is not as it was published \(") as caught:
        imagenet_manifest(copied).split(split)
    assert "\n" not in str(caught.value)


def test_the_devkit_is_read_as_torchvision_reads_it(copied, monkeypatch):
    _write_devkit(copied, _flatten(copied))
    archive = shutil.make_archive(
        str(copied / "ILSVRC2012_devkit_t12"), "gztar", copied, "ILSVRC2012_devkit_t12"
    )
    shutil.move(archive, copied / "devkit.tar.gz")
    monkeypatch.setattr(
        "torchvision.datasets.imagenet.ARCHIVE_META", {"devkit": ("devkit.tar.gz", None)}
    )
    parse_devkit_archive(copied)
    _, theirs = torch.load(copied / "meta.bin", weights_only=True)
    split = imagenet_manifest(copied).split("imagenet/test")
    by_name = dict(zip(split.ids, split.labels, strict=True))
    assert [SYNSETS[by_name[path]] for path in sorted(by_name)] == theirs


# --- ObjectNet


def test_objectnet_by_hand(manifest):
    split = manifest.split("objectnet/test")
    first = [SYNSETS.index(pair[0]) for pair in PAIRS]
    second = [SYNSETS.index(pair[1]) for pair in PAIRS]
    shirt = SYNSETS.index(OF_R[0])
    folders = {
        path.split("/")[2]: label for path, label in zip(split.ids, split.labels, strict=True)
    }
    assert folders == {"alarm_clock": first[0], "cabinet": first[1], "t-shirt": shirt}
    assert split.allowed == tuple(sorted([*first, shirt]))
    assert split.alike == tuple(sorted(zip(first, second, strict=True)))
    assert split.decoding.border == 2 and manifest.split("imagenet-r/test").decoding.border == 0


@pytest.mark.parametrize("seed", range(3))
def test_objectnets_logits_are_projected_as_wise_ft_does(seed):
    """A NumPy transcription: 113 columns, the highest logit of each class's ids."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 3, (60, 12))
    ids_of_class = [[1, 4], [2], [5, 7, 9], [11]]
    labels = draw.integers(0, 4, 60)
    projected = np.stack([logits[:, ids].max(1) for ids in ids_of_class], 1)
    soft = np.exp(projected) / np.exp(projected).sum(1, keepdims=True)

    first = np.array([ids[0] for ids in ids_of_class])
    prediction, confidence, nll, *_ = predictions(
        torch.from_numpy(logits), torch.from_numpy(first[labels]), tuple(first), ((1, 4), (5, 7, 9))
    )
    assert prediction.tolist() == first[projected.argmax(1)].tolist()
    assert confidence.numpy() == pytest.approx(soft.max(1), rel=1e-5)
    of_label = soft[np.arange(60), labels]
    assert nll.numpy() == pytest.approx(-np.log(of_label), rel=1e-4, abs=1e-6)


def test_alike_classes_by_hand():
    logits = torch.tensor([[0.0, 1.0, 3.0, 2.0]])
    assert predictions(logits, torch.tensor([0]), (), ((0, 3),))[0].item() == 2
    assert predictions(logits, torch.tensor([0]), (0, 1), ((0, 3),))[0].item() == 0
    assert logits.tolist() == [[0.0, 1.0, 3.0, 2.0]]  # as they were


def test_the_red_border_is_cut_off_and_nothing_else(whole, manifest):
    """modestyachts/imagenet-testbed#13: one pixel is red, two are cut off by those who report."""
    split = manifest.split("objectnet/test")
    file = split.root / split.ids[0]
    own = np.asarray(Image.open(file).convert("RGB"))
    assert (own[0] == (255, 0, 0)).all() and (own[1, :, 0] == 255).all()
    cut = np.asarray(decode(file, split.decoding))
    np.testing.assert_array_equal(cut, own[2:-2, 2:-2])
    np.testing.assert_array_equal(np.asarray(decode(file, manifest.decoding)), own)


def test_an_image_that_is_all_border(tmp_path):
    draw(tmp_path / "x.png", 0, size=4)
    with pytest.raises(ImageError, match=r"image too small: .* is 4 x 4 with a border of 2 pixels"):
        decode(tmp_path / "x.png", Decoding(border=2))


# --- damaged copies


def _lose(*parts):
    return lambda root: shutil.rmtree(root.joinpath(*parts))


def _add(*parts):
    return lambda root: draw(root.joinpath(*parts), 1)


def _swap(name, old, new):
    def change(root):
        file = root / "objectnet-1.0" / "mappings" / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return change


def _flat_without_labels(root):
    _flatten(root)


def _flat_with_one_lost(root):
    named = _flatten(root)
    _write_solution(root, named)
    (root / "val" / f"{named[2][0]}.JPEG").unlink()


def _flat_with_one_more(root):
    _write_solution(root, _flatten(root)[:-1])


FIRST, IN_BOTH = SYNSETS[0], BOTH[0]
DAMAGES = {
    "no train": ("imagenet", _lose("train"), r"no \S+/train; wanted: ImageNet as its card says"),
    "no val": ("imagenet", _lose("val"), r"no \S+/val; wanted: ImageNet as its card says"),
    "a class less": (
        "imagenet",
        _lose("train", FIRST),
        rf"1 of {len(SYNSETS)} classes have no image in \S+/train: {FIRST}; wanted: all",
    ),
    "a class less in val": ("imagenet", _lose("val", FIRST), rf"no image in \S+/val: {FIRST}; "),
    "a class more": ("imagenet", _add("train", "n00000001", "x.JPEG"), "unknown class 'n00000001'"),
    "val without labels": ("imagenet", _flat_without_labels, "no LOC_val_solution.csv or devkit"),
    "val with one lost": (
        "imagenet",
        _flat_with_one_lost,
        r"names 1 of \d+ images that are not in",
    ),
    "val with one more": ("imagenet", _flat_with_one_more, r"csv names no class of \S+/val/ILSVRC"),
    "no v2": ("imagenetv2", _lose(V2), rf"no \S+{V2}; wanted"),
    "v2 with 1000": ("imagenetv2", _add(V2, "1000", "x.jpeg"), "unknown class '1000'"),
    "v2 with a class less": (
        "imagenetv2",
        lambda root: shutil.rmtree(next((root / V2).iterdir())),
        "1 of",
    ),
    "no r": ("imagenet-r", _lose("imagenet-r"), r"no \S+imagenet-r; wanted"),
    "r with a class less": (
        "imagenet-r",
        _lose("imagenet-r", IN_BOTH),
        f"imagenet-r: {IN_BOTH}; wanted",
    ),
    "r with one of a": (
        "imagenet-r",
        _add("imagenet-r", OF_A[0], "x.jpg"),
        f"class of imagenet-r '{OF_A[0]}'",
    ),
    "a with one of r": (
        "imagenet-a",
        _add("imagenet-a", OF_R[0], "x.jpg"),
        f"class of imagenet-a '{OF_R[0]}'",
    ),
    "a with a class less": (
        "imagenet-a",
        _lose("imagenet-a", IN_BOTH),
        f"imagenet-a: {IN_BOTH}; wanted",
    ),
    "no sketch": ("imagenet-sketch", _lose("sketch"), r"no \S+/sketch; wanted"),
    "sketch with a class less": (
        "imagenet-sketch",
        _lose("sketch", FIRST),
        rf"/sketch: {FIRST}; wanted",
    ),
    "no mappings": ("objectnet", _lose("objectnet-1.0", "mappings"), "no .*label.json; wanted"),
    "no cabinet": (
        "objectnet",
        _lose("objectnet-1.0", "images", "cabinet"),
        "1 of 3 classes have no image in .*images: cabinet",
    ),
    "a folder more": (
        "objectnet",
        _add("objectnet-1.0", "images", "alarm_clok", "x.png"),
        "unknown class of ObjectNet 'alarm_clok'; did you mean 'alarm_clock'",
    ),
    "a name of no line": (
        "objectnet",
        _swap("imagenet_to_label_2012_v2", f"{OF_R[0]} in words", "another"),
        "no line .*which is 'T-shirt' of ObjectNet",
    ),
    "a class in two": (
        "objectnet",
        _swap("objectnet_to_imagenet_1k.json", PAIRS[0][0], PAIRS[1][0]),
        "'Alarm clock' and 'Cabinet' share a class of ImageNet",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_copy_gives_its_one_line(name, copied, monkeypatch):
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    domain, damage, words = DAMAGES[name]
    damage(copied)
    with pytest.raises(ConfigError, match=words) as caught:
        imagenet_manifest(copied).split(f"{domain}/test")
    assert "\n" not in str(caught.value)
    others = [other for other in ("imagenet", *SHIFTS) if other != domain]
    for other in others:  # of what is whole nothing is said
        assert len(imagenet_manifest(copied).split(f"{other}/test"))


def test_what_is_no_image_is_said(copied, capsys):
    imagenet_manifest(copied).split("imagenet-r/test")
    assert "imagenet-r: left out, no image: .txt (1)" in capsys.readouterr().err


def test_without_data_one_line_says_where_it_belongs(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match=rf"no folder {tmp_path}/imagenet; put ImageNet there"):
        load_manifest("imagenet").split("imagenet/train")
    monkeypatch.delenv("CLIPFT_DATA")
    with pytest.raises(ConfigError, match="where is imagenet"):
        load_manifest("imagenet").split("imagenet/train")


# --- a million rows


def test_what_is_held_out_is_drawn_as_by_a_look_for_each_label():
    draw = np.random.default_rng(4)
    labels = draw.integers(0, 7, 200)
    ids = tuple(map(str, range(200)))
    split = Split("real", "train", None, ids, tuple(labels.tolist()))
    _, out = hold_out(split, "val", 0.1, seed=5)

    plain = np.random.default_rng(5)
    want = []
    for label in range(7):
        rows = np.flatnonzero(labels == label)
        want += plain.permutation(rows)[: max(1, round(0.1 * len(rows)))].tolist()
    assert out.ids == tuple(str(row) for row in sorted(want))
