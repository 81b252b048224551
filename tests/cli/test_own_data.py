"""From folders of photographs to a tuned, exported, predicting model, by commands alone."""

import shutil
from pathlib import Path

import pytest
from conftest import draw_tree
from test_cli import run_cli, settings

from clipft.runs.run import Run

CLASSES = ["apple", "bee"]


@pytest.fixture
def clipft(monkeypatch, capsys, world, tmp_path):
    """The command, called in an empty folder without any place of data."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("CLIPFT_DATA")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def call(*arguments):
        return run_cli(monkeypatch, capsys, *arguments)

    call.world = world
    return call


@pytest.fixture
def photos(clipft):
    """studio, phone and sketch of two classes: 6 images a class of studio, 2 of the others."""
    root = draw_tree(Path("photos"), ["studio"], CLASSES, train=4, test=2)
    draw_tree(root, ["phone", "sketch"], CLASSES, train=1, test=1)
    return root


def training(clipft, **changes):
    """The settings of a short run, without its data."""
    quick = {"steps": 2, "eval_every": 50, "batch_size": 64}
    of_world = settings(clipft.world, **{**quick, **changes})
    of_data = ("manifest=", "reference=")
    return [*(word for word in of_world if not word.startswith(of_data)), "--device", "cpu"]


def trained(clipft, *arguments, **changes):
    code, out, err = clipft("train", *arguments, *training(clipft, **changes))
    assert code == 0, err
    folder = next(line for line in out.splitlines() if line.startswith("trained "))
    return out, Run.open(folder.removeprefix("trained "))


def table(out):
    """The rows of the printed counts, by class."""
    rows = [line.split() for line in out.splitlines()]
    return {row[0]: row[1:] for row in rows if row and row[0] in ("class", *CLASSES, "all")}


def test_new_says_what_was_found_and_which_command_is_next(clipft, photos):
    code, out, _ = clipft("datasets", "new", "photos", "--root", photos, "--reference", "studio")
    assert code == 0
    assert table(out) == {
        "class": ["studio/train", "studio/val", "studio/test", "phone/test", "sketch/test"],
        "apple": ["4", "1", "1", "2", "2"],
        "bee": ["4", "1", "1", "2", "2"],
        "all": ["8", "2", "2", "4", "4"],
    }
    assert out.splitlines()[0].startswith("wrote photos.yaml: 2 classes, reference studio")
    assert out.splitlines()[-1] == "train: clipft train manifest=photos.yaml"
    card = clipft("datasets", "photos.yaml")[1]
    assert table(card) == table(out)
    assert "licence" not in card


def test_from_folders_to_predictions(clipft, photos):
    out, run = trained(clipft, "--data", "photos", "--reference", "studio")
    assert "wrote photos.yaml" in out
    assert "batch_size 64 is more than the 8 training images" in out
    assert {"studio/test", "studio/val", "phone/test", "sketch/test"} == set(run.table()["split"])
    for split, count in {"studio/test": 2, "studio/val": 2, "phone/test": 4}.items():
        assert len(run.scores(1.0)[split].ids) == count

    code, _, err = clipft("export", run.path, "tuned", "--alpha", "0.5")
    assert code == 0, err
    code, out, err = clipft("predict", "tuned", "photos/phone", "--device", "cpu")
    assert code == 0, err
    assert out.count("photos/phone/") == 4
    assert any(name in out for name in CLASSES)


def test_the_second_time_it_is_the_same_run_from_anywhere(clipft, photos, monkeypatch, tmp_path):
    _, first = trained(clipft, "--data", "photos", "--reference", "studio", "--no-score")
    edited = Path("photos.yaml").read_text() + "title: Fruit and insects\n"
    Path("photos.yaml").write_text(edited)
    out, again = trained(clipft, "--data", "photos/", "--no-score")
    assert "photos.yaml is used as it is" in out
    assert Path("photos.yaml").read_text() == edited

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    out, other = trained(clipft, "--data", "../work/photos", "--reference", "studio", "--no-score")
    assert "wrote photos.yaml" in out
    assert first.id == again.id == other.id


def test_a_copied_run_finds_its_images(clipft, photos, monkeypatch, tmp_path):
    """At its root's absolute path from any folder; after a move, where CLIPFT_DATA says."""
    _, run = trained(clipft, "--data", "photos", "--reference", "studio")
    before = run.table()
    copy = tmp_path / "other" / "copied"
    shutil.copytree(run.path.parent, copy)
    monkeypatch.chdir(tmp_path / "other")
    assert clipft("wise", copy / run.id, "--alpha", "0.25", "--device", "cpu")[0] == 0

    (tmp_path / "work" / "photos").rename(tmp_path / "moved")
    (tmp_path / "data").mkdir()
    (tmp_path / "moved").rename(tmp_path / "data" / "photos")
    code, _, err = clipft("wise", copy / run.id, "--alpha", "0.35", "--device", "cpu")
    assert code == 2
    assert err.count("\n") == 1
    assert "set CLIPFT_DATA to the folder that holds photos/" in err

    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path / "data"))
    assert clipft("wise", copy / run.id, "--alpha", "0.35", "--device", "cpu")[0] == 0
    after = Run.open(copy / run.id).table()
    assert {0.25, 0.35} <= set(after["alpha"])
    ends = after[after["alpha"].isin(before["alpha"])]
    columns = ["alpha", "split", "metric", "mean"]
    same = ends[columns].reset_index(drop=True).equals(before[columns].reset_index(drop=True))
    assert same


