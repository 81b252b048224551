"""Folders here and there as one data set; what cannot be read so is one line."""

from pathlib import Path

import pytest
from conftest import draw_tree

from clipft.errors import ConfigError
from clipft.tuning.folders import check_places, check_unlabelled, data_name, own_data

CLASSES = ["apple", "bee"]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """photos/studio, and elsewhere/phone; the same two classes."""
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    root = draw_tree(tmp_path / "photos", ["studio"], CLASSES, train=4, test=2)
    draw_tree(tmp_path / "elsewhere", ["phone"], CLASSES, train=1, test=1)
    (tmp_path / "out").mkdir()
    return root / "studio", tmp_path / "elsewhere" / "phone", tmp_path / "out"


def test_shifts_that_lie_elsewhere_stay_there(places):
    studio, phone, out = places
    own = own_data(studio, [phone], out)
    manifest = own.manifest
    assert (manifest.reference, manifest.shifts()[:1]) == ("studio", ["phone"])
    sizes = {part: len(manifest.split(f"studio/{part}")) for part in ("train", "val", "test")}
    assert sizes == {"train": 8, "val": 2, "test": 2}
    shifted = manifest.split("phone/test")
    assert len(shifted) == 4
    assert all((shifted.root / name).resolve().is_relative_to(phone) for name in shifted.ids)
    assert not list(out.rglob("*.png"))
    again = own_data(studio, [phone], out)
    assert not again.is_new and again.manifest.digest() == manifest.digest()


def test_folders_of_one_name_are_told_apart(places, tmp_path):
    studio, _, out = places
    other = draw_tree(tmp_path / "other", ["studio"], CLASSES, train=1, test=1) / "studio"
    assert own_data(studio, [other], out).manifest.domains == ("studio", "other_studio")


def test_a_folder_of_domains_takes_a_reference(places):
    studio, phone, out = places
    draw_tree(studio.parent, ["sketch"], CLASSES, train=1, test=1)
    with pytest.raises(ConfigError, match="sketch, studio, and which one is tuned on"):
        own_data(studio.parent, [phone], out)
    own = own_data(studio.parent, [phone], out, reference="studio")
    assert own.manifest.domains == ("studio", "phone", "sketch")


def test_a_name_of_clipfts_own_data_sets_is_not_taken():
    assert data_name("/x/emoji_shift") == "emoji_shift_folder"
    assert data_name("/x/photos") == "photos"
    assert data_name("/x/.my: photos") == "my__photos"  # a manifest cannot be called so


def test_a_shift_of_other_classes_is_refused(places):
    studio, phone, out = places
    (phone / "bee").rename(phone / "wasp")
    with pytest.raises(ConfigError, match=r"1 of the 2 class folders of phone .* studio: wasp"):
        own_data(studio, [phone], out)
    assert not list(out.iterdir())


def test_one_folder_twice_or_in_the_other_is_refused(places):
    studio, _, out = places
    with pytest.raises(ConfigError, match="given twice"):
        own_data(studio, [studio], out)
    with pytest.raises(ConfigError, match="one lies in the other"):
        own_data(studio.parent, [studio], out)


def test_images_without_class_folders_one_class_and_none(places, tmp_path):
    studio, phone, out = places
    with pytest.raises(ConfigError, match="no class folder"):
        own_data(studio / "apple", [], out)
    one = tmp_path / "one"
    one.mkdir()
    (studio / "apple").rename(one / "apple")
    for shifts in ([], [phone]):
        with pytest.raises(ConfigError, match=r"one class folder|no class of one"):
            own_data(one, shifts, out)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="no image under"):
        check_unlabelled([empty])
    with pytest.raises(ConfigError, match="no folder"):
        check_unlabelled([tmp_path / "nowhere"])


def test_too_few_images_for_val(tmp_path, monkeypatch):
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    root = draw_tree(tmp_path / "few", ["studio"], CLASSES, train=1, test=1)
    with pytest.raises(ConfigError, match="three images"):
        own_data(root / "studio", [], Path(tmp_path))


def test_what_is_chosen_on_is_not_what_is_reported(places, tmp_path):
    studio, phone, out = places
    check_places([studio, phone], [tmp_path / "street"], out)
    for images in (studio, studio / "test", phone, tmp_path):
        with pytest.raises(ConfigError, match=r"--unlabelled .* shares images with"):
            check_places([studio, phone], [images], tmp_path.parent / "out")


def test_nothing_is_written_among_the_images(places, tmp_path):
    studio, phone, _ = places
    for out in (studio / "tuned", phone, tmp_path / "street" / "tuned"):
        with pytest.raises(ConfigError, match="lies among the images of"):
            check_places([studio, phone], [tmp_path / "street"], out)
