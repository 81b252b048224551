"""A walk that is kept is found again, and never where a file came or went."""

import os

import pytest

from clipft.data import walks
from clipft.data.found import find_images

OLD = 10**18  # nanoseconds: no folder is as new as that


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Two class folders that have not changed for long."""
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(walks, "LARGE", 3)
    root = tmp_path / "train"
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        for number in range(3):
            (root / name / f"{number}.jpg").touch()
    (root / "ant/notes.txt").touch()
    (root / "bee/ä ö.png").touch()
    settle(root)
    return root


def settle(root):
    """As if nothing had changed since long ago."""
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        os.utime(folder, ns=(OLD, OLD))


def test_a_walk_is_found_again(tree, monkeypatch):
    first = walks.walk(tree)
    assert first == find_images(tree)
    monkeypatch.setattr(walks, "find_images", None)
    again = walks.walk(tree)
    assert again == first and again.left_out.lines() == first.left_out.lines()


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "ant/new.jpg").touch(),
        lambda root: (root / "bee/0.jpg").unlink(),
        lambda root: (root / "cow").mkdir(),
        lambda root: (root / "ant").rename(root / "ape"),
    ],
    ids=["one more", "one less", "a folder more", "another name"],
)
def test_a_change_is_seen(tree, change):
    before = walks.walk(tree)
    change(tree)
    after = walks.walk(tree)
    assert after == find_images(tree)
    assert after.images != before.images or (tree / "cow").is_dir()


@pytest.mark.parametrize(
    "unlike",
    [
        lambda root: (root / "ant/inside").mkdir(),  # its own changes would not be seen
        lambda root: (root / "broken").symlink_to("nowhere"),
    ],
    ids=["a folder in a class", "a link to nowhere"],
)
def test_what_could_change_unseen_is_not_kept(tree, monkeypatch, unlike):
    unlike(tree)
    settle(tree)
    assert walks.walk(tree) == find_images(tree)
    looked = []
    monkeypatch.setattr(walks, "find_images", lambda root: looked.append(root) or find_images(root))
    walks.walk(tree)
    assert looked == [tree]


def test_what_changed_just_now_is_not_kept(tree, monkeypatch):
    (tree / "ant/new.jpg").touch()
    walks.walk(tree)
    looked = []
    monkeypatch.setattr(walks, "find_images", lambda root: looked.append(root) or find_images(root))
    walks.walk(tree)
    assert looked == [tree]


def test_what_changes_while_it_is_walked_is_not_kept(tree, monkeypatch):
    def meanwhile(root):
        found = find_images(root)
        (root / "bee/late.jpg").touch()
        os.utime(root / "bee", ns=(OLD + 1, OLD + 1))
        return found

    monkeypatch.setattr(walks, "find_images", meanwhile)
    walks.walk(tree)
    monkeypatch.setattr(walks, "find_images", find_images)
    assert "bee/late.jpg" in walks.walk(tree).images
