"""Jobs as tasks of a Ray cluster: of a running one by its address, or of one on this machine alone.

A node runs a job as this machine would, by `Attempts`; notebooks, data and results lie in folders
that all nodes see at the same path. Ray is told nothing of what is done: that is in the folder.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
import platform
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from importlib import util
from pathlib import Path
from shutil import rmtree
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any, Self
from uuid import uuid4

from .. import __version__
from ..config import digest
from ..disk.files import write_text
from ..disk.lock import lock
from ..errors import ClipftError, ConfigError, MissingExtra, RunError
from .attempt import Attempts, Share, Status
from .on_ray import OnRay
from .spec import Job

GAVE_UP = "Starting Ray client server failed"  # Ray, after 30 s
CONNECT = 90.0  # seconds in which a cluster answers: a busy machine takes its time
ANSWER = 120.0  # seconds in which each of its nodes does: a node imports clipft first
GRACE = 15.0  # seconds in which cancelled jobs end their kernels
LOOK = 5.0  # seconds for which the number of jobs that fit is remembered
# What jobs on other nodes get of the driver's environment: what decides where things are and how
# they are read. Nodes have a TMPDIR, a PATH and devices of their own.
PASSED = ("CLIPFT_", "HF_", "TRANSFORMERS_", "TORCH_", "PYTORCH_", "WANDB_")
PASSED_TOO = ("PYTHONPATH", "XDG_CACHE_HOME")
SECRET = re.compile("TOKEN|KEY|SECRET|PASSWORD")  # Ray shows a task's variables to whoever asks
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
# Connects and leaves again: where there is no cluster Ray may wait for minutes, or end the process.
PROBE = """import sys, ray
print(flush=True)
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
except Exception as error:
    sys.exit("\\n" + " ".join(str(error).split()))
