"""Real models against the machine's limits: each figure a ratio, measured in one run. `make bench`.

    python tests/benchmarks/bench_model.py            # small on a processor, full on a card
    python tests/benchmarks/bench_model.py --only step,sweep --models ViT-B-32 --json FILE
    python tests/benchmarks/bench_model.py --only case # ViT-B/16, 160 images, 4 minutes

Weights are random, photographs made up, no model has under 80 million parameters. Ways to do one
thing are timed in turn, after a turn that warms up; a ratio is the median of five turns, with the
least and the largest. Each section is a process of its own, so that its peak memory is its own.

What it is measured against:
- step: `Bare`, the fastest plain loop that we can write with open_clip: fused AdamW, gradients set
  to None, the same precision and batch, nothing read back. clipft's is its own loop, `fit`, with
  the batch in memory. Random texts are as many to an image as in the papers, 80 to 256.
- sweep: decoding every image once, and bare forwards of every alpha on pixels that are decoded; and
  the usual way, as in the released WiSE-FT code: a checkpoint per alpha, every image decoded again.
- extraction: a plain DataLoader with as many processes, and a forward; and what bounds any of them.
- share of peak: operations of the bare step, by torch's own counter, in a second; against products
  of two large matrices in the same precision, timed in the same turns.

The JSON's `measured` are rows as data_manifests/cost/steps.yaml takes them.
"""

import argparse
import copy
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from bench_energy_gap import measure as measure_gap
from bench_texts import texts_in_turn
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms.functional import pil_to_tensor

import clipft
from clipft.cli.terminal_tables import show
from clipft.config import ALPHAS, Reading, RunConfig
from clipft.data.images import decode
from clipft.disk.cache import without_memory
from clipft.disk.files import write_json
from clipft.evaluation.bench import Bench
from clipft.evaluation.mixtures import Mixtures
from clipft.inputs.batches import HANDED, READ, pixel_chunks
from clipft.inputs.workers import worker_count
from clipft.methods import METHODS
from clipft.models.embeddings import FORWARD, extract, tower_digest
from clipft.models.load import device_name, pick_device
from clipft.models.precision import computing_in
from clipft.posthoc.wise import wise
from clipft.reports.throughput import (
    MANY,
    TimedTraining,
    batch_of,
    loaded,
    photographs,
    timed,
    timed_config,
)
from clipft.runs import machine
from clipft.runs.estimate import Steps

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5
MODELS = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "RN50")
USUAL = "ViT-B-32"  # the model that is swept in the usual way, too
# Trainings side by side, each beside FT: as many as fit into a common memory.
GROUPS = (("bare", "kd"), ("car", "lipsum"), ("flyp", "ema"), ("l2sp",))
FILES = 64  # photographs that differ; more rows are links to them

# what -> (bound on a processor, bound on a card) and whether it is the most or the least
AT_MOST, AT_LEAST = "<=", ">="
TARGETS = {
    "FT / bare loop": (AT_MOST, 1.05, 1.05),
    "KD / FT": (AT_MOST, 1.40, 1.15),
    "CAR-FT / FT": (AT_MOST, 1.40, 1.15),
    "Lipsum-FT / FT": (AT_MOST, 1.40, 1.15),
    "FLYP / FT": (AT_MOST, 1.35, 1.35),
    "sweep / max(decode, forwards)": (AT_MOST, 1.10, 1.05),
    "bare extraction / extraction": (AT_LEAST, 0.95, 0.95),
    "its limit / extraction": (AT_LEAST, 0.90, 0.90),
    "8 random tokens, padded / short": (AT_LEAST, 6, 6),
    "class prompts, padded / short": (AT_LEAST, 3, 3),
    "largest difference of embeddings": (AT_MOST, 1e-5, 1e-5),
    "train 3 steps, score 3 alphas": (AT_MOST, 240, 240),
}


