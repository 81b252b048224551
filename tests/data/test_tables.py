"""Tables of images: CSV, parquet, folders of Hugging Face's `datasets`; and what a check finds."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from PIL import Image
from pyarrow import parquet

from clipft.data import columns, lists, shards, tables
from clipft.data.check import check_images
from clipft.data.folders import complete
from clipft.data.manifests import Manifest
from clipft.data.own import new_manifest
from clipft.data.splits import Split
from clipft.errors import ConfigError

NAMES = ["door key", "cup"]


def png(value):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def rows(tmp_path, monkeypatch):
    """(path, label, split, domain) of images that lie here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pics").mkdir()
    found = []
    for number in range(24):
        path = f"pics/{number}.png"
        (tmp_path / path).write_bytes(png(number))
        split = ("train", "valid", "TEST")[number // 2 % 3]
        found.append((path, NAMES[number % 2], split, "phone" if number >= 12 else "studio"))
    return found


def write_csv(file, header, lines, separator=",", encoding="utf-8"):
    text = "\n".join(separator.join(line) for line in [header, *lines])
    file.write_text(text + "\n", encoding=encoding)


def kept(manifest, split):
    """The rows of a split as the table wrote them."""
    read = manifest.split(split)
    pairs = zip(read.ids, read.labels, strict=True)
    return sorted((path, manifest.names[label]) for path, label in pairs)


def wanted(rows, domain, word):
    return sorted(row[:2] for row in rows if row[2:] == (word, domain))


@pytest.mark.parametrize(
    ("header", "separator", "encoding"),
    [
        (["path", "label", "split", "domain"], ",", "utf-8"),
        (["File Name", "Category", "subset", "environment"], ";", "utf-8-sig"),
        (["image_path", "class-name", "Partition", "env"], "\t", "utf-16"),
    ],
)
def test_columns_are_found_by_any_usual_name(tmp_path, rows, header, separator, encoding):
    write_csv(tmp_path / "rows.csv", header, rows, separator, encoding)
    own = new_manifest("mine", "rows.csv", "studio")
    for part, word in (("train", "train"), ("val", "valid"), ("test", "TEST")):
        assert kept(own.manifest, f"studio/{part}") == wanted(rows, "studio", word)
    assert kept(own.manifest, "phone/test") == wanted(rows, "phone", "TEST")
    assert all(name in str(own) for name in header)
    assert yaml.safe_load(own.file.read_text())["table"] == "rows.csv"
    again = Manifest.open(own.file)
    assert again.split("studio/train") == own.manifest.split("studio/train")
    copy = Manifest.from_copy(again.copy_for_run())
    assert copy.digest() == again.digest()
    assert copy.split("phone/test") == again.split("phone/test")


def test_without_splits_and_domains_some_are_held_out(tmp_path, rows):
    write_csv(tmp_path / "rows.csv", ["path", "label"], [row[:2] for row in rows])
    manifest = new_manifest("mine", "rows.csv").manifest
    parts = [kept(manifest, f"mine/{part}") for part in ("train", "val", "test")]
    assert [len(part) for part in parts] == [16, 4, 4]
    assert sorted(row for part in parts for row in part) == sorted(row[:2] for row in rows)


def test_a_parquet_with_numbers_of_splits_and_images_elsewhere(tmp_path, rows):
    (tmp_path / "tables").mkdir()
    numbers = {"train": 0, "valid": 1, "TEST": 2}
    columns = {"file": [row[0] for row in rows], "y": [row[1] for row in rows]}
    columns["split"] = [numbers[row[2]] for row in rows]
    parquet.write_table(pa.table(columns), tmp_path / "tables/rows.parquet")
    with pytest.raises(ConfigError, match=r"no pics/0.png in tables; .*--table TABLE --root"):
        new_manifest("mine", "tables/rows.parquet")
    manifest = new_manifest("mine", ".", table="tables/rows.parquet").manifest
    assert kept(manifest, "mine/val") == sorted(row[:2] for row in rows if row[2] == "valid")


def test_absolute_paths_say_their_root(tmp_path, rows):
    lines = [(str(tmp_path / row[0]), row[1]) for row in rows]
    write_csv(tmp_path / "rows.csv", ["path", "label"], lines)
    manifest = new_manifest("mine", "rows.csv").manifest
    assert manifest.root == "pics"
    assert len(manifest.split("mine/train")) == 16


def test_words_make_classes_rather_than_numbers_and_spellings_are_one(tmp_path, rows):
    lines = [(row[0], str(NAMES.index(row[1])), row[1]) for row in rows]
    lines[0] = (lines[0][0], "0", "Door_Key")
    write_csv(tmp_path / "rows.csv", ["path", "label", "class_name"], lines)
    own = new_manifest("mine", "rows.csv")
    assert own.manifest.names == ["cup", "Door Key"]
    assert "'door key' is read as 'Door_Key'" in str(own)


@pytest.mark.parametrize(
    ("header", "change", "words"),
    [
        (["pics/0.png", "cup"], {}, "rows.csv:1: the first line names no columns but an image"),
        (["path", "what"], {}, "no column of labels among path, what"),
        (["where", "label"], {}, "no column of paths among where, label"),
        (["path", "path"], {}, "two columns are called path"),
        (["path", "label"], {0: "../x.png"}, r"rows.csv:2: ../x.png lies outside of"),
        (["path", "split"], {}, "no column of labels"),
    ],
)
def test_a_wrong_table_gets_one_line(tmp_path, rows, header, change, words):
    lines = [(change.get(number, row[0]), row[1]) for number, row in enumerate(rows)]
    write_csv(tmp_path / "rows.csv", header, lines)
    with pytest.raises(ConfigError, match=words):
        new_manifest("mine", "rows.csv")
    assert not (tmp_path / "mine.yaml").exists()


def test_rows_without_label_or_of_no_part_are_left_out_and_counted(tmp_path, rows):
    lines = [list(row) for row in rows]
    lines[0][1] = ""
    lines[1][2] = "unlabelled"
    write_csv(tmp_path / "rows.csv", ["path", "label", "split", "domain"], lines)
    said = str(new_manifest("mine", "rows.csv", "studio"))
    assert "left out, without a label: 1, e.g. pics/0.png" in said
    assert "left out, split 'unlabelled': 1, e.g. pics/1.png" in said


def test_groups_go_with_their_images_and_are_scored(tmp_path, rows):
    """As Waterbirds': a group is a class on a background; shifts without splits are all test."""
    lines = [(*row[:2], row[3], f"{row[1]} on {number % 3}") for number, row in enumerate(rows)]
    write_csv(tmp_path / "rows.csv", ["path", "label", "domain", "group"], lines)
    group_of = {line[0]: line[3] for line in lines}
    own = new_manifest("mine", "rows.csv", "studio")
    assert "group" in str(own)
    text = own.file.read_text().replace("holdout:", "metric: worst_group\nholdout:")
    own.file.write_text(text)
    for name in ("studio/train", "studio/val", "studio/test", "phone/test"):
        split = Manifest.open(own.file).split(name)
        assert split.groups == tuple(group_of[path] for path in split.ids)

    write_csv(tmp_path / "rows.csv", ["path", "label", "domain"], [line[:3] for line in lines])
    with pytest.raises(ConfigError, match=r"rows.csv: no column of groups.*called group"):
        Manifest.open(own.file).split("studio/test")


def test_parts_that_become_one_keep_their_groups():
    parts = {}
    for part, ids, labels, groups in (
        ("train", "db", (1, 0), ("w", "x")),
        ("val", "ca", (0, 0), ("y", "z")),
    ):
        parts[part] = Split("phone", part, Path(), tuple(ids), labels, groups=groups)
    whole = complete(parts, 0.2, "mine:phone", is_reference=False)["test"]
    assert (whole.name, whole.ids, whole.groups) == ("phone/test", tuple("abcd"), tuple("zxyw"))


@pytest.mark.parametrize("kind", ["table", "list"])
def test_a_large_file_is_read_once_for_one_content(tmp_path, rows, monkeypatch, kind):
    monkeypatch.setattr(columns, "LARGE", 1)
    fields = {"name": "mine", "root": ".", "domains": ["x"], "reference": "x", "holdout": 0.2}
    if kind == "table":
        write_csv(tmp_path / "rows.csv", ["path", "label", "split"], [row[:3] for row in rows])
        file = tmp_path / "rows.csv"
        fields["table"] = "rows.csv"
    else:
        file = tmp_path / "x_train.txt"
        file.write_text("".join(f"{row[0]} {NAMES.index(row[1])}\n" for row in rows))
    manifest = Manifest.of(fields | {"classes": NAMES}, tmp_path / "mine.yaml")
    copy = manifest.copy_for_run()
    first = manifest.split("x/train")

    def again():
        return Manifest.from_copy(copy).split("x/train")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "read_content", None)
        patch.setattr(lists, "read_text", None)
        assert again() == first
    fewer = [line for line in file.read_text().splitlines() if f"{first.ids[0]}" not in line]
    file.write_text("\n".join(fewer) + "\n")
    assert first.ids[0] not in again().ids
    if kind == "list":
        file.write_text(file.read_text() + "x.png 7")
        with pytest.raises(ConfigError, match=r"x_train.txt:24: label 7"):
            again()


