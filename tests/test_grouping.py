"""The browser's tests stay on one worker and the others do not: seen in a run of two workers."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import conftest
import grouping

WRITE = """
import os, pytest

@pytest.mark.parametrize("number", range(6))
def test_where(number):
    file = "{folder}-" + os.environ["PYTEST_XDIST_WORKER"]
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(file + "\\n")
"""


def workers(tmp_path: Path, monkeypatch, plugin: str) -> dict[str, set[str]]:
    """Folder of tests -> the workers that ran them, of a small suite with this conftest.py."""
    seen = tmp_path / "seen"
    monkeypatch.setenv("SEEN", str(seen))
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    for folder in ("browser", "rooms"):
        for number in (1, 2):
            file = tmp_path / f"tests/{folder}/test_{folder}_{number}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(WRITE.format(folder=folder))
    (tmp_path / "tests/conftest.py").write_text(plugin)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    command = [sys.executable, "-m", "pytest", "-p", "xdist"]
    command += ["-n", "2", "--dist", "loadgroup", "tests"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    found = defaultdict(set)
    for line in seen.read_text().splitlines():
        folder, worker = line.split("-")
        found[folder].add(worker)
    return found


def test_the_browsers_tests_stay_on_one_worker(tmp_path, monkeypatch):
    found = workers(tmp_path, monkeypatch, Path(grouping.__file__).read_text())
    assert len(found["browser"]) == 1
    assert found["rooms"] - found["browser"]  # the other worker is not idle


def test_this_suite_is_scheduled_so():
    for hook in ("pytest_xdist_make_scheduler", "pytest_collection_modifyitems"):
        assert getattr(conftest, hook) is getattr(grouping, hook)
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    assert "-n auto --dist loadgroup" in makefile
