"""Manifests: the shipped ones, and a DomainNet-shaped tree of four classes read line by line."""

import json
import re
from collections import Counter

import pandas as pd
import pytest
import yaml
from conftest import draw_tree

from clipft.data.folders import IN_WORDS
from clipft.data.layouts.readers import CHECKED, READERS
from clipft.data.manifest_keys import PROSE, WANTED
from clipft.data.manifests import Manifest, available, is_shipped, load_manifest, manifests_folder
from clipft.data.splits import Decoding, Split
from clipft.errors import ConfigError
from clipft.papers.published import published

CLASSES = ["alarm_clock", "ant", {"name": "T-shirt", "also": ["tee"]}, "zebra"]
SLUGS = ["alarm_clock", "ant", "T-shirt", "zebra"]
VALUES = {
    "name": "mini",
    "title": "Mini",
    "card": "none",
    "licence": "none",
    "domains": ["real", "sketch"],
    "reference": "real",
    "classes": "mini.classes.yaml",
    "labels": "folder",
    "holdout": 0.1,
}
PER_CLASS = {"alarm_clock": 2, "ant": 30, "T-shirt": 10, "zebra": 25}


@pytest.fixture
def mini(tmp_path, monkeypatch):
    """A function that writes the manifest (with changes) and its list files, and loads it."""
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path))
    root = tmp_path / "mini"
    root.mkdir()
    # the labels in the lists are deliberately not ours: DomainNet's folders decide
    train = []
    for slug, count in PER_CLASS.items():
        label = (SLUGS.index(slug) + 1) % 4
        train += [f"real/{slug}/{number}.jpg {label}" for number in range(count)]
    (root / "real_train.txt").write_text("\n".join(reversed(train)) + "\n")
    (root / "real_test.txt").write_text(
        "real/zebra/with space.jpg 0\nreal/ant/1.jpg 0\nreal/zebra/0.jpg 0\n"
    )

    def load(classes=CLASSES, **changes):
        (tmp_path / "mini.classes.yaml").write_text(yaml.safe_dump(classes))
        (tmp_path / "mini.yaml").write_text(yaml.safe_dump(VALUES | changes))
        return load_manifest(str(tmp_path / "mini.yaml"))

    load.root = root
    return load


@pytest.mark.parametrize(
    ("name", "classes", "domains"),
    [("emoji_shift", 200, 4), ("emoji_pretrain", 200, 4), ("domainnet", 345, 5)],
)
def test_shipped(name, classes, domains):
    manifest = load_manifest(name)
    assert name in available()
    assert manifest.name == name
    assert len(manifest.names) == len(set(manifest.names)) == classes
    assert len({c.slug for c in manifest.class_names}) == classes
    assert len(set(manifest.domains)) == domains
    assert manifest.shifts() == [d for d in manifest.domains if d != manifest.reference]
    for text in manifest.names:
        assert text == " ".join(text.split())
        assert "_" not in text
    codes = {c.code for c in manifest.class_names}
    if name == "domainnet":
        assert codes == {""}
    else:
        assert len(codes) == classes


def test_domainnet_as_lipsum_fts_release_prompts_it(tmp_path, monkeypatch):
    """The same files, splits and labels; names as the class folders are called."""
    plain, release = load_manifest("domainnet"), load_manifest("release/domainnet")
    assert release.name == "domainnet" and "release/domainnet" not in available()
    folders = [name.slug for name in plain.class_names]
    assert release.names == folders and "aircraft_carrier" in folders and "t-shirt" in folders
    assert plain.names == [folder.replace("_", " ").replace("-", " ") for folder in folders]
    assert release.digest() != plain.digest() and not is_shipped(release) and is_shipped(plain)
    keys = ("domains", "reference", "labels", "lists", "holdout", "templates", "captions")
    assert all(getattr(plain, key) == getattr(release, key) for key in keys)

    draw_tree(tmp_path / "domainnet", ["real"], ["airplane", "t-shirt", "The_Eiffel_Tower"], 10, 2)
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path))
    for part in ("train", "val", "test"):
        assert plain.split(f"real/{part}") == release.split(f"real/{part}")