"""
SOCKET = 40  # characters that a folder may have so that the paths of Ray's sockets fit
SESSION = "clipft-ray-"


@dataclass(frozen=True)
class Portion:
    """What of a node a job gets; gpus may be a fraction of one."""

    cpus: int
    gpus: float

    def fits(self, node: Mapping[str, Any]) -> int:
        """How many jobs a node of `ray.nodes()` has room for."""
        resources = node["Resources"]
        counts = [resources.get("CPU", 0) / self.cpus]
        if self.gpus:
            counts.append(resources.get("GPU", 0) / self.gpus)
        return math.floor(round(min(counts), 6))

    def __str__(self) -> str:
        cpus = f"{self.cpus} CPU{'s' * (self.cpus > 1)}"
        return f"{cpus} and {self.gpus:g} GPU{'s' * (self.gpus > 1)}" if self.gpus else cpus


@dataclass(frozen=True)
class View:
    """What a machine sees of what all nodes are to see.

    mark: a file in the batch's folder, and what stands in it. notebooks: the files, and a digest of
    them all. clipft: version and place, and a digest of its files. What is not seen is "".
    """

    mark: tuple[Path, str]
    notebooks: tuple[tuple[Path, ...], str]
    clipft: tuple[str, str]

    @classmethod
    def here(cls, mark: Path, notebooks: Sequence[Path]) -> View:
        """The view of the machine that calls this."""
        text = ""
        with contextlib.suppress(OSError):
            text = mark.read_text(encoding="utf-8")
        books = (tuple(notebooks), _digest_of(notebooks))
        return cls((mark, text), books, _this_clipft())

    def lacks(self, driver: View) -> str:
        """What a node with this view lacks of what the driver sees; empty where nothing."""
        if self.mark != driver.mark:
            folder = driver.mark[0].parent
            return f"does not see the batch's folder {folder}: it must be on a shared disk"
        if self.notebooks != driver.notebooks:
            folders = ", ".join(sorted({str(path.parent) for path in driver.notebooks[0]}))
            return f"does not see the notebooks in {folders}, or others than here"
        if self.clipft[1] != driver.clipft[1]:
            return f"has another clipft: {self.clipft[0]}; here is {driver.clipft[0]}"
        return ""


def _digest_of(files: Iterable[Path]) -> str:
    """Of the content of files; empty where one of them cannot be read."""
    with contextlib.suppress(OSError):
        return digest([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    return ""


@functools.cache
def _this_clipft() -> tuple[str, str]:
    """Version and place of the code that runs, and a digest of its files."""
    package = Path(__file__).parent.parent
    return f"{__version__} in {package}", _digest_of(sorted(package.rglob("*.py")))


def look(driver: View) -> str:
    """What the node that runs this lacks of what the driver sees."""
    return View.here(driver.mark[0], driver.notebooks[0]).lacks(driver)


@dataclass(frozen=True)
class Order:
    """A job as it is sent to a node.

    timeout: seconds of each try. tries: how many a notebook has that fails.
    """

    notebook: str
    parameters: dict[str, Any]
    folder: str
    portion: Portion
    timeout: float
    tries: int
    view: View


def carry_out(order: Order) -> Status:
    """Run a job on the node that this is called on; see `Attempts.run`.

    Raises RunError where the node does not see what the driver sees: it joined later.
    """
    if lacking := look(order.view):
        raise RunError(f"node {platform.node()} {lacking}")
    if not order.portion.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # cards are for the jobs that ask for one
    share = Share(order.portion.cpus, os.environ.get("CUDA_VISIBLE_DEVICES", ""), order.timeout)
    job = Job(Path(order.notebook), order.parameters, Path(order.folder))
    attempts = Attempts()
    for _ in range(order.tries - 1):
        status = attempts.run(job, share)
        if status["state"] != "failed":
            return status
    return attempts.run(job, share)


class Ray:
    """A Ray cluster: a job is a task with its portion of a node.

    how: what a job gets, and the address of a running cluster; without one a cluster of this
    machine is started, and ended with the batch.
    out: the batch's folder. notebooks: what its jobs run. jobs: how many are handed over at once,
    0 for as many as there is room for. timeout: seconds of each try.
    """

    def __init__(
        self, how: OnRay, out: Path, notebooks: Sequence[Path], jobs: int = 0, timeout: float = 0
    ):
        if util.find_spec("ray") is None:
            raise MissingExtra("ray", "ray")
        self._how = how
        self._address = how.address or os.environ.get("RAY_ADDRESS", "")
        self._mark = out / ".seen_by_ray"
        self._notebooks = sorted(set(notebooks))
        self._jobs = jobs
        # A wait that has an end can be interrupted by Ray.
        self._timeout = timeout or threading.TIMEOUT_MAX
        self._under_way: dict[Any, Future[Status]] = {}
        self._looked = -math.inf
        self._room = 0
        self._portion: Portion | None = None  # until the cluster is known

    @property
    def width(self) -> int:
        """How many jobs there is room for: nodes come and go."""
        if self._jobs or self._portion is None:
            return self._jobs or 1
        if time.monotonic() > self._looked + LOOK:
            self._room = sum(map(self._portion.fits, _nodes()))
            self._looked = time.monotonic()
        return max(1, self._room)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_environment(self._how))
            if self._address:
                _probe(self._address)
            stack.enter_context(_connected(self._address))
            self._portion = portion(self._how, _nodes(), self._jobs)
            stack.callback(self._mark.unlink, missing_ok=True)
            write_text(self._mark, uuid4().hex)
            self._view = View.here(self._mark, self._notebooks)
            _ask([node for node in _nodes() if self._portion.fits(node)], self._view)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        with self._open:
            self._cancel()

    def submit(self, job: Job) -> Future[Status]:
        """See `Engine`."""
        import ray

        how = self._how
        assert self._portion is not None  # within `with`
        order = Order(
            notebook=str(job.notebook),
            parameters=job.parameters,
            folder=str(job.folder),
            portion=self._portion,
            timeout=self._timeout,
            tries=1 + how.retries if how.retry_notebooks else 1,
            view=self._view,
        )
        task = ray.remote(carry_out).options(
            name=job.folder.name,
            num_cpus=self._portion.cpus,
            num_gpus=self._portion.gpus,
            max_retries=how.retries,
        )
        promise: Future[Status] = Future()
        promise.set_running_or_notify_cancel()
        reference = task.remote(order)
        self._under_way[reference] = promise
        reference.future().add_done_callback(partial(self._ended, reference))
        return promise

    def _ended(self, reference: Any, outcome: Future) -> None:
        """Keep the promise of a job, whatever became of its task."""
        promise = self._under_way.pop(reference, None)
        if promise is None:
            return  # the batch was stopped
        try:
            promise.set_result(outcome.result())
        except Exception as error:
            promise.set_exception(RunError(self._said(error)))

    def _said(self, error: Exception) -> str:
        """Why a task brought no status, in a line."""
        cause = getattr(error, "cause", None)
        if isinstance(cause, ClipftError):
            return str(cause)
        reason = f"{type(error).__name__}: {_line(error)}"
        return f"its worker or node was lost, after {self._how.retries} retries; {reason}"

    def _cancel(self) -> None:
        """End what is under way: kernels first, then, after a while, their workers too."""
        import ray

        references = list(self._under_way)
        self._under_way.clear()
        if not references:
            return
        for reference in references:
            ray.cancel(reference)
        _, alive = ray.wait(references, num_returns=len(references), timeout=GRACE)
        for reference in alive:
            ray.cancel(reference, force=True)  # its job sees that, and ends itself


def _ask(nodes: Sequence[Mapping[str, Any]], view: View) -> None:
    """Raise ConfigError for the first node that does not see what the driver sees."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    names = {}
    for node in nodes:
        place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(look).options(num_cpus=0, scheduling_strategy=place)
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        names[task.remote(view)] = name
    ready, silent = ray.wait(list(names), num_returns=len(names), timeout=ANSWER)
    for reference in ready:
        try:
            lacking = ray.get(reference)
        except Exception as error:
            lacking = f"cannot run clipft: {_line(error)}"
        if lacking:
            raise ConfigError(f"Ray's node {names[reference]} {lacking}")
    for reference in silent:
        raise ConfigError(f"Ray's node {names[reference]} did not answer in {ANSWER:g} s")