# --- tables that hold their images


def packed(rows):
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": NAMES}}
    images = [{"bytes": png(number), "path": None} for number in range(len(rows))]
    table = pa.table({"image": images, "label": [NAMES.index(row[1]) for row in rows]})
    written = json.dumps({"info": {"features": features}})
    return table.replace_schema_metadata({"huggingface": written}), features


def save_to_disk(folder, parts, features):
    """The layout that `datasets.DatasetDict.save_to_disk` writes; of one part Dataset's own."""
    folder.mkdir()
    if set(parts) != {""}:
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(parts)}))
    for split, table in parts.items():
        place = folder / split
        place.mkdir(exist_ok=True)
        middle = len(table) // 2
        files = []
        for number, shard in enumerate((table.slice(0, middle), table.slice(middle))):
            files.append({"filename": f"data-{number:05d}-of-00002.arrow"})
            with pa.OSFile(str(place / files[-1]["filename"]), "wb") as file:
                with pa.ipc.new_stream(file, table.schema) as writer:
                    writer.write_table(shard, max_chunksize=5)
        state = {
            "_data_files": files,
            "_fingerprint": "0123456789abcdef",
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": split or None,
        }
        (place / "state.json").write_text(json.dumps(state))
        info = {"citation": "", "description": "", "features": features, "homepage": ""}
        (place / "dataset_info.json").write_text(json.dumps(info | {"license": ""}))
        # What `map` leaves beside the rows.
        (place / "cache-0123456789abcdef.arrow").write_bytes(b"no rows")