def test_underscores_are_spaces_or_kept(mini):
    assert mini(underscores="spaces").digest() == mini().digest()
    kept = mini(underscores="kept")
    assert (
        kept.names == ["alarm_clock", "ant", "T-shirt", "zebra"]
        and kept.digest() != mini().digest()
    )
    assert Manifest.from_copy(kept.copy_for_run()).names == kept.names
    with pytest.raises(
        ConfigError, match=r"underscores: got 'keep'; wanted: spaces, or kept"
    ) as bad:
        mini(underscores="keep")
    assert "\n" not in str(bad.value)


def test_available_are_all_loadable():
    assert [load_manifest(name).name for name in available()] == available()


def test_names_and_labels(mini):
    manifest = mini()
    assert manifest.names == ["alarm clock", "ant", "T shirt", "zebra"]
    split = manifest.split("real/test")
    assert split.name == "real/test"
    assert split.ids == (
        "real/zebra/with space.jpg",
        "real/ant/1.jpg",
        "real/zebra/0.jpg",
    )  # the file's order
    assert split.labels == (3, 1, 3)  # by folder
    assert mini(labels="list").split("real/test").labels == (0, 0, 0)
    assert split.root == mini.root


def test_holdout(mini):
    manifest = mini()
    train = manifest.split("real/train")
    val = manifest.split("real/val")
    lines = (mini.root / "real_train.txt").read_text().splitlines()
    order = [line.rpartition(" ")[0] for line in lines]
    assert (train.name, val.name) == ("real/train", "real/val")
    assert set(train.ids).isdisjoint(val.ids)
    assert set(train.ids) | set(val.ids) == set(order)
    assert list(val.ids) == [name for name in order if name in set(val.ids)]
    assert Counter(SLUGS[label] for label in val.labels) == {
        "alarm_clock": 1,
        "ant": 3,
        "T-shirt": 1,
        "zebra": 2,
    }
    for split in (train, val):
        for label, name in zip(split.labels, split.ids, strict=True):
            assert SLUGS[label] == name.split("/")[1]
    assert mini().split("real/val") == val  # the same rows on each call


def test_a_class_of_one_image_stays_in_train(mini):
    (mini.root / "real_train.txt").write_text(
        "real/ant/0.jpg 1\nreal/zebra/0.jpg 3\nreal/zebra/1.jpg 3\n"
    )
    assert 1 in mini().split("real/train").labels
    assert mini().split("real/val").labels == (3,)


def test_where_no_val_list_exists_holdout_is_named(mini):
    with pytest.raises(ConfigError, match=r"real_val\.txt.*holdout: 0\.2"):
        mini(holdout=0.0).split("real/val")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("reel/test", ["unknown domain of mini 'reel'", "did you mean 'real'?", "sketch"]),
        ("real/tset", ["unknown split 'real/tset'", "did you mean 'real/test'?"]),
        ("real", ["unknown split 'real'", "real/train"]),
        ("sketch/test", ["no list file", "sketch_test.txt"]),
    ],
)
def test_a_split_that_is_not_there(mini, name, words):
    with pytest.raises(ConfigError) as caught:
        mini().split(name)
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "labels", "words"),
    [
        (
            "real/ant/0.jpg 1\nreal/ant/1.jpg\n",
            "folder",
            r"real_test\.txt:2: expected `path label`, got 'real/ant/1",
        ),
        ("real/ant/0.jpg -1\n", "list", r"real_test\.txt:1: expected `path label`"),
        ("real/ant/0.jpg one\n", "list", r"real_test\.txt:1: expected `path label`"),
        (
            "real/ant/0.jpg 4\n",
            "list",
            r"real_test\.txt:1: label 4, expected one below 4, see mini\.classes\.yaml",
        ),
        (
            "real/amt/0.jpg 1\n",
            "folder",
            r"real_test\.txt:1: unknown class folder 'amt'; did you mean 'ant'\?",
        ),
        ("0.jpg 1\n", "folder", r"real_test\.txt:1: unknown class folder ''"),
        ("", "list", "is empty"),
    ],
)
def test_a_malformed_list(mini, text, labels, words):
    (mini.root / "real_test.txt").write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        mini(labels=labels).split("real/test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "changes", "words"),
    [
        (CLASSES, {"refrence": "real"}, r"unknown key 'refrence'; did you mean 'reference'\?"),
        (CLASSES, {"reference": "reel"}, r"unknown domain of mini 'reel'; did you mean 'real'\?"),
        (CLASSES, {"holdout": 1.0}, "holdout"),
        (CLASSES, {"domains": 3}, "domains"),
        (["ant", "ant"], {}, "two classes have the same name"),
        (["alarm clock", "alarm_clock"], {}, "two classes have the same name"),
        ({"ant": 0}, {}, "expected a list of classes, got dict"),
        ([{"nam": "ant"}], {}, "mini.classes.yaml: "),
    ],
)
def test_a_wrong_manifest(mini, classes, changes, words):
    with pytest.raises(ConfigError, match=words) as caught:
        mini(classes, **changes).split("real/test")
    assert "\n" not in str(caught.value)


