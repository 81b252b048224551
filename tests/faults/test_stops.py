"""Signals of schedulers, a time to stop, and checkpoints by time: a stopped run goes on to the
same bits, from the very step in which it was stopped.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import QUIET, noted
from forks import Job

from clipft import Reading, score, train
from clipft.errors import ConfigError
from clipft.models.checkpoints import read_metadata
from clipft.runs.image_scores import Gathered
from clipft.stops import Interrupted, held, listening, read_duration, stop_after

STEPS = {"steps": 60, "eval_every": 25}


def command(world, **changes) -> list[str]:
    """`clipft train` of these settings."""
    settings = world.settings(**STEPS | changes)
    words = [f"{key}={json.dumps(value).strip(chr(34))}" for key, value in settings.items()]
    return ["train", "--preset", "none", *words, "--runs", str(world.runs), "--device", "cpu"]


def wait_for_rows(folder: Path, rows: int, job: Job) -> None:
    """Until the history has so many rows."""
    file = folder / "metrics.jsonl"
    while not file.exists() or file.read_bytes().count(b"\n") < rows:
        assert not job.is_over, job.said
        time.sleep(0.002)


def saved_step(folder: Path) -> int:
    return json.loads(read_metadata(folder / "checkpoint.safetensors")["progress"])["step"]


def same_files(one: Path, other: Path) -> None:
    names = ("weights.safetensors", "metrics.jsonl")
    assert [(one / name).read_bytes() == (other / name).read_bytes() for name in names] == [
        True
    ] * 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run, made by the first test that asks."""
    runs = tmp_path_factory.mktemp("whole")
    made = {}

    def of(world):
        if not made:
            made["run"] = world.train(runs, **STEPS)
        return made["run"].path

    return of


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGUSR1", 75)])
def test_a_signal_saves_the_step_it_comes_in(world, forks, whole, tmp_path, number, code):
    folder = world.folder(**STEPS)
    job = forks.start([*command(world), "--no-score"], tmp_path / "log.txt")
    wait_for_rows(folder, 28 if number == "SIGUSR1" else 7, job)  # after a validation, before any
    job.send(getattr(signal, number))
    assert job.wait() == code
    *_, last = job.said.splitlines()
    step = saved_step(folder)
    assert step == json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert last.startswith(f"clipft: stopped by {number}; step {step} of 60 is saved in {folder}; ")
    assert last.endswith(f" --runs {world.runs} --device cpu --no-score")
    assert "Traceback" not in job.said

    again = forks.run([*command(world), "--no-score"], tmp_path / "log.txt")
    assert again.code == 0, again.said
    same_files(folder, whole(world))
    assert not (folder / "checkpoint.safetensors").exists()


def test_a_signal_during_a_validation_leaves_it_to_be_done(world, whole, monkeypatch):
    """The signal comes to the process itself, since the moment is inside a function."""
    from clipft.training import loop

    validate_on = loop.validate_on

    def signalled(*given):
        if not seen:
            seen.append(True)
            signal.raise_signal(signal.SIGTERM)
        return validate_on(*given)

    seen = []
    monkeypatch.setattr(loop, "validate_on", signalled)
    with pytest.raises(Interrupted) as stop, listening():
        world.train(**STEPS)
    folder = world.folder(**STEPS)
    assert saved_step(folder) == 25
    assert "step 25 of 60" in str(stop.value)
    assert not (folder / "best.safetensors").exists()  # it was not validated
    resumed = world.train(**STEPS)
    same_files(resumed.path, whole(world))


@pytest.mark.parametrize("adaptive", [0.0, 0.2])
def test_a_scoring_that_is_stopped_keeps_whole_splits(world, tmp_path, monkeypatch, adaptive):
    """The signal comes to the process itself, since the moment is inside a function."""
    run = world.train(steps=4)
    shutil.copytree(world.runs, tmp_path / "whole")
    alphas = (0.0, 0.5, 1.0)
    whole = tmp_path / "whole" / run.id
    score(whole, alphas, adaptive=adaptive, reading=QUIET)

    is_whole = Gathered.is_whole
    scored = []

    def signalled(self, split):
        is_whole(self, split)
        scored.append(split.name)
        if len(scored) == 2:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Gathered, "is_whole", signalled)
        with pytest.raises(Interrupted, match="2 of 4 splits are scored"), listening():
            score(run, alphas, adaptive=adaptive, reading=QUIET)
    assert not (run.path / "images.parquet").exists()
    decoded = noted(monkeypatch, "decode")
    score(run, alphas, adaptive=adaptive, reading=QUIET)
    names = {Path(file).name.rpartition("_")[0] for file in decoded}
    assert not [name for name in names if name.startswith(scored[0].partition("/")[0])] or adaptive
    for name in ("images.parquet", "scores.parquet"):
        assert (run.path / name).read_bytes() == (whole / name).read_bytes()
    assert not (run.path / "unfinished.npz").exists()


def test_stop_after_asks_for_another_turn(world, forks, tmp_path):
    log = tmp_path / "log.txt"
    job = forks.run([*command(world, steps=100_000), "--stop-after", "1.5s"], log)
    assert job.code == 75, job.said
    step = saved_step(world.folder(**STEPS | {"steps": 100_000}))
    assert step > 0
    assert f"stopped as its time was up; step {step} of 100000 is saved" in job.said


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGHUP", 129), ("SIGALRM", 75)])
def test_other_signals_are_heard_alike(number, code):
    with pytest.raises(Interrupted) as stop, listening():
        signal.raise_signal(getattr(signal, number))
    assert stop.value.code == code


