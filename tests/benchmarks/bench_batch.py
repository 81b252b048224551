"""A batch of jobs that do nothing: what the plan, the driver, the record and the page cost a job.

Everything but the jobs is real: trainings and figures of the shipped notebooks, folders, statuses,
executed notebooks, the table of what is left. Ratios: a job of 10 000 costs what one of 1 000 does.
Last, a batch of one figure for each training, so that the graph is deep, too.
"""

import json
import resource
import time
from concurrent.futures import Future
from pathlib import Path

import yaml

from clipft.batch import forecast as looking
from clipft.batch.overview import write_overview
from clipft.batch.record import read_record, standing
from clipft.batch.runner import Wish, work_off
from clipft.batch.spec import choose, open_batch

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SIZES = (1_000, 3_000, 10_000)
LIMIT = 10.0  # seconds of the issue, for each step
MEMORY = 200.0  # MB that 9 000 jobs more may take, less than 25 kB each
FLAT = 2.0  # at most so many times what a job costs in the smallest batch
PAGE = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


class Nothing:
    """An engine whose jobs are done when they are handed over."""

    width = 8

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        """Nothing runs."""

    def submit(self, job):
        job.folder.mkdir(parents=True)
        status = {"state": "ok", "code": 0, "seconds": 0.1, "gpu": ""}
        (job.folder / "status.json").write_text(json.dumps(status))
        (job.folder / "run.ipynb").write_text(PAGE)
        future = Future()
        future.set_result(status)
        return future


def spec_of(folder, count):
    """Half trainings, half figures, each of which needs one training."""
    runs = {"runs": "{out}/runs"}
    seeds = list(range(count // 2))
    train = {"notebook": str(NOTEBOOKS / "01_fine_tune.ipynb")}
    train |= {"parameters": runs | {"preset": "emoji/ft", "alphas": []}, "grid": [{"seed": seeds}]}
    draw = {"notebook": str(NOTEBOOKS / "08_tables.ipynb")}
    draw["parameters"] = runs | {"figures_folder": "{out}/figures"}
    draw["grid"] = [{"where": [{"seed": seed, "lr": 1.0e-3} for seed in seeds]}]
    path = folder / "many.yaml"
    values = {"name": "many", "images": [], "stages": [train, draw]}
    path.write_text(yaml.safe_dump(values))
    return path


def timed(costs, name, work, *given, **more):
    """Seconds of this process: the machine may have other work."""
    begun = time.process_time()
    result = work(*given, **more)
    costs[name] = time.process_time() - begun
    return result


def batch_of(folder, count):
    """Seconds of each step of a batch of so many jobs."""
    path = spec_of(folder, count)
    costs = {}
    batch = timed(costs, "plan", open_batch, path, folder / "out")
    timed(costs, "choose", choose, batch.plan, ["seed=7"])
    timed(costs, "dry run", looking.forecast, path, folder / "out")
    timed(costs, "drive", work_off, batch, Nothing(), Wish(command="clipft batch many.yaml"))
    entries = timed(costs, "status", read_record, batch.plan)
    timed(costs, "standing", standing, batch, {}, entries)
    timed(costs, "index", write_overview, batch.spec, batch.plan, batch.out, "clipft batch")
    timed(costs, "again", work_off, batch, Nothing(), Wish(command="clipft batch many.yaml"))
    assert {entry.state for entry in entries.values()} == {"done"}
    return costs


def test_a_job_costs_the_same_in_a_large_batch(tmp_path, capsys):
    costs = {}
    for count in (SIZES[0], *SIZES):  # the first warms up
        folder = tmp_path / f"{count}_{len(costs)}"
        folder.mkdir()
        costs[count] = batch_of(folder, count)
        costs[count]["MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    with capsys.disabled():
        print("\njobs     step         seconds  ms a job")
        for count, steps in costs.items():
            for step, value in steps.items():
                print(f"{count:<8} {step:12} {value:7.2f}  {1e3 * value / count:8.3f}")
    small, large = costs[SIZES[0]], costs[SIZES[-1]]
    growth = large.pop("MB") - small.pop("MB")
    assert growth < MEMORY
    for step, seconds in large.items():
        assert seconds < LIMIT, step
        if seconds > 0.5:
            assert seconds / SIZES[-1] < FLAT * small[step] / SIZES[0], step