def own_manifest(folder, **changes):
    """A manifest of class folders, written and opened; a key of None is left out."""
    values = {
        "name": "own",
        "domains": ["real", "sketch"],
        "reference": "real",
        "folders": "{domain}/{class}",
        "classes": ["ant", "bee"],
    }
    values = {key: value for key, value in (values | changes).items() if value is not None}
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump(values))
    return load_manifest(str(file))


def refused(folder, words, **changes):
    with pytest.raises(ConfigError) as caught:
        assert own_manifest(folder, **changes).class_names
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def test_the_least_that_a_manifest_says(tmp_path):
    manifest = own_manifest(tmp_path)
    assert manifest.names == ["ant", "bee"]
    assert manifest.heading == "own"
    for key in PROSE:
        assert getattr(manifest, key) == ""


@pytest.mark.parametrize("key", ["name", "domains", "reference", "classes"])
def test_a_missing_key(tmp_path, key):
    wanted, example = WANTED[key]
    refused(
        tmp_path, [f"own.yaml: {key}: missing; wanted: {wanted}, e.g. {example}"], **{key: None}
    )


@pytest.mark.parametrize("key", WANTED)
def test_a_key_of_another_kind(tmp_path, key):
    wanted, example = WANTED[key]
    odd = {"of": 3}
    wrong = 3 if key in ("captions", "mask", "kept", "metric", "made_shifts") else odd
    words = [f"own.yaml: {key}: got {wrong!r}; wanted: {wanted}, e.g. {example}"]
    refused(tmp_path, words, **{key: wrong})


@pytest.mark.parametrize("key", WANTED)
def test_the_example_of_a_key_is_valid(tmp_path, key):
    example = yaml.safe_load(WANTED[key][1])
    assert list(example) == [key]
    domains = {"domains": ["studio", "phone", "sketch"], "reference": "studio"}
    if key in ("table", "kept"):
        example["folders"] = ""
    if key == "kept":
        domains = {"domains": ["photo"], "reference": "photo"}
    manifest = own_manifest(tmp_path, **{**domains, **example})
    assert manifest.class_names


def test_the_readme_has_every_key_and_every_layout():
    readme = (manifests_folder() / "README.md").read_text(encoding="utf-8")
    first_cells = re.findall(r"^\| `(.+?)` \|", readme, re.MULTILINE)
    keys = [key for key in first_cells if "{" not in key]
    assert keys == list(Manifest.model_fields)
    layouts = {layout for layout in first_cells if "{" in layout}
    assert layouts == set(IN_WORDS)