def upload(folder, parts):
    """The layout of a data set on the hub."""
    (folder / "data").mkdir(parents=True)
    for split, table in parts.items():
        parquet.write_table(table, folder / f"data/{split}-00000-of-00001.parquet")


@pytest.mark.parametrize("layout", ["saved", "saved, names beside", "hub"])
def test_images_in_a_table_become_files_once(tmp_path, rows, layout):
    table, features = packed(rows)
    if layout == "saved, names beside":
        table = table.replace_schema_metadata(None)
    parts = {"train": table.slice(0, 18), "test": table.slice(18)}
    if layout == "hub":
        upload(tmp_path / "data", parts)
    else:
        save_to_disk(tmp_path / "data", parts, features)
    manifest = new_manifest("mine", "data").manifest
    assert sorted(manifest.names) == sorted(NAMES)
    assert [len(manifest.split(f"mine/{part}")) for part in ("train", "val", "test")] == [14, 4, 6]

    test = manifest.split("mine/test")
    for path, label in zip(test.ids, test.labels, strict=True):
        red = Image.open(test.root / path).getpixel((0, 0))[0]
        assert 18 <= red < 24
        assert manifest.names[label] == rows[red][1]
    written = sorted((tmp_path / "cache").rglob("*.png"))
    stamps = [file.stat().st_mtime_ns for file in written]
    assert len(written) == 24
    assert len(Manifest.open(tmp_path / "mine.yaml").split("mine/test")) == 6
    assert [file.stat().st_mtime_ns for file in written] == stamps


