"""What a job gets of a Ray cluster: a spec's block `ray`, and what a command puts in its place."""

from __future__ import annotations

import shlex
from typing import Self

from pydantic import Field, model_validator

from ..config import Record
from ..errors import ConfigError, unknown

# what the command line may say of it
OPTIONS = {
    "address": "--address",
    "gpus": "--gpus-per-job",
    "cpus": "--cpus-per-job",
    "retries": "--retries",
}


class OnRay(Record):
    """What a job gets of a Ray cluster (`--engine ray`), and which cluster.

    Arguments:
        address: of a running cluster: `auto`, HOST:PORT, `ray://HOST:PORT`; "" for $RAY_ADDRESS, or
            one of this machine alone, which ends with the batch.
        gpus: of a job, a fraction of one too; None for one where the cluster has any.
        cpus: of a job; 0 for those beside its GPU, or half of a node's.
        retries: how often a job is run again whose worker or node was lost.
        retry_notebooks: also one whose notebook failed, at once.

    Example:
        >>> clipft.OnRay(gpus=0.5, retries=3).gpus
        0.5
    """

    address: str = ""
    gpus: float | None = Field(None, ge=0)
    cpus: int = Field(0, ge=0)
    retries: int = Field(2, ge=0, le=100)
    retry_notebooks: bool = False

    @model_validator(mode="after")
    def _a_part_or_whole_ones(self) -> Self:
        if self.gpus is not None and self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"gpus is {self.gpus:g}, expected a part of one GPU, or whole ones")
        return self


def chosen(engine: str | OnRay, of_spec: OnRay, gpus: str = "") -> OnRay | None:
    """What a job gets of a Ray cluster; None where this machine runs the jobs.

    Raises ConfigError for an engine that there is none of, and for GPUs that Ray is to deal out.
    """
    if engine == "local":
        return None
    if isinstance(engine, str) and engine != "ray":
        raise unknown("engine", engine, ("local", "ray"))
    if gpus:
        given = f"--gpus {gpus} is of the local engine"
        raise ConfigError(f"{given}; Ray deals out its GPUs itself, see --gpus-per-job")
    if isinstance(engine, str):
        return of_spec
    return of_spec.model_copy(update=engine.model_dump(exclude_unset=True))


def as_options(engine: str | OnRay) -> str:
    """The end of the command line that runs a batch on this engine."""
    if engine == "local":
        return ""
    words = ["--engine", "ray"]
    if isinstance(engine, OnRay):
        for name, option in OPTIONS.items():
            value = getattr(engine, name)
            if name in engine.model_fields_set and value is not None:
                words += [option, str(value)]
    return " " + shlex.join(words)
