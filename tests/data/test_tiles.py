"""Tiles to look at: the images of the data set itself, and no others are made for it."""

import numpy as np
import pytest
import yaml
from PIL import Image

from clipft.data import emoji_shift
from clipft.data.images import decode, sample_tiles
from clipft.data.manifests import load_manifest, manifests_folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def renderings(monkeypatch):
    """A list that grows by one with every image that is rendered."""
    made = []
    render = emoji_shift.render

    def counted(*arguments, **options):
        made.append(None)
        return render(*arguments, **options)

    monkeypatch.setattr(emoji_shift, "render", counted)
    return made


def files_in(folder):
    return [file for file in folder.rglob("*") if file.is_file()]


def test_only_the_tiles_of_a_data_set_that_is_not_on_disk_are_rendered(cache, renderings):
    names, tiles = sample_tiles(load_manifest("emoji_shift"), classes=14)
    assert len(names) == 14
    assert [len(row) for row in tiles.values()] == [14] * 4
    assert len(renderings) == 56  # of 36 000
    assert files_in(cache) == []


@pytest.fixture
def few_emoji(tmp_path):
    """EmojiShift in small, of six concepts."""
    values = yaml.safe_load((manifests_folder() / "emoji_start.yaml").read_text())
    names = yaml.safe_load((manifests_folder() / values["classes"]).read_text())[:6]
    (tmp_path / "few.classes.yaml").write_text(yaml.safe_dump(names))
    values |= {"name": "few", "classes": "few.classes.yaml"}
    values["emoji"] |= {"artwork": "", "lists": ""}  # digests of all 200
    (tmp_path / "few.yaml").write_text(yaml.safe_dump(values))
    return load_manifest(str(tmp_path / "few.yaml"))


def test_they_are_the_images_of_the_data_set_pixel_for_pixel(few_emoji, cache, renderings):
    manifest = few_emoji
    size = manifest.emoji.size
    names, before = sample_tiles(manifest, classes=3, size=size)

    root = manifest.root_folder()
    renderings.clear()
    _, after = sample_tiles(manifest, classes=3, size=size)
    assert renderings == []  # now they are read
    for domain in manifest.domains:
        for name, rendered, read in zip(names, before[domain], after[domain], strict=True):
            file = root / domain / name.replace(" ", "_") / "test_0000.png"
            np.testing.assert_array_equal(rendered, np.asarray(Image.open(file)))
            np.testing.assert_array_equal(read, rendered)


def test_a_class_that_a_domain_lacks_is_a_grey_tile(tree, manifest_file, monkeypatch, tmp_path):
    """Of a data set of files; `draw_tree` writes its first test image of each class as test0."""
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path))
    (tmp_path / "mini").symlink_to(tree / "mini")
    manifest = load_manifest(str(manifest_file))
    split = manifest.split("sketch/test")
    rows = [row for row, label in enumerate(split.labels) if label != 3]
    manifest.reader._splits["sketch/test"] = split.take(rows)

    names, tiles = sample_tiles(manifest, classes=2, size=20)
    assert names == ["apple", "zebra"]
    first = decode(tree / "mini/real/zebra/real_003_test0.png").resize((20, 20))
    np.testing.assert_array_equal(tiles["real"][1], np.asarray(first))
    assert (tiles["sketch"][1] == 128).all()
    assert not (tiles["sketch"][0] == 128).all()
