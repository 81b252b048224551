"""What a batch's jobs are made on: the GPUs there are, the machine, and what is installed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..errors import ConfigError, unknown
from ..runs.machine import ask, cores, today, versions


def visible_gpus() -> str:
    """Ids of the GPUs, asked of the driver, which needs no torch; empty where there is none."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        ids = os.environ["CUDA_VISIBLE_DEVICES"]
        return "" if ids.startswith("-1") else ids  # so people hide them all
    return ",".join(_ask_driver("index"))


def gpu_names() -> Sequence[str]:
    """The names of the GPUs, as the driver has them; none where there is none."""
    return _ask_driver("name")


def check_gpus(devices: Sequence[str]) -> None:
    """Raise ConfigError for ids of GPUs that are not here; names as GPU-... and MIG-... pass."""
    known = _ask_driver("index")
    if not known:
        raise ConfigError(
            f"no GPU is found here, --gpus asks for {', '.join(devices)}; leave it out"
        )
    for device in devices:
        if device not in known and not device.startswith(("GPU-", "MIG-")):
            raise unknown("GPU", device, known)


def provenance(gpu: str) -> dict[str, Any]:
    """What is written down of a job that runs now: date, machine, versions.

    gpu: the id of the one that it may use, "" for none.
    """
    return {"date": today(), "machine": _machine(gpu), "versions": versions()}


def _machine(gpu: str) -> str:
    if not gpu:
        return f"{cores()}, no GPU"
    names = _ask_driver("name", f"--id={gpu}")
    return f"{cores()}, GPU: {names[0] if names else f'id {gpu}'}"


def _ask_driver(field: str, *options: str) -> Sequence[str]:
    """What nvidia-smi says of each GPU; nothing where there is no driver."""
    return ask("nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader", *options)
