"""What a batch will run and what it skips: stages of notebooks over grids of parameters."""

from __future__ import annotations

import glob
import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import util
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from ..config import Record, digest, said_of
from ..data.manifests import load_manifest
from ..disk.files import read_json, read_yaml
from ..disk.inside import is_file_name
from ..errors import ConfigError, MissingExtra, unknown
from ..runs.identity import PLACED, absolute
from ..runs.recipes import Preset, presets
from .notebook import Parameters, read_parameters
from .small import Small
from .work import Work, work_of

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
    """One notebook over a grid; stages run one after another, the runs of a stage side by side."""

    notebook: str  # relative to the spec
    parameters: dict[str, Any] = {}
    # each entry: the product of its lists; `{out}` in a value is the out folder, and
    # `settings.lr` is lr in the parameter settings
    grid: tuple[dict[str, list[Any]], ...] = ({},)

    def combinations(self) -> Iterator[dict[str, Any]]:
        """The parameters of every run, `{out}` not yet filled in."""
        for entry in self.grid:
            for values in itertools.product(*entry.values()):
                yield _nested(self.parameters | dict(zip(entry, values, strict=True)))


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
    jobs: int = 0  # runs side by side where there is no GPU (one per GPU else); 0: two
    timeout: float | None = None  # seconds for one whole run
    # of every saved figure, where a Chromium is found
    images: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    columns: tuple[Literal[1, 2], ...] = (2,)  # of a paper, as wide as which SVG and PDF are
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

    @property
    def title(self) -> str:
        """Notebook and what tells it from the others."""
        pairs = [f"{key}={value}" for key, value in self.parameters.items() if key in TITLE]
        for group in GROUPS:
            for key, value in self.parameters.get(group, {}).items():
                if not isinstance(value, dict | list):
                    pairs.append(f"{key}={value}")
        return " ".join([self.notebook.stem, *pairs])

    @property
    def runs(self) -> str:
        """Its folder of runs; "" where it has none."""
        return str(self.parameters.get("runs", ""))

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
        status = self.folder / "status.json"
        return status.exists() and read_json(status)["state"] == "ok"

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
    path = Path(path)
    if not path.is_file():
        raise unknown("batch spec", str(path), glob.glob("papermill_runs/*.yaml"))
    return Spec.read(read_yaml(path), str(path))


def place_of(spec: Spec, path: Path, out: Path | str | None = None) -> Path:
    """The folder of a batch: the one that is given, or out/NAME beside the spec's file."""
    return Path(out or path.parent / "out" / spec.name).resolve()


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
            wanted.check(parameters)
            with said_of(spec.name):
                values = spec.small.of(parameters, wanted)
            grid.append({key: [value] for key, value in values.items()})
        stages.append(Stage(notebook=stage.notebook, grid=tuple(grid)))
    for key in spec.small.parameters:
        if key not in known:
            raise unknown(f"parameter in small of {spec.name}", key, known)
    changes = {"name": f"{spec.name}_small", "stages": tuple(stages)}
    if spec.title:
        changes["title"] = f"{spec.title}, in small"
    return spec.model_copy(update=changes)


def _notebook_of(stage: Stage, base: Path, name: str) -> Path:
    """A stage's notebook; raises ConfigError where it is not there."""
    notebook = (base / stage.notebook).resolve()
    if not notebook.is_file():
        problem = f"no notebook {notebook}; `notebook` is relative to the spec's folder"
        raise ConfigError(f"{name}: {problem}")
    return notebook


def plan(
    spec: Spec, base: Path, out: Path, absent: dict[str, str] | None = None
) -> list[list[Job]]:
    """The jobs of every stage; notebooks and paths are relative to `base`, the spec's folder.

    A job's folder is named by its notebook's content, its parameters, the content of the manifest
    and presets that they name, and the stage before: a job of the same name need not run again.

    absent: where a manifest that cannot be opened is noted, with the reason, in place of an error:
    for a look ahead. Jobs that ask for the same work are one.

    Raises ConfigError for a missing notebook, a parameter that the notebook does not have
    (papermill only warns), a value unlike its annotation, and settings that make no recipe.
    """
    if absent is None and util.find_spec("papermill") is None:
        raise MissingExtra("papermill", "notebooks")
    named = Named(presets(), absent)
    stages: list[list[Job]] = []
    before = ""
    for stage in spec.stages:
        notebook = _notebook_of(stage, base, spec.name)
        wanted = read_parameters(notebook)
        source = hashlib.sha256(notebook.read_bytes()).hexdigest()

        jobs: dict[str, Job] = {}
        for parameters in stage.combinations():
            wanted.check(parameters)
            filled = _fill_in(parameters, out, base)
            key = digest([source, parameters, before, named.digests(filled)], 10)
            folder = out / "notebooks" / f"{notebook.stem}-{key}"
            job = _job(notebook, wanted, filled, folder, spec.name)
            jobs.setdefault(job.asks, job)
        stages.append(list(jobs.values()))
        before = digest([job.folder.name for job in jobs.values()])
    return stages


def _job(
    notebook: Path, wanted: Parameters, parameters: dict[str, Any], folder: Path, name: str
) -> Job:
    """A job with the work that it asks for; raises ConfigError for settings that are none."""
    job = Job(notebook, parameters, folder)
    with said_of(f"{name}: {job.title}"):
        return replace(job, work=work_of(wanted, parameters))


def _fill_in(value: Any, out: Path, base: Path, key: str = "") -> Any:
    """Parameters with the out folder in place of `{out}` and with absolute paths, however deep.

    A path is relative to `base`, the spec's folder: the kernel works elsewhere.
    """
    if isinstance(value, dict):
        return {name: _fill_in(inner, out, base, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_fill_in(inner, out, base, key) for inner in value]
    if not isinstance(value, str):
        return value
    filled = value.replace("{out}", str(out))
    return absolute(key, filled, base) if key in PATHS else filled


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
                settings = value | value.get("settings", {})
                preset = self.recipes.get(value.get("preset", ""))
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


def choose(stages: list[list[Job]], only: Sequence[str]) -> list[list[Job]]:
    """The jobs that one of the words `only` names, or all of them where there is no word.

    Raises ConfigError for a word that names none.
    """
    if not only:
        return stages
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
