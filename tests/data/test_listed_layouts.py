"""Data sets whose own tables and lists say what belongs where, on miniatures in their exact layout:
iWildCam, FMoW and Waterbirds of WILDS, CelebA, CUB.
"""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import made_once
from miniatures import birds, faces, wilds
from scipy.io import loadmat, savemat
from torchvision.datasets import CelebA

from clipft.data.folders import complete
from clipft.data.manifests import load_manifest
from clipft.data.splits import Split
from clipft.errors import ConfigError
from clipft.inputs.prompts import fill_in, templates
from clipft.runs.scores import metric_statistic

WRITERS = wilds.WRITERS | faces.WRITERS | birds.WRITERS


@pytest.fixture(scope="module")
def kept(shared):
    """A function that makes a miniature, once for all, and names its folder."""

    def folder_of(name: str) -> Path:
        made_once(shared / f"listed_{name}", lambda base: WRITERS[name](base / name))
        return shared / f"listed_{name}"

    return folder_of


@pytest.fixture
def mini(kept, monkeypatch):
    """A function that opens a manifest on its miniature."""

    def opened(name: str):
        monkeypatch.setenv("CLIPFT_DATA", str(kept(name)))
        return load_manifest(name)

    return opened


@pytest.fixture
def own(kept, tmp_path, monkeypatch):
    """A function that opens a manifest on a copy of its miniature, and names the copy's folder."""

    def opened(name: str):
        # Hard links: what is damaged is put in the place of a file, never written into it.
        shutil.copytree(kept(name) / name, tmp_path / name, copy_function=link)
        monkeypatch.setenv("CLIPFT_DATA", str(tmp_path))
        return load_manifest(name), tmp_path / name

    return opened