@dataclass(frozen=True)
class Size:
    """How much is measured: models of each section, alphas, splits, images, images of a batch."""

    step: tuple[str, ...]
    sweep: tuple[str, ...]
    extract: tuple[str, ...]
    alphas: tuple[float, ...]
    splits: int
    images: int  # of a split that is swept
    extracted: int
    gap: int  # images of the energy gap
    steps: int  # of training in a turn
    batch_size: Mapping[str, int]


# On two cores about 5 minutes; an hour and a half; on a card.
SMALL = Size(
    step=("ViT-B-32", "RN50"),
    sweep=("ViT-B-32",),
    extract=("ViT-B-32",),
    alphas=(0.0, 0.3, 0.6, 1.0),
    splits=1,
    images=32,
    extracted=48,
    gap=200_000,
    steps=1,
    batch_size=dict.fromkeys(MODELS, 4) | {"ViT-B-32": 8},
)
FULL = replace(
    SMALL,
    step=MODELS,
    sweep=MODELS,
    extract=MODELS,
    alphas=ALPHAS,
    splits=4,
    images=48,
    extracted=256,
    gap=1_000_000,
    batch_size={"ViT-B-32": 64, "ViT-B-16": 16, "ViT-L-14": 4, "RN50": 16},
)
ON_CARD = replace(
    FULL,
    images=2048,
    extracted=16_384,
    steps=10,
    batch_size={"ViT-B-32": 256, "ViT-B-16": 256, "ViT-L-14": 64, "RN50": 256},
)


@dataclass(frozen=True)
class Plan:
    """One section of one model, on a device, in a precision."""

    section: str
    model: str
    device: torch.device
    precision: str
    size: Size
    is_small: bool

    @property
    def config(self) -> RunConfig:
        """Of its runs."""
        return RunConfig(
            model=self.model,
            pretrained="none",
            batch_size=self.size.batch_size.get(self.model, 8),
            precision=self.precision,
            selection="last",
        )

    def row(self, what: str, values: list[float], unit: str = "x") -> dict:
        """A line of the table: the median of values, the least and the largest."""
        middle = statistics.median(values)
        found = {"section": self.section, "model": self.model, "precision": self.precision}
        found |= {"what": what, "median": middle, "min": min(values), "max": max(values)}
        return found | {"unit": unit, **judged(what, middle, self.device.type)}


def judged(what: str, value: float, device: str) -> dict:
    """Which bound a figure has to hold, and whether it is met."""
    if what not in TARGETS:
        return {"target": "", "met": ""}
    sense, on_cpu, on_card = TARGETS[what]
    bound = on_cpu if device == "cpu" else on_card
    met = value <= bound if sense == AT_MOST else value >= bound
    return {"target": f"{sense} {bound:g}", "met": "met" if met else "MISSED"}


def in_turn(ways: Mapping[str, Callable[[], object]], device: torch.device) -> dict[str, list]:
    """Seconds of each way in five rounds: one after the other, begun elsewhere each time."""
    names = list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-1, ROUNDS):  # the first one warms up
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            _, spent = timed(ways[name], device)
            if turn >= 0:
                seconds[name].append(spent)
    return seconds


def ratios(seconds: list[float], others: list[float]) -> list[float]:
    """Of the seconds of one round, for each round."""
    return [one / other for one, other in zip(seconds, others, strict=True)]


@contextmanager
def benched(plan: Plan, domains: int = 1, rows: int = FILES, workers="auto") -> Iterator[Bench]:
    """A model on made-up photographs; nothing comes from the cache, and nothing stays there."""
    with tempfile.TemporaryDirectory() as folder, without_memory():
        names = [f"hand{number}" for number in range(domains)]
        manifest = photographs(Path(folder), min(FILES, rows), names, rows=rows)
        reading = Reading(device=str(plan.device), workers=workers, progress=False)
        yield Bench(plan.config, reading, kept=manifest)


# --- a training step


