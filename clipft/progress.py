"""The one progress bar: a widget in JupyterLab, a line on a terminal and in a batch run's log."""

from __future__ import annotations

import os
from typing import Any

from tqdm import tqdm as line_bar
from tqdm.auto import tqdm as auto_bar

write = line_bar.write
DELAY = 1.0  # seconds before a bar is shown: what is quick, or cached, needs none


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
