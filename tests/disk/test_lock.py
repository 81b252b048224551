"""A folder is held by one process; who holds it is said, and what the dead left there goes."""

import errno
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import time

import pytest
from conftest import held_elsewhere

from clipft import progress
from clipft.disk.files import append_json, write_text
from clipft.disk.leftovers import OLD, is_alive, temporary_prefix, who
from clipft.disk.lock import lock
from clipft.errors import RunError, StorageError

NOBODY = 1 << 22  # a process id beyond all


@pytest.fixture
def said(monkeypatch):
    """The lines that are said."""
    lines = []
    monkeypatch.setattr(progress, "_SAID", set())
    monkeypatch.setattr(progress, "write", lambda line, **_: lines.append(line))
    return lines


def record(folder, **changes):
    """As a process that was killed left it."""
    values = {"host": "node7", "pid": 12, "since": "2026-01-02 03:04:05", "who": "0" * 6} | changes
    folder.mkdir(exist_ok=True)
    (folder / ".lock").write_text(json.dumps(values))


def test_the_refusal_says_who_holds_it(tmp_path):
    with held_elsewhere(tmp_path), pytest.raises(RunError) as refused, lock(tmp_path):
        pass
    place = rf"being written by another process \(pid \d+ on {platform.node()} since 20\d\d-.*\); "
    assert refused.match(place)
    assert "\n" not in str(refused.value)


def test_a_lock_is_free_once_its_holder_is_killed(tmp_path, said):
    """And nobody is told: it was of this machine."""
    with held_elsewhere(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() != ""
    with lock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert (tmp_path / ".lock").read_text() == ""
    assert said == []


def test_a_dead_machine_is_named(tmp_path, said):
    record(tmp_path)
    with lock(tmp_path):
        pass
    (line,) = said
    assert "was not released by pid 12 on node7 since 2026-01-02 03:04:05: it was killed" in line
    with lock(tmp_path):
        assert len(said) == 1


@pytest.fixture
def no_locks(monkeypatch):
    """As a file system without locks answers; there is none here to be mounted."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
class TestWithoutLocks:
    """The record stands for a lock."""

    def test_one_process_goes_on_and_says_what_is_not_safe(self, tmp_path, said):
        with lock(tmp_path):
            pass
        assert "file system without locks (no locks available): start no second command" in said[0]
        record(tmp_path, who=who(), pid=NOBODY)  # killed, on this machine
        with lock(tmp_path):
            pass

    def test_a_process_that_is_there_is_believed(self, tmp_path):
        record(tmp_path, who=who(), pid=os.getppid())
        with pytest.raises(RunError, match=f"another process .pid {os.getppid()} on"):
            lock(tmp_path).__enter__()

    def test_another_machine_is_asked_about(self, tmp_path):
        record(tmp_path)
        with pytest.raises(StorageError, match=r"if that has ended, remove .*\.lock"):
            lock(tmp_path).__enter__()


def test_what_the_dead_left_goes_when_the_folder_is_locked(tmp_path):
    old = time.time() - OLD - 3600
    left = {
        "dead": f".a.json.{who()}-{NOBODY}-x.tmp",
        "alive": f".a.json.{who()}-{os.getppid()}-x.tmp",
        "elsewhere": ".a.json.000000-12-x.tmp",
        "elsewhere, old": ".b.json.000000-12-x.tmp",
        "safetensors": ".tmpMXWWv4",
        "a user's": "notes.tmp",
    }
    for name in left.values():
        (tmp_path / name).touch()
    os.utime(tmp_path / left["elsewhere, old"], (old, old))
    with lock(tmp_path):
        pass
    stayed = [what for what, name in left.items() if (tmp_path / name).exists()]
    assert stayed == ["alive", "elsewhere", "a user's"]


def test_what_the_dead_left_goes_when_its_name_is_written(tmp_path):
    script = "import os, signal; from clipft.disk.files import atomic\n"
    script += "with atomic('a.txt'): os.kill(os.getpid(), signal.SIGKILL)"
    killed = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    write_text(tmp_path / "b.txt", "other")
    assert left.exists()
    write_text(tmp_path / "a.txt", "again")
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


def test_a_name_says_who_writes_it():
    assert temporary_prefix("a.b") == f".a.b.{who()}-{os.getpid()}-"
    assert [is_alive(pid) for pid in (os.getpid(), 1, NOBODY)] == [True, True, False]


def test_a_folder_that_was_removed_is_not_made_again(tmp_path):
    folder = tmp_path / "run"
    with lock(folder):
        write_text(folder / "a.txt", "")
        folder.rename(tmp_path / "away")
        for write in (write_text, append_json):
            with pytest.raises(StorageError, match="run was removed while it was written; nothing"):
                write(folder / "b", "b")
        assert not folder.exists()
        with held_elsewhere(folder):  # somebody began it anew
            with pytest.raises(StorageError, match="was removed"):
                write_text(folder / "c.txt", "")
            assert os.listdir(folder) == [".lock"]
        holder = (folder / ".lock").read_text()
    assert (folder / ".lock").read_text() == holder  # theirs
    write_text(folder / "d.txt", "")  # nobody holds it
