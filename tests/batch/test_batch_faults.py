"""Batches that are killed, stopped and looked at from outside: every fault is a signal."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import held_elsewhere
from test_batch import notebook, spec_file, states_in
from test_cli import run_cli

from clipft.batch import life
from clipft.batch.attempt import SOCKET, temporary_folder
from clipft.batch.engine import Local
from clipft.batch.life import MARK, read_sign
from clipft.batch.machine import visible_gpus
from clipft.batch.overview import write_overview
from clipft.batch.record import read_record
from clipft.batch.runner import run_job
from clipft.batch.spec import Spec, open_batch, plan
from clipft.disk.files import write_json
from clipft.errors import ConfigError, RunError

pytest.importorskip("papermill")
# Says when it begins and ends; goes on when the test says so. What is killed does not end.
SOURCE = """
import os, time
def say(word): open(f'{out}/{a}.log', 'a').write(f'{word} {time.time()} {os.getpid()}\\n')
say('begin')
while a < 9 and not os.path.exists(f'{out}/go'): time.sleep(0.05)
say('end')
"""


@pytest.fixture
def waiting(tmp_path):
    """A spec of two jobs that wait for the file `go`."""
    notebook(tmp_path / "wait.ipynb", "a: int = 0\nout: str = ''", SOURCE)
    stage = {"notebook": "wait.ipynb", "parameters": {"out": "{out}"}, "grid": [{"a": [1, 2]}]}
    return spec_file(tmp_path, jobs=2, stages=[stage], images=[])


def batch(path, *options, **environment):
    """The command, in a process group of its own."""
    command = [
        sys.executable,
        "-m",
        "clipft",
        "batch",
        str(path),
        "--out",
        str(path.parent / "out"),
    ]
    return subprocess.Popen(
        [*command, *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    )


def said(path, number):
    """What a job's kernels wrote: (word, time, process)."""
    file = path.parent / f"out/{number}.log"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(word, float(when), int(pid)) for word, when, pid in map(str.split, lines)]


def until(condition, process=None):
    """Wait for what another process does."""
    deadline = time.time() + 120
    while not condition():
        assert time.time() < deadline and (process is None or process.poll() is None)
        time.sleep(0.05)