def test_every_key_but_the_built_in_ones_says_what_is_wanted():
    assert set(Manifest.model_fields) - set(WANTED) == {"emoji"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": "reel"}, ["reference: unknown domain", "'real'?", "e.g. reference: real"]),
        ({"domains": []}, ["reference: unknown domain"]),
        ({"folders": "{class}"}, ["2 domains", 'folders: "{domain}/{class}"']),
        ({"folders": "{kind}/{class}"}, ["folders: got '{kind}/{class}'", "how the folders lie"]),
        ({"classes": []}, ["classes of own: no class", "classes: [mug, plate]"]),
        (
            {"classes": [1, "bee"]},
            ["classes of own: 1 is no name of a class", "in quotes", 'own.yaml:2: "1"'],
        ),
        ({"classes": [True, "bee"]}, ["True is no name of a class", "yes or no", "own.yaml:2"]),
        (
            {"classes": ["Ant", "ant"]},
            ["two classes have the same name or folder: 'Ant' and 'ant'"],
        ),
        (
            {"classes": ["ant", {"name": "fly", "folder": "ant"}]},
            ["two classes have the same name or folder: 'ant' and 'fly'"],
        ),
        ({"classes": "."}, ["classes of own", "is a folder", "classes: [mug, plate]"]),
        ({"classes": "nowhere.yaml"}, ["no such file", "nowhere.yaml"]),
        ({"clases": ["ant"]}, ["unknown key 'clases'; did you mean 'classes'?"]),
        ({"emoji": {"size": 4, "per_class": {}}}, ["own.yaml: size: "]),
    ],
)
def test_a_wrong_manifest_of_ones_own(tmp_path, changes, words):
    refused(tmp_path, words, **changes)


UNQUOTED = {  # what YAML 1.1 takes for something else
    "no, tomasz-c/nft-blackhole#4": "no",
    "NO, Ebsy/discourse-nationalflags#11": "NO",
    "yes": "yes",
    "off": "off",
    "0, modestyachts/ImageNetV2#10": "0",
    "null": "null",
    "~": "~",
    "a date": "2024-01-31",
    "a time": "12:30:45",
    "a fraction": "1.5",
    "hexadecimal": "0x10",
    "thousands": "1_000",
}


@pytest.mark.parametrize("word", UNQUOTED.values(), ids=UNQUOTED)
@pytest.mark.parametrize("row", ["- {}", "- {{name: {}}}", "- {{name: ant, folder: {}}}"])
def test_a_name_that_yaml_takes_for_something_else(tmp_path, word, row):
    text = "# the classes\n- bee\n\n" + row.format(word) + "\n"
    (tmp_path / "list.yaml").write_text(text)
    refused(tmp_path, [f'; quote it in list.yaml:4: "{word}"'], classes="list.yaml")
    (tmp_path / "list.yaml").write_text(text.replace(word, f'"{word}"'))
    assert own_manifest(tmp_path, classes="list.yaml").class_names[1]
    file = tmp_path / "own.yaml"
    file.write_text(f"name: own\ndomains: [real]\nreference: real\nclasses: [bee, {word}]\n")
    with pytest.raises(ConfigError, match=rf'quote it in own\.yaml:4: "{word}"'):
        assert load_manifest(str(file)).class_names


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"domains": [False, "real"]}, ["own.yaml: domains: got False", "quote it in own.yaml:"]),
        ({"name": 17}, ["own.yaml: name: got 17", 'quote it in own.yaml:8: "17"']),
        ({"domains": ["real", "a/b"]}, ["domains: 'a/b'", "without a slash"]),
        ({"domains": ["real", "a\\b"]}, ["domains: 'a\\\\b'", "without a slash"]),
        ({"domains": ["real", " "]}, ["domains: ' '"]),
        ({"domains": ["real", "real"]}, ["domains: 'real' is given twice"]),
        ({"name": "a/b"}, ["name: 'a/b'"]),
        ({"templates": []}, ["templates: none", 'templates: ["a photo of a {}."]']),
        ({"templates": "openia"}, ["templates: got 'openia'; wanted: openai, or a list of texts"]),
        ({"templates": ["a {}", "it"]}, ["templates: 'it' has no {} for the class name"]),
        ({"captions": {"any": ["it"]}}, ["captions: any: 'it' has no {} for the class name"]),
        ({"captions": {"reel": ["{}"]}}, ["captions: unknown domain of own 'reel'", "'real'"]),
        ({"domains": ["real", ".."]}, ["domains: '..'"]),
        (
            {"folders": None, "domains": ["real", "x"], "lists": "{split}.txt"},
            ["'{split}.txt' has no {domain}"],
        ),
        (
            {"folders": None, "lists": "{domain}.txt"},
            ["lists: '{domain}.txt' has no {split}; wanted"],
        ),
        ({"classes": ["ant", "_"]}, ["class 1 has no name, got '_'"]),
        ({"classes": ["ant", {"star": "bright"}]}, ["unknown key 'star'", "holds a colon"]),
        ({"classes": [None, "ant"]}, ["None is no name of a class"]),
        ({"look": "viewr"}, ["look: got 'viewr'; wanted: file, or viewer"]),
        ({"megapixels": 0}, ["megapixels: got 0"]),
    ],
)
def test_names_and_texts_that_cannot_be(tmp_path, changes, words):
    refused(tmp_path, words, **changes)


