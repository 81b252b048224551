"""What a job's parameters ask for: the runs it trains, what is made of them, what is scored.

A notebook is known by the names in its `parameters` cell: one that trains (01_fine_tune) has
`preset`, `method` and `settings`, one that combines (07_soups) has `members` and `name`, one that
draws what finished runs hold has `runs` and `figures_folder`. Of others nobody knows what they do.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..config import ALPHAS, RunConfig, digest
from ..errors import ConfigError
from ..runs.recipes import posthoc_recipe, recipe
from .parameters import Parameters

TRAINS = {"preset", "method", "settings", "seed"}
COMBINES = {"name", "members", "options", "seed"}
DRAWS = {"runs", "figures_folder"}
# parameters of a notebook that trains which are settings of their own, where no preset is named
NAMED = (
    *("manifest", "reference", "model", "pretrained", "method"),
    *("lr", "steps", "batch_size", "crop", "eval_every"),
)


@dataclass(frozen=True)
class Work:
    """Runs to train, a post-hoc method and its options where one is applied to them.

    alphas: at how many mixtures the outcome is scored, zero-shot among them; 0: it is not scored.
    keeps_weights: or they go once it is scored.
    """

    trainings: tuple[RunConfig, ...] = ()
    combines: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    alphas: int = 0
    keeps_weights: bool = True

    @functools.cached_property
    def makes(self) -> tuple[str, ...]:
        """A name of each run that the job writes where it is not there yet."""
        runs = [config.id for config in self.trainings]
        if not self.combines:
            return tuple(runs)
        return (*runs, digest([self.combines, self.options, runs]))


def is_training(wanted: Parameters) -> bool:
    """Whether a notebook trains one run, of `preset`, or its named parameters, and `settings`."""
    return wanted.kinds.keys() >= TRAINS


def is_combining(wanted: Parameters) -> bool:
    """Whether a notebook trains `members` and makes something of them."""
    return wanted.kinds.keys() >= COMBINES


def is_drawing(wanted: Parameters) -> bool:
    """Whether a notebook reads a folder of runs and writes figures, and nothing else."""
    trains = is_training(wanted) or is_combining(wanted)
    return wanted.kinds.keys() >= DRAWS and not trains


def base_of(wanted: Parameters, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a training notebook begins with: its preset, or its named parameters."""
    values = {**wanted.defaults, **parameters}
    if values.get("preset"):
        return {"preset": values["preset"]}
    return {key: values[key] for key in NAMED if key in values}


def work_of(wanted: Parameters, parameters: Mapping[str, Any]) -> Work:
    """What a job asks for, checked; raises ConfigError for a preset, method or setting that is
    none, before anything runs.
    """
    values = {**wanted.defaults, **parameters}
    alphas = len(values.get("alphas", ALPHAS))
    if is_combining(wanted):
        trainings = [recipe({"seed": values["seed"]} | member) for member in values["members"]]
        method, options = posthoc_recipe(values["name"], values["options"])
        method.check(len(trainings), options)
        return Work(tuple(trainings), method.name, options, alphas)
    if is_training(wanted):
        if not (TRAINS <= values.keys() and isinstance(values["settings"], dict)):
            wanted_there = "a number and a mapping, written out in the cell `parameters`"
            raise ConfigError(f"seed and settings of a notebook that trains: {wanted_there}")
        own = {"seed": values["seed"]} | values["settings"]
        trained = recipe(base_of(wanted, parameters), **own)
        return Work((trained,), alphas=alphas, keeps_weights=values.get("keep_weights", True))
    return Work()
