"""What is tried in the minutes that there are: methods, steps, alphas; written down, so that the
same command goes on with the same plan.

    seconds = zero-shot + sum over methods (steps x step + validations) + sweep

Each is measured on this machine, with this model and these images, before anything is planned.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import ALPHAS, GAP_TEXTS, Record, RunConfig
from ..disk.files import read_json, write_json
from ..errors import ConfigError, RunError
from ..runs.recipes import load_preset, recipe
from ..runs.throughput import StepTimes

TINY = "emoji-tiny"
# Tried in this order, as many of them as there is time for. Why these: with each of three other
# hands of EmojiShift as reference, mixtures of Lipsum-FT and of FeatKD lay above those of plain FT
# at equal reference accuracy (by 2.0, 0.3, 2.7 and 2.6, 0.5, 2.2 points under shift), and those of
# L2-SP, EMA and CAR-FT did not on all three. FT has nothing to set. The runs are those of
# `make without-labels`, one seed each.
METHODS = ("lipsum", "feat_kd", "ft")
# What is given up first where time is short: (how many methods, how many alphas).
SCHEDULES = ((3, 11), (3, 6), (2, 6), (1, 6), (1, 3))
EPOCHS = 10  # over the training images, as WiSE-FT tunes; emoji-tiny has the steps of its preset
STEPS = 50, 5000  # of any model but emoji-tiny: at least and at most, where there is time
FEWEST = 10  # steps below which nothing is tuned
LR = 1e-5  # of any model but emoji-tiny, as the papers tune CLIP's image tower
BATCH = {"cpu": 32, "cuda": 128, "mps": 64}  # images in a step of any model but emoji-tiny
VALIDATIONS = 4  # of a training, over its steps
# Of the minutes so much is planned with: pages, exports and what else runs beside it take the rest.
SHARE = 0.85
BEGINNING = 15.0  # seconds that reading, checking, measuring, exporting and the page take anyway
FILE = "plan.json"
DATA = ("folder", "shifts", "unlabelled", "reference")  # what was given that the manifest holds


class Given(Record):
    """What the command was given: another plan is made for anything else."""

    folder: str
    shifts: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    reference: str = ""
    model: str = TINY
    minutes: float = 10.0
    seed: int = 0


class Plan(Record):
    """What is tried: written as plan.json, and taken up by the same command.

    runs: settings of each. alphas: of every sweep. seconds: of what, as planned. not_tried: why,
    in words.
    """

    given: Given
    runs: tuple[dict[str, Any], ...]
    alphas: tuple[float, ...]
    seconds: dict[str, float]
    not_tried: tuple[str, ...] = ()

    def __str__(self) -> str:
        names = ", ".join(str(settings["method"]) for settings in self.runs)
        steps = self.runs[0]["steps"]
        minutes = sum(self.seconds.values()) / 60
        tried = f"{names}; {steps} steps each; {len(self.alphas)} alphas"
        return f"{tried}; about {minutes:.1f} of {self.given.minutes:g} minutes"

    def configs(self, manifest: Path) -> list[RunConfig]:
        """The configuration of each run."""
        return [recipe(dict(settings), manifest=str(manifest)) for settings in self.runs]


@dataclass(frozen=True)
class Work:
    """How many images there are: to train on, to validate on, to score in a sweep as they are and
    disturbed.
    """

    train: int
    val: int
    scored: int
    made: int = 0


def settings_of(model: str, pretrained: str, *, train: int, device: str) -> list[dict[str, Any]]:
    """The recipe of each method, with the steps that it would have if time did not count.

    train: how many images there are to train on.
    """
    recipes = []
    for method in METHODS:
        settings: dict[str, Any]
        if model == TINY:
            settings = dict(load_preset(f"emoji/{method}").settings)
            del settings["manifest"]
            if pretrained:
                settings["pretrained"] = pretrained
        else:
            settings = {"model": model, "pretrained": pretrained, "method": method, "lr": LR}
            settings["batch_size"] = BATCH[device.partition(":")[0]]
        settings["batch_size"] = _batch(settings["batch_size"], train)
        if model != TINY:
            wanted = EPOCHS * train // settings["batch_size"]
            settings["steps"] = min(max(wanted, STEPS[0]), STEPS[1])
        recipes.append(settings)
    return recipes


def _batch(wanted: int, train: int) -> int:
    """At most a quarter to a half of the training images, a power of two."""
    return min(wanted, 2 ** max(1, train.bit_length() - 2))


def make_plan(
    given: Given, recipes: Sequence[dict[str, Any]], measured: StepTimes, work: Work
) -> Plan:
    """As much as fits into the minutes: methods go before steps are halved, alphas before methods.

    Raises ConfigError where there is no time for one method.
    """
    known = [settings for settings in recipes if settings["method"] in measured.step]
    for methods, alphas in SCHEDULES:
        chosen = known[:methods]
        seconds = _seconds(chosen, alphas, measured, work)
        steps = _steps_within(given, chosen, seconds, measured)
        wanted = max(settings["steps"] for settings in chosen)
        is_last = (methods, alphas) == SCHEDULES[-1]
        enough = FEWEST if is_last else max(FEWEST, wanted // 2)
        if steps >= enough:
            break
    else:
        _refuse(given, known, measured, work)

    steps = min(steps, wanted)
    runs = [_of_steps(settings, steps, given.seed) for settings in chosen]
    seconds["training"] = steps * _per_step(chosen, measured)
    not_tried = _not_tried(known, chosen, steps=steps, wanted=wanted, alphas=alphas)
    return Plan(
        given=given,
        runs=tuple(runs),
        alphas=tuple(round(n / (alphas - 1), 4) for n in range(alphas)),
        seconds={name: round(value, 1) for name, value in seconds.items()},
        not_tried=(*measured.refused, *not_tried),
    )


def _of_steps(settings: dict[str, Any], steps: int, seed: int) -> dict[str, Any]:
    """A recipe with the steps that there is time for."""
    every = max(1, steps // VALIDATIONS)
    return settings | {"steps": steps, "eval_every": every, "seed": seed}


def _seconds(
    chosen: Sequence[dict[str, Any]], alphas: int, measured: StepTimes, work: Work
) -> dict[str, float]:
    """What all takes but the steps themselves."""
    image = measured.read + measured.forward
    images = work.scored + work.made
    reading = work.scored * measured.read + work.made * measured.read_made
    sweep = reading + images * alphas * measured.forward
    return {
        "beginning and end": BEGINNING,
        "random texts": GAP_TEXTS * measured.text,
        "zero-shot": reading + images * measured.forward,
        "validations": len(chosen) * (VALIDATIONS + 1) * work.val * image,
        "sweeps": len(chosen) * sweep,
    }


def _per_step(chosen: Sequence[dict[str, Any]], measured: StepTimes) -> float:
    """Seconds that one step of each method takes together."""
    seconds = 0.0
    for settings in chosen:
        seconds += measured.step[settings["method"]] + settings["batch_size"] * measured.read
    return seconds


def _steps_within(
    given: Given,
    chosen: Sequence[dict[str, Any]],
    seconds: Mapping[str, float],
    measured: StepTimes,
) -> int:
    """How many steps of each method fit into what is left of the minutes."""
    left = 60 * SHARE * given.minutes - sum(seconds.values())
    return int(left // _per_step(chosen, measured))


def _refuse(given: Given, known: Sequence[dict[str, Any]], measured: StepTimes, work: Work) -> None:
    """Raise ConfigError that says how many minutes the smallest plan takes."""
    methods, alphas = SCHEDULES[-1]
    seconds = sum(_seconds(known[:methods], alphas, measured, work).values())
    seconds += FEWEST * _per_step(known[:methods], measured)
    needed = seconds / 60 / SHARE
    fault = f"--minutes {given.minutes:g}: one method with {FEWEST} steps takes {needed:.1f} here"
    wanted = f"wanted: --minutes {_rounded_up(needed)} or more, a smaller model, or fewer images"
    raise ConfigError(f"{fault}; {wanted}")


def _rounded_up(minutes: float) -> str:
    """Minutes for a command, never less than they are."""
    return f"{int(minutes) + 1}"


def _not_tried(
    known: Sequence[dict[str, Any]],
    chosen: Sequence[dict[str, Any]],
    *,
    steps: int,
    wanted: int,
    alphas: int,
) -> list[str]:
    """What there was no time for, and what is never tried here, in words."""
    lines = []
    left_out = [str(each["method"]) for each in known if each not in chosen]
    if left_out:
        lines.append(f"no time for the methods {', '.join(left_out)}")
    if steps < wanted:
        lines.append(f"{steps} of {wanted} steps: no time for more")
    if alphas < len(ALPHAS):
        lines.append(f"{alphas} alphas instead of {len(ALPHAS)}")
    once = f"one learning rate ({chosen[0]['lr']:g}) and one seed"
    lines.append(f"{once}: how much repeats differ is not known")
    lines.append("no other method of clipft methods, no soup, no ensemble")
    return lines


# --- on disk


def begun_plan(out: Path, given: Given) -> Plan | None:
    """The plan that lies in a folder; None in one that is new or empty.

    Raises ConfigError where the folder holds something else, or was planned for other arguments.
    """
    file = out / FILE
    if not file.is_file():
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            raise ConfigError(
                f"{out} holds something else; wanted: --out with a new folder, or one that"
                " `clipft tune` began"
            )
        return None
    values = read_json(file)
    if not isinstance(values, dict) or "given" not in values:
        raise RunError(f"{file} is no plan; delete it, then: the same command")
    begun = Given.read(values["given"], str(file))
    asked = Given.model_fields
    if "runs" not in values:
        # It ended before anything was planned: what no file depends on may change.
        asked = DATA if any(name != FILE for name in os.listdir(out)) else ()
    other = [name for name in asked if getattr(begun, name) != getattr(given, name)]
    if other:
        was = ", ".join(f"{name} was {getattr(begun, name)}" for name in other)
        raise ConfigError(f"{out} was begun otherwise: {was}; wanted: the same, or another --out")
    return Plan.read(values, str(file)) if "runs" in values else None


def write_plan(out: Path, plan: Plan) -> None:
    """Keep a plan."""
    write_json(out / FILE, plan.model_dump(mode="json"))


def write_begun(out: Path, given: Given) -> None:
    """Say whose folder it is, before there is a plan."""
    write_json(out / FILE, {"given": given.model_dump(mode="json")})
