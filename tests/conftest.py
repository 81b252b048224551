"""A miniature world for the tests: a DomainNet-shaped tree, a small random-weights CLIP, and short
runs on them.
"""

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from forks import Forks
from grouping import (
    pytest_collection_modifyitems as pytest_collection_modifyitems,
    pytest_xdist_auto_num_workers as pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler as pytest_xdist_make_scheduler,
)
from PIL import Image

from clipft.config import ALPHAS, Reading, RunConfig
from clipft.disk.files import read_json, write_json
from clipft.inputs import batches
from clipft.runs.folder import THUMBNAILS
from clipft.runs.run import Run

os.environ.setdefault("OMP_NUM_THREADS", "1")
LEAN = str(Path(__file__).parent / "lean")  # what processes that the tests start do without
if LEAN not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [LEAN, os.environ.get("PYTHONPATH")]))
# Under nohup, or behind `&`, these are ignored, and what the tests start would inherit that.
for heard, handler in {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGHUP: signal.SIG_DFL,
}.items():
    if signal.getsignal(heard) == signal.SIG_IGN:
        signal.signal(heard, handler)
torch.set_num_threads(1)

CLASSES = ["apple", "bee", "ice_cream", "zebra"]
DOMAINS = ["real", "sketch", "clipart"]
MODEL = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 16,
            "patch_size": 8,
            "width": 32,
            "layers": 2,
            "head_width": 16,
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    },
    "preprocess_cfg": {"size": 16, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
}


