"""Class folders: what is read as what, against lists written by hand; and what is held out."""

import os
from collections import Counter
from pathlib import Path

import pytest
import yaml
from PIL import Image

import clipft
from clipft.data.folders import class_key, part_of
from clipft.data.found import HEIF, IMAGES, find_images
from clipft.data.manifests import Manifest, load_manifest
from clipft.data.own import check_name, new_manifest
from clipft.errors import ConfigError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working folder, and no other place of data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    return tmp_path


def plant(root, *files):
    """Empty files; the readers of folders look at names alone."""
    for file in files:
        (Path(root) / file).parent.mkdir(parents=True, exist_ok=True)
        (Path(root) / file).touch()


def shelf(root, folder, count, ending=".jpg"):
    plant(root, *[f"{folder}/{number}{ending}" for number in range(count)])


def three_domains(root="photos", **counts):
    """studio, phone and sketch of mugs and plates."""
    for domain, count in {"studio": 10, "phone": 4, "sketch": 3, **counts}.items():
        for name in ("mug", "plate"):
            shelf(root, f"{domain}/{name}", count)


LAYOUTS = {
    "{class}": ["mug/1.jpg", "plate/1.jpg"],
    "{split}/{class}": ["train/mug/1.jpg", "train/plate/1.jpg", "test/mug/2.jpg"],
    "{domain}/{class}": ["studio/mug/1.jpg", "studio/plate/1.jpg", "phone/mug/1.jpg"],
    "{domain}/{split}/{class}": [
        "studio/train/mug/1.jpg",
        "studio/train/plate/1.jpg",
        "studio/val/mug/2.jpg",
        "phone/mug/1.jpg",
    ],
    "{split}/{domain}/{class}": [
        "train/studio/mug/1.jpg",
        "train/studio/plate/1.jpg",
        "test/phone/mug/1.jpg",
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_is_found(layout):
    from clipft.data.folders import Tree

    plant("photos", *LAYOUTS[layout])
    tree = Tree.read(Path("photos"))
    assert tree.layout == layout
    assert tree.outside == ()
    images = []
    for parts in tree.domains.values():
        for classes in parts.values():
            for folder, inside in classes.items():
                assert all(Path(image).parent.name == folder for image in inside)
                images += inside
    assert sorted(images) == sorted(LAYOUTS[layout])


def test_one_or_two_images_beside_and_below_do_not_change_the_layout():
    three_domains()
    plant("photos", "cover.jpg", "studio/cover.jpg", "studio/mug/2024/may/a.jpg")
    own = new_manifest("photos", "photos", "studio")
    assert own.manifest.folders == "{domain}/{class}"
    assert own.counts()[0]["class"] == "mug"
    assert sum(list(own.counts()[0].values())[1:4]) == 11  # with the one below
    assert "left out, in no class folder: cover.jpg, studio/cover.jpg" in own.notes


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("val", "val"),
        ("VALID", "val"),
        ("validation", "val"),
        ("test", "test"),
        ("testing", "test"),
        ("trains", ""),
        ("", ""),
    ],
)
def test_spellings_of_a_part(name, part):
    assert part_of(name) == part


def test_spellings_of_a_class():
    spelled = ["Coffee Mug", "coffee_mug", "COFFEE-MUG", "coffee  mug "]
    assert {class_key(name) for name in spelled} == {"coffee mug"}
    assert class_key("cafe\u0301") == class_key("caf\u00e9")  # as macOS writes it, and Linux
    assert class_key("mug1") != class_key("mug 1")


def test_files_are_in_the_order_of_their_letters_without_the_hidden_ones():
    plant("a", "b/2.jpg", "b/10.JPG", "B/1.png", "b/.hidden.jpg", ".git/x.jpg", "b/._2.jpg")
    plant("a", "__MACOSX/b/2.jpg", "notes.txt")
    found = find_images(Path("a"))
    assert found.images == ["B/1.png", "b/10.JPG", "b/2.jpg"]
    assert found.left_out.lines() == [
        "left out, hidden: 4, e.g. .git",
        "left out, no image: .txt (1)",
    ]


def test_links_are_followed_but_not_round_a_circle():
    plant("elsewhere", "1.jpg")
    plant("photos", "studio/mug/2.jpg")
    Path("photos/studio/plate").symlink_to(Path("elsewhere").resolve())
    Path("photos/studio/mug/up").symlink_to(Path("photos").resolve())
    Path("photos/studio/mug/broken.jpg").symlink_to("nowhere.jpg")
    found = find_images(Path("photos"))
    assert found.images == ["studio/mug/2.jpg", "studio/plate/1.jpg"]
    assert found.left_out.lines() == [
        "left out, a link to nowhere: 1, e.g. studio/mug/broken.jpg",
        "left out, a link to a folder it lies in: 1, e.g. studio/mug/up",
    ]


