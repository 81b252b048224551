"""List files of other tools, against rows written by hand."""

import os
import unicodedata
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from clipft import progress
from clipft.data.lists import ListFile, Rows
from clipft.data.manifests import load_manifest
from clipft.errors import ConfigError

VALUES = {
    "name": "own",
    "domains": ["real", "sketch"],
    "reference": "real",
    "root": "images",
    "classes": ["ant", "hot dog", "café"],
}
PLAIN = [("real/ant/0.jpg", 0), ("real/hot dog/1.jpg", 1), ("real/café/2.jpg", 2)]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    monkeypatch.setattr(progress, "_SAID", set())
    (tmp_path / "images").mkdir()
    return tmp_path


def manifest(content, **changes):
    """A data set with this list of its test images."""
    if isinstance(content, str):
        content = content.encode()
    Path("images/real_test.txt").write_bytes(content)
    Path("own.yaml").write_text(yaml.safe_dump(VALUES | changes), encoding="utf-8")
    return load_manifest("own.yaml")


def rows(content, **changes):
    split = manifest(content, **changes).split("real/test")
    return list(zip(split.ids, split.labels, strict=True))


def refusal(content, **changes):
    with pytest.raises(ConfigError) as caught:
        rows(content, **changes)
    message = str(caught.value)
    assert "\n" not in message and "real_test.txt" in message
    return message


TEXT = "".join(f"{path} {label}\n" for path, label in PLAIN)
WRITTEN = {
    "plain": TEXT,
    "BOM, jfisteus/eyegrade#70": b"\xef\xbb\xbf" + TEXT.encode(),
    "UTF-16 of Windows": TEXT.encode("utf-16"),
    "UTF-16, the other order": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "UTF-32": TEXT.encode("utf-32"),
    "CRLF": TEXT.replace("\n", "\r\n"),
    "CR": TEXT.replace("\n", "\r"),
    "no newline at the end": TEXT.rstrip("\n"),
    "a wide blank": TEXT.replace(".jpg ", ".jpg\u3000"),
    "tabs": TEXT.replace(".jpg ", ".jpg\t"),
    "several blanks": TEXT.replace(".jpg ", ".jpg  \t  "),
    "blanks at a line's end": TEXT.replace("\n", "  \t\n"),
    "blanks before": TEXT.replace("real", "  real"),
    "empty lines": "\n\n" + TEXT.replace("\n", "\n  \n"),
    "backslashes, abbyy/barcode_detection_benchmark#2": TEXT.replace("/", "\\"),
    "quotes": "".join(f'"{path}" {label}\n' for path, label in PLAIN),
    "other quotes": "".join(f"'{path}' {label}\n" for path, label in PLAIN),
    "comments": "# a list\n#\n" + TEXT + "# 3 rows\n#end\n",
    "leading zeros": TEXT.replace(".jpg ", ".jpg 00"),
}


@pytest.mark.parametrize("content", WRITTEN.values(), ids=WRITTEN)
def test_the_same_rows_however_they_are_written(content, capsys):
    assert rows(content) == PLAIN
    assert capsys.readouterr().err == ""


def test_names_are_as_they_are_on_disk():
    """macOS writes an accent apart; what is there is taken: llmsresearch/paperbanana#240."""
    apart = unicodedata.normalize("NFD", "café")
    for folder in (apart, "café"):
        for listed in (apart, "café"):
            file = Path(f"images/real/{folder}/é.jpg")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            assert rows(f"real/{listed}/é.jpg 2\n") == [(f"real/{folder}/é.jpg", 2)]
            assert rows(f"real/{listed}/é.jpg 0\n", labels="folder") == [
                (f"real/{folder}/é.jpg", 2)
            ]
            file.unlink()
            file.parent.rmdir()


def test_a_backslash_of_a_files_own_name_stays():
    Path("images/a\\b.jpg").touch()
    assert rows("a\\b.jpg 1\nc\\d.jpg 1\n") == [("a\\b.jpg", 1), ("c/d.jpg", 1)]


def test_a_name_with_a_number_sign_is_a_row():
    assert rows("#1/a.jpg 0\n# 1 comment of 2\n") == [("#1/a.jpg", 0)]


