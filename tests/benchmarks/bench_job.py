"""What a job costs beside its notebook: against papermill alone, and how soon a batch's driver
begins. `make bench`.

The notebook prints one line. Both are started in turn, and the cheapest of each counts; the
processor's time, which other work on the machine does not stretch, is that of the kernel, too.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import LEAN
from nbformat.v4 import new_code_cell, new_notebook

ROUNDS = 3
JOB = 1.2  # times papermill alone
DRIVER = 100  # bare starts of Python until the first job starts: 1.5 s where that took 0.015 s
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


@pytest.fixture
def folder(tmp_path):
    """A notebook that prints its parameter, the spec that runs it, and a job's folder for it."""
    cell = new_code_cell("a = 1")
    cell.metadata["tags"] = ["parameters"]
    book = new_notebook(cells=[cell, new_code_cell("print(a)")], metadata={"kernelspec": KERNEL})
    nbformat.write(book, tmp_path / "one.ipynb")
    stage = {"notebook": "one.ipynb", "parameters": {"a": 2}}
    spec = {"name": "one", "images": [], "stages": [stage]}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(spec))
    job = tmp_path / "out/notebooks/one"
    job.mkdir(parents=True)
    (job / "params.json").write_text(json.dumps({"a": 2}))
    return tmp_path


def as_installed():
    """The environment without what makes the tests' own processes start sooner."""
    paths = [path for path in os.environ["PYTHONPATH"].split(os.pathsep) if path != LEAN]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def cost(command, folder):
    """(processor's seconds, clock's seconds) of a command that must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    command = [sys.executable, "-m", *command]
    done = subprocess.run(command, cwd=folder, env=as_installed(), capture_output=True)
    clock = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, clock


def test_a_job_against_papermill_alone(folder):
    """A job makes a page, too, and keeps what it was given."""
    alone = ["papermill", "one.ipynb", "alone.ipynb", "-p", "a", "2"]
    job = ["clipft.batch.notebook", str(folder / "one.ipynb"), "out/notebooks/one"]
    costs = {"papermill": [], "job": []}
    for _ in range(ROUNDS):
        costs["papermill"].append(cost(alone, folder))
        costs["job"].append(cost(job, folder))
    assert (folder / "out/notebooks/one/run.html").exists()

    for number, kind in enumerate(("of a core", "on the clock")):
        best = {name: min(row[number] for row in rows) for name, rows in costs.items()}
        ratio = best["job"] / best["papermill"]
        told = f"a job {best['job']:.2f} s, papermill alone {best['papermill']:.2f} s"
        print(f"\n{told} {kind}: {ratio:.2f} of at most {JOB} times", end="")
        assert ratio <= JOB


def spent_by(process):
    """The processor's seconds that a process has taken so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_how_soon_the_first_job_starts(folder):
    """The driver writes params.json just before it starts a job's process."""
    bare, _ = min(cost(["this"], folder) for _ in range(ROUNDS))
    waits = []
    for number in range(ROUNDS):
        out = folder / f"batch{number}"
        begun = time.perf_counter()
        command = [sys.executable, "-m", "clipft", "batch", "one.yaml", "--out", str(out)]
        driver = subprocess.Popen(
            command, cwd=folder, env=as_installed(), stdout=subprocess.DEVNULL
        )
        while not list(out.glob("notebooks/*/params.json")):
            time.sleep(0.005)
        waits.append((spent_by(driver), time.perf_counter() - begun))
        assert driver.wait() == 0
    processor, clock = min(waits)
    ratio = processor / bare
    told = f"{processor:.2f} s of a core, {clock:.2f} s on the clock"
    print(
        f"\nthe first job starts after {told}: {ratio:.0f} of at most {DRIVER} bare starts", end=""
    )
    assert ratio <= DRIVER