def link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def put(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    file.write_text(text)


SOOTY = "CUB_200_2011/images/003.Sooty_Albatross"
COUNTS = {
    "iwildcam": {"id/train": 182, "id/val": 13, "id/test": 14, "ood/val": 11, "ood/test": 12},
    "fmow": {"id/train": 124, "id/val": 28, "id/test": 42, "ood/val": 14, "ood/test": 42},
    "waterbirds": {"waterbirds/train": 12, "waterbirds/val": 12, "waterbirds/test": 12},
    "celeba": {"celeba/train": 12, "celeba/val": 12, "celeba/test": 12},
    "cub": {"cub/train": 200, "cub/val": 200, "cub/test": 200},
    "cub_gzsl": {"seen/train": 150, "seen/val": 150, "seen/test": 150, "unseen/test": 150},
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_image_is_in_its_split(mini, name):
    manifest = mini(name)
    splits = [split for domain in manifest.domains for split in manifest.parts(domain).values()]
    assert {split.name: len(split) for split in splits} == COUNTS[name]
    images = [image for split in splits for image in split.ids]
    assert len(images) == len(set(images))
    assert all((manifest.place / image).is_file() for image in images)
    for split in splits:
        assert len(split.labels) == len(split) and len(split.groups) in (0, len(split))
    assert manifest.shifts() == [d for d in manifest.domains if d != manifest.reference]


@pytest.mark.parametrize(
    ("name", "split", "row", "image", "label", "group"),
    [
        (
            "iwildcam",
            "id/train",
            181,
            "train/0_train_181_0.jpg",
            "central american red brocket",
            "",
        ),
        ("iwildcam", "ood/test", 3, "train/2_test_3_0.jpg", "lowland paca", ""),
        # Rows 130 and 131 are of split seq, and have numbers all the same.
        ("fmow", "id/train", 0, "images/rgb_img_0.png", "airport", "Asia"),
        ("fmow", "id/val", 1, "images/rgb_img_133.png", "airport", "Asia"),
        ("fmow", "id/test", 0, "images/rgb_img_178.png", "airport", "Americas"),
        ("fmow", "ood/val", 0, "images/rgb_img_160.png", "airport", ""),
        ("fmow", "ood/test", 39, "images/rgb_img_263.png", "archaeological_site", "Oceania"),
        ("fmow", "ood/test", 41, "images/rgb_img_265.png", "barn", ""),
        ("cub", "cub/test", 2, f"{SOOTY}/Sooty_Albatross_0002_9.jpg", "Sooty Albatross", ""),
    ],
)
def test_rows_by_hand(mini, name, split, row, image, label, group):
    manifest = mini(name)
    rows = manifest.split(split)
    assert rows.ids[row] == image
    assert manifest.names[rows.labels[row]] == label
    assert (rows.groups[row] if rows.groups else "") == group


def test_iwildcam_is_what_wilds_reads(mini):
    """As WILDS 2.0.0 does it, by pandas."""
    manifest = mini("iwildcam")
    table = pd.read_csv(manifest.place / "metadata.csv")
    for ours, theirs in {
        "id/train": "train",
        "id/val": "id_val",
        "id/test": "id_test",
        "ood/val": "val",
        "ood/test": "test",
    }.items():
        rows = table[table.split == theirs]
        split = manifest.split(ours)
        assert split.ids == tuple("train/" + rows.filename)
        assert split.labels == tuple(rows.y)
    listed = pd.read_csv(manifest.place / "categories.csv")
    listed = listed[listed.y < 99999]
    assert manifest.label_of_folder == dict(
        zip(listed.category_id.astype(str), listed.y, strict=True)
    )
    # Four pairs have one English name.
    assert sum(count > 1 for count in Counter(manifest.names).values()) == 4


def test_fmow_is_what_wilds_reads(mini):
    """As WILDS 2.0.0 cuts it, by pandas: masks of whole times, not years."""
    manifest = mini("fmow")
    table = pd.read_csv(manifest.place / "rgb_metadata.csv")
    mapping = pd.read_csv(manifest.place / "country_code_mapping.csv")
    region = dict(zip(mapping["alpha-3"], mapping.region.fillna(""), strict=True))
    time = pd.to_datetime(table.timestamp)
    is_test = time >= pd.Timestamp(2016, 1, 1, tz="UTC")
    is_val = (time >= pd.Timestamp(2013, 1, 1, tz="UTC")) & ~is_test
    before = ~is_test & ~is_val
    for ours, mask in {
        "id/train": before & (table.split == "train"),
        "id/val": before & (table.split == "val"),
        "id/test": before & (table.split == "test"),
        "ood/val": is_val & (table.split == "val"),
        "ood/test": is_test & (table.split == "test"),
    }.items():
        rows = table[mask]
        split = manifest.split(ours)
        assert split.ids == tuple(f"images/rgb_img_{number}.png" for number in rows.index)
        assert [manifest.names[label] for label in split.labels] == list(rows.category)
        assert split.groups == tuple(region.get(country, "") for country in rows.country_code)


@pytest.mark.parametrize("as_tables", [False, True])
def test_celeba_is_what_torchvision_reads(tmp_path, monkeypatch, as_tables):
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path))
    faces.write_celeba(tmp_path / "celeba")
    names = sorted(path.name for path in (tmp_path / "celeba/img_align_celeba").iterdir())
    for stem, head in (("identity_CelebA", 0), ("list_bbox_celeba", 2)):
        lines = ["head"] * head + [f"{name} 1" for name in names]
        (tmp_path / f"celeba/{stem}.txt").write_text("\n".join(lines) + "\n")
    shutil.copy(
        tmp_path / "celeba/list_bbox_celeba.txt",
        tmp_path / "celeba/list_landmarks_align_celeba.txt",
    )
    monkeypatch.setattr(CelebA, "_check_integrity", lambda _: True)  # it knows the real files' sums
    theirs = {part: CelebA(str(tmp_path), part) for part in ("train", "valid", "test")}
    if as_tables:
        for file in (tmp_path / "celeba").glob("*.txt"):
            file.unlink()
        faces.write_celeba(tmp_path / "celeba", as_tables=True)

    manifest = load_manifest("celeba")
    for part, faces_of_part in theirs.items():
        split = manifest.split(f"celeba/{part.removesuffix('id')}")
        assert split.ids == tuple(f"img_align_celeba/{name}" for name in faces_of_part.filename)
        place = faces_of_part.attr_names.index("Blond_Hair")
        blond = faces_of_part.attr[:, place].tolist()
        male = faces_of_part.attr[:, faces_of_part.attr_names.index("Male")].tolist()
        assert list(split.labels) == blond
        words = [("not blond", "blond"), ("women", "men")]
        pairs = zip(blond, male, strict=True)
        assert split.groups == tuple(f"{words[0][hair]} {words[1][man]}" for hair, man in pairs)