def draw_tree(root: Path, domains=DOMAINS, classes=CLASSES, train=8, test=5) -> Path:
    """Images whose class is a colour and whose domain a pattern: learnable in a few steps; official
    list files.
    """
    rng = np.random.default_rng(0)
    for domain_number, domain in enumerate(domains):
        for part, count in (("train", train), ("test", test)):
            lines = []
            for label, name in enumerate(classes):
                folder = root / domain / name
                folder.mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    image = np.zeros((20, 24, 3)) + np.array(
                        [80 * (label % 2), 80 * (label // 2), 120]
                    )
                    image[:: 2 + domain_number] += 60
                    image += rng.normal(0, 25, image.shape)
                    file = f"{domain}/{name}/{domain}_{label:03d}_{part}{number}.png"
                    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / file)
                    lines.append(f"{file} {label}\n")
            (root / f"{domain}_{part}.txt").write_text("".join(lines))
    return root


def noted(monkeypatch, function: str) -> list[Path]:
    """The files that a function of inputs.batches decodes from here on."""
    files = []
    decoding = getattr(batches, function)

    def noting(file, how):
        files.append(file)
        return decoding(file, how)

    monkeypatch.setattr(batches, function, noting)
    return files


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """The files that Pillow decodes for a model to see."""
    return noted(monkeypatch, "decode")


@contextlib.contextmanager
def held_elsewhere(folder: Path):
    """A folder locked by another process."""
    script = "import sys, time; from clipft.disk.lock import lock\n"
    script += "with lock(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder that all workers of this run of the tests have in common."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    (base / "shared").mkdir(exist_ok=True)
    return base / "shared"


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """Starts commands as processes that have torch imported."""
    with Forks(tmp_path_factory.mktemp("f")) as forks:
        yield forks


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """A folder that the first worker who asks fills by make(folder), while the others wait."""
    with FileLock(f"{folder}.lock"):
        done = folder.with_name(f"{folder.name}.done")
        if not done.exists():
            # A worker that was killed may have left a part.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def one_tokenizer():
    """open_clip's tokenizer, read once: it takes as long as a few steps on the miniature world."""
    import open_clip

    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(open_clip.SimpleTokenizer)
        patch.setattr("open_clip.factory.SimpleTokenizer", once)
        yield


@pytest.fixture(scope="session", autouse=True)
def unsynced():
    """No file of a test must outlive the machine: the disk is not waited for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def read_once(shared):
    """What runs are made of and no test changes is read once by each worker: the zero-shot models
    in the folder of all workers, and Fabric's search through all installed packages.

    A model that is no longer what was read fails whoever asks for it next.
    """
    from lightning_fabric import fabric

    from clipft.evaluation import bench
    from clipft.models import load

    plain, kept = bench.load_clip, {}

    def load_clip(model: str, pretrained: str = "", device="cpu", *, recorded: bool = False):
        model_path = Path(model.removeprefix("local-dir:"))
        if not (model_path.is_relative_to(shared) and Path(pretrained).is_relative_to(shared)):
            return plain(model, pretrained, device, recorded=recorded)
        key = (model, pretrained, str(device), recorded)
        if key not in kept:
            said = []
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(load, "_say", said.append)
                clip = plain(model, pretrained, device, recorded=recorded)
            kept[key] = clip, said, _state_of(clip.model)
        clip, said, state = kept[key]
        assert _state_of(clip.model) == state, f"{pretrained} was changed where it was in use"
        for line in said:
            load._say(line)
        return clip

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "load_clip", load_clip)
        callbacks = functools.cache(fabric._load_external_callbacks)
        patch.setattr(fabric, "_load_external_callbacks", callbacks)
        yield


def _state_of(net: torch.nn.Module) -> list:
    """What another value, another place, gradients or the mode of training would change."""
    tensors = [*net.parameters(), *net.buffers()]
    places = [(each.data_ptr(), each._version, each.requires_grad) for each in tensors]
    return [*places, *[module.training for module in net.modules()]]


def write_model(folder: Path, config: dict) -> None:
    """An open_clip local-dir: folder without weights, and a checkpoint of random weights in it."""
    import open_clip

    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = open_clip.CLIP(**config["model_cfg"])
    torch.save(net.state_dict(), folder / "random.pt")


@pytest.fixture(scope="session")
def model_folder(shared, one_tokenizer) -> Path:
    """The folder of a tiny CLIP, see `write_model`."""
    return made_once(shared / "model", lambda folder: write_model(folder, MODEL))


@pytest.fixture(scope="session")
def resnet_folder(shared, one_tokenizer) -> Path:
    """The same, of a CLIP whose vision tower is a ResNet: it has BatchNorms, hence buffers."""
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}
    vision |= {"patch_size": None}
    config = MODEL | {"model_cfg": MODEL["model_cfg"] | {"vision_cfg": vision}}
    config["preprocess_cfg"] = MODEL["preprocess_cfg"] | {"size": 32}
    return made_once(shared / "resnet", lambda folder: write_model(folder, config))


@pytest.fixture
def checkpoint(model_folder) -> str:
    """Path of the random-weights checkpoint."""
    return str(model_folder / "random.pt")


@pytest.fixture(scope="session")
def tree(shared) -> Path:
    """The folder that CLIPFT_DATA names; do not change what is in it."""
    return made_once(shared / "data", lambda base: draw_tree(base / "mini"))


@pytest.fixture(scope="session")
def manifest_file(shared) -> Path:
    """A manifest of the miniature tree."""
    return made_once(shared / "manifests", _write_manifest) / "mini.yaml"


def _write_manifest(folder: Path) -> None:
    (folder / "mini.classes.yaml").write_text(yaml.safe_dump(CLASSES))
    values = {
        "name": "mini",
        "title": "Mini",
        "card": "made up",
        "licence": "none",
        "domains": DOMAINS,
        "reference": "real",
        "classes": "mini.classes.yaml",
        "labels": "folder",
        "holdout": 0.25,
        "templates": ["a photo of a {}.", "{}"],
    }
    (folder / "mini.yaml").write_text(yaml.safe_dump(values))


@pytest.fixture
def world(tree, manifest_file, model_folder, tmp_path, monkeypatch):
    """Makes run configurations on the miniature world; runs go to `world.runs`."""
    monkeypatch.setenv("CLIPFT_DATA", str(tree))
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    return World(manifest_file, model_folder, tmp_path / "runs")


QUIET = Reading(device="cpu", progress=False)
FEW_TEXTS = 50  # random texts of the energy gap: enough for a test


class Lent:
    """What a bench lends to a configuration: of `self.bench` and `self.config`."""

    @property
    def clip(self):
        return self.bench.clip

    @property
    def gap_texts(self):
        return self.bench.random_texts

    def train_split(self):
        return self.bench.train_split(self.config)

    def selection_split(self):
        return self.bench.selection_split(self.config)

    def reported_splits(self):
        return self.bench.reported_splits(self.config)


class OnBench(Lent):
    """A configuration with all that its runs are made of: what tests ask of a run that need not be
    trained.
    """

    def __init__(
        self, config: RunConfig, reading: Reading = QUIET, gap_texts: int = FEW_TEXTS, kept=None
    ):
        from clipft.evaluation.bench import Bench

        self.config = config
        self.bench = Bench(config, reading, gap_texts, kept)

    @cached_property
    def student(self):
        return self.bench.student(self.config)

    @cached_property
    def anchor(self):
        return self.bench.student(self.config).state_dict()

    @property
    def manifest(self):
        return self.bench.manifest

    @property
    def prompts(self):
        return self.bench.prompts

    @property
    def zero_shot(self):
        return self.bench.zero_shot

    def captions(self):
        return self.bench.captions()

    def features(self, split: str, alpha: float = 0.0):
        """Of the zero-shot model: nothing was tuned."""
        from clipft.evaluation.mixtures import Mixtures

        ends = [self.anchor]
        mixtures = Mixtures(self.student, self.anchor, ends, self.bench.gap_moment, reading=QUIET)
        return mixtures.features(self.manifest.split(split), alpha)


class Trained(Lent, Run):
    """A finished run that also computes: what tests ask of the weights behind it."""

    gap_texts_count = FEW_TEXTS

    @classmethod
    def of(cls, run: Run) -> "Trained":
        return cls(run.folder, run.config, run.after, run.made_of)

    @cached_property
    def on_bench(self) -> OnBench:
        kept = Run.open(self.folder).manifest
        return OnBench(self.config, gap_texts=self.gap_texts_count, kept=kept)

    @property
    def bench(self):
        return self.on_bench.bench

    @cached_property
    def mixtures(self):
        return self.bench.mixtures(self)

    @property
    def student(self):
        return self.mixtures.student

    @property
    def anchor(self):
        return self.mixtures.start

    @property
    def tuned(self):
        return self.mixtures.tuned

    def features(self, split: str, alpha: float = 1.0):
        return self.mixtures.features(self.bench.manifest.split(split), alpha)

    def score(self, alphas=ALPHAS, adaptive: float = 0.0, reading: Reading = QUIET):
        from clipft.evaluation.score import score

        score(self, alphas, adaptive=adaptive, reading=reading, gap_texts=self.gap_texts_count)
        return self.table()

    def all_scores(self, alphas=ALPHAS, adaptive: float = 0.0, reading: Reading = QUIET):
        table = self.score(alphas, adaptive, reading)
        wanted = sorted(table["alpha"].unique()) if adaptive else sorted(set(alphas))
        return [scores for alpha in wanted for scores in self.scores(alpha).values()]

    def export(self, folder, alpha: float = 1.0, half: bool = False):
        from clipft.evaluation.score import export

        return export(self, folder, alpha, half=half, reading=QUIET)


class World:
    def __init__(self, manifest: Path, model: Path, runs: Path):
        self.manifest_file, self.model_folder = manifest, model
        self.manifest, self.model, self.runs = str(manifest), f"local-dir:{model}", runs
        self.pretrained = str(model / "random.pt")

    def settings(self, **changes) -> dict:
        base = {
            "manifest": self.manifest,
            "model": self.model,
            "pretrained": self.pretrained,
            "method": "ft",
            "lr": 1e-3,
            "steps": 12,
            "batch_size": 8,
            "eval_every": 4,
            "crop": [0.5, 1.0],
            "text_count": 8,
            "text_length": 4,
        }
        return base | changes

    def config(self, **changes):
        return RunConfig.read(self.settings(**changes))

    def bench(self, **changes) -> OnBench:
        return OnBench(self.config(**changes))

    def folder(self, **changes) -> Path:
        """Where the run of these settings lies, or will."""
        from clipft.runs.identity import as_kept, run_id

        on_bench = self.bench(**changes)
        kept = as_kept(on_bench.config, on_bench.manifest)
        made_of = on_bench.bench.made_of(on_bench.config)
        return self.runs / run_id(kept, on_bench.manifest, made_of)

    def train(self, runs=None, **changes) -> Trained:
        from clipft import train

        return Trained.of(train(self.config(**changes), runs or self.runs, reading=QUIET))


# --- finished runs that several rooms look at


SCORED = (0.0, 0.5, 1.0)


class ScoredWorld(World):
    """Two scored runs, one that is finished but not scored, one that is still being written, and
    a pack of their thumbnails beside the runs. Do not change them.
    """

    def __init__(self, base: Path, manifest: Path, model: Path, tree: Path):
        super().__init__(manifest, model, base / "runs")
        self.base = base
        self.tree = tree
        self.pack = base / THUMBNAILS

    @contextlib.contextmanager
    def at_home(self):
        """With their data set at hand, and a cache of their own."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CLIPFT_DATA", str(self.tree))
            patch.setenv("CLIPFT_CACHE", str(self.base / "cache"))
            yield

    def make(self, base: Path) -> None:
        """Train, score and pack."""
        from clipft.runs.thumbnails import pack_thumbnails

        with self.at_home():
            scored = [
                self.train(method=name, steps=6, eval_every=3, lr=3e-3) for name in ("ft", "lipsum")
            ]
            for run in scored:
                run.score(SCORED)
            unscored = self.train(seed=7, steps=2)
            begun = self.folder(seed=8)
            begun.mkdir()
            settings = self.config(seed=8).model_dump(mode="json")
            (begun / "config.json").write_text(json.dumps(settings))
            pack_thumbnails(self.runs).rename(self.pack)
        ids = {"scored": [run.id for run in scored], "unscored": unscored.id, "begun": begun.name}
        write_json(base / "ids.json", ids)

    def open(self) -> None:
        """Name the runs."""
        ids = read_json(self.base / "ids.json")
        self.scored = [Trained.of(Run.open(self.runs / run)) for run in ids["scored"]]
        self.unscored = self.runs / ids["unscored"]
        self.begun = self.runs / ids["begun"]


