"""What this machine does in a second of each part of the work: decoding, copying, evaluation,
training, texts.

Of photographs that are made up, and of random weights: neither decides how long anything takes.
Training is timed in the loop itself.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from math import nan
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..config import Reading, RunConfig
from ..data.images import decode, made_photograph
from ..data.manifests import Manifest
from ..data.splits import Split
from ..disk.cache import without_memory
from ..disk.files import write_text
from ..errors import ConfigError
from ..evaluation.bench import Bench
from ..evaluation.predictions import ACCURACY, ChosenBy
from ..inputs.batches import Batch, Images
from ..inputs.prompts import random_texts
from ..inputs.seeds import rng
from ..inputs.workers import MOST, worker_count
from ..methods import METHODS as TRAINABLE
from ..models.embeddings import embed
from ..models.load import device_name, pick_device
from ..progress import progress_bar
from ..runs.folder import RunFolder
from ..runs.model_names import RANDOM, check_model
from ..runs.throughput import BASE, COPY, DECODE, FORWARD, LOAD, RESIZE, TEXTS, processes
from ..training.examples import PixelExamples
from ..training.loop import LOGGED, fit
from ..training.train import begun

if TYPE_CHECKING:
    import pandas as pd

METHODS = (BASE, "kd", "lipsum")  # FT, one with a teacher, one with texts, too
ON_CPU, ON_CARD = 8, 256  # images in a batch
PHOTOGRAPHS = 64  # files; more would take longer to make, and be in memory as these are
CLASSES = 20
SECONDS = 1.0  # that each part is repeated for, at least
ROUNDS = 3  # at least
MANY = 10**6  # images of the run that `workers="auto"` is asked for
TEXT_COUNT = 64, 2048  # on the processor, on a card
STEPS = 1, 5  # of training that are timed as one
TEXT_LENGTH = 8  # tokens, as in Lipsum-FT


def throughput(
    model: str = "ViT-B-32",
    *,
    methods: Sequence[str] = METHODS,
    batch_size: int = 0,
    reading: Reading | None = None,
) -> pd.DataFrame:
    """Measure what this machine does in a second of each part of a run.

    The images are JPEGs of 500 x 375 that are made up and lie in memory once they are read: a slow
    disk is not seen. Weights are random. `clipft doctor --throughput` prints it and says what a
    training waits for.

    Arguments:
        model: a name of open_clip, a folder, hf-hub:OWNER/NAME, or emoji-tiny.
        methods: whose training step is timed; ft is always.
        batch_size: images of a step; 0: 256 on a card, 8 on the processor.
        reading: the device, the workers, and the precision ("": bf16-mixed on a card).

    Returns:
        A row per part: part (decode, resize, load, copy on a card, forward, each method, texts),
        rate (a second), unit (images or texts), by (who does it), and of_ft: seconds of a method's
        step against FT's, NaN elsewhere. `attrs` hold model, batch_size, precision and device.

    Raises:
        ConfigError: for an unknown model, method or device.

    Example:
        >>> clipft.throughput("ViT-B-33")
        Traceback (most recent call last):
        clipft.errors.ConfigError: ...
    """
    import pandas as pd

    check_model(model, RANDOM)
    if batch_size < 0:
        raise ConfigError(f"batch_size is {batch_size}, expected 1 or more, or 0: as it fits")
    methods = tuple(dict.fromkeys([BASE, *methods]))
    if heads := [name for name in methods if TRAINABLE[name].trains == "head"]:
        raise ConfigError(f"{heads[0]} sees embeddings, no images; name methods that train a tower")
    reading = reading or Reading()
    device = pick_device(reading.device)
    on_card = torch.device(device).type != "cpu"
    precision = reading.precision or ("bf16-mixed" if on_card else "32-true")
    base = RunConfig(
        model=model,
        pretrained=RANDOM,
        batch_size=batch_size or (ON_CARD if on_card else ON_CPU),
        precision=precision,
        selection="last",
    )
    every = STEPS[on_card]
    configs = [timed_config(base, method, every) for method in methods]

    with tempfile.TemporaryDirectory() as folder, without_memory():
        # None of them comes twice: this process would have it in memory.
        rows_to_read = PHOTOGRAPHS + 3 * MOST * base.batch_size
        manifest = photographs(Path(folder), PHOTOGRAPHS, rows=rows_to_read)
        quiet = replace(reading, device=device, progress=False)  # one bar, over all parts
        workers = workers_of_a_run(quiet, manifest, base.batch_size)
        bench = Bench(base, replace(quiet, workers=workers), kept=manifest)
        parts = [_Parts(bench, base).rows(), _training_rows(bench, configs), _text_rows(bench)]
        total = len(configs) + (6 if on_card else 5)
        rows = []
        with progress_bar(total, f"measuring {model}", "part", show=reading.progress) as bar:
            for part in parts:
                for row in part:
                    rows.append(row)
                    bar.update()

    table = pd.DataFrame(rows)
    seconds = 1 / table.rate
    step = seconds[table.part == BASE].iloc[0]
    table["of_ft"] = (seconds / step).where(table.part.isin(methods), nan)
    table.attrs = {
        "model": model,
        "batch_size": base.batch_size,
        "precision": precision,
        "device": device_name(device),
    }
    return table


def workers_of_a_run(reading: Reading, manifest: Manifest, batch_size: int) -> int:
    """How many processes would decode the images of a long training."""
    split = manifest.split(f"{manifest.reference}/train")
    return worker_count(reading, split, images=MANY, batch_size=batch_size, training=True)


# --- what is measured


class _Parts:
    """The parts of the work that are no training: each a rate of images."""

    def __init__(self, bench: Bench, config: RunConfig):
        self.bench = bench
        self.config = config
        self.split = bench.manifest.split(f"{bench.manifest.reference}/train")

    def rows(self) -> Iterator[dict[str, Any]]:
        """Decode, resize, load, copy where there is a card, forward."""
        device = torch.device(self.bench.device)
        few = self.split.take(range(16))
        files = [few.root / name for name in few.ids]
        decoded: dict[int, Any] = {row: decode(file) for row, file in enumerate(files)}
        images = Images(few, self.bench.clip.transform, decoded=decoded)
        here = processes(1)

        yield row_of(DECODE, per_second(lambda: _each(decode, files), device), by=here)
        rows = list(range(len(few)))
        resized = per_second(lambda: len(images.__getitems__(rows)), device)
        yield row_of(RESIZE, resized, by=here)
        by = processes(int(self.bench.reading.workers))
        yield row_of(LOAD, loaded(self.bench, self.config), by=by)

        pixels = batch_of(self.split, self.bench, self.config.batch_size).pixels
        name = device_name(device)
        if device.type != "cpu":
            if device.type == "cuda":
                pixels = pixels.pin_memory()
            copied = per_second(lambda: len(pixels.to(device, non_blocking=True)), device)
            yield row_of(COPY, copied, by=name)
        pixels = pixels.to(device)
        student = self.bench.student(self.config).eval()
        student.precision = self.config.precision
        yield row_of(FORWARD, per_second(lambda: len(embed(student, pixels)), device), by=name)


def _training_rows(bench: Bench, configs: Sequence[RunConfig]) -> Iterator[dict[str, Any]]:
    """The training step of each configuration."""
    split = bench.manifest.split(f"{bench.manifest.reference}/train")
    batch = batch_of(split, bench, configs[0].batch_size)
    for config in configs:
        with tempfile.TemporaryDirectory() as folder:
            training = TimedTraining(bench, config, batch, Path(folder))
            rate = per_second(training.work, torch.device(bench.device))
        yield row_of(config.method, rate, by=device_name(bench.device))


def _text_rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """Random texts, as those of Lipsum-FT and of the energy gap."""
    clip = bench.clip
    device = torch.device(bench.device)
    count = TEXT_COUNT[device.type != "cpu"]
    tokens = random_texts(clip.tokenizer, count, TEXT_LENGTH, rng(0, "throughput"), clip.vocabulary)
    rate = per_second(lambda: len(clip.embed_texts(tokens)), device)
    yield row_of(TEXTS, rate, by=device_name(device), unit="texts")


def loaded(bench: Bench, config: RunConfig) -> float:
    """Images a second that a training's processes decode and crop, once they have begun."""
    workers = int(bench.reading.workers)
    side_by_side = max(1, workers)
    rounds = max(2, -(-PHOTOGRAPHS // (side_by_side * config.batch_size)))
    reads = PixelExamples(bench, config).batches(range((1 + rounds) * side_by_side))
    reads = iter(reads)
    for _ in islice(reads, side_by_side):
        pass  # processes start, and each reads a batch
    begun_at = time.perf_counter()
    count = sum(len(batch.rows) for batch in reads)
    return count / (time.perf_counter() - begun_at)


class TimedTraining:
    """A training under way that goes `steps` further with every call, by the loop itself.

    It sees one batch, which is in memory, at each step; nothing is validated or saved.
    """

    def __init__(self, bench: Bench, config: RunConfig, batch: Batch, folder: Path):
        self.steps = config.steps // LOGGED
        self.images = self.steps * len(batch.rows)
        run_folder = RunFolder(folder)
        examples = OneBatch(batch, bench.train_split(config))
        self.training, self.state = begun(
            bench, config, run_folder, watch=_end_round, examples=examples
        )

    def __call__(self) -> None:
        """Some steps more: up to the next row of the history."""
        if self.state.step + self.steps >= self.training.steps:
            self.state.step = 0  # so that no step is the last, at which it would be saved
        with contextlib.suppress(_RoundEndError):
            fit(self.training, self.state)

    def work(self) -> int:
        """The same; how many images that took."""
        self()
        return self.images


class _RoundEndError(Exception):
    """Raised within a training, at a row of its history."""


def _end_round(row: dict[str, Any]) -> None:
    raise _RoundEndError(row)


class OneBatch:
    """`Examples` of one batch again and again, and nothing to choose on."""

    def __init__(self, batch: Batch, train: Split):
        self.train = train
        self.selection = None
        self.chosen_by: ChosenBy = ACCURACY
        self._batch = batch

    def batches(self, steps: range) -> Iterator[Batch]:
        """See `Examples`."""
        for _ in steps:
            yield self._batch


OWN = {"method", "steps", "eval_every", "lr", "text_count"}  # settings of a timed training


def timed_config(base: RunConfig, method: str, every: int) -> RunConfig:
    """A training of this method that tells of itself every so many steps, and never ends.

    Random texts come in the papers' proportion to images, so that small batches are like theirs.
    """
    steps = every * LOGGED
    papers = RunConfig()
    text_count = -(-papers.text_count * base.batch_size // papers.batch_size)
    return RunConfig(
        **base.model_dump(exclude=OWN, exclude_defaults=True),
        method=method,
        text_count=text_count,
        steps=steps,
        eval_every=10 * steps,
        lr=1e-6,  # of random weights nothing is learnt: they only must not diverge
    )


# --- how it is measured


def per_second(work: Callable[[], int], device: torch.device, seconds: float = SECONDS) -> float:
    """How many a second `work` does, which returns how many it did; the first call warms up."""
    work()
    rates: list[float] = []
    ends_at = time.perf_counter() + seconds
    while len(rates) < ROUNDS or time.perf_counter() < ends_at:
        count, spent = timed(work, device)
        rates.append(count / spent)
    return median(rates)


def timed(work: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """What `work` returns and the seconds it took, on the device, too."""
    synchronise(device)
    begun_at = time.perf_counter()
    done = work()
    synchronise(device)
    return done, time.perf_counter() - begun_at


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def row_of(part: str, rate: float, *, by: str, unit: str = "images") -> dict[str, Any]:
    """A row of the table."""
    return {"part": part, "rate": rate, "unit": unit, "by": by}


def _each(function: Callable[[Any], object], values: Sequence[Any]) -> int:
    for value in values:
        function(value)
    return len(values)


# --- what it is measured on


def photographs(
    folder: Path,
    files: int,
    domains: Sequence[str] = ("photographs",),
    *,
    rows: int = 0,
    size: tuple[int, int] = (500, 375),
    holdout: float = 0.0,
) -> Manifest:
    """A data set of made-up photographs: so many files a domain, for train and for test.

    rows: of each list, the others are links to the same; 0: as many as files. The manifest lies
    beside the files, as manifest.yaml.
    """
    for number, domain in enumerate(domains):
        (folder / domain).mkdir(parents=True)
        lines = []
        for row in range(rows or files):
            image = folder / domain / f"{row}.jpg"
            if row < files:
                made_photograph(number * files + row, *size).save(image, quality=90)
            else:
                image.hardlink_to(folder / domain / f"{row % files}.jpg")
            lines.append(f"{domain}/{row}.jpg {row % files % CLASSES}\n")
        for part in ("train", "test"):
            write_text(folder / f"{domain}_{part}.txt", "".join(lines))
    values = {
        "name": "photographs",
        "title": "Made-up photographs",
        "domains": list(domains),
        "reference": domains[0],
        "classes": [f"class {number}" for number in range(CLASSES)],
        "root": ".",
        "holdout": holdout,
        "templates": ["a photo of a {}."],
    }
    file = folder / "manifest.yaml"
    write_text(file, json.dumps(values))
    return Manifest.of(values, file)


def batch_of(split: Split, bench: Bench, size: int) -> Batch:
    """One batch of a split, of the model's size; its rows come again where they are too few."""
    few = split.take(range(min(size, len(split))))
    images = Images(few, bench.clip.transform)
    whole = Batch.join(images.__getitems__(list(range(len(few)))))
    rows = torch.arange(size) % len(few)
    pixels: Tensor = whole.pixels[rows]
    return Batch(pixels, whole.labels[rows], whole.rows[rows])