def test_waterbirds_groups(mini):
    split = mini("waterbirds").split("waterbirds/test")
    assert Counter(zip(split.labels, split.groups, strict=True)) == {
        (0, "landbird on land"): 3,
        (0, "landbird on water"): 3,
        (1, "waterbird on land"): 3,
        (1, "waterbird on water"): 3,
    }


def test_gzsl_is_what_the_files_of_xian_say(mini):
    manifest = mini("cub_gzsl")
    assert len(manifest.names) == 200
    place = manifest.place / "xlsa17/data/CUB"
    held = loadmat(place / "res101.mat")
    files = [str(cell[0]) for cell in held["image_files"][:, 0]]
    splits = loadmat(place / "att_splits.mat")
    for ours, key in (("seen/test", "test_seen_loc"), ("unseen/test", "test_unseen_loc")):
        split = manifest.split(ours)
        positions = splits[key][:, 0].astype(int) - 1
        assert split.labels == tuple(held["labels"][positions, 0].astype(int) - 1)
        assert [Path(image).name for image in split.ids] == [
            Path(files[at]).name for at in positions
        ]
    trained = manifest.parts("seen")
    labels = {*trained["train"].labels, *trained["val"].labels}
    assert len(labels) == 150 and labels == set(trained["test"].labels)
    assert set(manifest.split("unseen/test").labels) == set(range(200)) - labels


def test_the_worst_region_by_hand(mini):
    """Of ood/test all are right but those of Oceania; no region counts as one."""
    split = mini("fmow").split("ood/test")
    labels = np.array(split.labels)
    groups = np.array(split.groups)
    predictions = labels.copy()
    wrong = np.flatnonzero(groups == "Oceania")
    predictions[wrong[:2]] = 61
    predictions[groups == ""] = 61
    measured = metric_statistic("worst_group", predictions, labels, groups)
    assert measured.value == pytest.approx(1 - 2 / len(wrong))


def test_fmow_is_prompted_as_its_releases_do(mini):
    manifest = mini("fmow")
    texts = fill_in(templates(manifest), manifest.names[1:3])
    assert len(texts) == 2 * 16
    assert texts[0] == "satellite photo of a airport_hangar."
    assert texts[2:4] == [
        "satellite photo of an airport hangar.",
        "aerial photo of an airport hangar.",
    ]
    assert texts[15] == "airport_hangar."
    (barn,) = fill_in(["satellite photo of {an}."], ["barn"])
    assert barn == "satellite photo of a barn."


def test_a_shift_without_test_keeps_its_groups(tmp_path):
    parts = {
        "train": Split("b", "train", tmp_path, ("2", "1"), (1, 0), groups=("x", "y")),
        "val": Split("b", "val", tmp_path, ("3",), (0,), groups=("z",)),
    }
    test = complete(parts, 0.2, "b", is_reference=False)["test"]
    assert test.ids == ("1", "3", "2") and test.groups == ("y", "z", "x")


# --- damaged copies


def word(old: str, new: str, count: int = 1):
    """Damage: the first of a word of a file is another one."""

    def damage(file: Path) -> None:
        text = file.read_text()
        assert old in text
        put(file, text.replace(old, new, count))

    return damage