def test_predictions_are_in_the_words_of_the_manifest(clipft, photos):
    clipft("datasets", "new", "photos", "--root", photos, "--reference", "studio")
    text = Path("photos.yaml").read_text()
    Path("photos.yaml").write_text(text.replace("- bee", "- {name: honey bee, folder: bee}"))
    _, run = trained(clipft, "manifest=photos.yaml", "--no-score")
    assert run.manifest.names == ["apple", "honey bee"]
    assert clipft("export", run.path, "tuned")[0] == 0
    assert "honey bee" in clipft("predict", "tuned", "photos/phone/bee", "--top", "2")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("datasets new", ["NAME is missing", "clipft datasets new photos --root photos"]),
        ("datasets new mine", ["--root is missing", "--reference studio"]),
        ("datasets new a/b --root photos", ["name: 'a/b'", "e.g. photos"]),
        ("datasets new mine --root pictures", ["root: no folder pictures"]),
        ("datasets new mine --root photos", ["reference: missing", "phone, sketch, studio"]),
        ("datasets new mine --root photos --reference stdio", ["no stdio", "e.g. studio"]),
        ("datasets mine --root photos", ["clipft datasets new photos --root photos"]),
        ("datasets check", ["NAME is missing", "clipft datasets check photos"]),
        ("datasets check mine --root photos", ["takes no --root", "clipft datasets check photos"]),
        ("datasets check mine --table x.csv", ["takes no --table"]),
        ("datasets check mine --reference phone", ["takes no --reference"]),
        ("datasets check mine", ["mine"]),
        ("datasets photos", ["photos is a folder", "clipft train --data photos"]),
        ("datasets mine.yaml", ["no manifest mine.yaml", "clipft datasets new mine"]),
        ("train manifest=photos", ["photos is a folder", "--data photos --reference DOMAIN"]),
        ("train --reference studio", ["--reference goes with --data", "reference=studio"]),
        ("train --data photos manifest=emoji_start", ["--data and manifest=", "one of them"]),
        ("train --data photos reference=studio", ["--data and reference=", "one of them"]),
        ("train --data photos", ["reference: missing", "phone, sketch, studio"]),
        ("train --data photos --reference studio lr=-1", ["lr: "]),
        ("train --data photos --reference studio --seeds 1,x", ["'x' is no seed", "0,3,7"]),
        ("train --data photos --reference studio --seeds 4-2", ["each seed once"]),
        ("train --data photos --reference studio --seeds 0-4 seed=1", ["--seeds and seed="]),
        ("train --data photos --reference studio mehtod=ft", ["unknown key 'mehtod'"]),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(clipft, photos, arguments, words):
    before = sorted(Path().rglob("*"))
    code, _, err = clipft(*arguments.split())
    assert (code, err.count("\n")) == (2, 1), err
    assert [word for word in words if word not in err] == []
    assert sorted(Path().rglob("*")) == before


def test_a_check_exits_with_1_where_something_is_wrong_and_shows_the_rest(clipft):
    photos = draw_tree(Path("photos"), ["studio", "phone"], CLASSES, train=4, test=2)
    clipft("datasets", "new", "photos", "--root", photos, "--reference", "studio")
    code, out, _ = clipft("datasets", "check", "photos", "--out", "sheet")
    assert (code, "all images are there" in out) == (0, True)
    next((photos / "phone/bee").iterdir()).write_bytes(b"no image")
    shutil.rmtree("sheet")
    code, out, err = clipft("datasets", "check", "photos", "--out", "sheet")
    assert (code, err) == (1, "")
    assert "wrong: unreadable: 1 of " in out
    assert Path("sheet/photos.html").is_file()


def test_repeats_of_few_shots_are_one_command_and_one_table(clipft, photos):
    """FLYP's protocol: as many of each class to choose on as to train on, another draw a seed."""
    where = ["--data", "photos", "--reference", "studio", "--seeds", "0,5"]
    few = training(clipft, shots=1, selection="loss", lr=0.0)
    code, out, err = clipft("train", *where, *few)
    assert code == 0, err
    assert out.count("trained ") == 2
    assert "2 repeats" in out
    runs = [Run.open(line.split()[1]) for line in out.splitlines() if line.startswith("trained ")]
    assert [run.config.seed for run in runs] == [0, 5]
    code, out, _ = clipft("results", "--intervals")
    assert "mean [95 % interval of it] over seeds" in out
    assert "selection loss" in out
