"""Which engine runs a batch, by what a command or a call says."""

from __future__ import annotations

from .engine import Engine, Local
from .on_ray import OnRay, chosen
from .ray_engine import Ray
from .spec import Batch


def engine_of(engine: str | OnRay, batch: Batch, *, jobs: int, gpus: str) -> Engine:
    """The engine of a batch; see `run_batch`.

    Raises ConfigError for an engine that there is none of.
    """
    spec = batch.spec
    on_ray = chosen(engine, spec.ray, gpus)
    if on_ray is None:
        return Local(jobs, gpus, spec.jobs, spec.timeout or 0)
    notebooks = [job.notebook for job in batch.plan.jobs]
    return Ray(on_ray, batch.out, notebooks, jobs, timeout=spec.timeout or 0)