def test_rows_are_by_label_then_path():
    three_domains(phone=2)
    plant("photos", "phone/Mug/x.PNG", "phone/Mug/deep/y.tiff")
    for file in Path("photos/phone/mug").iterdir():
        file.rename(Path("photos/phone/Mug") / file.name)
    split = new_manifest("photos", "photos", "studio").manifest.split("phone/test")
    assert split.ids == (
        "phone/Mug/0.jpg",
        "phone/Mug/1.jpg",
        "phone/Mug/deep/y.tiff",
        "phone/Mug/x.PNG",
        "phone/plate/0.jpg",
        "phone/plate/1.jpg",
    )
    assert split.labels == (0, 0, 0, 0, 1, 1)
    assert split.root == Path("photos").resolve()


def labels_of(manifest, split):
    return Counter(manifest.split(split).labels)


def every_id(manifest, domain):
    return [name for part in manifest.parts(domain).values() for name in part.ids]


def test_val_and_test_are_held_out_of_a_reference_without_splits():
    three_domains(studio=30)
    manifest = new_manifest("photos", "photos", "studio").manifest
    ids = every_id(manifest, "studio")
    assert len(ids) == len(set(ids)) == 60
    assert labels_of(manifest, "studio/test") == {0: 6, 1: 6}  # a fifth of 30
    assert labels_of(manifest, "studio/val") == {0: 5, 1: 5}  # a fifth of the other 24
    assert labels_of(manifest, "studio/train") == {0: 19, 1: 19}
    assert labels_of(manifest, "phone/test") == {0: 4, 1: 4}
    with pytest.raises(ConfigError, match="to train on it: reference=phone"):
        manifest.split("phone/train")


def test_what_is_held_out_is_drawn_by_the_name_and_stays():
    three_domains(studio=12)
    first = new_manifest("photos", "photos", "studio").manifest
    again = Manifest.open(Path("photos.yaml"))
    for part in ("train", "val", "test"):
        assert again.split(f"studio/{part}") == first.split(f"studio/{part}")
    assert first.split("studio/val").ids == (
        "studio/mug/1.jpg",
        "studio/mug/7.jpg",
        "studio/plate/7.jpg",
        "studio/plate/8.jpg",
    )
    renamed = new_manifest("other", "photos", "studio").manifest
    assert renamed.split("studio/test").ids != first.split("studio/test").ids


@pytest.mark.parametrize(
    ("images", "train", "val", "test"),
    [(1, 1, 0, 0), (2, 1, 1, 0), (3, 1, 1, 1), (4, 2, 1, 1), (5, 3, 1, 1), (10, 6, 2, 2)],
)
def test_few_images_of_a_class(images, train, val, test):
    three_domains()
    shelf("photos", "studio/spoon", images)
    own = new_manifest("photos", "photos", "studio")
    row = own.counts()[-2]
    found = (row["studio/train"], row["studio/val"], row["studio/test"])
    assert (row["class"], *found) == ("spoon", train, val, test)
    notes = [note for note in own.notes if note.startswith("too few")]
    assert len(notes) == (images < 3)
    assert all("spoon" in note for note in notes)


def test_a_large_holdout_leaves_one_of_each_part():
    three_domains(studio=3)
    new_manifest("photos", "photos", "studio")
    text = Path("photos.yaml").read_text()
    Path("photos.yaml").write_text(text.replace("holdout: 0.2", "holdout: 0.9"))
    manifest = load_manifest("photos.yaml")
    for part in ("train", "val", "test"):
        assert labels_of(manifest, f"studio/{part}") == {0: 1, 1: 1}


def test_parts_that_are_there_are_kept():
    for part, count in (("Training", 9), ("validation", 2), ("test", 3)):
        shelf("photos", f"studio/{part}/mug", count)
        shelf("photos", f"studio/{part}/plate", count)
    shelf("photos", "phone/mug", 4)
    shelf("photos", "sketch/train/plate", 5)
    shelf("photos", "sketch/test/plate", 2)
    own = new_manifest("photos", "photos", "studio")
    assert own.counts()[-1] == {
        "class": "all", "studio/train": 18, "studio/val": 4, "studio/test": 6,
        "phone/test": 4, "sketch/test": 2,
    }  # fmt: skip
    assert "not used: 5 of train of sketch; only its test is scored" in own.notes
    assert [note for note in own.notes if note.startswith("missing")] == [
        "missing in phone/test: plate",
        "missing in sketch/test: mug",
    ]
    assert not [note for note in own.notes if note.startswith("held out")]


