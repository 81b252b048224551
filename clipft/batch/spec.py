"""What a batch will run and what it skips: stages of notebooks over grids of parameters."""

from __future__ import annotations

import glob
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any, Literal

from ..config import Record, digest
from ..data.manifests import load_manifest
from ..disk.files import read_json, read_yaml
from ..errors import ConfigError, MissingExtra, unknown
from ..runs.identity import PLACED, absolute
from ..runs.recipes import Preset, presets
from .notebook import read_parameters

# parameters and settings that may be paths
PATHS = (*PLACED, "runs", "figures_folder")
# of a preset, what says where its values are from and decides nothing
EXPLAINED = {"sources"}
# parameters in which the runs of a batch differ most
TITLE = ("preset", "name", "method", "lr", "steps", "seed")


class Stage(Record):
    """One notebook over a grid; stages run one after another, the runs of a stage side by side."""

    notebook: str  # relative to the spec
    parameters: dict[str, Any] = {}
    # each entry: the product of its lists; `{out}` in a value is the out folder
    grid: tuple[dict[str, list[Any]], ...] = ({},)

    def combinations(self) -> Iterator[dict[str, Any]]:
        """The parameters of every run, `{out}` not yet filled in."""
        for entry in self.grid:
            for values in itertools.product(*entry.values()):
                yield self.parameters | dict(zip(entry, values, strict=True))


class Spec(Record):
    """A batch: what papermill_runs/*.yaml holds."""

    name: str
    title: str = ""
    jobs: int = 0  # runs side by side where there is no GPU (one per GPU else); 0: two
    timeout: float | None = None  # seconds for one whole run
    # of every saved figure, where a Chromium is found
    images: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    columns: tuple[Literal[1, 2], ...] = (2,)  # of a paper, as wide as which SVG and PDF are
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Job:
    """One notebook with one set of parameters."""

    notebook: Path
    parameters: dict[str, Any]
    folder: Path

    @property
    def title(self) -> str:
        """Notebook and what tells it from the others."""
        pairs = [f"{key}={value}" for key, value in self.parameters.items() if key in TITLE]
        return " ".join([self.notebook.stem, *pairs])

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


def plan(spec: Spec, base: Path, out: Path) -> list[list[Job]]:
    """The jobs of every stage; notebooks and paths are relative to `base`, the spec's folder.

    A job's folder is named by its notebook's content, its parameters, the content of the manifest
    and presets that they name, and the stage before: a job of the same name need not run again.

    Raises ConfigError for a missing notebook, a parameter that the notebook does not have
    (papermill only warns) or a value unlike its annotation.
    """
    if util.find_spec("papermill") is None:
        raise MissingExtra("papermill", "notebooks")
    recipes = presets()
    stages: list[list[Job]] = []
    before = ""
    for stage in spec.stages:
        notebook = (base / stage.notebook).resolve()
        if not notebook.is_file():
            problem = f"no notebook {notebook}; `notebook` is relative to the spec's folder"
            raise ConfigError(f"{spec.name}: {problem}")
        wanted = read_parameters(notebook)
        source = hashlib.sha256(notebook.read_bytes()).hexdigest()

        jobs = []
        for parameters in stage.combinations():
            wanted.check(parameters)
            filled = _fill_in(parameters, out, base)
            key = digest([source, parameters, before, _named_digests(filled, recipes)], 10)
            folder = out / "notebooks" / f"{notebook.stem}-{key}"
            jobs.append(Job(notebook, filled, folder))
        stages.append(jobs)
        before = digest([job.folder.name for job in jobs])
    return stages


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


def _named_digests(parameters: dict[str, Any], recipes: dict[str, Preset]) -> list[str]:
    """Digests of all manifests and presets that parameters name, however deep."""
    digests = []
    for value in _nest(parameters):
        if isinstance(value, dict):
            settings = value | value.get("settings", {})
            preset = recipes.get(value.get("preset", ""))
            if preset is not None:
                settings = preset.settings | settings
            if "manifest" in settings:
                digests.append(load_manifest(settings["manifest"]).digest())
        elif not isinstance(value, list) and value in recipes:
            recipe = recipes[value].model_dump(mode="json", exclude=EXPLAINED)
            digests.append(digest(recipe))
    return digests


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