def gone(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def repeated(file: Path) -> None:
    """Damage: the last line stands there twice."""
    text = file.read_text()
    put(file, text + text.splitlines()[-1] + "\n")


def garbled(file: Path) -> None:
    put(file, "this is no file of MATLAB")


def seen_twice(file: Path) -> None:
    """Damage: an unseen class is trained on."""
    arrays = {key: value for key, value in loadmat(file).items() if key.endswith("_loc")}
    arrays["trainval_loc"] = arrays["test_unseen_loc"]
    file.unlink()
    savemat(file, arrays)


def beyond(file: Path) -> None:
    arrays = {key: value for key, value in loadmat(file).items() if key.endswith("_loc")}
    arrays["test_seen_loc"] = np.array([[601.0]])
    file.unlink()
    savemat(file, arrays)


LISTS = "CUB_200_2011"
MATS = "xlsa17/data/CUB"
BIRD = f"{LISTS}/images/001.Black_footed_Albatross/Black_footed_Albatross_0000_1.jpg"
DAMAGES = [
    # A missing folder, or the wrong root.
    ("iwildcam", "train", gone, "no {root}/train; wanted: iWildCam 2.0 (WILDS) as its card says"),
    ("iwildcam", "metadata.csv", gone, "no {root}/metadata.csv; wanted: iWildCam"),
    ("iwildcam", "categories.csv", gone, "no {root}/categories.csv; wanted: iWildCam"),
    ("fmow", "images", gone, "no {root}/images; wanted: FMoW 1.1 (WILDS) as its card says"),
    ("fmow", "country_code_mapping.csv", gone, "no {root}/country_code_mapping.csv; wanted"),
    ("waterbirds", "metadata.csv", gone, "no {root}/metadata.csv; wanted: Waterbirds"),
    ("celeba", "img_align_celeba", gone, "no {root}/img_align_celeba; wanted: CelebA"),
    ("celeba", "list_eval_partition.txt", gone, "no {root}/list_eval_partition.txt; wanted"),
    ("cub", LISTS, gone, "no {root}/CUB_200_2011/classes.txt; wanted: CUB-200-2011"),
    ("cub_gzsl", f"{MATS}/res101.mat", gone, "no {root}/xlsa17/data/CUB/res101.mat; wanted: CUB"),
    ("cub_gzsl", "xlsa17", gone, "no {root}/xlsa17/data/CUB/att_splits.mat; wanted: CUB"),
    # An image that is named and not there.
    ("iwildcam", "train/0_train_7_0.jpg", gone, "1 of 209 images of {root}/metadata.csv are not"),
    ("fmow", "images/rgb_img_3.png", gone, "e.g. {root}/images/rgb_img_3.png; wanted: FMoW"),
    ("waterbirds", "001.Black_footed_Albatross", gone, "18 of 36 images of {root}/metadata.csv"),
    ("celeba", "img_align_celeba/000002.jpg", gone, "1 of 36 images of {root}/list_attr_celeba"),
    ("cub", BIRD, gone, "1 of 600 images of {root}/CUB_200_2011/images.txt are not there"),
    ("cub_gzsl", BIRD, gone, "1 of 450 images of {root}/xlsa17/data/CUB/att_splits.mat are not"),
    # A class, a split, a number that there is not.
    (
        "iwildcam",
        "metadata.csv",
        word(",5,5,", ",5,182,"),
        "metadata.csv:7: y is 182; wanted: below 182",
    ),
    (
        "iwildcam",
        "metadata.csv",
        word(",5,5,", ",5,,"),
        "metadata.csv:7: y is ''; wanted: a number from 0",
    ),
    (
        "iwildcam",
        "metadata.csv",
        word("id_val,", "id_vla,"),
        "unknown split 'id_vla'; did you mean 'id_val'?",
    ),
    ("iwildcam", "metadata.csv", word(",y,", ",label,"), "metadata.csv has no column y, it has"),
    (
        "iwildcam",
        "categories.csv",
        word("2,3,", "3,3,"),
        "category 3 (central american agouti) has label 3; wanted: label 2",
    ),
    (
        "iwildcam",
        "categories.csv",
        word("99999,9999", "182,9999"),
        "has label 182; wanted: one of the manifest's classes",
    ),
    (
        "fmow",
        "rgb_metadata.csv",
        word(",barn,", ",bran,"),
        "unknown category 'bran'; did you mean 'barn'?",
    ),
    (
        "fmow",
        "rgb_metadata.csv",
        word("2012-12-01T", "2012-13-01T"),
        "rgb_metadata.csv: timestamp: ",
    ),
    ("fmow", "rgb_metadata.csv", word("seq,", "sq,"), "unknown split 'sq'"),
    ("waterbirds", "metadata.csv", word(",1,2,", ",2,2,"), "unknown y '2'; known: 0, 1"),
    (
        "celeba",
        "list_attr_celeba.txt",
        word("Blond_Hair", "Black_Hair"),
        "no attribute Blond_Hair; wanted",
    ),
    (
        "celeba",
        "list_attr_celeba.txt",
        word("000003.jpg -1", "000003.jpg"),
        "000003.jpg has 3 values; wanted: 4",
    ),
    (
        "celeba",
        "list_eval_partition.txt",
        word("000003.jpg 0", "000003.jpg 3"),
        "000003.jpg has '3'; wanted: 0, 1 or 2",
    ),
    (
        "celeba",
        "list_eval_partition.txt",
        word("000003.jpg 0\n", ""),
        "1 of 36 images of {root}/list_attr_celeba.txt are in no part, e.g. ",
    ),
    (
        "cub",
        f"{LISTS}/classes.txt",
        word("2 002.", "2 2."),
        "classes.txt: unknown class '2.Laysan_Albatross'; did you mean",
    ),
    (
        "cub",
        f"{LISTS}/classes.txt",
        word("1 001", "3 001"),
        "classes.txt: 3 stands there twice; wanted: once",
    ),
    (
        "cub",
        f"{LISTS}/classes.txt",
        word("200 200.Common_Yellowthroat\n", ""),
        "199 classes, the manifest has 200; wanted: CUB",
    ),
    (
        "cub",
        f"{LISTS}/image_class_labels.txt",
        word("4 2\n", "4 3\n"),
        "/Laysan_Albatross_0000_4.jpg; wanted: 2",
    ),
    (
        "cub",
        f"{LISTS}/train_test_split.txt",
        word("4 1\n", ""),
        "images.txt and train_test_split.txt differ in image 4",
    ),
    ("cub_gzsl", f"{MATS}/att_splits.mat", garbled, "att_splits.mat is no file of MATLAB: "),
    ("cub_gzsl", f"{MATS}/att_splits.mat", seen_twice, "is seen and unseen; wanted: one of them"),
    ("cub_gzsl", f"{MATS}/att_splits.mat", beyond, "test_seen_loc has 601; wanted: from 1 to 600"),
]


@pytest.mark.parametrize(
    ("name", "path", "damage", "words"),
    DAMAGES,
    ids=[f"{name}-{Path(path).name}-{number}" for number, (name, path, *_) in enumerate(DAMAGES)],
)
def test_a_damaged_copy_has_its_line(own, name, path, damage, words):
    manifest, root = own(name)
    damage(root / path)
    with pytest.raises(ConfigError) as error:
        manifest.parts(manifest.reference)
    line = str(error.value)
    assert words.replace("{root}", str(root)) in line
    assert "\n" not in line and ("wanted: " in line or "known: " in line)


@pytest.mark.parametrize(
    ("name", "path", "image"),
    [
        ("iwildcam", "metadata.csv", "train/4_id_test_13_0.jpg"),
        ("waterbirds", "metadata.csv", "001.Black_footed_Albatross/"),
    ],
)
def test_a_row_that_stands_twice_is_said(own, capfd, name, path, image):
    manifest, root = own(name)
    repeated(root / path)
    manifest.parts(manifest.domains[0])
    said = capfd.readouterr().err
    assert f"{root / path}: rows that repeat an image: 1, e.g. {image}" in said


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("celeba", "list_attr_celeba.txt"),
        ("cub", f"{LISTS}/images.txt"),
        ("cub", f"{LISTS}/classes.txt"),
    ],
)
def test_a_line_that_stands_twice_is_an_error(own, name, path):
    manifest, root = own(name)
    repeated(root / path)
    with pytest.raises(ConfigError, match="stands there twice; wanted: once"):
        manifest.parts(manifest.reference)
