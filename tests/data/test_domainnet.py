"""DomainNet in small: any domain can be the reference, and damaged copies say what is wrong."""

import shutil

import pytest
from miniatures.domainnet import CLASSES, write_domainnet

from clipft.config import RunConfig
from clipft.data.check import check_images
from clipft.data.manifests import load_manifest
from clipft.errors import ClipftError, ConfigError
from clipft.runs.checks import check_training
from clipft.runs.rows import reported_on, trained_on

DOMAINS = ("real", "painting", "clipart", "infograph", "sketch")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_domainnet(tmp_path_factory.mktemp("domainnet") / "domainnet")


@pytest.fixture
def root(made, tmp_path, monkeypatch):
    """A tree that may be damaged."""
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path))
    return shutil.copytree(made, tmp_path / "domainnet")


def listed(root, name):
    """(path, class folder) of a list file, read plainly."""
    paths = [line.split()[0] for line in (root / f"{name}.txt").read_text().splitlines()]
    return [(path, path.split("/")[1]) for path in paths]


@pytest.mark.parametrize("name", ["domainnet", "release/domainnet"])
def test_every_domain_is_read_as_its_lists_say(root, name):
    manifest = load_manifest(name)
    folders = [row.slug for row in manifest.class_names]
    for domain in DOMAINS:
        rows = []
        for part in ("train", "val", "test"):
            split = manifest.trained_on([domain]).split(f"{domain}/{part}")
            pairs = zip(split.ids, split.labels, strict=True)
            rows += [(path, folders[label]) for path, label in pairs]
            if part == "val":
                assert len(split) == len(CLASSES)  # a tenth of ten images a class
        assert rows[-2 * len(CLASSES) :] == listed(root, f"{domain}_test")
        everything = listed(root, f"{domain}_train") + listed(root, f"{domain}_test")
        assert sorted(rows) == sorted(everything)


@pytest.mark.parametrize("reference", DOMAINS)
def test_any_domain_can_be_the_reference(root, reference, world, monkeypatch):
    monkeypatch.setenv("CLIPFT_DATA", str(root.parent))
    config = RunConfig.read(world.settings(manifest="domainnet", reference=reference))
    check_training(config, world.runs, scored=True)
    manifest = load_manifest("domainnet")
    shifts = [f"{domain}/test" for domain in DOMAINS if domain != reference]
    reported = [f"{reference}/val", f"{reference}/test", *shifts]
    assert reported_on(config, manifest) == reported
    assert trained_on(config, manifest) == [f"{reference}/train"]
    assert len(manifest.split(f"{reference}/train")) == 9 * len(CLASSES)


def change_list(root, old, new):
    file = root / "sketch_test.txt"
    file.write_text(file.read_text().replace(old, new, 1))


DAMAGE = {
    "a domain without its folder": (
        lambda root: shutil.rmtree(root / "sketch"),
        "image missing: {root}/sketch/aircraft_carrier/sketch_000_000010.jpg",
    ),
    "a domain without its list": (
        lambda root: (root / "sketch_test.txt").unlink(),
        "no list file {root}/sketch_test.txt; DomainNet keeps one per domain and split",
    ),
    "a class that is none of the 345": (
        lambda root: change_list(root, "sketch/zebra", "sketch/unicorn"),
        "{root}/sketch_test.txt:9: unknown class folder 'unicorn'; ",
    ),
    "a list that names a missing file": (
        lambda root: change_list(root, "000010.jpg", "000099.jpg"),
        "image missing: {root}/sketch/aircraft_carrier/sketch_000_000099.jpg",
    ),
    "one folder too deep": (
        lambda root: (root / "domainnet").mkdir() or move_all(root),
        "no list file {root}/real_train.txt; DomainNet keeps one per domain and split",
    ),
    "an empty list": (
        lambda root: (root / "sketch_test.txt").write_text(""),
        "{root}/sketch_test.txt is empty",
    ),
    "another name": (
        lambda root: root.rename(root.with_name("DomainNet")),
        "no folder {root}; put DomainNet there",
    ),
}


def move_all(root):
    for path in list(root.iterdir()):
        if path.name != "domainnet":
            path.rename(root / "domainnet" / path.name)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_copy_is_one_line_before_the_run(root, damage, world, monkeypatch):
    monkeypatch.setenv("CLIPFT_DATA", str(root.parent))
    hurt, words = DAMAGE[damage]
    hurt(root)
    config = RunConfig.read(world.settings(manifest="domainnet"))
    with pytest.raises(ClipftError) as caught:
        check_training(config, world.runs, scored=True)
    assert words.format(root=root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_twice_and_an_image_in_both_lists(root, capsys):
    first = (root / "sketch_test.txt").read_text().splitlines()[0]
    with (root / "sketch_test.txt").open("a") as file:
        file.write(f"{first}\n")
    load_manifest("domainnet").split("sketch/test")
    assert f"rows that repeat an image: 1, e.g. {first.split()[0]}" in capsys.readouterr().err

    shutil.copyfile(root / first.split()[0], root / "real/zebra/real_004_000001.jpg")
    (line,) = check_images(load_manifest("domainnet")).wrong[:1]
    assert line.startswith("the same image in several splits: 1, e.g. real/zebra/real_004_0000")
    with pytest.raises(ConfigError, match="unknown domain of domainnet 'quickdraw'"):
        load_manifest("domainnet").split("quickdraw/test")
