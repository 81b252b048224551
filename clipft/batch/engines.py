"""Which engine runs a batch, by what a command or a call says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .engine import Engine, Local
from .on_ray import OnRay, chosen
from .ray_engine import Ray
from .spec import Job, Spec


def engine_of(
    engine: str | OnRay, spec: Spec, out: Path, *, planned: Iterable[Job], jobs: int, gpus: str
) -> Engine:
    """The engine of a batch that goes to `out`; planned: its jobs. See `run_batch` for the rest.

    Raises ConfigError for an engine that there is none of.
    """
    on_ray = chosen(engine, spec.ray, gpus)
    if on_ray is None:
        return Local(jobs, gpus, spec.jobs, spec.timeout or 0)
    notebooks = [job.notebook for job in planned]
    return Ray(on_ray, out, notebooks, jobs, timeout=spec.timeout or 0)