class Bare:
    """The fastest plain loop that we can write with open_clip, of cross-entropy on one batch."""

    def __init__(self, bench: Bench, plan: Plan, batch):
        clip = bench.clip
        self.visual = copy.deepcopy(clip.model.visual).requires_grad_(True).train()
        if any(isinstance(module, nn.BatchNorm2d) for module in self.visual.modules()):
            self.visual = self.visual.to(memory_format=torch.channels_last)
        self.head = nn.Parameter(bench.zero_shot.clone())
        self.scale = clip.scale
        preprocessing = clip.config["preprocess_cfg"]
        self.mean, self.std = (
            255 * torch.tensor(preprocessing[name], device=plan.device).view(3, 1, 1)
            for name in ("mean", "std")
        )
        self.optimizer = torch.optim.AdamW(
            [*self.visual.parameters(), self.head], lr=1e-6, weight_decay=0.0, fused=True
        )
        self.batch, self.plan = batch, plan

    def __call__(self) -> None:
        for _ in range(self.plan.size.steps):
            self.step()

    def step(self) -> None:
        device = self.plan.device
        pixels = self.batch.pixels.to(device, non_blocking=True)
        labels = self.batch.labels.to(device, non_blocking=True)
        with computing_in(self.plan.precision, device):
            images = self.visual(pixels.float().sub_(self.mean).div_(self.std))
            logits = self.scale * normalize(images.float(), dim=-1) @ self.head
            loss = cross_entropy(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


class Products:
    """Products of two large matrices in the same precision: what the machine can do."""

    def __init__(self, plan: Plan):
        side = 2048 if plan.device.type == "cpu" else 8192
        kind = torch.bfloat16 if plan.precision == "bf16-mixed" else torch.float32
        self.factors = [torch.randn(side, side, device=plan.device, dtype=kind) for _ in range(2)]
        self.times = 4 if plan.device.type == "cpu" else 20
        self.operations = self.times * 2 * side**3
        self.plan = plan

    def __call__(self) -> None:
        one, other = self.factors
        with computing_in(self.plan.precision, self.plan.device):
            for _ in range(self.times):
                one @ other


def step(plan: Plan) -> Iterator[dict]:
    """The methods against FT, FT against the bare loop, the bare loop against the peak."""
    groups = GROUPS
    if plan.is_small and plan.model != "ViT-B-32":
        groups = (("bare",),)
    with benched(plan) as bench, tempfile.TemporaryDirectory() as folder:
        split = bench.manifest.split(f"{bench.manifest.reference}/train")
        batch = batch_of(split, bench, plan.config.batch_size)
        if plan.device.type == "cuda":
            batch = replace(batch, pixels=batch.pixels.pin_memory())

        def training(method: str) -> TimedTraining:
            config = timed_config(plan.config, method, plan.size.steps)
            place = Path(folder) / method
            place.mkdir(exist_ok=True)
            return TimedTraining(bench, config, batch, place)

        ft = training("ft")
        for others in groups:
            ways: dict = {"ft": ft}
            for name in others:
                ways[name] = Bare(bench, plan, batch) if name == "bare" else training(name)
            if "bare" in others:
                ways["peak"] = Products(plan)
            seconds = in_turn(ways, plan.device)
            for name in others:
                yield from _step_rows(plan, name, seconds, ways)


def _step_rows(plan: Plan, name: str, seconds: Mapping, ways: Mapping) -> Iterator[dict]:
    steps, size = plan.size.steps, plan.config.batch_size

    def measured(method: str) -> dict:
        second = statistics.median(seconds[method]) / steps
        return plan.row(f"{METHODS[method].title} step of {size}", [second], "s") | {
            "measured": {"method": method, "batch_size": size, "steps_per_second": 1 / second}
        }

    if name != "bare":
        yield measured(name)
        title = f"{METHODS[name].title} / FT"
        yield plan.row(title, ratios(seconds[name], seconds["ft"]))
        return
    yield measured("ft")
    yield plan.row("FT / bare loop", ratios(seconds["ft"], seconds["bare"]))
    with FlopCounterMode(display=False) as counter:
        ways["bare"].step()
    operations = steps * counter.get_total_flops()
    peak = [ways["peak"].operations / spent for spent in seconds["peak"]]
    yield plan.row("peak, by products of matrices", [rate / 1e12 for rate in peak], "TFLOP/s")
    for way, title in (("bare", "bare loop"), ("ft", "FT")):
        rates = [operations / spent for spent in seconds[way]]
        yield plan.row(f"{title}, share of peak", ratios(rates, peak))


# --- a sweep, an extraction


class Files(Dataset):
    """A split as open_clip's users read it: by Pillow, to the model's size, as uint8."""

    def __init__(self, split, transform):
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int):
        pixels = self.transform(decode(self.split.root / self.split.ids[row]))
        return pil_to_tensor(pixels), self.split.labels[row]


