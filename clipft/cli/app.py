"""The app, and the arguments and options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Exit, Option, Typer

from ..errors import ConfigError
from ..stops import read_duration, stop_after

DEVICES = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check_device(device: str) -> str:
    """The device itself; raises ConfigError where no machine has one of this name."""
    if not DEVICES.fullmatch(device):
        raise ConfigError(f"no device {device!r}; known: auto, cpu, mps, cuda, cuda:0, cuda:1 ...")
    return device


def read_workers(text: str) -> int | Literal["auto"]:
    """`--workers`: auto, or how many; raises ConfigError for else."""
    if text == "auto":
        return "auto"
    if not str(text).isdecimal():
        raise ConfigError(f"--workers is {text!r}, expected auto, or 0 or more")
    return int(text)


def read_devices(text: str) -> int:
    """`--devices`; raises ConfigError for what is no number of devices."""
    if not str(text).isdecimal() or int(text) < 1:
        raise ConfigError(f"--devices is {text!r}, expected 1 or more")
    return int(text)


def check_precision(precision: str) -> str:
    """`--precision`, "" for that of the run; raises ConfigError for one that there is not."""
    if precision:
        from ..config import Reading

        Reading(precision=precision)  # type: ignore[arg-type]
    return precision


def begin_time(text: str) -> float:
    """`--stop-after`: seconds from now until the command ends; raises ConfigError for no time."""
    if not text:
        return 0
    seconds = read_duration(text)
    stop_after(seconds)
    return seconds


def _say_version(asked: bool) -> None:
    if asked:
        from .. import __version__

        print(f"clipft {__version__}")
        raise Exit


app = Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.callback(help="Fine-tune CLIP and see what happens to its robustness.")
def about_clipft(
    version: Annotated[
        bool,
        Option(
            "--version", callback=_say_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """What stands before every command."""


RunPath = Annotated[Path, Argument(help="a run's folder")]
Runs = Annotated[str, Option(help="folder of all runs")]
Device = Annotated[str, Option(help="auto, cpu, cuda or mps", callback=check_device)]
Workers = Annotated[
    Any,  # what `parser` makes of it: auto, or a number
    Option(parser=read_workers, metavar="auto|N", help="processes that decode images"),
]
Devices = Annotated[
    Any,  # what `parser` makes of it
    Option(parser=read_devices, metavar="N", help="on so many cards; with --device cpu, processes"),
]
Precision = Annotated[
    Any,  # what `check_precision` lets pass
    Option(
        parser=check_precision,
        metavar="32-true|tf32|bf16-mixed",
        help="in which the model computes; by default as a run was scored, or trained",
    ),
]
SkipBad = Annotated[
    bool, Option("--skip-bad-images", help="leave unreadable images out, and say how many")
]
StopAfter = Annotated[
    Any,  # what `begin_time` makes of it: seconds, 0 for no end
    Option(
        parser=begin_time,
        metavar="TIME",
        help="save and exit with 75 after so long, e.g. 3h50m: the same command goes on",
    ),
]
CheckpointMinutes = Annotated[
    float, Option(help="save the state of a training as often; 0: at validations alone")
]
Checkpointing = Annotated[
    bool, Option("--checkpointing", help="a step keeps less in memory, and computes blocks twice")
]
Markdown = Annotated[bool, Option("--markdown", help="as Markdown tables")]
Plugin = Annotated[
    list[str] | None,
    Option("--plugin", help="Python file that adds methods, for every kernel too; repeatable"),
]
Alpha = Annotated[float, Option(help="WiSE mixture: 0 zero-shot ... 1 tuned")]
