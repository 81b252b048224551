"""Train and score what a file lists, and keep the gradient of each run's first step.

The same function alone, in the process of the tests, and as a script that torchrun starts twice:
`ranked.py FOLDER`.
"""

import functools
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from lightning_fabric import fabric

import clipft
from clipft.disk.files import write_json, write_text
from clipft.errors import ClipftError
from clipft.evaluation import bench
from clipft.inputs import batches
from clipft.models.checkpoints import write_weights
from clipft.progress import is_first
from clipft.training.gradients import Gradients

JOBS, REFUSED = "jobs.json", "refused.txt"


class StoppedHere(Exception):
    """What a job that is to be gone on with ends with."""


def noting(folder: Path, name: str):
    """A `Gradients.of` that keeps the gradient of the first step."""
    plain = Gradients.of

    def of(self, batch, step):
        terms = plain(self, batch, step)
        if step == 0 and is_first():
            pairs = self.observe._student.named_parameters()
            found = {key: weight.grad for key, weight in pairs if weight.grad is not None}
            write_weights(folder / "gradients" / f"{name}.safetensors", found)
        return terms

    return of


def train_all(folder: Path, jobs, **about) -> None:
    """A run of each job's settings in folder/NAME; the ids go to folder/ids.json."""
    ids = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "load_clip", functools.cache(bench.load_clip))
        patch.setattr(batches, "READ", 4)  # so that both ranks evaluate images of a small split
        patch.setattr(batches, "HANDED", 2)
        patch.setattr(os, "fsync", lambda _: None)
        searched = functools.cache(fabric._load_external_callbacks)  # through all packages
        patch.setattr(fabric, "_load_external_callbacks", searched)
        for name, job in jobs.items():
            with pytest.MonkeyPatch.context() as one:
                one.setattr(Gradients, "of", noting(folder, name))
                one.setenv("CLIPFT_DATA", job["data"])
                ids[name] = _train(folder / name, job, about)
    if is_first():
        write_json(folder / "ids.json", ids)


def _train(runs: Path, job, about) -> str:
    reading = clipft.Reading(device="cpu", progress=False, skip_bad=job["skip_bad"], **about)
    config = clipft.RunConfig.read(job["settings"])
    run = clipft.train(config, runs, reading=reading)
    if job["alphas"]:
        clipft.score(run, job["alphas"], reading=reading, gap_texts=50, **job["how"])
    return run.id


if __name__ == "__main__":
    torch.set_num_threads(1)
    here = Path(sys.argv[1])
    listed = json.loads((here / JOBS).read_text())
    last = listed.pop("refused")
    train_all(here / "shared", listed)
    os.environ["CLIPFT_DATA"] = last["data"]
    try:
        _train(here / "shared" / "refused", last, {})
    except ClipftError as error:  # one of the ranks says it for all
        write_text(here / f"{os.environ['RANK']} {REFUSED}", f"{type(error).__name__}: {error}")