@pytest.fixture(scope="session")
def scored(shared, manifest_file, model_folder, tree) -> ScoredWorld:
    """The runs that sweeps and explorers show, made once for all workers."""
    world = ScoredWorld(shared / "scored", manifest_file, model_folder, tree)
    made_once(world.base, world.make)
    world.open()
    return world


@pytest.fixture
def at_home(scored):
    """The scored runs with their data set at hand."""
    with scored.at_home():
        yield scored


@pytest.fixture
def elsewhere(scored, tmp_path, monkeypatch) -> Path:
    """A folder of the scored runs on another machine: no data set, no weights, no manifest, no
    model.
    """
    return carried(scored, tmp_path / "runs", monkeypatch)


def carried(world: ScoredWorld, to: Path, monkeypatch) -> Path:
    """Copy the runs to another machine."""
    shutil.copytree(world.runs, to)
    for file in to.glob("*/weights.safetensors"):
        file.unlink()
    for file in to.glob("*/config.json"):
        values = json.loads(file.read_text())
        values |= {"manifest": "/elsewhere/mini.yaml", "model": "local-dir:/elsewhere/model"}
        values["pretrained"] = "/elsewhere/random.pt"
        file.write_text(json.dumps(values))
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    monkeypatch.setenv("CLIPFT_CACHE", str(to.parent / "empty cache"))
    return to


@pytest.fixture
def recorded(monkeypatch):
    """The student's weights after every step of a training, as they come."""
    from clipft.training import loop

    found = []
    take_step = loop.take_step

    def recording(training, state, batch):
        take_step(training, state, batch)
        found.append({name: tensor.clone() for name, tensor in state.student.state_dict().items()})

    monkeypatch.setattr(loop, "take_step", recording)
    return found