def at_work(path):
    """The processes of this machine that work for a job of this batch."""
    found = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(str(path.parent)):
                found.add(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def test_a_killed_driver_leaves_nothing_and_the_same_command_goes_on(waiting, capsys, monkeypatch):
    """Its kernels are gone; nothing ever runs twice at once. In a TMPDIR too long for a socket."""
    deep = waiting.parent / ("d" * 100) / "tmp"
    deep.mkdir(parents=True)
    first = batch(waiting, TMPDIR=str(deep))
    until(lambda: said(waiting, 1) and said(waiting, 2), first)
    kernels = {pid for number in (1, 2) for _, _, pid in said(waiting, number)}
    assert kernels <= at_work(waiting) and len(at_work(waiting)) == 4
    code, shown, _ = run_cli(
        monkeypatch, capsys, "batch", waiting, "--out", waiting.parent / "out", "--status"
    )
    assert code == 0 and "tiny: 2 running" in shown and f"process {first.pid}" in shown
    first.kill()
    first.communicate()

    # At once, while the kernels of the first may be on their way out.
    second = batch(waiting, TMPDIR=str(deep))
    until(lambda: len(said(waiting, 1)) == 2 and len(said(waiting, 2)) == 2, second)
    assert not kernels & at_work(waiting)
    (waiting.parent / "out/go").touch()
    out, err = second.communicate(timeout=120)
    assert (second.returncode, err) == (0, ""), out
    assert states_in(waiting.parent / "out") == ["ok", "ok"]
    for number in (1, 2):
        assert [word for word, _, _ in said(waiting, number)] == ["begin", "begin", "end"]
    assert at_work(waiting) == set()
    assert not list(waiting.parent.glob("out/**/running.json"))


def test_a_closed_terminal_ends_a_batch_in_order(waiting):
    process = batch(waiting)
    until(lambda: said(waiting, 1) and said(waiting, 2), process)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 129 and "the same command goes on" in err
    assert at_work(waiting) == set()
    assert states_in(waiting.parent / "out") == ["stopped", "stopped"]
    laid = open_batch(waiting, waiting.parent / "out").plan
    assert {entry.state for entry in read_record(laid).values()} == {"waiting"}


def test_an_array_of_jobs_beside_each_other(waiting):
    """Two at once; one number twice is refused; what fails has its own exit code."""
    stages = json.loads(json.dumps({"notebook": "div.ipynb", "after": ["wait"]}))
    notebook(waiting.parent / "div.ipynb", "a: int = 0", "1 / a")
    text = waiting.read_text().replace("stages:\n", f"stages:\n- {json.dumps(stages)}\n")
    waiting.write_text(text)
    one, two = batch(waiting, "--job", 1), batch(waiting, "--job", 2)
    until(lambda: said(waiting, 1) and said(waiting, 2), one)
    laid = open_batch(waiting, waiting.parent / "out")
    assert [entry.state for entry in read_record(laid.plan).values()] == ["running"] * 2 + [
        "waiting"
    ]
    with pytest.raises(RunError, match=r"job 1 runs already, on .*process \d+: wait$"):
        run_job(laid, 1, Local(1))
    with pytest.raises(RunError, match="job 3 needs 2 jobs that are not done, first 1, wait; run"):
        run_job(laid, 3, Local(1))
    with pytest.raises(ConfigError, match="no job 4: tiny has jobs 1 to 3; --list"):
        run_job(laid, 4, Local(1))
    (waiting.parent / "out/go").touch()
    assert [process.communicate()[1] for process in (one, two)] == ["", ""]
    assert (one.returncode, two.returncode) == (0, 0)
    failing = batch(waiting, "--job", 3)
    _, err = failing.communicate()
    assert failing.returncode == 1 and "ZeroDivisionError" in err and err.count("\n") == 1


def test_when_its_time_is_up_what_runs_is_ended(waiting):
    process = batch(waiting, "--stop-after", "4s")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, at_work(waiting)) == (75, set()), out
    assert re.fullmatch(r"clipft: time is up, 0 of 2 jobs are done; the same .*\n", err)
    assert "failed" not in states_in(waiting.parent / "out")


# --- signs


def test_a_sign_of_another_host_lives_as_long_as_it_is_touched(tmp_path):
    file = tmp_path / "running.json"
    write_json(file, {"host": "elsewhere", "pid": 1, "started": 1.0, "since": 1.0})
    assert read_sign(file).lives
    old = time.time() - life.SILENT - 1
    os.utime(file, (old, old))
    assert not read_sign(file).lives
    life.touch(file)
    assert read_sign(file).lives and read_sign(file).where == "elsewhere, process 1"


def test_a_process_is_known_by_more_than_its_number(tmp_path):
    """Our own number, with another start, or as that of a job, is another process."""
    file = tmp_path / "driver.json"
    life.leave_sign(file, os.getpid())
    assert read_sign(file).lives
    content = json.loads(file.read_text())
    write_json(file, content | {"started": content["started"] - 3600})
    assert not read_sign(file).lives
    write_json(file, content | {"folder": str(tmp_path)})
    assert not read_sign(file).lives
    file.write_text("{")
    assert read_sign(file) is None and read_sign(tmp_path / "none") is None


def test_status_tells_every_state(tmp_path, monkeypatch, capsys):
    notebook(tmp_path / "add.ipynb", "a = 1")
    stages = [{"notebook": "add.ipynb", "name": "first", "grid": [{"a": [1, 2, 3, 4]}]}]
    stages += [{"notebook": "add.ipynb", "after": ["first"], "grid": [{"a": [5]}]}]
    path = spec_file(tmp_path, stages=stages)
    out = tmp_path / "out"
    done, failed, elsewhere, stopped, last = open_batch(path, out).plan.jobs
    write_json(done.folder / "status.json", {"state": "ok", "seconds": 60.0})
    write_json(failed.folder / "status.json", {"state": "failed", "seconds": 1.0})
    (failed.folder / "log.txt").write_text("one\nthe reason\n\n")
    write_json(stopped.folder / "status.json", {"state": "stopped", "seconds": 1.0})
    sign = {"host": "node7", "pid": 3, "started": 1.0, "since": time.time() - 10, "gpu": "2"}
    write_json(elsewhere.folder / "running.json", sign)
    (elsewhere.folder / "log.txt").write_text("train:  40%|####      | 4/10")
    write_json(out / "driver.json", sign | {"width": 2})

    code, shown, _ = run_cli(monkeypatch, capsys, "batch", path, "--out", out, "--status")
    assert code == 0
    assert "tiny: 1 done, 1 running, 1 failed, 1 not run, 1 waiting" in shown
    # One that waits for 60 s and one that has 50 left, side by side.
    assert re.search(r"its driver: node7, process 3, GPU 2; (5\d|60) s left", shown)
    assert re.search(r"3 +add +\d{4}-\S+ \S+ +40 % +node7, process 3, GPU 2", shown)
    assert re.search(r"2 +add +the reason", shown)
    code, shown, _ = run_cli(monkeypatch, capsys, "batch", path, "--out", out, "--list")
    assert [line.split() for line in shown.splitlines()] == [
        ["1", "done", "add"], ["2", "failed", "add"], ["3", "running", "add"],
        ["4", "waiting", "add"], ["5", "not", "run", "add"],
    ]  # fmt: skip
    assert last.number == 5


