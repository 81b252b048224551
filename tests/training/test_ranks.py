"""One run on several ranks is the run of one process: two processes of gloo, started by torchrun
once for all methods; and what becomes of them where one ends.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ranked
import torch
from conftest import QUIET, World, made_once

from clipft import Reading, score, train
from clipft.cli import main
from clipft.config import RunConfig
from clipft.disk.files import read_json, read_jsonl, write_json
from clipft.errors import ConfigError
from clipft.evaluation import launch
from clipft.methods import METHODS
from clipft.models.checkpoints import read_metadata, read_weights
from clipft.models.load import load_clip
from clipft.runs.image_scores import Gathered
from clipft.stops import Interrupted
from clipft.training import loop
from clipft.training.memory import check_parts

STEPS = 10
SKIPPED = "a bad image"
GOES_ON_SCORING = "adaptive, stopped"
SCORED = {"ft": [1.0], SKIPPED: [0.0, 0.5, 1.0], "adaptive": [0.0, 1.0]}  # at these alphas
SCORED |= {GOES_ON_SCORING: [0.0, 1.0]}
# steps 23 x 24 images: the last batch of an epoch is one image, which one rank has
ONE_LEFT = {"batch_size": 23, "protocol": "release", "eval_every": 5}
VARIANTS = {name: {"method": name} for name in METHODS} | {
    # Tokens of spurious templates alone have a gradient of 0 at theta0, but for rounding, of which
    # Adam makes whole steps: here the text tower stays.
    "starft": {"method": "starft", "text_rate": 0.0},
    "adaptive": {"lr": 3e-3},
    "parts of an odd batch, coupled": {"batch_size": 7, "accumulate": 3, "method": "flyp_with_ce"},
    "parts of an odd batch, taught": {"batch_size": 7, "accumulate": 3, "method": "carot"},
    "one image left": {"head": "absorbed"} | ONE_LEFT,
    "one image left, hidden states": {"head": "absorbed", "method": "ldifs"} | ONE_LEFT,
    "one image left, coupled": {"method": "flyp", "shots": 6} | ONE_LEFT,
    "averaged, clipped, by loss": {
        "ema": 0.7,
        "clip_norm": 0.5,
        "weight_decay": 0.1,
        "selection": "loss",
        "method": "lipsum",
        "accumulate": 2,
    },
    SKIPPED: {"method": "flyp"},
}
# Adam on FTP's radius makes a whole step of any slope, be it one of rounding alone.
ROUGH = {"ftp": 1e-3}
STOPPED = {"eval_every": 2, "steps": STEPS, "method": "flyp", "seed": 5}  # in the fifth step


class Both:
    """The runs of one process and of two, by the names of their settings."""

    def __init__(self, base: Path):
        self.base = base
        self.ids = read_json(base / "alone" / "ids.json")

    def folder(self, kind: str, name: str) -> Path:
        return self.base / kind / name / self.ids[name]

    def gradients(self, name: str):
        files = [self.base / kind / "gradients" / f"{name}.safetensors" for kind in KINDS]
        return [read_weights(file) for file in files]

    def histories(self, name: str):
        return [read_jsonl(self.folder(kind, name) / "metrics.jsonl") for kind in KINDS]

    def weights(self, name: str):
        return [read_weights(self.folder(kind, name) / "weights.safetensors") for kind in KINDS]


KINDS = ("alone", "shared")


@pytest.fixture(scope="session")
def both(shared, manifest_file, model_folder, tree) -> Both:
    return Both(made_once(shared / "ranked", lambda base: _make(base, manifest_file, model_folder)))


def _make(base: Path, manifest: Path, model: Path) -> None:
    world = World(manifest, model, base)
    tree = manifest.parent.parent / "data"
    spoilt = _spoilt(world, tree, base / "data")
    jobs = {}
    for name, changes in VARIANTS.items():
        jobs[name] = {
            "settings": world.settings(steps=STEPS, eval_every=5) | changes,
            "data": str(spoilt if name == SKIPPED else tree),
            "skip_bad": name == SKIPPED,
            "alphas": SCORED.get(name, []),
            "how": {"adaptive": 0.05 if name == "adaptive" else 0.0, "summarise": name == "ft"},
        }
    refused = jobs["ft"] | {"data": str(spoilt)}
    whole = {"settings": world.settings(**STOPPED)}
    jobs["stopped"] = jobs["ft"] | whole | {"alphas": []}
    bent = world.settings(steps=STEPS, eval_every=5, lr=3e-3, seed=6)
    jobs[GOES_ON_SCORING] = jobs["adaptive"] | {"settings": bent}

    write_json(base / ranked.JOBS, jobs | {"refused": refused})

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPFT_CACHE", str(base / "cache"))
        _stop_in_the_fifth_step(world, tree, base / "shared" / "stopped")
        _stop_after_a_split(jobs[GOES_ON_SCORING], base / "shared" / GOES_ON_SCORING)
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command = [sys.executable, *command, ranked.__file__, str(base)]
        kept = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        ranks = subprocess.Popen(command, **kept)
        ranked.train_all(base / "alone", jobs)
        told, _ = ranks.communicate()
    (base / "told.txt").write_text(told)
    assert ranks.returncode == 0, told


def _spoilt(world: World, tree: Path, to: Path) -> Path:
    """The same data, where an image of val and test each and two of train end in the middle."""
    shutil.copytree(tree, to)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPFT_DATA", str(to))
        run = world.bench()
        train = run.train_split()
        lost = [train.ids[3], train.ids[17], run.selection_split().ids[6]]
        for name in [*lost, "real/apple/real_000_test2.png"]:
            file = train.root / name
            file.write_bytes(file.read_bytes()[:700])
    return to


def _stop_in_the_fifth_step(world: World, tree: Path, runs: Path) -> None:
    take_step = loop.take_step

    def stopping(training, state, batch):
        if state.step == 4:
            raise ranked.StoppedHere
        take_step(training, state, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPFT_DATA", str(tree))
        patch.setattr(loop, "take_step", stopping)
        with pytest.raises(ranked.StoppedHere):
            train(RunConfig.read(world.settings(**STOPPED)), runs, reading=QUIET)


def _stop_after_a_split(job, runs: Path) -> None:
    is_whole = Gathered.is_whole

    def stopping(self, split):
        is_whole(self, split)
        raise Interrupted(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPFT_DATA", job["data"])
        run = train(RunConfig.read(job["settings"]), runs, reading=QUIET)
        patch.setattr(Gathered, "is_whole", stopping)
        with pytest.raises(Interrupted, match=r"1 of .* splits are scored"):
            score(run, job["alphas"], reading=QUIET, gap_texts=50, **job["how"])


STEPPED = [name for name, changes in VARIANTS.items() if changes.get("method") != "lp"]


@pytest.mark.parametrize("name", STEPPED)
def test_the_first_gradient_is_that_of_one_process(both, name):
    alone, shared = both.gradients(name)
    assert alone.keys() == shared.keys() and alone
    size = torch.cat([gradient.flatten() for gradient in alone.values()]).double().norm()
    off = [(shared[key] - alone[key]).double().flatten() for key in alone]
    assert size > 0
    assert torch.cat(off).norm() <= 1e-6 * size
    for key, gradient in alone.items():
        torch.testing.assert_close(shared[key], gradient, rtol=1e-4, atol=float(1e-6 * size))


@pytest.mark.parametrize("name", STEPPED)
def test_losses_and_validations_are_those_of_one_process(both, name):
    alone, shared = both.histories(name)
    assert [list(row) for row in alone] == [list(row) for row in shared]
    assert [row["step"] for row in alone if "loss" in row] == list(range(1, STEPS + 1))
    assert any("val_accuracy" in row for row in alone)
    near = ROUGH.get(name, 1e-5)
    for one, other in zip(alone, shared, strict=True):
        # A distance of weights that have hardly moved is the difference of nearly equal numbers.
        small = 1e-6 * one.get("loss", 1)
        assert other == pytest.approx(one, rel=near, abs=small)
        assert other.get("loss", 0) == pytest.approx(one.get("loss", 0), rel=near)
        assert other.get("val_accuracy") == one.get("val_accuracy")


def test_a_head_alone_is_trained_by_the_first(both):
    alone, shared = both.weights("lp")
    assert alone.keys() == shared.keys()
    assert all(torch.equal(alone[key], shared[key]) for key in alone)
    assert read_json(both.folder("shared", "lp") / "made.json")["parts"][0]["device"][:3] != "2 x"


def test_a_run_of_one_process_goes_on_in_two(both):
    alone, shared = both.histories("stopped")
    assert [row["step"] for row in shared] == [row["step"] for row in alone]
    for one, other in zip(alone, shared, strict=True):
        assert other == pytest.approx(one, rel=1e-5)
    parts = read_json(both.folder("shared", "stopped") / "made.json")["parts"]
    training = [part for part in parts if part["work"] == "training"]
    assert [part["steps"] for part in training] == [4, 6]
    assert training[1]["device"] == f"2 x {training[0]['device']}"


@pytest.mark.parametrize("name", SCORED)
def test_each_image_is_scored_once(both, name):
    alone, shared = (pd.read_parquet(both.folder(kind, name) / "images.parquet") for kind in KINDS)
    key = ["split", "alpha", "id"]
    assert not shared.duplicated(key).any()
    assert shared.dtypes.equals(alone.dtypes) and shared[key].equals(alone[key])
    assert shared.prediction.equals(alone.prediction) and shared.label.equals(alone.label)
    for column in alone.select_dtypes(np.float32):
        np.testing.assert_allclose(shared[column], alone[column], rtol=1e-3, atol=1e-4)


def test_the_first_rank_summarises(both):
    alone, shared = (pd.read_parquet(both.folder(kind, "ft") / "scores.parquet") for kind in KINDS)
    key = ["split", "metric", "alpha", "n"]
    assert len(alone) and shared[key].equals(alone[key])
    np.testing.assert_allclose(shared["mean"], alone["mean"], rtol=1e-3, atol=1e-4)


def test_skipped_images_are_counted_over_all_ranks(both):
    told = (both.base / "told.txt").read_text()
    assert told.count("skipped 2 of 24 images of real/train") == 1
    assert told.count("skipped 1 of 20 images of real/test") == 1
    assert told.count("skipped 1 of 8 images of real/val") == 2  # validated, and scored
    bad = [read_metadata(both.folder(kind, SKIPPED) / "weights.safetensors") for kind in KINDS]
    assert bad[0] == bad[1]


def test_what_one_rank_cannot_read_ends_all_in_one_line(both):
    refused = list(both.base.glob(f"* {ranked.REFUSED}"))
    assert [file.name for file in refused] == [f"0 {ranked.REFUSED}"]
    assert refused[0].read_text().count("\n") == 0
    assert "image unreadable" in refused[0].read_text() and "--skip-bad-images" in (
        refused[0].read_text()
    )


TELLING = """
import os, sys
from clipft.training import loop
plain = loop.take_step
def telling(training, state, batch):
    plain(training, state, batch)
    if state.step == {step} and training.ranks.rank == 1:
        print(f"\\nsecond rank: {{os.getpid()}}", file=sys.stderr, flush=True)