def test_the_mark_of_a_list_that_was_put_behind_another_is_no_part_of_a_name():
    assert rows("a.jpg 1\n\ufeffb.jpg 2\n\ufeff") == [("a.jpg", 1), ("b.jpg", 2)]


REFUSED = {
    "a label of any length": (f"a.jpg {'9' * 5000}\n", [":1: label 999", "expected one below 3"]),
    "Latin-1, sekilab/RoadDamageDetector#8": (
        TEXT.encode("latin1"),
        ["real_test.txt:3: ", "0xe9 is not utf-8", "iconv -f latin1"],
    ),
    "UTF-16 without a mark": (TEXT.encode("utf-16-le"), [":3: ", "is not utf-8"]),
    "UTF-16 without a mark, ASCII": ("a.jpg 0\n".encode("utf-16-le"), [":1: ", "a byte is 0"]),
    "cut UTF-16": (TEXT.encode("utf-16")[:-1], ["is not utf-16"]),
    "a NUL": ("a.jpg 0\nb\0.jpg 1\n", [":2: ", "a byte is 0"]),
    "empty": ("", ["is empty"]),
    "blank": ("\n \n", ["is empty"]),
    "comments alone": ("# nothing\n", ["is empty"]),
    "hidden files alone": ("real/ant/._0.jpg 0\n", ["no row of", "left out, hidden: 1"]),
    "CSV with a header": (
        "path,label\na.jpg,0\n",
        [":1: ", "a table with commas", "wanted: `path"],
    ),
    "CSV": ("real/hot dog/a.jpg,0\n", [":1: ", "a table with commas", "a blank before the label"]),
    "CSV of another tongue": ("Pfad;Klasse\n", [":1: ", "a table with semicolons"]),
    "TSV with a header": ("path\tlabel\na.jpg\t0\n", [":1: ", "not a table's header"]),
    "a number before, microsoft/CNTK#1321": (
        "0\ttestImages\\a.jpg\t0\n",
        [":1: ", "has a tab in its path"],
    ),
    "the label first": ("a.jpg 0\n3 real/ant/0.jpg\n", [":2: ", "has its label first"]),
    "no label": ("a.jpg 0\nreal/ant.jpg\n", [":2: expected `path label`, got 'real/ant.jpg'"]),
    "a label of words": ("a.jpg ant\n", [":1: expected `path label`"]),
    "a negative label": ("a.jpg 0\nb.jpg -1\n", [":2: expected `path label`"]),
    "a fraction": ("a.jpg 1.0\n", [":1: expected `path label`"]),
    "a label out of range": ("a.jpg 0\nb.jpg 7\n", [":2: label 7, expected one below 3"]),
    "labels from 1": ("a.jpg 1\nb.jpg 3\n", [":2: label 3", "labels start at 0"]),
    "a password": ("a.jpg 0\n/etc/passwd 0\n", [":2: /etc/passwd lies outside", "outside: true"]),
    "up": ("../x.jpg 0\n", [":1: ../x.jpg lies outside"]),
    "down and up": ("real/../../x.jpg 0\n", [":1: ", "lies outside"]),
    "a drive": ("C:\\data\\x.jpg 0\n", [":1: C:/data/x.jpg lies outside"]),
    "a folder beside": ("../images2/x.jpg 0\n", ["lies outside"]),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_a_list_that_cannot_be_read_is_one_line(content, words):
    message = refusal(content)
    assert [word for word in words if word not in message] == []


def test_a_path_below_the_root_may_be_absolute_or_go_up():
    here = os.getcwd()
    link = Path("link")
    link.symlink_to("images")
    assert rows(f"{here}/images/a/x.jpg 1\n") == [("a/x.jpg", 1)]
    assert rows(f"{here}/images/a/x.jpg 1\n", root="link") == [("a/x.jpg", 1)]
    assert rows("a/../b/x.jpg 1\n./c.jpg 0\n") == [("b/x.jpg", 1), ("./c.jpg", 0)]


def test_out_of_the_root_where_the_manifest_says_so():
    given = [("/data/x.jpg", 0), ("../y.jpg", 1)]
    text = "".join(f"{path} {label}\n" for path, label in given)
    assert rows(text, outside=True) == given
    split = manifest(text, outside=True).split("real/test")
    assert [split.root / name for name in split.ids] == [
        Path("/data/x.jpg"),
        split.root / "../y.jpg",
    ]
    assert manifest(text, outside=True).digest() == manifest(text).digest()


def said(capsys, content, **changes):
    rows(content, **changes)
    return [line.partition("real_test.txt: ")[2] for line in capsys.readouterr().err.splitlines()]


def test_repeats_are_counted(capsys):
    assert said(capsys, "a.jpg 0\nb.jpg 1\na.jpg 0\na.jpg 1\nb.jpg 1\n") == [
        "rows that repeat an image: 3, e.g. a.jpg; every row counts",
        "images under several labels: 1, e.g. a.jpg",
    ]


def test_labels_that_contradict_the_folders_are_counted(capsys):
    content = "real/ant/0.jpg 0\nreal/ant/1.jpg 1\nreal/hot_dog/2.jpg 1\nreal/n01/3.jpg 2\n"
    (note,) = said(capsys, content)
    found, ways = note.split("; ", 1)
    assert found == "1 of 4 labels contradict the class folders, e.g. real/ant/1.jpg as 'hot dog'"
    assert ways == "the list is used; labels: folder would take the folders"
    content = "real/ant/0.jpg 5\nreal/ant/1.jpg 6\nreal/hot dog/2.jpg 9\n"
    assert said(capsys, content, labels="folder") == [
        "1 of 2 class folders are listed under several labels, e.g. ant: 5 and 6; folders are used"
    ]


def test_what_is_no_image_is_left_out_and_said(capsys):
    """One rule with class folders; see test_images."""
    content = (
        "a.jpg 0\nreal/ant/._0.jpg 0\n.git/b.jpg 1\nnotes.txt 1\nc.svg 0\nd 2\ne.17 1\n./f.png 0\n"
    )
    assert rows(content) == [("a.jpg", 0), ("d", 2), ("e.17", 1), ("./f.png", 0)]
    progress._SAID.clear()
    capsys.readouterr()
    assert said(capsys, content) == [
        "left out, hidden: 2, e.g. real/ant/._0.jpg",
        "left out, no image: .txt (1)",
        "left out, not read: .svg (1); save them as .jpg",
    ]
    rows(content)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("folder", ["hot dog", "hot_dog", "Hot-Dog", "HOT DOG"])
def test_every_spelling_of_a_class_folder_is_found(folder):
    """EscVM/OIDv4_ToolKit#3, #57."""
    assert rows(f"real/{folder}/a b.jpg 0\n", labels="folder") == [(f"real/{folder}/a b.jpg", 1)]


def test_a_spelling_of_two_classes_is_asked_for():
    classes = ["T-shirt", "t_shirt", "ant"]
    exact = "real/T-shirt/0.jpg 0\nreal/t_shirt/0.jpg 0\n"
    assert [label for _, label in rows(exact, classes=classes, labels="folder")] == [0, 1]
    message = refusal("real/T shirt/0.jpg 0\n", classes=classes, labels="folder")
    assert "unknown class folder 'T shirt'" in message


NAMES = st.text("ab/._ \t'#\\é", min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(NAMES, st.integers(0, 3)), max_size=6))
def test_columns_and_lines_give_the_same_rows(tmp_path_factory, given_rows):
    """Blocks are read by columns where that is safe; line by line it is the same."""
    from clipft.data import lists

    folder = tmp_path_factory.mktemp("lists")
    file = folder / "list.txt"
    file.write_text("".join(f"{name}.jpg {label}\n" for name, label in given_rows))

    def read():
        try:
            return ListFile(file, folder).rows(lambda folder, label, where: int(label))
        except ConfigError as error:
            return str(error)

    with pytest.MonkeyPatch.context() as patch:
        by_columns = read()
        patch.setattr(lists, "_add_quickly", lambda *_: False)
        by_lines = read()
        patch.setattr(lists, "BLOCK", 1)
        assert by_columns == by_lines == read()


def test_the_columns_are_used(monkeypatch):
    monkeypatch.setattr(ListFile, "_add", None)
    content = "".join(f"real/ant/{row}.JPEG 0\n" for row in range(100_000))
    assert len(rows(content)) == 100_000
    assert isinstance(ListFile(Path("images/real_test.txt"), Path()).rows(lambda *_: 4), Rows)
