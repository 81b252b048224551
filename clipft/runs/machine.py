"""What work is done with: the versions that are installed, the commit of this code, the processor.

Asked of the system alone, so that neither torch nor a GPU is needed to know it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from subprocess import SubprocessError, run as run_command
from typing import Any

from .. import __version__

# whose versions may move a number, by pip's names
PACKAGES = ("torch", "open_clip_torch", "numpy", "pandas", "plotly")
CPU_LINE = "model name"  # of /proc/cpuinfo
SECONDS = 20  # how long another program may take to answer


def today() -> str:
    """The date and the minute, with their time zone."""
    return datetime.now().astimezone().isoformat(timespec="minutes")


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The versions of clipft, Python and these packages; those not installed are left out."""
    found = {"clipft": __version__, "Python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


@functools.cache
def commit() -> dict[str, Any]:
    """The git commit of this clipft, and whether its files are as committed; {} where git does not
    track them.

    Asked once in a process: what is imported later is of the same code.
    """
    package = Path(__file__).resolve().parent.parent
    if not ask("git", "-C", str(package), "ls-files", "__init__.py"):
        return {}  # no checkout, or somebody else's with an installed clipft in it
    head = ask("git", "-C", str(package), "rev-parse", "HEAD")
    changed = ask("git", "-C", str(package), "status", "--porcelain", "--", ".")
    return {"commit": head[0], "clean": not changed} if head else {}


@functools.cache
def cpu_name() -> str:
    """The processor's name, or its kind where the system does not say it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == CPU_LINE and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def cores() -> str:
    """System, kind of processor and number of cores, in a line."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"


def processors() -> int:
    """How many cores this process may use: of a node, those that a scheduler gave it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ask(*command: str) -> Sequence[str]:
    """The lines that another program answers; none where it fails or is not there."""
    with contextlib.suppress(OSError, SubprocessError):
        answer = run_command(command, capture_output=True, text=True, check=True, timeout=SECONDS)
        return [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    return ()