def test_an_empty_class_file(tmp_path):
    for text in ("", "[]", "# none\n", "null"):
        (tmp_path / "list.yaml").write_text(text)
        refused(tmp_path, ["list.yaml: no class; wanted: a list"], classes="list.yaml")


def test_how_images_are_read_goes_with_every_split(tmp_path, monkeypatch):
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    for name in ("real/ant", "real/bee", "sketch/ant"):
        (tmp_path / name).mkdir(parents=True)
        for number in range(5):
            (tmp_path / name / f"{number}.png").touch()
    plain = own_manifest(tmp_path, root=".", holdout=0.2)
    seen = own_manifest(tmp_path, root=".", holdout=0.2, look="viewer", megapixels=250)
    for name in ("real/train", "real/val", "sketch/test"):
        assert plain.split(name).decoding == Decoding("file", 178)
        assert seen.split(name).decoding == Decoding("viewer", 250)
    joined = Split.join([seen.split("real/train"), seen.split("sketch/test")])
    assert joined.decoding == joined.take([1]).decoding == Decoding("viewer", 250)
    assert Manifest.from_copy(seen.copy_for_run()).decoding == Decoding("viewer", 250)


def test_what_may_be_read_is_no_part_of_the_digest_but_how_it_looks_is(tmp_path):
    plain = own_manifest(tmp_path).digest()
    assert own_manifest(tmp_path, megapixels=250, outside=True, look="file").digest() == plain
    assert own_manifest(tmp_path, look="viewer").digest() != plain


def test_a_path_that_is_no_manifest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "odd.yaml").mkdir()
    command = "clipft train --data photos --reference DOMAIN"
    with pytest.raises(ConfigError, match=f"photos is a folder, wanted: a manifest.*{command}"):
        load_manifest("photos")
    with pytest.raises(ConfigError, match=r"odd\.yaml is a folder, wanted: a manifest"):
        load_manifest("odd.yaml")
    with pytest.raises(ConfigError, match=r"no manifest own\.yaml; .*clipft datasets new own "):
        load_manifest("own.yaml")
    own_manifest(tmp_path)
    assert load_manifest("own").name == load_manifest("own.yaml").name == "own"


# --- digests: they name runs that are there


DIGESTS = {
    "celeba": "47904f0e987b",
    "cifar10": "243db49c75a2",
    "cifar100": "946ec9b04b64",
    "cub": "262dcc07d55e",
    "cub_gzsl": "53c8003f1884",
    "domainnet": "a0bf1fb8886e",
    "emoji_pretrain": "c7db521329b5",
    "emoji_shift": "807956ba4b39",
    "emoji_start": "ea7a41a73a0b",
    "fmow": "b0414294a423",
    "imagenet": "ea92ceeea0e9",
    "iwildcam": "343a004c0f2b",
    "waterbirds": "513c0ec44d17",
}


def test_the_digests_of_the_shipped_manifests_stay():
    """A new key must not rename the runs of those who never set it."""
    assert {name: load_manifest(name).digest() for name in DIGESTS} == DIGESTS


def test_spurious_templates_are_no_part_of_the_digest(tmp_path):
    plain = own_manifest(tmp_path)
    own = own_manifest(tmp_path, spurious=["{} at sea"])
    assert own.digest() == plain.digest()
    assert Manifest.from_copy(own.copy_for_run()).spurious == ("{} at sea",)
    assert "spurious" not in plain.copy_for_run()
    with pytest.raises(ConfigError, match=r"spurious: 'at sea' has no {} for the caption"):
        own_manifest(tmp_path, spurious=["at sea"])


