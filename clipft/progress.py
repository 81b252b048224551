"""The one progress bar: a widget in JupyterLab, a line on a terminal and in a batch run's log."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm as line_bar
from tqdm.auto import tqdm as auto_bar

from .errors import plain

# Names in the environment of a process that is one of several at the same work: torchrun's, ours.
TORCHRUN, LAUNCHED = "TORCHELASTIC_RUN_ID", "CLIPFT_LAUNCHED"
_SAID: set[str] = set()  # by this process
DELAY = 1.0  # seconds before a bar is shown: what is quick, or cached, needs none


def started() -> int:
    """How many processes were started for the work that this one does; 0: none but itself."""
    if not {TORCHRUN, LAUNCHED} & os.environ.keys():
        return 0
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process speaks for all that do the same work: it is alone, or the first rank."""
    if not started():
        return True
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def write(line: str, file: TextIO | None = None) -> None:
    """Write a line past the bars; of several ranks the first does."""
    if is_first():
        line_bar.write(plain(line), file=file)


def end_bars() -> None:
    """Bars that an error left open end their line, so that what is said of it has its own."""
    for bar in list(getattr(line_bar, "_instances", ())):
        bar.clear()  # a young one was drawn by a line that passed it, and would not end its own
        bar.close()


def say(lines: Iterable[str]) -> None:
    """Write lines to the error stream, each once in a process however often it is found out."""
    for line in lines:
        if line not in _SAID:
            _SAID.add(line)
            write(line, file=sys.stderr)


def heard(lines: Iterable[str]) -> None:
    """Note what is told in another way, so that `say` does not repeat it."""
    _SAID.update(lines)


def headless() -> bool:
    """Whether a batch runs this notebook: the runner sets CLIPFT_HEADLESS=1."""
    return os.environ.get("CLIPFT_HEADLESS", "") not in ("", "0")


def progress_bar(total: Any, title: str, unit: str, *, show: bool = True, initial: int = 0) -> Any:
    """A tqdm bar over a number of steps, or over an iterable.

    `with progress_bar(...) as bar: bar.update(n)`, or `for item in progress_bar(items, ...)`.
    """
    options = {"desc": title, "unit": unit, "initial": initial, "delay": DELAY}
    options["disable"] = not (show and is_first())
    if isinstance(total, int):
        options["total"] = total
    else:
        options["iterable"] = total

    if headless():
        return line_bar(**options, mininterval=2.0, ncols=100)
    return auto_bar(**options)