def test_a_val_that_is_missing_is_held_out_and_the_test_is_not_touched():
    for part, count in (("train", 10), ("test", 3)):
        shelf("photos", f"{part}/studio/mug", count)
        shelf("photos", f"{part}/studio/plate", count)
    shelf("photos", "test/phone/mug", 2)
    own = new_manifest("photos", "photos", "studio")
    assert own.manifest.folders == "{split}/{domain}/{class}"
    assert list(own.counts()[-1].values()) == ["all", 16, 4, 6, 2]
    test = own.manifest.split("studio/test").ids
    assert {name.split("/")[0] for name in test} == {"test"}
    assert "held out of train of studio: val, 20% of every class for each" in own.notes


def test_one_domain_alone():
    shelf("kitchen", "mug", 10)
    shelf("kitchen", "plate", 10)
    own = new_manifest("things", "kitchen")
    assert own.manifest.domains == ("kitchen",)
    assert list(own.counts()[-1].values()) == ["all", 12, 4, 4]
    assert any(note.startswith("no shift") for note in own.notes)


def test_classes_are_the_references():
    three_domains()
    shelf("photos", "phone/fork", 3)
    shelf("photos", "leaflets/pages", 3)
    own = new_manifest("photos", "photos", "studio")
    assert own.manifest.names == ["mug", "plate"]
    assert own.manifest.domains == ("studio", "phone", "sketch")
    assert "left out in phone: fork, no class of studio" in own.notes
    assert "left out: leaflets/, none of its folders is a class of studio" in own.notes


def test_pictures_that_are_not_read_are_said():
    three_domains()
    plant("photos", "phone/mug/a.DNG", "phone/mug/b.dng")
    own = new_manifest("photos", "photos", "studio")
    assert "left out, not read: .dng (2); save them as .jpg" in own.notes
    assert own.counts()[0]["phone/test"] == 4


@pytest.mark.parametrize(
    ("images", "batch_size", "smaller"), [(12, 12, 0), (12, 13, 4), (42, 256, 16), (2, 3, 2)]
)
def test_a_batch_larger_than_the_training_images_is_said(images, batch_size, smaller):
    for part, count in (("train", images // 2), ("val", 1), ("test", 1)):
        shelf("photos", f"{part}/mug", count)
        shelf("photos", f"{part}/plate", count)
    note = new_manifest("photos", "photos").note_on_batches(batch_size)
    if not smaller:
        assert note == ""
        return
    assert f"the {images} training images" in note
    assert note.endswith(f"batch_size={smaller}")


# --- the written file


def test_what_is_written_is_short_and_says_all():
    three_domains()
    shelf("photos", "studio/no", 3)
    shelf("photos", "studio/7", 3)
    own = clipft.new_manifest("photos", root="photos", reference="studio")
    assert (own.file, own.is_new) == (Path("photos.yaml"), True)
    written = yaml.safe_load(own.file.read_text())
    assert written == {
        "name": "photos",
        "root": "photos",
        "domains": ["studio", "phone", "sketch"],
        "reference": "studio",
        "folders": "{domain}/{class}",
        "holdout": 0.2,
        "templates": "openai",
        "classes": ["7", "mug", "no", "plate"],
    }
    assert len(own.file.read_text().splitlines()) < 20
    again = clipft.new_manifest("photos", root="photos", reference="studio")
    assert not again.is_new
    assert (again.manifest.digest(), again.notes) == (own.manifest.digest(), own.notes)


def test_where_it_is_written_and_from_where_it_is_read(tmp_path, monkeypatch):
    three_domains()
    beside = new_manifest("beside", "photos", "studio", out="lists")
    assert beside.file == Path("lists/beside.yaml")
    inside = new_manifest("inside", "photos", "studio", out="photos/mine.yml")
    assert yaml.safe_load(inside.file.read_text())["root"] == "."
    monkeypatch.chdir("/")
    for file in ("lists/beside.yaml", "photos/mine.yml"):
        manifest = load_manifest(str(tmp_path / file))
        assert manifest.place == tmp_path / "photos"
        assert len(manifest.split("phone/test")) == 8


def test_a_file_that_differs_is_not_overwritten():
    three_domains()
    new_manifest("photos", "photos", "studio")
    edited = Path("photos.yaml").read_text().replace("holdout: 0.2", "holdout: 0.4")
    Path("photos.yaml").write_text(edited)
    with pytest.raises(ConfigError, match=r"photos\.yaml is there already and differs in holdout;"):
        new_manifest("photos", "photos", "studio")
    kept = new_manifest("photos", "photos", "studio", keep_edited=True)
    assert (kept.manifest.holdout, kept.is_new) == (0.4, False)
    with pytest.raises(ConfigError, match="differs in domains, reference, holdout"):
        new_manifest("photos", "photos", "phone", keep_edited=True)
    assert Path("photos.yaml").read_text() == edited


# --- bad input: one line, and no file


def refused(words, name="photos", root="photos", reference="studio"):
    before = sorted(Path().rglob("*"))
    with pytest.raises(ConfigError) as caught:
        new_manifest(name, root, reference)
    said = str(caught.value)
    assert [word for word in words if word not in said] == []
    assert "\n" not in said
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("name", ["a/b", "a\\b", "", ".a", "c:d", "a.yaml", "emoji_shift", "new"])
def test_a_name_that_cannot_be(name):
    three_domains()
    refused(["name: ", "wanted: "], name=name)


def test_an_ordinary_name_can_be():
    check_name("my photos-2")


def test_a_root_that_cannot_be():
    three_domains()
    refused(["root: no folder pictures", "e.g. photos"], root="pictures")
    plant(".", "a.jpg")
    refused(["root: a.jpg is a file"], root="a.jpg")
    plant("texts", "studio/mug/a.txt", "studio/mug/b.svg")
    refused(
        ["no image under texts", "studio/mug/1.jpg", ".jpeg", "not read: .svg (1)"], root="texts"
    )
    plant("flat", "a.jpg", "b.jpg")
    refused(["the images of flat lie in no class folder", "flat/mug/1.jpg"], root="flat")


def test_a_reference_that_cannot_be():
    three_domains()
    Path("photos/empty").mkdir()
    refused(["reference: missing", "phone, sketch, studio"], reference="")
    refused(["no studoi", "phone, sketch, studio", "e.g. studio"], reference="studoi")
    refused(["reference: photos/empty holds no image", "wanted"], reference="empty")
    plant("photos", "lone/mug/1.jpg", "lone/mug/2.jpg", "lone/mug/3.jpg")
    refused(["classes: lone holds one class folder, mug", "two or more"], reference="lone")


@pytest.mark.parametrize("other", ["Mug", "MUG", "mug_", "mug-"])
def test_two_spellings_of_one_class_in_a_domain(other):
    three_domains()
    shelf("photos", f"phone/{other}", 2)
    refused(["'mug'", repr(other), "photos/phone", "case, space, _ or -", "one folder a class"])


def test_folders_that_can_be_read_in_two_ways():
    three_domains("one")
    shelf("one", "train/mug", 3)
    refused(["one holds train beside phone, sketch, studio"], root="one")
    shelf("two", "studio/train/mug", 3)
    shelf("two", "studio/plate", 3)
    refused(["two/studio holds train beside plate", "wanted"], root="two")
    for part in ("val", "validation", "train"):
        shelf("three", f"studio/{part}/mug", 3)
    refused(["three/studio holds train, val, validation", "one of each"], root="three")


def test_a_reference_without_what_a_run_needs():
    for part in ("val", "test"):
        for name in ("mug", "plate"):
            shelf("photos", f"studio/{part}/{name}", 3)
    refused(["studio of photos has no train images (6 val, 6 test)", "a folder train"])
    for name in ("mug", "plate"):
        shelf("tiny", f"studio/{name}", 2)
    refused(["has no test images (2 train, 2 val)", "three images"], root="tiny")


def test_another_folder_of_that_name_in_the_data_folder(tmp_path, monkeypatch):
    three_domains()
    three_domains("data/photos")
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path / "data"))
    refused(["in $CLIPFT_DATA, comes before photos", "choose another name"])
    assert new_manifest("photos", "data/photos", "studio").is_new


