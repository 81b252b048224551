"""What a batch's jobs are made on: the GPUs there are, the machine, and what is installed."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from subprocess import SubprocessError, run as run_command
from typing import Any

from .. import __version__

# whose versions may move a number, by pip's names
PACKAGES = ("torch", "open_clip_torch", "numpy", "pandas", "plotly")


def visible_gpus() -> str:
    """Ids of the GPUs, asked of the driver, which needs no torch; empty where there is none."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return os.environ["CUDA_VISIBLE_DEVICES"]
    return ",".join(_ask_driver("index"))


def provenance(gpu: str) -> dict[str, Any]:
    """What is written down of a job that runs now: date, machine, versions.

    gpu: the id of the one that it may use, "" for none.
    """
    return {
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
        "machine": _machine(gpu),
        "versions": _versions(),
    }


def _machine(gpu: str) -> str:
    cores = f"{os.cpu_count()} CPU cores"
    machine = f"{platform.system()} {platform.machine()}, {cores}"
    if not gpu:
        return f"{machine}, no GPU"
    names = _ask_driver("name", f"--id={gpu}")
    return f"{machine}, GPU: {names[0] if names else f'id {gpu}'}"


def _versions() -> dict[str, str]:
    versions = {"clipft": __version__, "Python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def _ask_driver(field: str, *options: str) -> Sequence[str]:
    """What nvidia-smi says of each GPU; nothing where there is no driver."""
    question = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader", *options]
    with contextlib.suppress(OSError, SubprocessError):
        answer = run_command(question, capture_output=True, text=True, check=True, timeout=20)
        return [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    return ()
