"""Notebooks times parameters through papermill: one process per run, judged by its exit code, finished work kept."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any, Literal

from ..config import Record, digest
from ..data.manifests import load_manifest
from ..disk.files import read_json, read_yaml, write_json, write_text
from ..disk.lock import lock
from ..errors import ConfigError, MissingExtra, RunError, unknown
from ..runs.recipes import Preset, presets
from ..runs.table import results
from .notebook import read_parameters


class Stage(Record):
    """One notebook over a grid; stages run one after another, the runs of a stage side by side."""

    notebook: str  # relative to the spec
    parameters: dict[str, Any] = {}
    grid: tuple[dict[str, list[Any]], ...] = (
        {},
    )  # each entry: the product of its lists; `{out}` is the out folder


class Spec(Record):
    """A batch: what papermill_runs/*.yaml holds."""

    name: str
    title: str = ""
    jobs: int = 0  # runs side by side where there is no GPU (one per GPU else); 0: two
    timeout: float | None = None  # seconds for one whole run
    images: tuple[Literal["png", "svg", "pdf"], ...] = (
        "png",
    )  # of every saved figure, where a Chromium is found
    stages: tuple[Stage, ...]


AGAIN = "the same command goes on from what was finished"
TITLE = (
    "preset",
    "name",
    "method",
    "lr",
    "steps",
    "seed",
)  # parameters in which runs of a batch differ most


@dataclass(frozen=True)
class Job:
    """One notebook with one set of parameters."""

    notebook: Path
    parameters: dict[str, Any]
    folder: Path

    @property
    def title(self) -> str:
        """Notebook and what tells it from the others."""
        shown = [f"{k}={v}" for k, v in self.parameters.items() if k in TITLE]
        return " ".join([self.notebook.stem, *shown])

    @property
    def done(self) -> bool:
        """Whether an earlier batch finished it."""
        status = self.folder / "status.json"
        return status.exists() and read_json(status)["state"] == "ok"

    @property
    def page(self) -> Path:
        """What it left to look at: the notebook where it could not be written as HTML."""
        page = self.folder / "run.html"
        return page if page.exists() else self.folder / "run.ipynb"

    @property
    def words(self) -> set[str]:
        """What `--only` may name it by: words of its title, values and elements of values, and KEY=VALUE."""
        pairs = {f"{key}={value}" for key, value in self.parameters.items()}
        return {*self.title.split(), *pairs, *_leaves(self.parameters)}


def _leaves(value: Any) -> set[str]:
    """Every single value in a nest of lists and mappings; of a name with slashes its last part, too."""
    if isinstance(value, dict | list):
        return {
            leaf
            for one in (value.values() if isinstance(value, dict) else value)
            for leaf in _leaves(one)
        }
    return {str(value), str(value).rpartition("/")[2]} - {""}


def read_spec(path: Path | str) -> Spec:
    """Read a batch spec; raises ConfigError where it is missing or malformed."""
    path = Path(path)
    if not path.is_file():
        known = [str(file) for file in sorted(Path("papermill_runs").glob("*.yaml"))]
        raise unknown("batch spec", str(path), known)
    return Spec.read(read_yaml(path), str(path))


def plan(spec: Spec, base: Path, out: Path) -> list[list[Job]]:
    """The jobs of every stage.

    A job's folder is named by its notebook's content, its parameters, the content of the manifest and presets that
    they name, and the stage before.

    Raises ConfigError for a missing notebook, a parameter that the notebook does not have (papermill only warns) or a
    value unlike its annotation.
    """
    if util.find_spec("papermill") is None:
        raise MissingExtra("papermill", "notebooks")
    stages, before, recipes = [], "", presets()
    for stage in spec.stages:
        notebook = (base / stage.notebook).resolve()
        if not notebook.is_file():
            raise ConfigError(
                f"{spec.name}: no notebook {notebook}; `notebook` is relative to the spec's folder"
            )
        wanted, jobs = read_parameters(notebook), []
        source = hashlib.sha256(notebook.read_bytes()).hexdigest()
        for entry in stage.grid:
            for values in itertools.product(*entry.values()):
                given = stage.parameters | dict(zip(entry, values, strict=True))
                wanted.check(given)
                filled = {
                    k: v.replace("{out}", str(out)) if isinstance(v, str) else v
                    for k, v in given.items()
                }
                key = digest([source, given, before, _named(given, recipes)], 10)
                jobs.append(Job(notebook, filled, out / "notebooks" / f"{notebook.stem}-{key}"))
        stages.append(jobs)
        before = digest([job.folder.name for job in jobs])
    return stages


def _named(given: Any, recipes: dict[str, Preset]) -> list[str]:
    """Digests of all manifests and presets that parameters name, however deep."""
    if isinstance(given, list):
        return [found for value in given for found in _named(value, recipes)]
    if not isinstance(given, dict):
        return [digest(recipes[given].model_dump(mode="json"))] if given in recipes else []
    preset = recipes.get(given.get("preset", ""))
    whole = (preset.settings if preset else {}) | given | given.get("settings", {})
    found = [load_manifest(whole["manifest"]).digest()] if "manifest" in whole else []
    return found + [one for value in given.values() for one in _named(value, recipes)]


def choose(stages: list[list[Job]], only: Sequence[str]) -> list[list[Job]]:
    """The jobs that one of the words `only` names, or all of them; raises ConfigError for a word that names none."""
    found = [job.words for stage in stages for job in stage]
    for word in only:
        if not any(word in words for words in found):
            telling = set().union(*found) - (set.intersection(*found) if len(found) > 1 else set())
            dull = {
                one
                for one in telling
                if one[0] in "/.-" or "{" in one or one.replace(".", "", 1).isdecimal()
            }
            raise unknown("word for --only", word, telling - dull)
    return [[job for job in stage if not only or job.words & set(only)] for stage in stages]


def run_batch(
    path: Path | str,
    out: Path | str | None = None,
    jobs: int = 0,
    gpus: str = "",
    only: Sequence[str] = (),
) -> Path:
    """Run a spec; leaves notebooks/, runs/, figures/, results.csv and index.html under `out`, and returns it.

    Finished runs are skipped. gpus: ids as in "0,1", one run at a time on each. only: words that name the runs wanted,
    see `choose`. Raises ConfigError for a bad spec, RunError when a run failed (the others are finished first) or
    another batch writes the folder.
    """
    from ..figures import pages

    spec, path = read_spec(path), Path(path)
    out = Path(out or path.parent / "out" / spec.name).resolve()
    stages = plan(spec, path.parent, out)
    chosen = choose(stages, only)
    with lock(out):
        pages.write_plotlyjs(out)
        with _Runner(spec, chosen, jobs, gpus) as runner:
            for stage in chosen:
                runner.run(stage)
        if (out / "runs").is_dir():
            table = results(out / "runs")
            write_text(out / "results.csv", table.to_csv(index=False))
        said = pages.write_images(out / "figures", spec.images)
        figures = sorted((out / "figures").glob("*.json"))
        links = [("results.csv", "results.csv")] if (out / "results.csv").exists() else []
        links += [(f"figures/{file.stem}.html", f"figures/{file.stem}.html") for file in figures]
        ran = [job for stage in stages for job in stage if job.page.exists()]
        links += [(job.title, f"notebooks/{job.folder.name}/{job.page.name}") for job in ran]
        pages.write_index(out / "index.html", spec.title or spec.name, figures, links)
    print(said)
    print(f"open {out / 'index.html'}")
    return out


class _Runner:
    """Runs jobs on a queue of slots (a slot is a GPU or a share of the cores) and shows how far they are."""

    def __init__(self, spec: Spec, stages: list[list[Job]], jobs: int, gpus: str):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        devices = [gpu for gpu in (gpus or _visible_gpus()).split(",") if gpu]
        count = jobs or len(devices) or spec.jobs or min(2, os.cpu_count() or 1)
        self.threads = max(1, (os.cpu_count() or 1) // count)
        self.timeout, self.slots = spec.timeout, queue.SimpleQueue()
        for slot in range(count):
            self.slots.put(devices[slot % len(devices)] if devices else "")
        self.pool = ThreadPoolExecutor(count)
        self.alive: dict[int, subprocess.Popen] = {}
        self.console = Console()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self.progress = Progress(*columns, console=self.console)
        self.all = self.progress.add_task(spec.name, total=sum(map(len, stages)))

    def __enter__(self) -> _Runner:
        if threading.current_thread() is threading.main_thread():
            self.old_handler = signal.signal(
                signal.SIGTERM, lambda *_: sys.exit(143)
            )  # by way of __exit__
        self.progress.start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in list(self.alive.values()):  # interrupted: no run is left behind
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        self.pool.shutdown()
        self.progress.stop()
        if kind is SystemExit:  # SIGTERM; after Ctrl-C the command line says it
            print(f"clipft: stopped; {AGAIN}", file=sys.stderr)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.old_handler)

    def run(self, stage: list[Job]) -> None:
        """All jobs of one stage; raises RunError that names the log of the first that failed."""
        futures = [self.pool.submit(self._one, job) for job in stage]
        failed = [job for job, future in zip(stage, futures, strict=True) if not future.result()]
        if failed:
            log = failed[0].folder / "log.txt"
            late = read_json(failed[0].folder / "status.json")["state"] == "timeout"
            why = (
                f"stopped after {self.timeout:g} s, the spec's timeout"
                if late
                else _last_words(log)
            )
            raise RunError(
                f"{len(failed)} of {len(stage)} runs failed, first {failed[0].title}: {why} (see {log}); {AGAIN}"
            )

    def _one(self, job: Job) -> bool:
        if job.done:
            self.progress.advance(self.all)
            return True
        gpu = self.slots.get()
        task = self.progress.add_task(job.title, total=100)
        try:
            status = self._execute(job, gpu, task)
        finally:
            self.progress.remove_task(task)
            self.slots.put(gpu)
        self.progress.advance(self.all)
        self.console.print(
            f"{status['state']:7} {status['seconds']:6.1f} s  {job.title}", highlight=False
        )
        return status["state"] == "ok"

    def _execute(self, job: Job, gpu: str, task: Any) -> dict[str, Any]:
        job.folder.mkdir(parents=True, exist_ok=True)
        write_json(job.folder / "params.json", job.parameters)
        begun = time.time()
        with (
            tempfile.TemporaryDirectory(prefix="ipy-") as home,
            open(job.folder / "log.txt", "w") as log,
        ):
            threads = str(self.threads)
            env = os.environ | {
                "CLIPFT_HEADLESS": "1",
                "PYTHONUNBUFFERED": "1",
                "JUPYTER_PREFER_ENV_PATH": "1",
                "IPYTHONDIR": home,
                "OMP_NUM_THREADS": threads,
                "MKL_NUM_THREADS": threads,
            }
            process = subprocess.Popen(
                [sys.executable, "-m", "clipft.batch.notebook", str(job.notebook), str(job.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=env | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}),
            )
            self.alive[process.pid] = process
            state = self._wait(process, begun, job.folder / "log.txt", task)
            del self.alive[process.pid]
        status = {
            "state": state,
            "code": process.returncode,
            "seconds": round(time.time() - begun, 1),
            "gpu": gpu,
        }
        write_json(job.folder / "status.json", status)
        return status

    def _wait(self, process: subprocess.Popen, begun: float, log: Path, task: Any) -> str:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return "ok" if process.wait(1.0) == 0 else "failed"
            percent = _percent(log)
            if percent is not None:
                self.progress.update(task, completed=percent)
            if self.timeout and time.time() - begun > self.timeout:
                os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                return "timeout"


def _visible_gpus() -> str:
    """Ids of the GPUs, asked of the driver so that torch need not be imported here; empty where there is none."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return os.environ["CUDA_VISIBLE_DEVICES"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        return ",".join(
            subprocess.run(
                asked, capture_output=True, text=True, check=True, timeout=20
            ).stdout.split()
        )
    return ""


def _tail(log: Path) -> list[str]:
    """The last lines of a log, each redraw of a bar a line of its own."""
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        return [
            line.strip()
            for line in file.read().decode(errors="replace").replace("\r", "\n").splitlines()
        ]
    return []


def _percent(log: Path) -> int | None:
    """How far the bar that a run drew last has come."""
    for line in reversed(_tail(log)):
        head, mark, _ = line.partition("%|")
        if mark and head.split()[-1].isdecimal():
            return int(head.split()[-1])
    return None


def _last_words(log: Path) -> str:
    """The last line of a log that says something."""
    return next((line for line in reversed(_tail(log)) if line), "no output")