def test_where_images_lie_and_the_prose_are_no_part_of_the_digest(tmp_path):
    plain = own_manifest(tmp_path).digest()
    prose = dict.fromkeys(PROSE, "words")
    assert own_manifest(tmp_path, root="/elsewhere", **prose).digest() == plain
    (tmp_path / "own.classes.yaml").write_text("[ant, bee]")
    for changes in (
        {"folders": "{domain}/{split}/{class}"},
        {"holdout": 0.3},
        {"classes": ["bee", "ant"]},
        {"classes": ["ant", {"name": "bee", "folder": "bees"}]},
        {"reference": "sketch"},
    ):
        assert own_manifest(tmp_path, **changes).digest() != plain


def test_a_copy_finds_the_images_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    original = own_manifest(tmp_path, root="pictures", holdout=0.3)
    for name in ("real/ant", "real/bee", "sketch/ant"):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(5):
            (folder / f"{number}.png").touch()

    copy = Manifest.from_copy(json.loads(json.dumps(original.copy_for_run())))
    monkeypatch.chdir("/")
    assert copy.place == original.place == tmp_path / "pictures"
    assert copy.digest() == original.digest()
    assert copy.copy_for_run() == original.copy_for_run()
    for split in ("real/train", "real/val", "real/test", "sketch/test"):
        assert copy.split(split) == original.split(split)


def test_the_data_folder_comes_before_root_where_it_is_there(tmp_path, monkeypatch):
    manifest = own_manifest(tmp_path, root="pictures")
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path / "data"))
    assert manifest.place == tmp_path / "pictures"
    (tmp_path / "data" / "own").mkdir(parents=True)
    assert manifest.place == tmp_path / "data" / "own"
    monkeypatch.delenv("CLIPFT_DATA")
    with pytest.raises(ConfigError, match="mend root in the manifest, or set CLIPFT_DATA"):
        manifest.root_folder()


def test_a_missing_class_list(mini, tmp_path):
    manifest = mini()
    (tmp_path / "mini.classes.yaml").unlink()
    with pytest.raises(ConfigError, match=r"no such file: .*mini\.classes\.yaml"):
        manifest.split("real/test")


@pytest.mark.parametrize("text", ["name: [", "\tname: x", "- 1", "", b"\xff\xfe"])
def test_a_manifest_that_is_no_mapping(tmp_path, text):
    if isinstance(text, str):
        text = text.encode()
    (tmp_path / "odd.yaml").write_bytes(text)
    with pytest.raises(ConfigError, match=r"odd\.yaml") as caught:
        load_manifest(str(tmp_path / "odd.yaml"))
    assert "\n" not in str(caught.value)


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(
        ConfigError, match=r"unknown data set 'emoji_shfit'; did you mean 'emoji_shift'\?"
    ):
        load_manifest("emoji_shfit")


def test_where_the_files_are(mini, monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigError, match=r"no folder .*elsewhere/mini"):
        mini().split("real/test")
    monkeypatch.delenv("CLIPFT_DATA")
    with pytest.raises(ConfigError, match="set CLIPFT_DATA"):
        mini().root_folder()


def test_shifts_of_another_reference(mini):
    assert mini().shifts("sketch") == ["real"]
    with pytest.raises(ConfigError, match="did you mean 'sketch'"):
        mini().shifts("sketsh")


@pytest.mark.parametrize("name", available())
def test_a_copy_for_a_run_says_all_without_the_files(name, monkeypatch):
    original = load_manifest(name)
    text = json.dumps(original.copy_for_run())
    monkeypatch.setattr("clipft.data.manifests.read_yaml", None)  # would raise if it were called
    copy = Manifest.from_copy(json.loads(text))
    assert copy.digest() == original.digest()
    assert copy.class_names == original.class_names
    assert (copy.names, copy.domains) == (original.names, original.domains)
    assert (copy.reference, copy.shifts()) == (original.reference, original.shifts())
    assert copy.copy_for_run() == original.copy_for_run()