def plain_batches(split, bench: Bench, plan: Plan, workers: int) -> DataLoader:
    files = Files(split, bench.clip.transform)
    pinned = plan.device.type == "cuda"
    return DataLoader(files, batch_size=FORWARD, num_workers=workers, pin_memory=pinned)


@torch.inference_mode()
def forwards(student, parts, plan: Plan) -> None:
    """Nothing but a forward of pixels that are decoded, and on the device."""
    with computing_in(plan.precision, plan.device):
        for part in parts:
            for pixels in part.split(FORWARD):
                student(pixels)


def moved(start: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A model a little away from zero-shot: what training made of it does not matter for time."""
    generator = torch.Generator().manual_seed(0)
    tuned = {}
    for name, tensor in start.items():
        noise = torch.randn(tensor.shape, generator=generator).to(tensor.device)
        tuned[name] = tensor + 1e-3 * noise
    return tuned


def of_a_run(bench: Bench, split) -> int:
    """The processes that decode a split as long as those of a real run."""
    return worker_count(bench.reading, split, images=MANY, batch_size=HANDED, waiting=READ)


def sweep(plan: Plan) -> Iterator[dict]:
    """All alphas of all splits: against decoding, against forwards, against the usual way."""
    size = plan.size
    with benched(plan, size.splits, size.images) as bench, tempfile.TemporaryDirectory() as folder:
        splits = [bench.manifest.split(f"{name}/test") for name in bench.manifest.domains]
        workers = 0 if plan.is_small else of_a_run(bench, splits[0])
        reading = replace(bench.reading, workers=workers)
        student = bench.student(plan.config).eval()
        student.precision = plan.precision
        start = bench.student(plan.config).state_dict()
        tuned = moved(start)
        texts = torch.eye(len(bench.zero_shot))  # any: they count once, before the sweep
        # The turn that warms up makes the digests of both towers: of mixtures they are made once.
        mixtures = Mixtures(student, start, [tuned], lambda: texts, reading=reading)

        def decoding() -> list[torch.Tensor]:
            chunks = (pixel_chunks(split, student.transform, reading) for split in splits)
            return [chunk.pixels for chunks_of in chunks for chunk in chunks_of]

        def bare_forwards() -> None:
            for _ in size.alphas:
                forwards(student, pixels, plan)

        def usual() -> None:
            for alpha in size.alphas:
                file = Path(folder) / "mixture.pt"
                torch.save(wise(start, tuned, alpha), file)
                student.load_state_dict(torch.load(file, weights_only=True))
                for split in splits:
                    right = 0
                    for part, labels in plain_batches(split, bench, plan, workers):
                        with torch.inference_mode(), computing_in(plan.precision, plan.device):
                            images = student(part.to(plan.device))[0]
                            found = student.logits(images.float()).argmax(-1).cpu()
                        right += int((found == labels).sum())

        pixels = [chunk.to(plan.device) for chunk in decoding()]
        ways = {
            "sweep": lambda: mixtures.score(splits, size.alphas),
            "decode": decoding,
            "forwards": bare_forwards,
        }
        if plan.model == USUAL:
            ways["usual"] = usual
        yield from _sweep_rows(plan, in_turn(ways, plan.device), workers)


def _sweep_rows(plan: Plan, seconds: dict[str, list[float]], workers: int) -> Iterator[dict]:
    size = plan.size
    count = len(size.alphas)
    least = [max(pair) for pair in zip(seconds["decode"], seconds["forwards"], strict=True)]
    swept = seconds["sweep"]
    yield plan.row("sweep / max(decode, forwards)", ratios(swept, least))
    if "usual" not in seconds:
        return
    yield plan.row("usual way / sweep", ratios(seconds["usual"], swept))
    images = size.splits * size.images
    d = statistics.median(seconds["decode"])
    f = statistics.median(seconds["forwards"]) / count
    # Processes decode beside the forwards where those are on a card; else all share the cores.
    beside = workers and plan.device.type != "cpu"
    usual = count * (max(d, f) if beside else d + f)
    ours = max(d, count * f) if beside else d + count * f
    way = "max(d, f)" if beside else "(d + f)"
    mine = "max(d, k f)" if beside else "d + k f"
    about = f"k = {count} alphas, {images} images, {workers} processes: decode d = {d:.2f} s,"
    about += f" forward f = {f:.2f} s; usual k {way} = {usual:.2f} s, ours {mine} = {ours:.2f} s"
    yield plan.row("usual way / sweep, by arithmetic", [usual / ours]) | {"note": about}


def extraction(plan: Plan) -> Iterator[dict]:
    """Embeddings of a split against a bare loop, and against what bounds both."""
    with benched(plan, rows=plan.size.extracted) as bench:
        split = bench.manifest.split(f"{bench.manifest.reference}/test")
        student = bench.student(plan.config).eval()
        student.precision = plan.precision
        counts = {0} if plan.is_small else {of_a_run(bench, split), 2}
        for workers in sorted(counts):
            yield from _extraction(plan, bench, split, student, workers)


def _extraction(plan: Plan, bench: Bench, split, student, workers: int) -> Iterator[dict]:
    reading = replace(bench.reading, workers=workers)

    def bare() -> None:
        embedded = []
        for part, _ in plain_batches(split, bench, plan, workers):
            with torch.inference_mode(), computing_in(plan.precision, plan.device):
                pixels = part.to(plan.device, non_blocking=True)
                embedded.append(student(pixels)[0].float())
        torch.cat(embedded).cpu()

    def reads() -> list[torch.Tensor]:
        return [chunk.pixels for chunk in pixel_chunks(split, student.transform, reading)]

    pixels = [chunk.to(plan.device) for chunk in reads()]
    ways = {
        "bare": bare,
        "ours": lambda: extract(student, split, reading),
        "read": reads,
        "forwards": lambda: forwards(student, pixels, plan),
        "digest": lambda: tower_digest(student.state_dict()),
    }
    seconds = in_turn(ways, plan.device)
    ours = seconds["ours"]
    if plan.is_small:
        ours = [one - two for one, two in zip(ours, seconds["digest"], strict=True)]
        yield plan.row("digest of a tower, left out of the extraction", seconds["digest"], "s")
    pairs = zip(seconds["read"], seconds["forwards"], strict=True)
    # On a processor reading and forwards share the cores.
    limit = [sum(pair) if plan.device.type == "cpu" else max(pair) for pair in pairs]
    note = {"note": f"{len(split)} JPEGs of 500 px, {workers} processes"}
    yield plan.row("bare extraction / extraction", ratios(seconds["bare"], ours)) | note
    yield plan.row("its limit / extraction", ratios(limit, ours)) | note
    yield plan.row("extraction", [len(split) / spent for spent in ours], "images/s") | note


# --- without images, or without a model


def gap(plan: Plan) -> Iterator[dict]:
    """Energy gaps with their errors, by second moments, of many images and 10 000 texts."""
    seconds, megabytes, _ = measure_gap("errors", plan.size.gap, 10_000)
    what = f"energy gap of {plan.size.gap:,} images x 10,000 texts, D = 512"
    yield plan.row(what, [seconds], "s")
    yield plan.row(f"{what}, beyond its input", [megabytes], "MB")


def texts(plan: Plan) -> Iterator[dict]:
    """Texts at their own length against padded ones."""
    for name, found, difference in texts_in_turn(plan.device):
        yield plan.row(f"{name}, padded / short", found)
        yield plan.row("largest difference of embeddings", [difference], "")


def reading(plan: Plan) -> Iterator[dict]:
    """Images a second, from a JPEG of 500 px to a crop that a model is trained on."""
    cores = len(os.sched_getaffinity(0))
    counts = [0, *(count for count in (1, 2, 4, 8, 16) if count <= cores)]
    size = 32
    config = plan.config.model_copy(update={"batch_size": size})
    with benched(plan, rows=3 * size * max(counts)) as bench:
        shared = {"manifest": bench.manifest, "clip": bench.clip}
        for count in counts:
            one = Bench(config, replace(bench.reading, workers=count), kept=bench.kept)
            vars(one).update(shared)  # the model is loaded once
            rates = [loaded(one, config) for _ in range(ROUNDS)]
            yield plan.row(f"decode and crop, {count} processes", rates, "images/s")


def case(plan: Plan) -> Iterator[dict]:
    """ViT-B/16, 20 classes, 160 images of 224 px: 3 steps of Lipsum-FT, 3 alphas of 2 domains."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["CLIPFT_CACHE"] = str(folder / "cache")
        photographs(folder / "data", 80, ("hand0", "hand1"), size=(224, 224), holdout=0.25)
        config = RunConfig(
            manifest=str(folder / "data/manifest.yaml"),
            model=plan.model,
            pretrained="none",
            method="lipsum",
            steps=3,
            batch_size=16,
        )
        reading = Reading(device=str(plan.device), progress=False)
        start = time.perf_counter()
        run = clipft.train(config, folder / "runs", reading=reading)
        trained = time.perf_counter()
        clipft.score(run, [0.0, 0.5, 1.0], reading=reading)
        scored = time.perf_counter()
    yield plan.row("train 3 steps, with all that comes before", [trained - start], "s")
    yield plan.row("score 3 alphas, with all that comes before", [scored - trained], "s")
    yield plan.row("train 3 steps, score 3 alphas", [scored - start], "s")


SECTIONS = {
    "step": step,
    "sweep": sweep,
    "extract": extraction,
    "gap": gap,
    "texts": texts,
    "read": reading,
    "case": case,
}
ON_REQUEST = ("case",)  # 4 minutes of its own


# --- one process for each section and model, one table of all


def plans(asked: argparse.Namespace) -> Iterator[Plan]:
    """What is to be measured."""
    device = torch.device(pick_device(asked.device))
    on_card = device.type != "cpu"
    is_small = asked.small or not (asked.full or on_card)
    size = SMALL if is_small else ON_CARD if on_card else FULL
    precisions = asked.precision or (["bf16-mixed", "tf32"] if on_card else ["32-true"])
    for section in asked.only or [name for name in SECTIONS if name not in ON_REQUEST]:
        models = {"case": ("ViT-B-16",)}.get(section, getattr(size, section, None))
        if not isinstance(models, tuple):
            models = ("ViT-B-32",)  # of which the size alone counts
        elif asked.models and section != "case":
            models = asked.models
        for model in models:
            by_precision = section in ("step", "sweep", "extract")
            for precision in precisions if by_precision else precisions[:1]:
                yield Plan(section, model, device, precision, size, is_small)


def measured_apart(plan: Plan, arguments: list[str]) -> list[dict]:
    """The rows of a plan, from a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, __file__, *arguments, "--rows", file.name]
        command += ["--only", plan.section, "--models", plan.model, "--precision", plan.precision]
        subprocess.run(command, check=True, env=environment)
        return json.loads(Path(file.name).read_text())


def measured_here(plan: Plan) -> list[dict]:
    """The rows of a plan, and its peak memory."""
    begun = time.perf_counter()
    rows = list(SECTIONS[plan.section](plan))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    rows.append(plan.row("peak memory", [peak], "GB"))
    if plan.device.type == "cuda":
        on_card = torch.cuda.max_memory_allocated() / 1e9
        rows.append(plan.row("peak memory on the card", [on_card], "GB"))
    rows.append(plan.row("the section took", [time.perf_counter() - begun], "s"))
    return rows


def left_out(done: list[Plan]) -> str:
    """Which models, of which sections, were not measured."""
    missing = []
    for section in ("step", "sweep", "extract"):
        models = {plan.model for plan in done if plan.section == section}
        names = [model for model in MODELS if model not in models]
        if names:
            missing.append(f"{section} of {', '.join(names)}")
    return "; ".join(missing)


def as_read(row: dict) -> dict:
    """A row of the table."""
    spread = "" if row["min"] == row["max"] else f"{row['min']:.3g} ... {row['max']:.3g}"
    shown = {name: row[name] for name in ("section", "model", "precision", "what")}
    shown["median"] = f"{row['median']:.3g} {row['unit']}"
    return shown | {"min ... max": spread, "target": row["target"], "": row["met"]}


def record(rows: list[dict], plan: Plan) -> dict:
    """What the JSON holds."""
    steps = []
    for row in rows:
        if "measured" in row:
            about = {"model": row["model"], "precision": row["precision"]}
            about |= {"card": device_name(plan.device), "source": f"bench_model, {machine.today()}"}
            steps.append(Steps(**row.pop("measured"), **about).model_dump())
    return {
        "date": machine.today(),
        "machine": machine.cores(),
        "device": device_name(plan.device),
        "threads": torch.get_num_threads(),
        "versions": machine.versions(),
        **machine.commit(),
        "size": "small" if plan.is_small else "full",
        "rows": rows,
        "measured": steps,
    }


def words(text: str) -> list[str]:
    return text.split(",")


def main(arguments: list[str]) -> int:
    """Measure, print, write; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="also on a card")
    parser.add_argument("--full", action="store_true", help="also on a processor: long")
    parser.add_argument("--only", type=words, help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--models", type=words, help="names of open_clip")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", type=words, help="of 32-true, tf32, bf16-mixed")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)  # of one plan, for the parent
    asked = parser.parse_args(arguments)
    unknown = set(asked.only or ()) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; known: {', '.join(SECTIONS)}")

    to_do = list(plans(asked))
    if asked.rows:
        write_json(asked.rows, measured_here(to_do[0]))
        return 0
    sizes = [name for name in ("--small", "--full") if getattr(asked, name[2:])]
    common = [*sizes, "--device", asked.device]
    rows = [row for plan in to_do for row in measured_apart(plan, common)]

    about = record(rows, to_do[0])
    title = f"{about['device']}, {about['machine']}, {about['threads']} threads, {about['size']}"
    show([as_read(row) for row in rows], f"{title}, {about['date']}")
    for row in rows:
        if "note" in row:
            print(f"{row['model']} {row['precision']}, {row['what']}: {row['note']}")
    if not asked.only and left_out(to_do):
        print(f"left out at this size: {left_out(to_do)}; --full has them")
    if asked.json:
        write_json(asked.json, about)
    missed = [f"{row['model']} {row['what']}" for row in rows if row["met"] == "MISSED"]
    print(f"missed: {', '.join(missed)}" if missed else "every target is met")
    return 1 if missed else 0


def test_real_models_against_the_machine():
    """In a process of its own: here conftest leaves torch one thread."""
    file = ROOT / "papermill_runs/out/bench_model.json"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, __file__, "--json", str(file)]
    assert subprocess.run(command, check=False, env=environment).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