def test_a_folder_that_cannot_be_read(monkeypatch):
    three_domains()
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "phone":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match="cannot read the folder photos/phone: Permission denied"):
        new_manifest("photos", "photos", "studio")
    assert not Path("photos.yaml").exists()


def test_only_what_can_be_opened_is_an_image():
    """Endings say what counts; whether it is one is seen when it is decoded."""
    Image.init()
    assert {Image.EXTENSION[ending] for ending in IMAGES - HEIF} <= set(Image.OPEN)
    plant("a", "b.JPeG", "jpg", "b.jpg.part")
    assert find_images(Path("a")).images == ["b.JPeG"]


def test_what_is_left_out_is_said_once(capsys, monkeypatch):
    """By the notes of a new data set, or where a split is read; never by both."""
    monkeypatch.setattr("clipft.progress._SAID", set())
    three_domains()
    plant("photos", "phone/mug/._1.jpg", "phone/cover.jpg", "phone/mug/a.mp4")
    own = new_manifest("photos", "photos", "studio")
    left_out = [note for note in own.notes if note.startswith("left out")]
    assert left_out == [
        "left out, hidden: 1, e.g. phone/mug/._1.jpg",
        "left out, no image: .mp4 (1)",
        "left out, in no class folder: phone/cover.jpg",
    ]
    load_manifest("photos.yaml").split("phone/test")
    assert capsys.readouterr().err == ""

    monkeypatch.setattr("clipft.progress._SAID", set())
    for _ in range(2):
        load_manifest("photos.yaml").split("phone/test")
    place = Path("photos").resolve()
    assert capsys.readouterr().err.splitlines() == [f"{place}: {note}" for note in left_out]
