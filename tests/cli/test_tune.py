"""`clipft tune`: what it hands on, and that a mistake is one line before anything is loaded."""

from types import SimpleNamespace

import pytest
from conftest import draw_tree
from test_cli import run_cli

from clipft.tuning import tune as module


@pytest.fixture
def clipft(monkeypatch, capsys, tmp_path):
    """The command, in an empty folder."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return run_cli(monkeypatch, capsys, "tune", *arguments)

    return call


def test_every_option_arrives(clipft, monkeypatch, tmp_path):
    asked = {}

    def tune(folder, **options):
        asked.update(options, folder=folder)
        return SimpleNamespace(__str__=lambda: "")

    monkeypatch.setattr(module, "tune", tune)
    options = ("--shift", "a", "--shift", "b", "--unlabelled", "c", "--model", "ViT-B-16:openai")
    code, _, err = clipft(
        *("photos", *options, "--minutes", "5", "--out", "o", "--seed", "3", "--device", "cpu"),
        "--skip-bad-images",
    )
    assert code == 0, err
    reading = asked.pop("reading")
    assert (reading.device, reading.skip_bad) == ("cpu", True)
    assert [str(path) for path in asked.pop("shifts")] == ["a", "b"]
    assert [str(path) for path in asked.pop("unlabelled")] == ["c"]
    assert str(asked.pop("folder")) == "photos"
    assert asked == {
        "model": "ViT-B-16:openai",
        "minutes": 5.0,
        "out": "o",
        "reference": "",
        "seed": 3,
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "no folder"),
        (("photos/studio", "--minutes", "-1"), "--minutes is -1"),
        (("photos/studio", "--model", "ViT-B-17:openai"), "ViT-B-17"),
        (("photos/studio", "--shift", "nowhere"), "--shift: no folder"),
        (("photos/studio", "--unlabelled", "empty"), "--unlabelled: no image under"),
        (("photos/studio", "--out", "photos"), "holds something else"),
        (("photos/studio", "--out", "photos/studio/tuned"), "lies among the images"),
        (("photos/studio", "--unlabelled", "photos/studio"), "shares images with"),
        (("photos/studio/apple",), "no class folder"),
        (("photos", "--reference", "phone"), "has no phone"),
    ],
)
def test_a_mistake_is_one_line(clipft, monkeypatch, tmp_path, arguments, said):
    monkeypatch.setattr(module._Tuning, "_planned", None)  # nothing long is begun
    draw_tree(tmp_path / "photos", ["studio"], ["apple", "bee"], train=4, test=2)
    draw_tree(tmp_path / "photos", ["sketch"], ["apple", "bee"], train=1, test=1)
    (tmp_path / "empty").mkdir()
    code, _, err = clipft(*arguments)
    assert code == 2
    assert said in err and len(err.splitlines()) == 1
    assert not (tmp_path / "nowhere_tuned").exists()
