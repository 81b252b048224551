"""Work on a run is timed, and what it is done with is written into the run's folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from ..disk.files import file_digest
from ..models.load import device_name
from ..runs.folder import RunFolder
from ..runs.made import SCORING, TRAINING, Made, Part, new_part, with_part


def part_on(device: str | torch.device, work: str, devices: int = 1, **about: Any) -> Part:
    """A piece of work that begins now on this device, or on so many of its kind."""
    name = device_name(device)
    if devices > 1:
        name = f"{devices} x {name}"
    return new_part(work, name, torch.get_num_threads(), **about)


@contextlib.contextmanager
def recorded(
    folder: RunFolder, device: str | torch.device, work: str, devices: int = 1, **about: Any
) -> Iterator[Part]:
    """What is done in this block, with its seconds, becomes a part of how the run was made.

    The block may say more of it. Nothing is written where the block fails.
    """
    part = part_on(device, work, devices, **about)
    began = perf_counter()
    yield part
    part["seconds"] = perf_counter() - began
    with_part(Made.of(folder), part).write(folder)


def record_weights(folder: RunFolder, file: Path) -> None:
    """Add the digest of the weights that lie in this file to how a run was made."""
    Made(Made.of(folder).parts, file_digest(file)).write(folder)


def kept_until(step: int, made: Made) -> Made:
    """A record without the training after a step: what was done then was not kept."""
    parts = []
    left = step
    for part in made.parts:
        steps = part["steps"] if part["work"] == TRAINING else 0
        if steps > left:
            times = {name: part[name] * left / steps for name in ("seconds", "step_seconds")}
            part = part | times | {"steps": left}  # noqa: PLW2901
        left -= min(steps, left)
        if part.get("steps") != 0:
            parts.append(part)
    return Made(tuple(parts), made.weights)


class TrainingRecord:
    """The clock of a training: seconds of its steps, and of what is no step.

    It is written before the state of the training is, and after, so that a killed training's steps
    count as far as they were kept, and the parts of a resumed one add up.
    """

    def __init__(self, folder: RunFolder, device: torch.device, precision: str, devices: int = 1):
        self._folder = folder
        self._device = device
        self._part = part_on(device, TRAINING, devices, precision=precision)
        self._earlier = Made()
        self._first = 0
        self._began = perf_counter()
        self._aside = 0.0

    def begin(self, step: int) -> None:
        """The first step comes now; step: how many were done before and kept."""
        self._first = step
        earlier = Made.of(self._folder)
        if step:
            self._earlier = kept_until(step, earlier)
        elif self._folder.images_file.exists():
            # Trained again after its weights were pruned: scores stay, and how they were made.
            self._earlier = Made(tuple(earlier.of_work(SCORING)))
        # Else what an earlier start left was not kept.

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """What is done in this block is no step of the training."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # the last step ends before this begins
        began = perf_counter()
        try:
            yield
        finally:
            self._aside += perf_counter() - began

    def save(self, step: int) -> None:
        """Write down how long it took to come from the first step to this one."""
        seconds = perf_counter() - self._began
        part = self._part | {
            "steps": step - self._first,
            "seconds": seconds,
            "step_seconds": seconds - self._aside,
        }
        with_part(self._earlier, part).write(self._folder)