def portion(how: OnRay, nodes: Sequence[Mapping[str, Any]], jobs: int = 0) -> Portion:
    """What a job gets: as the spec says, or a GPU where there are any, and its share of the CPUs.

    Raises ConfigError where no node has that much: Ray would wait for ever.
    """
    total = {name: sum(node["Resources"].get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
    gpus = how.gpus
    if gpus is None:
        gpus = 1.0 if total["GPU"] else 0.0
    if gpus and not total["GPU"]:
        has = f"the Ray cluster has none ({len(nodes)} nodes, {total['CPU']:g} CPUs)"
        raise ConfigError(f"a job asks for {gpus:g} GPU, and {has}; try --gpus-per-job 0")

    wanted = Portion(how.cpus or _share(nodes, gpus, jobs), gpus)
    if not any(map(wanted.fits, nodes)):
        has = ", ".join(
            f"{node['Resources'].get('CPU', 0):g} CPUs and {node['Resources'].get('GPU', 0):g} GPUs"
            for node in nodes
        )
        problem = f"a job asks for {wanted}, and no node of the Ray cluster has that many"
        raise ConfigError(f"{problem} (they have {has}); see --cpus-per-job, --gpus-per-job")
    return wanted


def _share(nodes: Sequence[Mapping[str, Any]], gpus: float, jobs: int) -> int:
    """CPUs of a job where nobody says: those beside its GPU, or two jobs a node, as here."""
    shares = []
    for node in nodes:
        cpus = node["Resources"].get("CPU", 0)
        cards = node["Resources"].get("GPU", 0)
        if cpus and cards >= gpus:
            shares.append(cpus * gpus / cards if gpus else cpus / 2)
    share = min(shares, default=1)
    if jobs and not gpus:
        share = min(sum(node["Resources"].get("CPU", 0) for node in nodes) / jobs, 2 * share)
    return max(1, math.floor(share))


def _nodes() -> list[dict[str, Any]]:
    """The nodes that are alive."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _probe(address: str) -> None:
    """Raise ConfigError where no cluster answers at an address, and say why.

    One whose machine was too busy to start a server for its client is asked again.
    """
    reason = _fault(address)
    if GAVE_UP in reason:
        reason = _fault(address)
    if reason:
        raise ConfigError(f"cannot reach the Ray cluster {address!r}: {reason}")


def _fault(address: str) -> str:
    """Why no cluster answers at an address; "" where one does."""
    pipes: dict[str, Any] = {"stdout": PIPE, "stderr": PIPE, "text": True}
    with Popen([sys.executable, "-c", PROBE, address], **pipes) as probe:
        assert probe.stdout is not None
        probe.stdout.readline()  # Ray is imported, which a cold disk may take long for
        try:
            _, said = probe.communicate(timeout=CONNECT)
        except TimeoutExpired:
            probe.kill()
            return f"no answer in {CONNECT:g} s; wanted: auto, HOST:PORT or ray://HOST:PORT"
    if probe.returncode == 0:
        return ""
    lines = said.splitlines() or [f"exit code {probe.returncode}"]
    return lines[-1][:400]


@contextlib.contextmanager
def _environment(how: OnRay) -> Iterator[None]:
    """The variables that Ray reads in the process that connects; they are put back at the end."""
    wanted = {
        "RAY_USAGE_STATS_ENABLED": "0",  # tells nobody
        # Retries where a node's memory ran out have no end in Ray.
        "RAY_task_oom_retries": str(how.retries),
        # Tasks of a driver that died behind ray:// go on for so many seconds.
        "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "5",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """Be a driver of the cluster at an address, or of a new one that ends with it."""
    import ray

    if ray.is_initialized():
        raise ConfigError("Ray is in use in this process already; ray.shutdown() first")
    with contextlib.ExitStack() as stack:
        place: dict[str, Any] = {"address": address}
        if not address:
            place = {"address": "local", "include_dashboard": False}
            place["_temp_dir"] = stack.enter_context(_session_folder())
        stack.callback(ray.shutdown)
        before = signal.getsignal(signal.SIGTERM)
        try:
            _begin(place)
        except Exception as error:
            where = f"the Ray cluster {address!r}" if address else "a Ray cluster on this machine"
            raise ConfigError(f"cannot use {where}: {_line(error)}") from None
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's own leaves with another exit code
        yield


def _begin(place: dict[str, Any]) -> None:
    """Connect to a cluster, or start one; twice where Ray gave a busy machine no more than 30 s."""
    import ray

    settings = QUIET | place | {"runtime_env": {"env_vars": passed(os.environ)}}
    try:
        ray.init(**settings)
    except Exception as error:
        if place["address"] != "local" and GAVE_UP not in str(error):
            raise
        ray.shutdown()
        ray.init(**settings)


def passed(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that jobs on other nodes get; those that hold secrets stay here."""
    kept = {}
    for name, value in environment.items():
        if (name.startswith(PASSED) or name in PASSED_TOO) and not SECRET.search(name):
            kept[name] = value
    return kept


@contextlib.contextmanager
def _session_folder() -> Iterator[str]:
    """A folder for what Ray writes of one session; those of killed batches are cleared away."""
    base = tempfile.gettempdir()
    if len(base) > SOCKET - len(SESSION):
        base = "/tmp"
    for old in Path(base).glob(f"{SESSION}*"):
        with contextlib.suppress(ClipftError), lock(old):
            rmtree(old, ignore_errors=True)
    place = tempfile.TemporaryDirectory(prefix=SESSION, dir=base, ignore_cleanup_errors=True)
    with place as folder, lock(folder):
        yield folder


def _line(error: Exception) -> str:
    """What Ray says, its lines as one, cut where it goes on about its own log files."""
    return " ".join(str(error).split())[:300]
