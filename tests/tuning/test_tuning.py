"""A whole `tune` on the small world: what it leaves, that it goes on, what it never looks at."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import CLASSES, QUIET, World, draw_tree, made_once

from clipft.errors import ConfigError, ImageError
from clipft.runs.run import open_runs
from clipft.stops import Interrupted
from clipft.tuning import tune as module
from clipft.tuning.page import write_page
from clipft.tuning.report import most_moved
from clipft.tuning.tune import Tuned, tune

HEADING = r"<h2 id='part-\d+'>(.*?)</h2>"
MOVED_MOST = "Images that moved most"


class Tuning:
    """Folders of the small world: studio with its parts, phone and unlabelled beside it."""

    def __init__(self, base: Path, world: World):
        self.base = base
        self.world = world
        self.studio = base / "photos" / "studio"
        self.phone = base / "elsewhere" / "phone"
        self.street = base / "street"

    def draw(self) -> None:
        """Draw the images: studio has train, val and test; phone and street none."""
        whole = draw_tree(self.base / "drawn", ["studio", "phone", "street"], train=8, test=4)
        for name in CLASSES:
            images = sorted((whole / "studio" / name).iterdir())
            parts = {"test": images[:3], "train": images[3:9], "val": images[9:]}
            for part, files in parts.items():
                folder = self.studio / part / name
                folder.mkdir(parents=True)
                for file in files:
                    shutil.copy(file, folder)
        shutil.copytree(whole / "phone", self.phone)
        self.street.mkdir()
        for file in (whole / "street").rglob("*test*.png"):
            shutil.copy(file, self.street)
        shutil.rmtree(whole)

    @property
    def model(self) -> str:
        return f"{self.world.model}:{self.world.pretrained}"

    def tune(self, out: Path, **changes) -> Tuned:
        given = {"shifts": [self.phone], "unlabelled": [self.street], "model": self.model}
        return tune(self.studio, out=out, reading=QUIET, **given | changes)


@pytest.fixture(scope="session")
def tuning(shared, model_folder, manifest_file, tree):
    """The folders, and `tuning.out`, where they were tuned on. Do not change them."""
    base = shared / "tuning"
    world = World(manifest_file, model_folder, base / "runs")
    made = Tuning(base, world)
    made.out = base / "out"

    def make(_: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CLIPFT_CACHE", str(base / "cache"))
            patch.delenv("CLIPFT_DATA", raising=False)
            few_steps(patch)
            made.draw()
            made.tune(made.out)

    made_once(base, make)
    return made


def few_steps(patch) -> None:
    """Trainings of a few steps, two methods, little that is repeated only to be timed."""
    patch.setattr("clipft.tuning.plan.STEPS", (12, 12))
    patch.setattr("clipft.tuning.plan.LR", 3e-3)  # at which random weights learn something
    patch.setattr("clipft.tuning.plan.METHODS", ("ft", "l2sp"))
    patch.setattr("clipft.tuning.plan.SCHEDULES", ((2, 3),))
    patch.setattr("clipft.reports.step_times.SECONDS", 0.01)


@pytest.fixture
def at_work(tuning, monkeypatch, tmp_path):
    """The same place for tests that tune."""
    monkeypatch.setenv("CLIPFT_CACHE", str(tuning.base / "cache"))
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    few_steps(monkeypatch)
    return tuning


def test_what_it_leaves(at_work):
    tuned = at_work.tune(at_work.out)
    assert tuned.page == at_work.out / "index.html"
    assert {file.name for file in tuned.model_folder.iterdir()} >= {
        "open_clip_model.safetensors",
        "head.safetensors",
        "README.md",
    }
    assert len(tuned.why) == 3 and tuned.why[0].startswith("Deploy ")
    assert "phone" in tuned.why[2] and "street" not in tuned.why[2]
    assert str(tuned).splitlines()[:3] == list(tuned.why)
    rows = tuned.report.choice.rows
    assert sorted(rows.method.unique()) == ["ft", "l2sp"]
    assert (rows.alpha == 0).sum() == 1  # zero-shot is one candidate
    assert rows.agreement[0] == 1
    assert tuned.report.choice.splits == ("street/test",)


def test_the_page_says_all_of_it_and_needs_nothing_else(at_work):
    page = (at_work.out / "index.html").read_text()
    moved = [] if "Deploy the zero-shot" in page else [MOVED_MOST]
    assert re.findall(HEADING, page) == [
        *("What to deploy", "How good it is", "Why this one", "Between zero-shot and tuned"),
        *("What it gets wrong", *moved, "How sure it is", "When to abstain", "How to use it"),
        *("What was not tried", "How it was made"),
    ]
    assert not re.findall(r"""(?:src|href)=["']?(?!#)[^"'> ]*\.(?:js|css|json|html)""", page)
    assert "phone/test" in page and "shift, labelled" in page and "estimated: " in page
    assert "clipft predict" in page and "open_clip.create_model_and_transforms" in page
    assert f"clipft tune {at_work.studio}" in page


def test_the_page_of_a_tuned_model_shows_what_moved_most(at_work, tmp_path):
    """Whatever is chosen here: as if it were the last candidate."""
    tuned = at_work.tune(at_work.out)
    choice = replace(tuned.report.choice, place=int(tuned.report.choice.rows.index[-1]))
    run = next(run for run in open_runs(at_work.out / "runs") if run.id == choice.row["run"])
    report = replace(tuned.report, choice=choice, run=run)
    page = write_page(report, [run], tmp_path, tuned.model_folder, "clipft tune").read_text()
    assert MOVED_MOST in re.findall(HEADING, page)
    moved = most_moved(report, ["phone/test"], most=3)
    gaps = run.scores(1.0)["phone/test"].energy_gap
    assert [float(row["energy gap"]) for row in moved.rows] == [
        float(f"{gap:.3g}") for gap in sorted(gaps)[:-4:-1]
    ]
    assert "where zero-shot has" in report.sentences()[0]


def test_no_label_of_a_test_split_changes_the_choice(at_work, tmp_path):
    """The images of studio's test and of the shift change their class folders in a circle."""
    before = at_work.tune(at_work.out)
    other = type(at_work)(tmp_path, at_work.world)
    shutil.copytree(at_work.base / "photos", tmp_path / "photos")
    shutil.copytree(at_work.base / "elsewhere", tmp_path / "elsewhere")
    shutil.copytree(at_work.street, other.street)
    for folder in (other.studio / "test", other.phone):
        for name in CLASSES:
            (folder / name).rename(folder / f"{name} before")
        for place, name in enumerate(CLASSES):
            (folder / f"{name} before").rename(folder / CLASSES[place - 1])

    after = other.tune(tmp_path / "out")
    assert after.run.id == before.run.id
    ours, theirs = after.report.choice, before.report.choice
    assert ours.rows.equals(theirs.rows) and ours.place == theirs.place
    assert after.report.abstains_at == before.report.abstains_at
    assert after.report.estimates() == before.report.estimates()
    truth = [each.report.tests["mean"].tolist() for each in (after, before)]
    assert truth[0] != truth[1]  # the labels did change


def test_the_second_call_computes_nothing(at_work, monkeypatch):
    stamps = {file: file.stat().st_mtime_ns for file in at_work.out.rglob("*.parquet")}
    for what in ("clipft.training.loop.fit", "clipft.evaluation.mixtures.score_splits"):
        monkeypatch.setattr(what, None)
    monkeypatch.setattr(module, "check_images", None)
    at_work.tune(at_work.out)
    assert stamps == {file: file.stat().st_mtime_ns for file in at_work.out.rglob("*.parquet")}


def test_what_was_stopped_goes_on_by_its_plan(at_work, tmp_path, monkeypatch):
    """Stopped between two methods: the first is not trained again."""
    import clipft.training.train as training

    out = tmp_path / "out"
    trained = training.train
    begun = []

    def stops_at_the_second(config, *arguments, **options):
        begun.append(config.method)
        if config.method == "l2sp":
            raise Interrupted(2)
        return trained(config, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(training, "train", stops_at_the_second)
        with pytest.raises(Interrupted):
            at_work.tune(out)
    plan = json.loads((out / "plan.json").read_text())
    (first,) = open_runs(out / "runs")
    stamp = first.folder.weights_file.stat().st_mtime_ns
    tuned = at_work.tune(out)
    assert begun == ["ft", "l2sp"]
    assert first.folder.weights_file.stat().st_mtime_ns == stamp
    assert json.loads((out / "plan.json").read_text()) == plan
    whole = at_work.tune(at_work.out)
    assert tuned.report.choice.rows.equals(whole.report.choice.rows)


def test_faults_are_said_before_the_long_work(at_work, tmp_path, monkeypatch):
    monkeypatch.setattr(module._Tuning, "_planned", None)
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    for changes, said in {
        "no model": ({"model": "ViT-B-17:openai"}, "ViT-B-17"),
        "no time": ({"minutes": 0}, "--minutes is 0"),
        "no images": ({"unlabelled": [tmp_path / "empty"]}, "no image under"),
        "no shift": ({"shifts": [tmp_path / "nowhere"]}, "--shift: no folder"),
    }.values():
        with pytest.raises(ConfigError, match=said):
            at_work.tune(out, **changes)
        assert not out.exists()


def test_an_image_that_cannot_be_read_ends_it(at_work, tmp_path):
    broken = type(at_work)(tmp_path, at_work.world)
    shutil.copytree(at_work.base / "photos", tmp_path / "photos")
    (broken.studio / "train" / CLASSES[0] / "broken.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match="unreadable: 1 of"):
        broken.tune(tmp_path / "out", shifts=[], unlabelled=[at_work.street])


def test_an_image_without_a_label_that_cannot_be_read_ends_it(at_work, tmp_path, monkeypatch):
    monkeypatch.setattr(module._Tuning, "_planned", None)
    street = tmp_path / "lane"
    street.mkdir()
    (street / "broken.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match="unreadable: 1 of lane/test"):
        at_work.tune(tmp_path / "out", unlabelled=[street])


def test_nothing_to_choose_on_is_said_at_once(at_work, tmp_path, monkeypatch):
    """Somebody took made_shifts out of the manifest."""
    monkeypatch.setattr(module._Tuning, "_planned", None)
    out = tmp_path / "out"
    with pytest.raises(TypeError):
        at_work.tune(out, unlabelled=[])
    (file,) = out.glob("*.yaml")
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if not line.startswith("made_shifts")))
    with pytest.raises(ConfigError, match="no image under shift to choose on"):
        at_work.tune(out, unlabelled=[])


def test_too_few_minutes(at_work, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"--minutes 0.01: one method"):
        at_work.tune(tmp_path / "out", minutes=0.01)
    # Nothing was planned: another call may ask for more, until something is.
    monkeypatch.setattr(module._Tuning, "_zero_shot", None)
    with pytest.raises(TypeError):
        at_work.tune(tmp_path / "out", minutes=10)
    with pytest.raises(ConfigError, match="minutes was 10"):
        at_work.tune(tmp_path / "out", minutes=20)