loop.take_step = telling
"""
GOES_ON = "the same command goes on"


class Command:
    """A training on two ranks of a command, which tells in a step who its second rank is."""

    def __init__(self, world, folder, settings, step):
        (folder / "telling.py").write_text(TELLING.format(step=step))
        texts = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        command = [sys.executable, "-m", "clipft", "train", *texts, "--preset", "none"]
        command += ["--runs", str(world.runs), "--device", "cpu", "--devices", "2", "--no-score"]
        command += ["--plugin", str(folder / "telling.py")]
        about = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        self.first = subprocess.Popen(command, **about)
        told = self.first.stderr
        self.second = int(next(line.split()[-1] for line in told if line.startswith("second rank")))

    def ends_with(self):
        """Its exit code, and what it said of that."""
        _, told = self.first.communicate()
        said = [line for line in told.splitlines() if line.startswith("clipft: ")]
        return self.first.returncode, said


def saved_step(folder):
    return json.loads(read_metadata(folder / "checkpoint.safetensors")["progress"])["step"]


def test_a_signal_and_a_killed_rank_end_both_and_one_process_goes_on(world, tmp_path):
    """Two ranks are sent SIGTERM, go on from that very step, and one of them is killed."""
    changes = {"steps": 400, "eval_every": 20, "method": "flyp"}
    settings = world.settings(**changes)
    command = Command(world, tmp_path, settings, step=27)
    os.killpg(command.first.pid, signal.SIGTERM)
    code, said = command.ends_with()
    (folder,) = world.runs.iterdir()
    stopped = saved_step(folder)
    assert code == 128 + signal.SIGTERM and 27 <= stopped < 400
    line = f"clipft: stopped by SIGTERM; step {stopped} of 400 is saved in {folder}; {GOES_ON}: "
    assert len(said) == 1 and said[0].startswith(line)
    assert read_jsonl(folder / "metrics.jsonl")[-1]["step"] <= stopped

    validated = stopped - stopped % 20 + 40
    command = Command(world, tmp_path, settings, step=validated + 7)
    os.kill(command.second, signal.SIGKILL)
    code, said = command.ends_with()
    goes_on = f"{GOES_ON} from the last checkpoint"
    line = f"clipft: process 2 of 2 was ended from outside (SIGKILL); {goes_on}"
    assert (code, said) == (2, [line])

    saved = saved_step(folder)
    before = read_jsonl(folder / "metrics.jsonl")
    last = before[-1]["step"]
    assert validated <= saved < last < 400

    def until_there(row):
        if row["step"] >= last:
            raise ranked.StoppedHere

    with pytest.raises(ranked.StoppedHere):
        train(world.config(**changes), world.runs, reading=QUIET, watch=until_there)
    after = read_jsonl(folder / "metrics.jsonl")
    assert [row["step"] for row in after] == [row["step"] for row in before]
    for one, other in zip(before, after, strict=True):
        assert other == pytest.approx(one, rel=1e-4)


# --- bad input


def test_more_ranks_than_images_are_refused(world):
    with pytest.raises(ConfigError, match="9 devices share batches of 8 images; wanted: at most"):
        train(world.config(), world.runs, reading=Reading(device="cpu", devices=9))
    assert not world.runs.exists()


@pytest.mark.parametrize("devices", [0, -1, 2.0, "2", True])
def test_devices_are_counted(devices):
    with pytest.raises(ConfigError, match="expected 1 or more"):
        Reading(devices=devices)


@pytest.mark.parametrize(
    ("device", "cards", "wanted"),
    [
        ("auto", 0, "devices is 4, and no card is here; for 4 processes on the processor say so"),
        ("auto", 2, "devices is 4, expected at most 2: so many cards are here"),
        ("cuda", 3, "devices is 4, expected at most 3"),
        ("cuda:1", 8, "cuda:1 is one device, and devices is 4; leave out one"),
        ("mps", 0, "devices is 4, but mps is one device"),
        ("cpu", 3, "devices is 4, expected at most 3: so many cores are here for a process each"),
        ("cpu", 0, "several devices need a script or a command, which is started once for each"),
    ],
)
def test_devices_that_are_not_there_are_refused(world, monkeypatch, device, cards, wanted):
    kind = "cuda" if cards else "cpu"
    found = {"auto": kind}.get(device, device)
    monkeypatch.setattr(launch, "pick_device", lambda _: found)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setattr(launch, "processors", lambda: cards or 4)
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with pytest.raises(ConfigError, match=wanted):
        train(world.config(), world.runs, reading=Reading(device=device, devices=4))
    assert not world.runs.exists()


def test_torchrun_says_how_many(world, monkeypatch):
    started = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "0"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="devices is 3, and 2 processes were started for it"):
        train(world.config(), world.runs, reading=Reading(device="cpu", devices=3))
    with pytest.raises(ConfigError, match="4 devices share batches of 3 images"):
        train(world.config(batch_size=3), world.runs, reading=QUIET)


@pytest.mark.parametrize("text", ["0", "two", "-1", "1.5"])
def test_the_command_refuses_what_is_no_number_of_devices(text, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["clipft", "train", f"--devices={text}"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told == f"clipft: --devices is {text!r}, expected 1 or more\n"


def test_batch_norm_is_refused(world, resnet_folder):
    visual = load_clip(f"local-dir:{resnet_folder}", str(resnet_folder / "random.pt")).model.visual
    with pytest.raises(ConfigError, match="statistics from the whole batch; leave out devices=2"):
        check_parts(visual, world.config(), 2)