@pytest.mark.parametrize("layout", ["saved", "one part", "hub"])
def test_images_may_be_named_by_rows(tmp_path, rows, layout):
    """`Image` holds bytes or a path; one that leads out of the folder is asked for."""
    table, features = packed(rows)
    inside = tmp_path / "data/train" if layout == "saved" else tmp_path / "data"
    inside = inside / "data" if layout == "hub" else inside
    named = [{"bytes": None, "path": f"images/{row}.png"} for row in range(24)]
    named[1]["path"] = str(inside / "images/1.png")
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = table.set_column(0, "image", pa.array(named, kind))
    if layout == "hub":
        upload(tmp_path / "data", {"train": table})
    else:
        save_to_disk(tmp_path / "data", {"train" if layout == "saved" else "": table}, features)
    shutil.copytree(tmp_path / "pics", inside / "images")
    manifest = new_manifest("mine", "data").manifest
    train = manifest.split("mine/train")
    reds = {Image.open(train.root / path).getpixel((0, 0))[0]: at for at, path in zip_ids(train)}
    assert {rows[red][1] == manifest.names[label] for red, label in reds.items()} == {True}

    for path in ("../../../pics/0.png", str(tmp_path / "pics/0.png")):
        shutil.rmtree(tmp_path / "data")
        out = table.set_column(0, "image", pa.array([named[0] | {"path": path}, *named[1:]], kind))
        if layout == "hub":
            upload(tmp_path / "data", {"train": out})
        else:
            save_to_disk(tmp_path / "data", {"train" if layout == "saved" else "": out}, features)
        shutil.copytree(tmp_path / "pics", inside / "images")
        with pytest.raises(ConfigError, match=r"lies outside of data; .*outside: true") as refused:
            new_manifest("other", "data")
        assert "\n" not in str(refused.value)
    manifest = new_manifest("other", "data", outside=True).manifest
    assert len(Manifest.open(tmp_path / "other.yaml").split("other/train")) == 16
    assert manifest.outside


def zip_ids(split):
    return zip(split.labels, split.ids, strict=True)


# --- WebDataset's tars


def write_tar(file, members):
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:gz" if file.suffix == ".gz" else "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def samples(rows, start, end, label):
    """Members of some rows; label: what lies beside an image."""
    for number in range(start, end):
        name = f"{number:04d}"
        yield f"{name}.png", png(number)
        yield from ((f"{name}{ending}", text.encode()) for ending, text in label(rows[number][1]))


def number_of(name):
    return [(".cls", str(NAMES.index(name)))]


LABELS = {
    "numbers, webdataset/webdataset#195": number_of,
    "words": lambda name: [(".txt", f"{name}\n")],
    "fields": lambda name: [(".json", json.dumps({"class_name": name, "width": 8}))],
    "fields and numbers": lambda name: [(".cls", "7"), (".json", json.dumps({"label": name}))],
}


@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("layout", ["file names", "folders"])
def test_tars_become_files_once(tmp_path, rows, monkeypatch, label, layout):
    parts = {"train": (0, 9), "val": (18, 20), "test": (20, 24)}
    for part, (start, end) in parts.items():
        name = f"imagenet-{part}-000000.tar" if layout == "file names" else f"{part}/0.tar"
        write_tar(tmp_path / "shards" / name, samples(rows, start, end, label))
    second = "train-000001.tar.gz" if layout == "file names" else "train/1.tar.gz"
    write_tar(tmp_path / "shards" / second, samples(rows, 9, 18, label))
    if label is number_of:
        (tmp_path / "shards/classnames.txt").write_text("\n".join(NAMES))
    manifest = new_manifest("mine", "shards").manifest
    assert sorted(manifest.names) == sorted(NAMES)
    for part, (start, end) in (parts | {"train": (0, 18)}).items():
        split = manifest.split(f"mine/{part}")
        found = {}
        for label_of_row, path in zip_ids(split):
            red = Image.open(split.root / path).getpixel((0, 0))[0]
            found[red] = manifest.names[label_of_row]
        assert found == {red: rows[red][1] for red in range(start, end)}
    written = sorted((tmp_path / "cache").rglob("*.png"))
    assert len(written) == 24
    monkeypatch.setattr(shards, "samples_of_tar", None)
    assert len(Manifest.open(tmp_path / "mine.yaml").split("mine/train")) == 18


def test_labels_may_lie_behind_all_images(tmp_path, rows):
    """As in webdataset/webdataset#100; numbers without names are classes called so."""
    members = list(samples(rows, 0, 24, number_of))
    write_tar(tmp_path / "shards.tar", members[0::2] + members[1::2])
    own = new_manifest("mine", "shards.tar")
    assert own.manifest.names == ["0", "1"]
    assert [len(own.manifest.split(f"mine/{part}")) for part in ("train", "test")] == [16, 4]


