"""Where the jobs of a batch run: on this machine, a process each (`Local`).

An engine takes a job and promises its status; it knows nothing of what comes before or after it.
Everything else of a batch (the plan, what is done, the table, the page) is the driver's.
"""

from __future__ import annotations

import itertools
import queue
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, Self

from ..errors import ConfigError
from ..runs.machine import processors
from .attempt import Attempts, Share, Status
from .machine import check_gpus, visible_gpus
from .spec import Job


class Engine(Protocol):
    """Runs jobs side by side; at the end of `with` none is left running."""

    @property
    def width(self) -> int:
        """How many run at once, now: the driver hands over no more than these."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *failure: object) -> None: ...

    def submit(self, job: Job) -> Future[Status]:
        """The promise of a job's status: what `Attempts.run` returns, wherever that was."""
        ...


class Local:
    """This machine: a slot is a GPU, or a share of the cores.

    jobs: how many side by side; 0 for one per GPU, or `jobs_of_spec`, or two.
    """

    def __init__(self, jobs: int = 0, gpus: str = "", jobs_of_spec: int = 0, timeout: float = 0):
        slots = _slots(jobs, gpus, jobs_of_spec)
        self.width = len(slots)
        self._threads = max(1, processors() // self.width)
        self._timeout = timeout or None
        self._free: queue.SimpleQueue[str] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)
        self._pool = ThreadPoolExecutor(self.width)
        self._attempts = Attempts()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._attempts.stop()  # interrupted: no run is left behind
        self._pool.shutdown()

    def submit(self, job: Job) -> Future[Status]:
        """See `Engine`."""
        return self._pool.submit(self._run, job)

    def _run(self, job: Job) -> Status:
        gpu = self._free.get()
        try:
            return self._attempts.run(job, Share(self._threads, gpu, self._timeout))
        finally:
            self._free.put(gpu)


def _slots(jobs: int, gpus: str, jobs_of_spec: int) -> list[str]:
    """The runs that go side by side, each with its GPU's id, or "" where there is no GPU.

    Raises ConfigError for less than one run, and for a GPU that is not here.
    """
    if jobs < 0:
        raise ConfigError(f"jobs is {jobs}, expected how many run side by side, or 0")
    devices = (gpus or visible_gpus()).replace(",", " ").split()
    if gpus:
        check_gpus(devices)
    counts = (jobs, len(devices), jobs_of_spec, min(2, processors()))
    count = next(number for number in counts if number)
    return list(itertools.islice(itertools.cycle(devices or [""]), count))