# --- what is refused


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--job", 1, "--only", "a"], "--only goes with running and --dry-run alone"),
        (["--status", "--list"], "--status and --list do not go together"),
        (["--stop-after", "soon"], "'soon' is no time; wanted: e.g. 3h50m"),
        (["--stop-after", "1h", "--status"], "--stop-after goes with running"),
        (["--stop-after", "soon", "--job", 1], "'soon' is no time"),
        (["--gpus", "0,1"], "no GPU is found here, --gpus asks for 0, 1"),
        (["--jobs", "-1"], "Invalid value for '--jobs'"),
        (["--jobs", "many"], "Invalid value for '--jobs'"),
    ],
)
def test_options_that_make_no_sense_are_refused(waiting, monkeypatch, capsys, options, wanted):
    monkeypatch.setattr("clipft.batch.machine.ask", lambda *command: ())
    out = waiting.parent / "out"
    code, _, err = run_cli(monkeypatch, capsys, "batch", waiting, "--out", out, *options)
    assert code == 2 and err.startswith(f"clipft: {wanted}") and err.count("\n") == 1
    assert not out.exists()


def test_a_gpu_that_is_not_here_is_named(monkeypatch):
    monkeypatch.setattr("clipft.batch.machine.ask", lambda *command: ("0", "1"))
    assert Local(gpus="1,0").width == 2 and Local(gpus="MIG-3f").width == 1
    with pytest.raises(ConfigError, match="unknown GPU '7'; known: 0, 1"):
        Local(gpus="0,7")
    with pytest.raises(ConfigError, match="jobs is -1"):
        Local(-1)


def test_hidden_gpus_are_none(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus() == ""


def test_without_room_for_a_socket_a_line_says_so(monkeypatch):
    monkeypatch.setattr("clipft.batch.attempt.tempfile.tempdir", "/" + "d" * 200)
    assert len(temporary_folder()) <= SOCKET
    monkeypatch.setattr("clipft.batch.attempt.SHORT", ())
    with pytest.raises(ConfigError, match=r"TMPDIR is /ddd.* too long for a kernel's sockets"):
        temporary_folder()


def test_a_job_that_another_process_holds_is_not_begun(waiting):
    laid = open_batch(waiting, waiting.parent / "out")
    job = next(laid.plan.jobs)
    engine = Local(1)
    with held_elsewhere(job.folder):
        with engine:
            future = engine.submit(job)
            until(lambda: job.folder.exists())
        assert future.result()["state"] == "stopped" and said(waiting, 1) == []


def test_a_batch_that_only_trains_has_a_page(world, tmp_path):
    """Runs without scores: no table, and no error."""
    world.train(method="ft", seed=1, steps=2)
    out = tmp_path / "out"
    out.mkdir()
    (out / "runs").symlink_to(world.runs)
    spec = Spec(name="t", images=(), stages=())
    laid = plan(Spec.read({"name": "t", "stages": [{"notebook": TRAIN}]}), tmp_path, out)
    write_overview(spec, laid, out, "clipft batch t.yaml")
    assert "No run is scored." in (out / "index.html").read_text()


TRAIN = str(Path(__file__).parents[2] / "notebooks/01_fine_tune.ipynb")
