"""A batch looked at before it runs: jobs, what is missing, hours and disk. Nothing is written."""

from __future__ import annotations

import itertools
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..config import RunConfig
from ..data.manifests import load_manifest
from ..data.splits import SplitName
from ..errors import ClipftError, ConfigError
from ..methods import POSTHOC
from ..runs.checks import without_decoder
from ..runs.estimate import (
    ALIKE,
    Costs,
    Images,
    costs,
    macs_of_step,
    measured_steps,
    size_in_training,
    size_of_weights,
    towers_of,
)
from ..runs.folder import run_folders
from ..runs.hub import hub_files, is_cached
from ..runs.identity import begun_key, begun_runs, model_name
from ..runs.machine import cpu_name
from ..runs.model_names import RANDOM, check_model, model_folder, weights_path
from ..runs.rows import chosen_on, reported_on, trained_on
from ..runs.scores import size_of_scores
from .graph import wall_clock
from .machine import gpu_names
from .spec import Batch, Job, Plan, Spec, choose, open_batch
from .work import Work

if TYPE_CHECKING:
    from ..data.manifests import Manifest

STEPPED = "32-true"  # the precision in which post-hoc methods take their steps
NAME = 40 * "x"  # the path of an image, where none is at hand
SIDE_BY_SIDE = (1, 8, 64)  # jobs, for which a forecast says how long it takes
NOTEBOOKS = ("papermill", "nbconvert", "ipykernel")  # of the extra `notebooks`, what a batch asks


@dataclass
class StageForecast:
    """What one stage has to do: jobs, runs to train, seconds, and bytes that it leaves."""

    notebook: str
    jobs: int = 0
    done: int = 0
    trainings: int = 0
    seconds: float = 0.0
    size: int = 0

    @property
    def to_do(self) -> int:
        """How many jobs are left."""
        return self.jobs - self.done


@dataclass(frozen=True)
class Missing:
    """What is not here: of which kind, its name, and the line that says where it is expected."""

    kind: str
    name: str
    line: str