def test_what_is_ignored_stays_ignored():
    """As under nohup; and afterwards all handlers are those from before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening():
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(Interrupted):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert {number: signal.getsignal(number) for number in before} == before
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_a_library_call_is_interrupted_as_ever(world, monkeypatch):
    """Nobody listens in a notebook: Ctrl-C is a KeyboardInterrupt, in the middle of a step too."""
    from clipft.training import loop

    take_step = loop.take_step

    def interrupted(training, state, batch):
        if state.step == 3:
            signal.raise_signal(signal.SIGINT)
        take_step(training, state, batch)

    monkeypatch.setattr(loop, "take_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        world.train()
    assert not (world.folder() / "checkpoint.safetensors").exists()


def test_a_signal_waits_for_what_must_not_be_torn():
    steps = []
    with pytest.raises(Interrupted) as stop, listening(), held():  # noqa: PT012
        with held():
            signal.raise_signal(signal.SIGTERM)
            steps.append(1)
        steps.append(2)
    assert steps == [1, 2]
    assert stop.value.code == 143


def test_a_timer_ends_with_its_command():
    with listening():
        stop_after(1000)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 900
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    stop_after(1000)  # nobody listens
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3h50m", 13_800), ("90m", 5400), ("90min", 5400), ("230 s", 230), ("230", 230),
        ("03:50:00", 13_800), ("3:50", 13_800), ("1d", 86_400), ("1-02:00:00", 93_600),
        ("1D 2h", 93_600), ("1.5s", 1.5),
    ],
)  # fmt: skip
def test_a_duration(text, seconds):
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["0", "0m", "soon", "-5m", "3m50h", "1:99", "h", "nan", "9" * 12])
def test_no_duration(text):
    with pytest.raises(ConfigError, match=r"is no time; wanted: e\.g\. 3h50m"):
        read_duration(text)


def test_a_fork_that_is_not_deaf_yet_hears_nothing():
    """A signal to a whole group reaches it before it has begun: the one that listens says what."""
    code = """
import os, signal
from clipft.stops import Interrupted, listening
with listening():
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except Interrupted as stop:
        print(stop.code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("143\n", "")


def test_a_signal_that_was_swallowed_is_heard_at_the_end_of_a_step():
    """What is raised while an object is deleted is lost; so were all signals after it."""
    code = """
import os, signal, sys
from clipft.stops import Interrupted, held, listening
class Deleted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
sys.unraisablehook = lambda _: print("swallowed")
with listening():
    Deleted()
    try:
        with held():
            print("a step")
    except Interrupted as stop:
        with held():
            print("saved")
        print(stop.code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("swallowed\na step\nsaved\n143\n", "")


class Clocks:
    """A monotonic clock that goes 20 seconds on whenever it is asked, and a wall clock that jumps
    a day forward or back.
    """

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.wall = 1e9
        monkeypatch.setattr(time, "monotonic", self.monotonic)
        monkeypatch.setattr(time, "time", self.time)

    def monotonic(self) -> float:
        self.now += 20
        return self.now

    def time(self) -> float:
        self.wall += 86_400 if self.now % 40 else -86_400
        return self.wall


@pytest.mark.parametrize(("minutes", "last"), [(1.0, 8), (0.0, 5), (60.0, 5)])
def test_checkpoints_by_time(world, monkeypatch, minutes, last):
    """Every third step asks after a minute; the validation at 5 begins it anew. Not the wall."""
    from clipft.training import loop

    take_step = loop.take_step

    def failing(training, state, batch):
        if state.step == 9:
            raise KeyboardInterrupt
        take_step(training, state, batch)

    with monkeypatch.context() as patch:
        Clocks(patch)
        patch.setattr(loop, "take_step", failing)
        reading = Reading(device="cpu", progress=False, checkpoint_minutes=minutes)
        with pytest.raises(KeyboardInterrupt):
            train(world.config(eval_every=5, steps=11), world.runs, reading=reading)
    folder = world.folder(eval_every=5, steps=11)
    assert saved_step(folder) == last


def test_checkpoint_minutes_are_no_part_of_a_run(world):
    reading = Reading(device="cpu", progress=False, checkpoint_minutes=3)
    run = train(world.config(steps=2), world.runs, reading=reading)
    assert train(world.config(steps=2), world.runs, reading=QUIET).id == run.id
    with pytest.raises(ConfigError, match="checkpoint_minutes is nan, expected 0 or more"):
        Reading(checkpoint_minutes=float("nan"))


def test_a_run_that_is_removed_ends_in_one_line(world, forks, tmp_path):
    folder = world.folder(**STEPS)
    job = forks.start([*command(world), "--no-score"], tmp_path / "log.txt")
    wait_for_rows(folder, 5, job)
    folder.rename(tmp_path / "trash")
    assert job.wait() == 2
    (line,) = [line for line in job.said.splitlines() if line.startswith("clipft: ")]
    assert f"{folder} was removed while it was written" in line
    assert "Traceback" not in job.said
    assert not folder.exists()


def test_of_two_commands_on_one_run_the_second_is_refused(world, forks, tmp_path):
    folder = world.folder(**STEPS)
    first = forks.start([*command(world), "--no-score"], tmp_path / "log.txt")
    wait_for_rows(folder, 1, first)
    first.send(signal.SIGSTOP)  # it is in the midst of it, however slow this machine is
    second = forks.run([*command(world), "--no-score"], tmp_path / "second.txt")
    assert second.code == 2
    assert f"is being written by another process (pid {first.pid} on " in second.said
    first.send(signal.SIGCONT)
    assert first.wait() == 0, first.said