def test_a_copy_for_a_run_reads_the_same_splits(mini):
    original = mini()
    copy = Manifest.from_copy(original.copy_for_run())
    for split in ("real/train", "real/val", "real/test"):
        assert copy.split(split) == original.split(split)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_names": "ant"}, "expected a list of classes, got str"),
        ({"class_names": ["ant", "ant"]}, "two classes have the same name"),
        ({"refrence": "real"}, r"copy of a manifest: unknown key 'refrence'; did you mean"),
        ({"reference": 3}, r"copy of a manifest: reference: "),
    ],
)
def test_a_copy_that_is_none(mini, changes, words):
    copy = mini().copy_for_run()
    with pytest.raises(ConfigError, match=words):
        assert Manifest.from_copy(copy | changes).names
    del copy["class_names"]
    with pytest.raises(ConfigError, match="it has no class_names"):
        Manifest.from_copy(copy)


def test_a_manifest_is_frozen(mini):
    with pytest.raises(ValueError, match="frozen"):
        mini().name = "other"
    assert isinstance(mini(), Manifest)


# --- numbers of the papers

PAPER = manifests_folder() / "published" / "lipsum_ft.csv"


@pytest.mark.parametrize(
    ("table", "benchmark", "metric"),
    [
        ("1", "domainnet", "accuracy"),
        ("2", "imagenet", "nll"),
        ("4", "domainnet", "accuracy"),
        ("6", "domainnet", "accuracy"),
        ("7", "imagenet", "accuracy"),
    ],
)
def test_published_tables_are_pandas_on_the_file(table, benchmark, metric):
    rows = pd.read_csv(PAPER, dtype=str, keep_default_na=False).astype({"mean": float})
    rows = rows[(rows.table == table) & (rows.benchmark == benchmark) & (rows.metric == metric)]
    found = published(table, benchmark, metric=metric)
    assert list(found.columns) == ["method", "variant", "model", "domain", "reference", "shift"]
    titles = {"L2SP": "L2-SP", "Linear-probed": "LP"}
    want = {}
    for (method, variant, model), scores in rows.groupby(["method", "variant", "model"]):
        is_reference = scores.split == scores.reference
        want[titles.get(method, method), variant, model] = pytest.approx(
            (scores[is_reference]["mean"].item(), scores[~is_reference]["mean"].mean())
        )
    keys = zip(found.method, found.variant, found.model, strict=True)
    values = zip(found.reference, found["shift"], strict=True)
    assert dict(zip(keys, values, strict=True)) == want


def test_published_rows_are_in_the_papers_order():
    assert published("1").method.tolist() == [
        "Zero-shot",
        "FT",
        "EMA",
        "L2-SP",
        "KD",
        "CAR-FT",
        "Lipsum-FT",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("3",), "table 3 of lipsum_ft"),
        (("",), "table  of lipsum_ft"),
        (("1", "domainet"), "domainet"),
        (("1", "domainnet", "lipsum_ft", "nll"), "no nll of domainnet in table 1"),
        (("1", "domainnet", "lipsum-ft"), "did you mean 'lipsum_ft'"),
        (("slides", "domainnet", "flyp"), "table slides of flyp"),
    ],
)
def test_what_was_not_published_is_refused(arguments, words):
    with pytest.raises(ConfigError, match=words) as raised:
        published(*arguments)
    assert "\n" not in str(raised.value)


def test_a_table_whose_reference_is_a_split_of_its_own_is_not_empty():
    """FLYP's rows have reference `train`, and id_test and test as splits: neither is it by name."""
    assert set(published("slides", "iwildcam", "flyp", "macro_f1").method) == {
        "Zero-shot",
        "FT",
        "LP-FT",
        "FLYP",
    }


def test_references_are_not_mixed():
    """Table 10 tunes on four domains: one row per method would be a mean over their shifts."""
    rows = pd.read_csv(PAPER, dtype=str, keep_default_na=False).astype({"mean": float})
    rows = rows[(rows.table == "10") & (rows.method == "FT")]
    found = published("10")
    found = found[found.method == "FT"]
    assert sorted(found.reference) == pytest.approx(
        sorted(rows[rows.split == rows.reference]["mean"])
    )


def test_every_known_layout_says_what_it_was_checked_against():
    assert set(READERS) == set(CHECKED)
    shipped = [kept for name in available() for kept in load_manifest(name).kept.values()]
    assert {kept.layout for kept in shipped} == set(READERS)
