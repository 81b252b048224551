"""What a run needs to its end is looked for before its first step."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from clipft.data.splits import Split
from clipft.disk.files import check_room
from clipft.errors import ConfigError, ImageError, StorageError
from clipft.runs.presence import check_images_there, say_classes_without_images


@pytest.fixture
def split(tmp_path) -> Split:
    """Forty images of two classes in a folder each, and three in a folder of their own."""
    ids = [f"{name}/{number}.png" for name in ("apple", "bee") for number in range(20)]
    ids += [f"few/{number}.png" for number in range(3)]
    for name in ids:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return Split("real", "train", tmp_path, tuple(ids), (0,) * 20 + (1,) * 23)


def test_all_there(split, capsys):
    check_images_there([split])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("lost", [["bee/4.png", "bee/7.png"], ["few/1.png", "bee/19.png"]])
def test_a_missing_image_is_named_and_all_are_counted(split, lost, capsys):
    for name in lost:
        (split.root / name).unlink()
    first = min(lost, key=split.ids.index)
    line = f"image missing: {split.root / first}, the first of 2 of real/train"
    with pytest.raises(ImageError) as caught:
        check_images_there([split])
    assert str(caught.value).startswith(line)
    assert "--skip-bad-images" in str(caught.value)
    check_images_there([split], skip_bad=True)
    assert capsys.readouterr().out.strip() == f"{line}; they are left out"


def test_a_folder_in_the_place_of_an_image_is_none_and_a_link_is_one(split, tmp_path_factory):
    place = split.root / "bee/0.png"
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "0.png"
    shutil.move(place, elsewhere)
    place.symlink_to(elsewhere)
    check_images_there([split])
    elsewhere.unlink()
    with pytest.raises(ImageError, match=r"bee/0\.png"):
        check_images_there([split])
    place.unlink()
    place.mkdir()
    with pytest.raises(ImageError, match=r"bee/0\.png"):
        check_images_there([split])


def test_a_split_that_is_all_gone_is_an_error_even_if_bad_ones_may_be_skipped(split):
    other = replace(split, domain="sketch", root=split.root / "nowhere")
    with pytest.raises(ImageError, match="all 43 of sketch/train"):
        check_images_there([split, other], skip_bad=True)


def test_an_empty_split(split):
    with pytest.raises(ConfigError, match="real/val has no image"):
        check_images_there([split, replace(split.take([]), part="val")])


def test_a_folder_is_listed_once_and_no_file_is_asked_for(split, monkeypatch):
    listed = []
    scandir = os.scandir
    monkeypatch.setattr("os.scandir", lambda path: listed.append(path) or scandir(path))
    asked = []
    monkeypatch.setattr("os.path.isfile", lambda path: asked.append(path) or True)
    check_images_there([split, split])
    assert sorted(Path(path).name for path in listed) == ["apple", "bee"]
    assert sorted(Path(path).parent.name for path in asked) == ["few"] * 3


def test_classes_without_an_image_are_counted_and_said(split, capsys):
    say_classes_without_images(split, ["apple", "bee"])
    assert capsys.readouterr().out == ""
    say_classes_without_images(split, ["apple", "bee", "cow", "dog"])
    said = capsys.readouterr().out
    assert said.startswith("2 of 4 classes have no image in real/train, the first is 'cow'")


def test_room_on_the_disk(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=5 * 10**9))
    check_room(tmp_path / "not/there", 4 * 10**9)
    with pytest.raises(StorageError, match=r"6 GB are needed in .*there, 5 GB are free"):
        check_room(tmp_path / "not/there", 6 * 10**9)
