"""What a batch will run and what it skips: stages of notebooks over grids of parameters."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import util
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ..config import Record, digest, said_of
from ..data.manifests import load_manifest
from ..disk.files import names_in, read_json, read_yaml
from ..disk.inside import is_file_name
from ..errors import ConfigError, MissingExtra, RunError, unknown
from ..runs.identity import PLACED, absolute
from ..runs.recipes import Preset, presets
from .graph import Asks, Gate, Needs, in_order
from .on_ray import OnRay
from .parameters import Parameters, read_parameters
from .shipped import find_spec, home_of
from .small import Small
from .work import Work, is_drawing, work_of

# parameters and settings that may be paths
PATHS = (*PLACED, "runs", "figures_folder")
# of a preset, what says where its values are from and decides nothing
EXPLAINED = {"sources"}
# parameters in which the runs of a batch differ most
TITLE = ("preset", "name", "method", "lr", "steps", "seed")
# and those that hold more of the kind
GROUPS = ("settings", "options", "where")
MOST_JOBS = 1_000_000  # of a spec: ten lists of ten values are more


class Stage(Record):
    """One notebook over a grid; a job begins when what it needs is done, see `graph`."""

    notebook: str  # relative to the spec
    name: str = ""  # for `after`; a stage also goes by its notebook's name
    after: tuple[str, ...] | None = None  # stages that its jobs need; None: found out
    parameters: dict[str, Any] = {}
    # each entry: the product of its lists; `{out}` in a value is the out folder, and
    # `settings.lr` is lr in the parameter settings
    grid: tuple[dict[str, list[Any]], ...] = ({},)

    def combinations(self) -> Iterator[dict[str, Any]]:
        """The parameters of every run, `{out}` not yet filled in."""
        for entry in self.grid:
            for values in itertools.product(*entry.values()):
                yield _nested(self.parameters | dict(zip(entry, values, strict=True)))

    @property
    def names(self) -> tuple[str, ...]:
        """What other stages may call it, the one that is shown first."""
        return tuple(dict.fromkeys(filter(None, (self.name, Path(self.notebook).stem))))


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    """Parameters with `settings.lr` inside settings, over what stands there else."""
    flat = {key: value for key, value in values.items() if "." not in key}
    for key, value in values.items():
        outer, dot, inner = key.partition(".")
        if not dot:
            continue
        group = flat.get(outer, {})
        if not isinstance(group, dict):
            raise ConfigError(f"{key}: {outer} is {group!r:.80}, expected a mapping")
        flat[outer] = {**group, inner: value}
    return flat


class Spec(Record):
    """A batch: what papermill_runs/*.yaml holds."""

    name: str
    title: str = ""
    jobs: int = Field(0, ge=0)  # runs side by side where there is no GPU (one per GPU else); 0: two
    timeout: float | None = Field(None, gt=0)  # seconds for one whole run
    # of every saved figure, where a Chromium is found
    images: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    columns: tuple[Literal[1, 2], ...] = (2,)  # of a paper, as wide as which SVG and PDF are
    ray: OnRay = OnRay()  # what a job gets of a Ray cluster
    small: Small | None = None  # how `--small` runs it
    stages: tuple[Stage, ...]

    @model_validator(mode="after")
    def _name_is_of_a_folder(self) -> Self:
        if not is_file_name(self.name):
            wanted = "the name of a folder in out/, e.g. name: sweep"
            raise ValueError(f"name: {self.name!r:.80} would leave its folder; wanted: {wanted}")
        return self

    @model_validator(mode="after")
    def _jobs_can_be_counted(self) -> Self:
        jobs = 0
        for stage in self.stages:
            jobs += sum(math.prod(map(len, entry.values())) for entry in stage.grid)
        if jobs > MOST_JOBS:
            raise ValueError(f"the grids ask for {jobs} jobs; wanted: at most {MOST_JOBS}")
        return self


@dataclass(frozen=True)
class Job:
    """One notebook with one set of parameters."""

    notebook: Path
    parameters: dict[str, Any]
    folder: Path
    work: Work = field(default_factory=Work)
    number: int = 0  # from 1, in the order of the plan

    @property
    def title(self) -> str:
        """Notebook and what tells it from the others."""
        pairs = [f"{key}={value}" for key, value in self.parameters.items() if key in TITLE]
        for group in GROUPS:
            for key, value in _mapping(self.parameters.get(group)).items():
                if not isinstance(value, dict | list):
                    pairs.append(f"{key}={value}")
        return " ".join([self.notebook.stem, *pairs])

    @property
    def runs(self) -> str:
        """Its folder of runs; "" where it has none."""
        return str(self.parameters.get("runs", ""))

    @property
    def tokens(self) -> set[tuple[str, str]]:
        """The runs that it makes where they are not there, each by folder and name."""
        return {(self.runs, run) for run in self.work.makes}

    @property
    def asks(self) -> str:
        """What it asks for, however it is said: jobs that ask for the same work are one."""
        if not self.work.makes:
            return self.folder.name
        alphas = self.parameters.get("alphas")
        return digest([self.notebook.name, self.runs, self.work.makes[-1], alphas])

    @property
    def done(self) -> bool:
        """Whether an earlier batch finished it."""
        status = self.status
        return status is not None and status["state"] == "ok"

    @property
    def status(self) -> dict[str, Any] | None:
        """How it ended; None where it has not, or was begun again."""
        file = self.folder / "status.json"
        try:
            return read_json(file)
        except RunError:
            if file.exists():
                raise
            return None

    @property
    def page(self) -> Path:
        """What it left to look at: the notebook where it could not be written as HTML."""
        page = self.folder / "run.html"
        return page if page.exists() else self.folder / "run.ipynb"

    @property
    def words(self) -> set[str]:
        """What `--only` may name it by: words of its title, KEY=VALUE, and every single value.

        Of a name with slashes its end is a word, too.
        """
        words = {f"{key}={value}" for key, value in self.parameters.items()}
        words.update(self.title.split())
        for value in _nest(self.parameters):
            if not isinstance(value, dict | list):
                words |= {str(value), str(value).rpartition("/")[2]}
        return words - {""}


def _mapping(value: Any) -> dict[str, Any]:
    """What a parameter holds; nothing where it is no mapping, as one's own notebook may have it."""
    return value if isinstance(value, dict) else {}


def _nest(value: Any) -> Iterator[Any]:
    """A value and all that is in it, however deep in lists and mappings; the outer ones first."""
    yield value
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for element in value:
            yield from _nest(element)


def read_spec(path: Path | str) -> Spec:
    """Read a batch spec; raises ConfigError where it is missing or malformed."""
    path = find_spec(path)
    return Spec.read(read_yaml(path, written=True), str(path))


def place_of(spec: Spec, path: Path, out: Path | str | None = None) -> Path:
    """The folder of a batch: the one that is given, or out/NAME beside the spec's file.

    Of a spec in the wheel it is papermill_runs/out/NAME.
    """
    return Path(out or home_of(path.parent) / "out" / spec.name).resolve()


def in_small(spec: Spec, base: Path) -> Spec:
    """The spec as its block `small` says; it has a name, and so a folder, of its own.

    base: the spec's folder. Raises ConfigError where there is no such block, or a name in it is no
    setting, or a parameter of none of its notebooks.
    """
    if spec.small is None:
        raise ConfigError(f"{spec.name} has no block small; see papermill_runs/README.md")
    spec.small.check(spec.name)
    known: set[str] = set()
    stages = []
    for stage in spec.stages:
        wanted = read_parameters(_notebook_of(stage, base, spec.name))
        known |= wanted.kinds.keys()
        heads = []
        for entry in stage.grid:
            heads.append({key: spec.small.head(values) for key, values in entry.items()})
        grid = []
        for parameters in stage.model_copy(update={"grid": tuple(heads)}).combinations():
            taken = wanted.take(parameters)
            with said_of(spec.name):
                values = spec.small.of(taken, wanted)
            grid.append({key: [value] for key, value in values.items()})
        changes = {"parameters": {}, "grid": tuple(grid)}
        stages.append(stage.model_copy(update=changes))
    for key in spec.small.parameters:
        if key not in known:
            raise unknown(f"parameter in small of {spec.name}", key, known)
    title = f"{spec.title}, in small" if spec.title else ""
    whole = {"name": f"{spec.name}_small", "title": title, "stages": tuple(stages)}
    return spec.model_copy(update=whole)


def _notebook_of(stage: Stage, base: Path, name: str) -> Path:
    """A stage's notebook; raises ConfigError where it is not there."""
    notebook = (base / stage.notebook).resolve()
    if not notebook.is_file():
        problem = f"no notebook {notebook}; `notebook` is relative to the spec's folder"
        raise ConfigError(f"{name}: {problem}")
    return notebook


@dataclass(frozen=True)
class Plan(Sequence[list[Job]]):
    """The jobs of every stage, and by their numbers what each needs first."""

    stages: list[list[Job]] = field(default_factory=list)
    gates: dict[int, Gate] = field(default_factory=dict)

    def __getitem__(self, number: Any) -> Any:
        return self.stages[number]

    def __len__(self) -> int:
        return len(self.stages)

    @property
    def jobs(self) -> Iterator[Job]:
        """All jobs, in the order of their numbers."""
        return itertools.chain.from_iterable(self.stages)


def plan(spec: Spec, base: Path, out: Path, absent: dict[str, str] | None = None) -> Plan:
    """The jobs of every stage; notebooks and paths are relative to `base`, the spec's folder.

    A job's folder is named by its notebook's content, its parameters, the content of the manifest
    and presets that they name, and the jobs that it needs: one of the same name need not run again.
    Stages are in their order, but for those that others name in `after`.

    absent: where a manifest that cannot be opened is noted, with the reason, in place of an error:
    for a look ahead. Jobs that ask for the same work are one.

    Raises ConfigError for a missing notebook, a parameter that the notebook does not have
    (papermill only warns), a value unlike its annotation, settings that make no recipe, a stage
    without a job, and stages that wait for each other.
    """
    if absent is None and util.find_spec("papermill") is None:
        raise MissingExtra("papermill", "notebooks")
    if not spec.stages:
        raise ConfigError(f"{spec.name} has no stages, so there is nothing to run")
    with said_of(spec.name):
        names = [stage.names for stage in spec.stages]
        order = in_order(names, [stage.after for stage in spec.stages])
    planner = _Planner(spec, base, out, Named(presets(), absent))
    for number in order:
        planner.add(spec.stages[number])
    return planner.plan


class _Planner:
    """Lays a spec out, stage by stage."""

    def __init__(self, spec: Spec, base: Path, out: Path, named: Named):
        self.plan = Plan()
        self._name = spec.name
        self._base = base
        self._out = out
        self._named = named
        self._places = _Places(out, home_of(base))
        self._needs = Needs(str(out))
        self._folders = names_in(out / "notebooks")
        self._planned: set[Path] = set()
        self._chain = ""  # the digest of the stage before, which names all jobs before it

    def add(self, stage: Stage) -> None:
        """Plan a stage's jobs."""
        notebook = _notebook_of(stage, self._base, self._name)
        wanted = read_parameters(notebook)
        source = hashlib.sha256(notebook.read_bytes()).hexdigest()

        jobs: dict[str, Job] = {}
        in_chain: dict[str, str] = {}
        number = len(self.plan.gates) + 1
        for combination in stage.combinations():
            parameters = wanted.take(combination)
            filled = self._places.fill_in(parameters)
            job = _job(notebook, wanted, filled, self._name)
            asks = _asks(job, wanted, str(self._out))
            gate = self._needs.of(asks, stage.after)
            content = [source, parameters, gate.key, self._named.digests(filled)]
            name = f"{notebook.stem}-{digest(content, 10)}"
            content[2] = self._chain
            older = f"{notebook.stem}-{digest(content, 10)}"
            job = replace(job, folder=self._folder(name, older), number=number)
            in_chain.setdefault(job.asks if job.work.makes else older, older)
            if job.asks in jobs or job.folder in self._planned:
                continue
            jobs[job.asks] = job
            self._planned.add(job.folder)
            self.plan.gates[number] = gate
            self._needs.add(number, name, asks)
            number += 1
        if not in_chain:
            problem = f"{self._name}: stage {stage.names[0]} has no jobs"
            raise ConfigError(f"{problem}: its grid, or a list in it, is empty")
        self.plan.stages.append(list(jobs.values()))
        self._chain = digest(list(in_chain.values()))
        self._needs.end_stage(stage.names, self._chain)

    def _folder(self, name: str, older: str) -> Path:
        """A job's folder; where an earlier clipft, for which a stage needed all of the one before,
        left it under that name, it is there.
        """
        is_older = name not in self._folders and older in self._folders
        return self._out / "notebooks" / (older if is_older else name)


def _job(notebook: Path, wanted: Parameters, parameters: dict[str, Any], name: str) -> Job:
    """A job with the work that it asks for; raises ConfigError for settings that are none."""
    job = Job(notebook, parameters, Path())
    try:
        return replace(job, work=work_of(wanted, parameters))
    except ConfigError as error:
        raise ConfigError(f"{name}: {job.title}: {error}") from None


def _asks(job: Job, wanted: Parameters, out: str) -> Asks:
    """What a job's parameters say of its needs; its notebook's own values are where none is set."""
    values = {**wanted.defaults, **job.parameters}
    places = []
    for key in ("runs", "figures_folder"):
        value = values.get(key)
        text = isinstance(value, str) and value != ""
        places.append(os.path.normpath(job.notebook.parent / value) if text else "")
    where = values.get("where")
    inputs = []
    for value in _nest({**job.parameters, "runs": "", "figures_folder": ""}):
        if isinstance(value, str) and out in value:
            inputs.append(value)
    return Asks(
        job.work,
        runs=places[0],
        figures=places[1],
        draws=is_drawing(wanted) and places[0] != "",
        where=where if isinstance(where, dict) else {},
        inputs=tuple(inputs),
    )


class _Places:
    """Fills the out folder and absolute paths into parameters: the kernel works elsewhere.

    A path is relative to `base`, the spec's folder; each is looked up once.
    """

    def __init__(self, out: Path, base: Path):
        self._out = str(out)
        self._base = base
        self._found: dict[tuple[str, str], str] = {}

    def fill_in(self, value: Any, key: str = "") -> Any:
        """A value, however deep, with the out folder in place of `{out}`."""
        if isinstance(value, dict):
            return {name: self.fill_in(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.fill_in(inner, key) for inner in value]
        if not isinstance(value, str):
            return value
        filled = value.replace("{out}", self._out)
        if key not in PATHS:
            return filled
        if (key, filled) not in self._found:
            self._found[key, filled] = absolute(key, filled, self._base)
        return self._found[key, filled]


class Named:
    """The manifests and presets that parameters name, each opened once."""

    def __init__(self, recipes: dict[str, Preset], absent: dict[str, str] | None):
        self.recipes = recipes
        self.absent = absent
        self._manifests: dict[str, str] = {}
        self._presets: dict[str, str] = {}

    def digests(self, parameters: dict[str, Any]) -> list[str]:
        """Digests of all that parameters name, however deep."""
        digests = []
        for value in _nest(parameters):
            if isinstance(value, dict):
                settings = value | _mapping(value.get("settings"))
                preset = self.recipes.get(str(value.get("preset", "")))
                if preset is not None:
                    settings = preset.settings | settings
                if "manifest" in settings:
                    digests.append(self._of_manifest(settings["manifest"]))
            elif not isinstance(value, list) and value in self.recipes:
                digests.append(self._of_preset(value))
        return digests

    def _of_manifest(self, name: str) -> str:
        if name not in self._manifests:
            try:
                self._manifests[name] = load_manifest(name).digest()
            except ConfigError as error:
                if self.absent is None:
                    raise
                self.absent[name] = str(error)
                self._manifests[name] = f"absent: {name}"
        return self._manifests[name]

    def _of_preset(self, name: str) -> str:
        if name not in self._presets:
            recipe = self.recipes[name].model_dump(mode="json", exclude=EXPLAINED)
            self._presets[name] = digest(recipe)
        return self._presets[name]


@dataclass(frozen=True)
class Batch:
    """A spec that was laid out: its folder, and its jobs."""

    spec: Spec
    out: Path
    plan: Plan


def open_batch(
    path: Path | str,
    out: Path | str | None = None,
    absent: dict[str, str] | None = None,
    *,
    small: bool = False,
) -> Batch:
    """Read a spec and lay it out; nothing is written. For `out` and `small` see `run_batch`.

    absent: see `plan`. Raises ConfigError where the spec is wrong.
    """
    path = find_spec(path)
    spec = read_spec(path)
    if small:
        spec = in_small(spec, path.parent)
    place = place_of(spec, path, out)
    return Batch(spec, place, plan(spec, path.parent, place, absent))


def choose(stages: Sequence[list[Job]], only: Sequence[str]) -> list[list[Job]]:
    """The jobs that one of the words `only` names, or all of them where there is no word.

    Raises ConfigError for a word that names none.
    """
    if not only:
        return list(stages)
    words_by_job = [job.words for job in itertools.chain.from_iterable(stages)]
    all_words = set().union(*words_by_job)
    for word in only:
        if word not in all_words:
            common = set.intersection(*words_by_job) if len(words_by_job) > 1 else set()
            raise unknown("word for --only", word, _telling(all_words - common))

    chosen = []
    for stage in stages:
        chosen.append([job for job in stage if not job.words.isdisjoint(only)])
    return chosen


def _telling(words: set[str]) -> set[str]:
    """The words without paths, nests and numbers."""
    telling = set()
    for word in words:
        is_number = word.replace(".", "", 1).isdecimal()
        if word[0] not in "/.-" and "{" not in word and not is_number:
            telling.add(word)
    return telling
