"""What the table of thousands of runs costs, as multiples of reading their files, and in memory as
a part of the table that holds a text in each row. `make bench`.

The runs are copies of one folder with other seeds, rates and numbers: 11 alphas, 5 splits, 10
metrics. What counts is the processor's time, each in a process of its own; other work on the
machine does not.
"""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from clipft.config import RunConfig

COUNTS = (500, 2000)
NEW = 10
FIRST = 5  # times reading the files
AGAIN = 0.25  # of the first time
NEW_RUNS = 4  # times as many runs read for the first time, on top of a second time
GROWTH = 1.3  # of the time of a run, from 500 runs to 2 000
MEMORY = 0.7  # of the table with a text in each row, which is 270 bytes a row
MEGABYTES = 1000  # of the whole process, imports too
SPLITS = ["twemoji/val", "twemoji/test", "glyph/test", "line/test", "openmoji/test"]
METRICS = ["accuracy", "class_accuracy", "macro_f1", "nll", "ece", "ece_debiased"]
METRICS += ["energy_gap", "feature_distortion", "feature_distortion_normalised", "worst_group"]

BARE = """
import json, pyarrow.parquet
for run in runs:
    for name in ("config.json", "made.json", "manifest.json"):
        json.loads((run / name).read_text())
    with pyarrow.parquet.ParquetFile(run / "scores.parquet") as file:
        file.read(use_threads=False)
"""
RESULTS = """
import clipft
assert clipft.results(sys.argv[1]).run.nunique() == len(runs)
"""
MEASURED = r"""
import json, re, sys, time
from pathlib import Path
import pandas, pyarrow.parquet, clipft.runs.table
runs = sorted(Path(sys.argv[1]).iterdir())
before = time.process_time()
{code}
seconds = time.process_time() - before
peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())  # of this process alone
print(seconds, int(peak[1]) / 1024)
"""


def write_runs(folder, numbers):
    """Runs that are scored, of files as a run leaves them."""
    rng = np.random.default_rng(numbers[0])
    alphas = np.arange(11) / 10
    keys = list(itertools.product(alphas, SPLITS, METRICS))
    frame = pd.DataFrame(keys, columns=["alpha", "split", "metric"])
    frame.insert(0, "reference", "twemoji")
    frame[["domain", "part"]] = [split.split("/") for split in frame.split]
    frame["role"] = np.where(frame.domain == "twemoji", "reference", "shift")
    frame.loc[frame.part == "val", "role"] = "val"
    frame["n"] = 1000
    part = {"work": "training", "steps": 3, "step_seconds": 8.7, "seconds": 9.1, "threads": 2}
    part |= {"versions": {"clipft": "0.1.0", "torch": "2.15.0"}, "device": "AMD EPYC"}
    manifest = {"name": "emoji_shift", "classes": [f"class {number}" for number in range(900)]}
    for number in numbers:
        run = folder / hashlib.sha256(str(number).encode()).hexdigest()[:12]
        run.mkdir(parents=True)
        settings = {"seed": number // 8, "lr": 10.0 ** -(3 + number % 3), "lam": number % 2}
        config = RunConfig().model_dump(mode="json") | settings
        config |= {"manifest_digest": "807956ba4b39", "model_digest": "0c7fc77984b5"}
        (run / "config.json").write_text(json.dumps(config))
        seconds = part | {"step_seconds": float(rng.random())}
        (run / "made.json").write_text(json.dumps({"parts": [seconds]}))
        (run / "manifest.json").write_text(json.dumps(manifest))
        frame[["mean", "low", "high"]] = rng.random((len(frame), 3))
        frame.to_parquet(run / "scores.parquet")


def cost(code, runs):
    """(processor's seconds, megabytes at most) of a piece of code in a process of its own."""
    environment = os.environ | {"CLIPFT_CACHE": str(runs.parent / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURED.format(code=code), str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def least(code, runs):
    """The least of three: what else runs on the machine only adds."""
    return min(cost(code, runs) for _ in range(3))


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    """Seconds of one run, by how many there are."""
    return {}


@pytest.mark.parametrize("count", COUNTS)
def test_many_runs(count, tmp_path, a_run):
    runs = tmp_path / "runs"
    write_runs(runs, range(count))
    time.sleep(2.1)  # files that were just written are not kept
    _, imports = cost("pass", runs)
    bare, _ = least(BARE, runs)
    first, peak = cost(RESULTS, runs)
    again, peak_again = least(RESULTS, runs)
    write_runs(runs, range(count, count + NEW))
    new, _ = least(RESULTS, runs)  # so few are not kept: they are read each time

    rows = count * 11 * len(SPLITS) * len(METRICS)
    held = max(peak, peak_again) - imports
    a_run[count] = first / count
    print(f"\n{count} runs, {rows} rows; their files read: {bare:.2f} s of a core")
    print(f"first {first:.2f} s ({first / bare:.1f} of {FIRST} times), {peak:.0f} MB")
    print(f"again {again:.2f} s ({again / first:.2f} of {AGAIN}), {peak_again:.0f} MB")
    share = NEW * a_run[count]
    print(f"{NEW} new runs: {new - again:+.3f} s, {(new - again) / share:.1f} of {NEW_RUNS} times")
    print(f"held {held:.0f} MB, {held / (rows * 270e-6):.2f} of {MEMORY} of a text in each row")
    assert first < FIRST * bare
    assert again < AGAIN * first
    assert new - again < NEW_RUNS * share + 0.1
    assert held < MEMORY * rows * 270e-6 + 60 and peak < MEGABYTES
    assert a_run[count] < GROWTH * a_run[COUNTS[0]]
