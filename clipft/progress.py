"""The one progress bar: a widget in JupyterLab, a line on a terminal and in a batch run's log."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm as line_bar
from tqdm.auto import tqdm as auto_bar

from .errors import plain

write = line_bar.write
_SAID: set[str] = set()  # by this process
DELAY = 1.0  # seconds before a bar is shown: what is quick, or cached, needs none


def say(lines: Iterable[str]) -> None:
    """Write lines to the error stream, each once in a process however often it is found out."""
    for line in lines:
        if line not in _SAID:
            _SAID.add(line)
            write(plain(line), file=sys.stderr)


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
    options = {"desc": title, "unit": unit, "disable": not show, "initial": initial, "delay": DELAY}
    if isinstance(total, int):
        options["total"] = total
    else:
        options["iterable"] = total

    if headless():
        return line_bar(**options, mininterval=2.0, ncols=100)
    return auto_bar(**options)