@dataclass
class Forecast:
    """What a batch will do, and what it needs first; `notes` say what the numbers stand on.

    manifests, models: of runs that are still to be made; models as (model, pretrained).
    """

    name: str
    out: Path
    stages: list[StageForecast] = field(default_factory=list)
    manifests: tuple[str, ...] = ()
    models: tuple[tuple[str, str], ...] = ()
    missing: list[Missing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wall_clock: dict[int, float] = field(default_factory=dict)  # seconds, by jobs side by side
    unit: str = "GPU hours"  # of its time; hours where all was measured on a processor

    @property
    def size(self) -> int:
        """Bytes that all stages leave."""
        return sum(stage.size for stage in self.stages)


def forecast(
    path: Path | str,
    out: Path | str | None = None,
    only: Sequence[str] = (),
    *,
    small: bool = False,
) -> Forecast:
    """Look at a batch without running it; arguments as those of `runner.run_batch`.

    Data and weights may be absent: they are listed. Raises ConfigError where the spec is wrong.
    """
    absent: dict[str, str] = {}
    batch = open_batch(path, out, absent, small=small)
    spec = batch.spec
    stages = choose(batch.plan, only)

    ahead = Forecast(spec.name, batch.out)
    price = _Price(absent, _measured(batch.out, stages))
    seconds: dict[int, float] = {}
    for stage in stages:
        ahead.stages.append(_of_stage(stage, price, seconds))
    ahead.wall_clock = _wall_clock(batch.plan, stages, seconds)
    todo = [job for job in itertools.chain.from_iterable(stages) if not job.done]
    configs = [config for job in todo for config in job.work.trainings]
    ahead.manifests = tuple(dict.fromkeys(config.manifest for config in configs))
    ahead.models = tuple(dict.fromkeys((config.model, config.pretrained) for config in configs))
    ahead.missing = list(_missing(ahead, todo, price))
    ahead.notes = list(_notes(ahead, price, spec))
    if price.sources and all(source == price.measured_here for source in price.sources):
        ahead.unit = "GPU hours" if gpu_names() else "hours"
    return ahead


def expected_seconds(batch: Batch, jobs: Sequence[Job]) -> dict[int, float]:
    """Seconds that jobs will take here, by their numbers, of those of which it is known."""
    if not jobs:
        return {}
    price = _Price({}, _measured(batch.out, [jobs]))
    on_gpu = bool(gpu_names())
    expected = {}
    for job in jobs:
        seconds = price.of_job(job).seconds
        if seconds and (on_gpu or set(price.sources) == {price.measured_here}):
            expected[job.number] = seconds
    return expected


def _wall_clock(
    plan: Plan, stages: Sequence[Sequence[Job]], seconds: Mapping[int, float]
) -> dict[int, float]:
    """Seconds until all is done, by how many jobs run side by side, the last without a limit."""
    jobs = [job for job in itertools.chain.from_iterable(stages) if job.number in seconds]
    gates = {job.number: plan.gates[job.number] for job in jobs}
    makes = {job.number: job.tokens for job in jobs}
    widths = (*SIDE_BY_SIDE, max(len(jobs), SIDE_BY_SIDE[-1] + 1))
    return {width: wall_clock(gates, makes, seconds, width) for width in widths}


def _of_stage(
    stage: Sequence[Job], price: _Price, seconds_of_job: dict[int, float]
) -> StageForecast:
    names = dict.fromkeys(job.notebook.stem for job in stage)
    found = StageForecast(" ".join(names) or "nothing", jobs=len(stage))
    for job in stage:
        if job.done:
            found.done += 1
            continue
        cost = price.of_job(job)
        seconds_of_job[job.number] = cost.seconds
        found.trainings += cost.trainings
        found.seconds += cost.seconds
        found.size += cost.size
    return found


# --- what is here


@dataclass(frozen=True)
class Data:
    """A data set as a price needs it: how many images, None where nobody says, and classes."""

    images: Images | None
    classes: int


def _measured(out: Path, stages: Sequence[Sequence[Job]]) -> dict[tuple[Any, ...], list[float]]:
    """Seconds of a step in runs that this machine trained: those of this batch, and of others."""
    places = {file.parent for file in out.parent.glob("*/runs/*")}
    named: set[Path] = set()
    for job in itertools.chain.from_iterable(stages):
        runs = job.parameters.get("runs")
        if isinstance(runs, str):
            named.add(job.notebook.parent / runs)
    places.update(place.resolve() for place in named)
    folders = itertools.chain.from_iterable(map(run_folders, sorted(places)))
    return measured_steps(folders, _device())


def _device() -> str:
    """The name, in the records of runs, of what a batch would train on here."""
    names = gpu_names()
    return names[0] if names else cpu_name()


@dataclass
class Cost:
    """Of one job: runs to train, seconds, bytes."""

    trainings: int = 0
    seconds: float = 0.0
    size: int = 0


class _Price:
    """What jobs cost; each run is trained once, by the first job that asks for it."""

    def __init__(
        self, absent: Mapping[str, str], measured: Mapping[tuple[Any, ...], Sequence[float]]
    ):
        self.absent = absent
        self.measured = measured
        self.costs: Costs = costs()
        self.measured_here = f"measured on {_device()}"
        self.priced: set[tuple[str, str]] = set()
        self.sources: Counter[str] = Counter()  # where the seconds of trainings are from
        self.largest = 0  # bytes of the largest run while it trains
        self.images = 0  # that the trainings of `training_seconds` take
        self.training_seconds = 0.0
        self.most_images = 0.0  # a second, of the run that takes them fastest
        self._manifests: dict[str, Manifest | None] = {}
        self._data: dict[tuple[str, str, str], Data] = {}
        self._begun: dict[Path, dict[str, Any]] = {}
        self._scores: dict[tuple[int, int], int] = {}

    def of_job(self, job: Job) -> Cost:
        """What is left to do of a job."""
        cost = Cost()
        for config in job.work.trainings:
            key = (job.runs, config.id)
            if key in self.priced or self._is_trained(job, config):
                continue
            self.priced.add(key)
            self._add_training(cost, config, is_kept=job.work.keeps_weights)
        if job.work.trainings:
            self._add_making(cost, job.work)
            self._add_scoring(cost, job.work)
        return cost

    def _add_training(self, cost: Cost, config: RunConfig, *, is_kept: bool) -> None:
        data = self.data(config)
        cost.trainings += 1
        seconds, source = self._seconds_of_training(config, data)
        self.sources[source] += 1
        cost.seconds += seconds
        if seconds and config.entry.trains != "head":
            images = config.steps * config.batch_size
            self.images += images
            self.training_seconds += seconds
            self.most_images = max(self.most_images, images / seconds)
        size = self._size(config, data)
        cost.size += size if is_kept else 0
        self.largest = max(self.largest, size_in_training(config, size))

    def _seconds_of_training(self, config: RunConfig, data: Data) -> tuple[float, str]:
        """Seconds, validations included, and where they are from: a device, a card, or unknown."""
        towers = towers_of(config.model)
        key = (model_name(config.model), *(getattr(config, name) for name in ALIKE[1:]))
        forward = 0.0 if towers is None else self.costs.seconds(towers.image.macs, config.precision)
        if self.measured.get(key):
            values = self.measured[key]
            return config.steps * sum(values) / len(values), self.measured_here
        step = self.costs.of_steps(config)
        source = "measured, see data_manifests/cost/steps.yaml"
        if math.isnan(step):
            if towers is None:
                return 0.0, "not known"
            macs = macs_of_step(config, towers, data.classes)
            step = self.costs.seconds(macs, config.precision)
            source = f"estimated for {self.costs.card}"
        seconds = config.steps * step if config.entry.trains != "head" else 0.0
        if data.images is not None:
            validations = config.steps // config.eval_every
            if config.entry.trains != "head":
                seconds += validations * data.images.val * forward
            if config.entry.head == "probe":
                seconds += data.images.train * forward
        return seconds, source

    def _add_making(self, cost: Cost, work: Work) -> None:
        """What a post-hoc method takes: steps of its own, and weights, but of an ensemble."""
        if not work.combines:
            return
        first = work.trainings[0]
        method = POSTHOC[work.combines]
        options: dict[str, Any] = {**method.options, **work.options}
        data = self.data(first)
        if not method.ensemble:
            cost.size += self._size(first, data)
        towers = towers_of(first.model)
        if towers is not None and "steps" in options:
            macs = options["steps"] * options["batch"] * 3 * towers.image.macs
            cost.seconds += self.costs.seconds(macs, STEPPED)

    def _add_scoring(self, cost: Cost, work: Work) -> None:
        """Every image once at every alpha."""
        first = work.trainings[0]
        data = self.data(first)
        if not work.alphas or data.images is None:
            return
        images = data.images.val + data.images.tests
        towers = towers_of(first.model)
        if towers is not None:
            macs = images * work.alphas * towers.image.macs
            cost.seconds += self.costs.seconds(macs, first.precision)
        key = (images, work.alphas)
        if key not in self._scores:
            self._scores[key] = size_of_scores([NAME] * images, work.alphas)
        cost.size += self._scores[key]

    def _size(self, config: RunConfig, data: Data) -> int:
        towers = towers_of(config.model)
        return 0 if towers is None else size_of_weights(config, towers, data.classes)

    def _is_trained(self, job: Job, config: RunConfig) -> bool:
        """Whether the job's folder of runs holds this one, finished."""
        manifest = self.manifest(config.manifest)
        runs = job.parameters.get("runs")
        if manifest is None or not isinstance(runs, str):
            return False
        place = (job.notebook.parent / runs).resolve()
        if place not in self._begun:
            self._begun[place] = begun_runs(place)
        if not self._begun[place]:
            return False
        folder = self._begun[place].get(begun_key(config, manifest))
        if folder is None:
            return False
        return folder.has_weights or (folder.is_scored and not job.work.keeps_weights)

    def manifest(self, name: str) -> Manifest | None:
        """A data set's manifest, opened once; None where it cannot be."""
        if name not in self._manifests:
            try:
                self._manifests[name] = load_manifest(name)
            except ConfigError:
                self._manifests[name] = None
        return self._manifests[name]

    def data(self, config: RunConfig) -> Data:
        """How many images and classes there are, here or as published."""
        key = (config.manifest, config.reference, config.selection)
        if key not in self._data:
            self._data[key] = self._count(config)
        return self._data[key]

    def _count(self, config: RunConfig) -> Data:
        manifest = self.manifest(config.manifest)
        published = self.costs.images.get(Path(config.manifest).stem)
        if manifest is None or config.manifest in self.absent:
            return Data(published, classes=0)
        classes = len(manifest.class_names)
        images = images_of(config, manifest)
        return Data(images or published, classes)


def images_of(config: RunConfig, manifest: Manifest) -> Images | None:
    """The images that a run trains on, chooses on and is reported on; None where they are not here.

    What is rendered on first use need not be there to be counted.
    """
    if manifest.emoji is not None:
        classes = len(manifest.class_names)
        count = Counter(
            {part: number * classes for part, number in manifest.emoji.per_class.items()}
        )
        tests = count["test"] * (len(manifest.domains) + len(manifest.made))
        return Images(train=count["train"], val=count["val"], tests=tests)
    try:
        if not manifest.place.is_dir():
            return None
        counts = []
        for names in (trained_on, chosen_on, reported_on):
            counts.append(sum(len(manifest.split(name)) for name in names(config, manifest)))
    except ClipftError:
        return None
    train, val, reported = counts
    has_val = any(SplitName.parse(name).part == "val" for name in reported_on(config, manifest))
    return Images(train=train, val=val, tests=reported - val if has_val else reported)


# --- what is missing


def _missing(ahead: Forecast, todo: Sequence[Job], price: _Price) -> Iterator[Missing]:
    """Data sets, weights and extras that are not here, a line each."""
    for name in ahead.manifests:
        line = _data_line(name, price)
        if line:
            yield Missing("data", name, line)
    for model, pretrained in ahead.models:
        line = _weights_line(model, pretrained)
        if line:
            yield Missing("weights", f"{model} {pretrained}".strip(), line)
    yield from _extras({config.decoder for job in todo for config in job.work.trainings})


def _extras(decoders: set[str]) -> Iterator[Missing]:
    """Extras that every batch asks, or the runs' decoders."""
    lacking = {"notebooks": [name for name in NOTEBOOKS if util.find_spec(name) is None]}
    for decoder in sorted(decoders):
        lacking[decoder] = [without_decoder(decoder)]
    for extra, packages in lacking.items():
        names = ", ".join(filter(None, packages))
        if names:
            yield Missing("extra", names, f"pip install 'clipft[{extra}]'")


def _data_line(name: str, price: _Price) -> str:
    """Where a data set is expected; "" where it is."""
    if name in price.absent:
        return price.absent[name]
    manifest = load_manifest(name)
    if manifest.is_rendered:
        return ""
    try:
        place = manifest.place
    except ConfigError:
        place = Path("$CLIPFT_DATA") / manifest.name
        return f"expected in {place}: set CLIPFT_DATA; how to get it: clipft datasets {name}"
    if place.is_dir():
        return ""
    return f"expected in {place}; how to get it: clipft datasets {name}"


def _weights_line(model: str, pretrained: str) -> str:
    """Where weights are expected; "" where they are. Nothing is downloaded."""
    try:
        check_model(model, pretrained)
    except ConfigError as error:
        return str(error)
    if is_cached(model, pretrained):
        is_elsewhere = not hub_files(model, pretrained) and model_folder(model) is None
        if not is_elsewhere or pretrained == RANDOM or weights_path(pretrained):
            return ""
        return "not in a cache of the Hugging Face hub; bring a file and say pretrained: FILE"
    first, *_ = hub_files(model, pretrained)[-1]
    where = f"{PurePosixPath(first).parent} is not in the cache of the Hugging Face hub"
    return f"{where}; it is downloaded on first use, by clipft fetch, or: pretrained: FILE"


# --- what the numbers stand on


def _notes(ahead: Forecast, price: _Price, spec: Spec) -> Iterator[str]:
    """Where the hours are from, and whether the disk has room."""
    told = [f"{count} {source}" for source, count in price.sources.most_common()]
    if told:
        yield f"seconds of a step, of {price.sources.total()} runs: {', '.join(told)}"
    if any(source.startswith("estimated") for source in price.sources):
        table = price.costs
        reached = ", ".join(
            f"{table.share[name]:.0%} of {table.peak[name]:g} TFLOP/s in {name}"
            for name in table.peak
        )
        yield f"estimates: {reached} (assumed); multiply-adds of both towers; not measured yet"
    if price.images:
        mean = price.images / price.training_seconds
        rate = f"{mean:,.0f} images a second on average, {price.most_images:,.0f} at most"
        yield f"a run that trains takes {rate}: so many must be decoded"
    if price.largest:
        free = _free(ahead.out)
        room = f"{ahead.size / 1e9:.3g} GB at most"
        more = f"{price.largest / 1e9:.2g} GB more for each run while it trains"
        enough = "" if free > ahead.size else ": too few"
        yield f"disk: {room}, {more}; {free / 1e9:.3g} GB are free{enough}"
    if spec.small is not None and not spec.name.endswith("_small"):
        yield "the same in small, on EmojiShift: --small"


def _free(folder: Path) -> int:
    """Free bytes on the disk of a folder, there or not."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