def test_members_cannot_lead_out_and_odd_samples_are_left_out(tmp_path, rows):
    members = list(samples(rows, 0, 12, number_of))
    members += [("../../evil.png", png(99)), ("../../evil.cls", b"1")]
    members += [("/root/evil.png", png(98)), ("/root/evil.cls", b"0")]
    members += [("0101.png", png(9)), ("0102.cls", b"1"), ("._0103.png", b"x"), ("README", b"x")]
    write_tar(tmp_path / "shards/a.tar", members)
    with tarfile.open(tmp_path / "shards/b.tar", "w") as tar:
        link = tarfile.TarInfo("0201.png")
        link.type = tarfile.SYMTYPE
        link.linkname = "/etc/passwd"
        tar.addfile(link)
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    own = new_manifest("mine", "shards")
    assert sum(own.counts()[-1][f"mine/{part}"] for part in ("train", "val", "test")) == 14
    assert "left out, without a label: 1, e.g. a.tar: 0101" in str(own)
    assert "left out, without an image: 1, e.g. a.tar: 0102" in str(own)
    written = {path for path in tmp_path.rglob("*") if "cache" not in path.parts} - before
    assert [path.name for path in written] == ["mine.yaml"]
    assert all(
        (own.manifest.place / name).is_file() for name in own.manifest.split("mine/train").ids
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no tar", "a.tar: cannot be read: .*wanted: a whole tar"),
        (b"", "a.tar: cannot be read: .*wanted: a whole tar"),
        ("cut", "a.tar: cannot be read: unexpected end of data"),
        ([("1.png", png(1))], r"no image has a label, e.g. a.tar: 1; wanted: .*0001.cls"),
        ([("1.cls", b"1")], "holds no row with an image; a.tar: 1 holds no image"),
        ([("1.png", png(1)), ("1.json", b"{")], "a.tar: 1.json: .*wanted: fields"),
        ([("1.png", png(1)), ("1.txt", b"x" * 2**21)], "a.tar: 1.txt has more than a megabyte"),
        (
            [
                (f"{n}{end}", text)
                for n in range(12)
                for end, text in ((".png", png(n)), (".txt", b"%d cats" % n))
            ],
            "each of 12 images has a label of its own, e.g. '0 cats'; wanted: .*no captions",
        ),
    ],
    ids=["none", "empty", "cut", "no label", "no image", "broken fields", "long", "captions"],
)
def test_a_tar_that_cannot_be_read_is_one_line(tmp_path, rows, content, words):
    file = tmp_path / "shards/a.tar"
    write_tar(file, samples(rows, 0, 12, number_of))
    if isinstance(content, list):
        write_tar(file, content)
    else:
        file.write_bytes(file.read_bytes()[:5000] if content == "cut" else content)
    with pytest.raises(ConfigError, match=words) as refused:
        new_manifest("mine", "shards")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "mine.yaml").exists()
    assert not list((tmp_path / "cache").glob("*"))


def test_class_folders_beside_their_archive_are_class_folders(tmp_path, rows):
    for row in rows:
        place = tmp_path / "data" / row[1] / Path(row[0]).name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(row[0], place)
    write_tar(tmp_path / "data/all.tar", [])
    assert new_manifest("mine", "data").manifest.folders == "{class}"


def test_a_check_finds_what_is_missing_damaged_and_in_two_splits(tmp_path, rows):
    write_csv(tmp_path / "rows.csv", ["path", "label", "split", "domain"], rows)
    manifest = new_manifest("mine", "rows.csv", "studio").manifest
    whole = check_images(manifest)
    assert whole.wrong == []
    assert "16: 0.png 8 x 8" in whole.odd[0]  # 12 of studio, 4 tests of phone
    assert whole.counts[-1]["studio/train"] == 4
    (tmp_path / "pics/0.png").unlink()
    (tmp_path / "pics/1.png").write_bytes(b"no image")
    (tmp_path / "pics/4.png").write_bytes((tmp_path / "pics/7.png").read_bytes())
    missing, unreadable, twice, labels = check_images(manifest).wrong
    assert missing.startswith("missing: 1 of 16") and "pics/0.png" in missing
    assert unreadable.startswith("unreadable: 1 of 16") and "pics/1.png" in unreadable
    assert twice.endswith("pics/7.png (studio/train) and pics/4.png (studio/test)")
    assert labels.startswith("the same image under several labels: 1")
