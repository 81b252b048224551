"""Manifests: the shipped ones, and a DomainNet-shaped tree of four classes read line by line."""

from collections import Counter

import pandas as pd
import pytest
import yaml

from clipft.data.manifests import Manifest, available, load_manifest, manifests_folder
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
    train = [
        f"real/{slug}/{i}.jpg {(SLUGS.index(slug) + 1) % 4}"
        for slug, n in PER_CLASS.items()
        for i in range(n)
    ]
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
    assert not [text for text in manifest.names if text != " ".join(text.split()) or "_" in text]
    codes = [c.code for c in manifest.class_names]
    assert set(map(len, codes)) == {0} if name == "domainnet" else len(set(codes)) == classes


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
    train, val = manifest.split("real/train"), manifest.split("real/val")
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
        assert [SLUGS[label] for label in split.labels] == [
            name.split("/")[1] for name in split.ids
        ]
    assert mini().split("real/val") == val  # the same rows on each call


def test_a_class_of_one_image_stays_in_train(mini):
    (mini.root / "real_train.txt").write_text(
        "real/ant/0.jpg 1\nreal/zebra/0.jpg 3\nreal/zebra/1.jpg 3\n"
    )
    assert 1 in mini().split("real/train").labels
    assert mini().split("real/val").labels == (3,)


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


def test_a_missing_class_list(mini, tmp_path):
    manifest = mini()
    (tmp_path / "mini.classes.yaml").unlink()
    with pytest.raises(ConfigError, match=r"no such file: .*mini\.classes\.yaml"):
        manifest.split("real/test")


@pytest.mark.parametrize("text", ["name: [", "\tname: x", "- 1", "", b"\xff\xfe"])
def test_a_manifest_that_is_no_mapping(tmp_path, text):
    (tmp_path / "odd.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
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
        mini().root()


def test_shifts_of_another_reference(mini):
    assert mini().shifts("sketch") == ["real"]
    with pytest.raises(ConfigError, match="did you mean 'sketch'"):
        mini().shifts("sketsh")


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
    want = {
        (titles.get(method, method), variant, model): (
            part[part.split == part.reference]["mean"].item(),
            part[part.split != part.reference]["mean"].mean(),
        )
        for (method, variant, model), part in rows.groupby(["method", "variant", "model"])
    }
    keys = zip(found.method, found.variant, found.model, strict=True)
    assert dict(zip(keys, zip(found.reference, found["shift"], strict=True), strict=True)) == {
        key: pytest.approx(value) for key, value in want.items()
    }


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
    """FLYP's rows have reference `train`, and id_test and test as splits: neither is the reference by name."""
    assert set(published("slides", "iwildcam", "flyp", "macro_f1").method) == {
        "Zero-shot",
        "FT",
        "LP-FT",
        "FLYP",
    }


def test_references_are_not_mixed():
    """Table 10 tunes on each of four domains: one row per method would be a mean over their shifts."""
    rows = pd.read_csv(PAPER, dtype=str, keep_default_na=False).astype({"mean": float})
    rows = rows[(rows.table == "10") & (rows.method == "FT")]
    found = published("10")
    found = found[found.method == "FT"]
    assert sorted(found.reference) == pytest.approx(
        sorted(rows[rows.split == rows.reference]["mean"])
    )
