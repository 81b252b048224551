"""`clipft datasets check` of every kind of manifest: what is at fault, what is odd, what is not."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipft.data import images
from clipft.data.check import check_images
from clipft.data.manifests import Manifest
from clipft.errors import ConfigError

CLASSES = ["door key", "cup", "plate"]
DOMAINS = ["studio", "phone"]
COUNT = 5  # images of a class in a domain


@pytest.fixture(autouse=True)
def tree(tmp_path, monkeypatch):
    """DOMAIN/CLASS/N.png, every image its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for domain in DOMAINS:
        for name in CLASSES:
            folder = tmp_path / "data" / domain / name.replace(" ", "_")
            folder.mkdir(parents=True)
            for number in range(COUNT):
                pixels = rng.integers(0, 255, (40, 40, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "data"


def listed(tree):
    """(path, label, domain, split) of every image."""
    for path in sorted(tree.rglob("*.png")):
        domain, folder = path.relative_to(tree).parts[:2]
        split = ("train", "train", "train", "val", "test")[int(path.name[0])]
        yield path.relative_to(tree).as_posix(), folder.replace("_", " "), domain, split


def table(tree):
    lines = ["path,label,domain,split", *map(",".join, listed(tree))]
    Path("rows.csv").write_text("\n".join(lines) + "\n")
    return {"table": "rows.csv", "holdout": 0}


def lists(tree):
    for path, label, domain, split in listed(tree):
        with (tree / f"{domain}_{split}.txt").open("a") as file:
            file.write(f"{path} {CLASSES.index(label)}\n")
    return {"holdout": 0}


def lists_with_val_held_out(tree):
    kept = lists(tree)
    for file in tree.glob("*_val.txt"):
        file.unlink()
    return kept | {"holdout": 0.3}


def known_layout(_):
    return {"kept": {domain: {"layout": "domainbed", "folder": domain} for domain in DOMAINS}}


KINDS = {
    "folders": lambda _: {"folders": "{domain}/{class}"},
    "table": table,
    "lists": lists,
    "lists, val held out": lists_with_val_held_out,
    "a known layout": known_layout,
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def manifest_of(tree, kind):
    said = {"name": "mine", "root": "data", "domains": DOMAINS, "reference": "studio"}
    said |= {"holdout": 0.2, "classes": CLASSES} | kind(tree)
    return Manifest.of(said, Path("mine.yaml").absolute())


@kinds
def test_a_whole_data_set_has_nothing_wrong(tree, kind):
    report = check_images(manifest_of(tree, kind))
    assert (report.wrong, report.odd) == ([], [])
    assert [(row["class"], row["folder"]) for row in report.counts] == [
        ("door key", "door_key"), ("cup", "cup"), ("plate", "plate"), ("all", ""),
    ]  # fmt: skip
    assert report.counts[-1]["studio/train"] + report.counts[-1]["studio/val"] >= 3 * 3
    assert report.classes == CLASSES
    for tiles in report.tiles.values():
        assert [tile.std() > 1 for tile in tiles] == [True] * 3


@kinds
def test_what_is_wrong_is_said_and_the_rest_is_shown(tree, kind):
    manifest = manifest_of(tree, kind)
    manifest.split("studio/test")  # folders are looked at before a file goes
    test = manifest.split("phone/test")
    cups = [name for name in test.ids if "/cup/" in name]
    for name in cups:
        (tree / name).write_bytes(b"no image")
    (tree / test.ids[-1]).unlink()
    key = next(name for name in manifest.split("studio/train").ids if "door_key" in name)
    copy = next(name for name in test.ids if "door_key" in name)
    shutil.copy(tree / key, tree / copy)
    report = check_images(manifest)
    missing, unreadable, twice = report.wrong
    assert missing.startswith("missing: 1 of ") and test.ids[-1] in missing
    assert unreadable.startswith(f"unreadable: {len(cups)} of ") and cups[0] in unreadable
    assert twice.endswith(f"{key} (studio/train) and {copy} (phone/test)")
    assert report.tiles["phone"][1].std() == 0
    assert report.tiles["studio"][0].std() > 1


@pytest.mark.parametrize("kind", [table, lists])
def test_labels_that_contradict_the_folders_are_flagged(tree, kind):
    shutil.copytree(tree / "studio/cup", tree / "studio/plate/cup")  # below its class's own folder
    manifest = manifest_of(tree, kind)
    file = Path("rows.csv") if kind is table else tree / "phone_test.txt"
    of_plate, of_cup = (",plate", ",cup") if kind is table else (" 2", " 1")
    wrong = f"phone/plate/4.png{of_cup}"
    file.write_text(file.read_text().replace(f"phone/plate/4.png{of_plate}", wrong))
    (line,) = [line for line in check_images(manifest).odd if "of another class" in line]
    assert line.endswith("e.g. phone/plate/4.png (phone/test) as 'cup'")


def test_every_file_is_read_once(tree, monkeypatch):
    manifest = manifest_of(tree, table)
    read = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or read_bytes(path))
    opened = Image.open
    monkeypatch.setattr(
        images.Image, "open", lambda file: opened(file) if isinstance(file, io.BytesIO) else 1 / 0
    )
    assert check_images(manifest).wrong == []
    pictures = [path for path in read if path.suffix == ".png"]
    assert len(pictures) == len(set(pictures)) == 18


def test_what_is_missing_by_design_is_no_fault(tree):
    manifest = manifest_of(tree, lists)
    (tree / "studio_val.txt").unlink()
    report = check_images(manifest)
    assert report.wrong == []
    assert report.odd == [
        "no studio/val: runs need selection=last, or holdout: 0.2 in the manifest"
    ]


def test_a_class_without_images_and_an_image_that_comes_again(tree):
    shutil.rmtree(tree / "phone/plate")
    shutil.copy(tree / "phone/cup/0.png", tree / "phone/cup/again.png")
    report = check_images(manifest_of(tree, KINDS["folders"]))
    assert report.wrong == []
    assert set(report.odd) == {
        "classes without an image in phone/test: 1: plate",
        "the same image again in phone/test: 1, e.g. phone/cup/0.png and phone/cup/again.png",
    }
    assert report.tiles["phone"][2].std() == 0


@kinds
def test_a_missing_root_is_one_line(tree, kind):
    manifest = manifest_of(tree, kind)
    shutil.rmtree(tree)
    with pytest.raises(ConfigError, match=r"no folder .*data; mend root") as refused:
        check_images(manifest)
    assert "\n" not in str(refused.value)


def test_a_missing_list_is_one_line(tree):
    manifest = manifest_of(tree, lists)
    (tree / "phone_test.txt").unlink()
    (line,) = check_images(manifest).wrong
    assert "no list file" in line and "phone_test.txt" in line


def test_the_built_in_benchmark_is_whole():
    emoji = {"size": 40, "per_class": {"train": 3, "test": 1}, "seed": 4}
    said = {"name": "few", "domains": ["twemoji", "openmoji", "line", "glyph"], "emoji": emoji}
    said |= {"reference": "twemoji", "holdout": 0.3}
    said["classes"] = [{"name": "apple", "code": "1F34E"}, {"name": "cat", "code": "1F408"}]
    report = check_images(Manifest.of(said, Path("few.yaml").absolute()))
    assert (report.wrong, report.odd) == ([], [])
    assert [row["twemoji/val"] for row in report.counts] == [1, 1, 2]
