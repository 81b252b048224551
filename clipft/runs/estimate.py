"""What a run will cost before it is made: multiply-adds of a step, seconds, bytes on the disk.

Sizes of the towers are read from open_clip's own description of a model; nothing is loaded. Seconds
are estimates, made of a card's stated peak and an assumed share of it: data_manifests/cost.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any

from ..config import Record
from ..data.manifests import manifests_folder
from ..disk.files import read_foreign_json, read_yaml
from .identity import model_name
from .made import TRAINING, Made
from .model_names import OPEN_CLIP_CONFIG, config_file, model_folder, plain_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..config import RunConfig
    from .folder import RunFolder

BACKWARD = 3  # forward and backward take so many times the forward pass
MLP = 4  # how much wider than a block its inner layer is, where a model does not say it
FLOAT = 4  # bytes
# While it trains, so many times its weights: weights, two moments, the best so far.
TRAINED_STATE = 4


class Images(Record):
    """How many images a data set has, as its authors publish it."""

    train: int
    val: int = 0
    tests: int


class Steps(Record):
    """One row of what somebody measured."""

    model: str
    method: str
    precision: str
    batch_size: int
    steps_per_second: float
    card: str
    source: str


class Costs(Record):
    """What data_manifests/cost/steps.yaml holds: a card, its peak in TFLOP/s, the share of it that
    is reached, what was measured, and how many images data sets have.
    """

    card: str
    source: str
    peak: dict[str, float]
    share: dict[str, float]
    measured: tuple[Steps, ...] = ()
    images: dict[str, Images] = {}

    def seconds(self, macs: float, precision: str) -> float:
        """For so many multiply-adds, of which each is two of a peak's operations."""
        return 2 * macs / (1e12 * self.peak[precision] * self.share[precision])

    def of_steps(self, config: RunConfig) -> float:
        """Measured seconds of a step of a run; NaN where nobody measured it."""
        for row in self.measured:
            if row.model_dump(include=set(ALIKE)) == config.model_dump(include=set(ALIKE)):
                return 1 / row.steps_per_second
        return nan


# alike in runs whose steps take alike
ALIKE = ("model", "method", "precision", "batch_size")


@functools.cache
def costs() -> Costs:
    """The table that comes with clipft."""
    file = manifests_folder() / "cost/steps.yaml"
    return Costs.read(read_yaml(file), str(file))


# --- a model's size


@dataclass(frozen=True)
class Tower:
    """A transformer: its blocks, their width, the tokens of one input, and what embeds them."""

    layers: int
    width: int
    tokens: int
    mlp: float
    embedding: int  # weights that make tokens, and the places'
    per_token: int  # multiply-adds that make one token
    out: int  # of its projection

    @property
    def macs(self) -> float:
        """Multiply-adds of one input, forward."""
        block = (4 + 2 * self.mlp) * self.width**2 * self.tokens + 2 * self.tokens**2 * self.width
        return self.layers * block + self.per_token * self.tokens + self.width * self.out

    @property
    def weights(self) -> int:
        """How many numbers it has."""
        block = (4 + 2 * self.mlp) * self.width**2 + (9 + self.mlp) * self.width
        return round(self.layers * block + self.embedding + self.width * (self.out + 4))


@dataclass(frozen=True)
class Towers:
    """A model's two towers, and how long its embeddings are."""

    image: Tower
    text: Tower
    width: int


@functools.cache
def towers_of(model: str) -> Towers | None:
    """The towers of a model; None where they are no plain transformers, or nobody says."""
    folder = model_folder(model)
    file = config_file(plain_name(model)) if folder is None else folder / OPEN_CLIP_CONFIG
    if not file.is_file():
        return None
    config = read_foreign_json(file)
    config = config.get("model_cfg", config)
    image, text = config.get("vision_cfg", {}), config.get("text_cfg", {})
    if not isinstance(image.get("layers"), int) or "patch_size" not in image:
        return None
    if not {"width", "layers"} <= text.keys():
        return None
    width = config["embed_dim"]
    return Towers(_image_tower(image, width), _text_tower(text, width), width)


def _image_tower(config: Mapping[str, Any], out: int) -> Tower:
    side = config["image_size"] // config["patch_size"]
    width = config.get("width", 768)
    patch = 3 * config["patch_size"] ** 2 * width
    tokens = side**2 + 1
    mlp = config.get("mlp_ratio", MLP)
    places = (tokens + 1) * width
    return Tower(config["layers"], width, tokens, mlp, patch + places, patch, out)


def _text_tower(config: Mapping[str, Any], out: int) -> Tower:
    width = config["width"]
    tokens = config.get("context_length", 77)
    embedding = (config.get("vocab_size", 49408) + tokens) * width
    mlp = config.get("mlp_ratio", MLP)
    return Tower(config["layers"], width, tokens, mlp, embedding, 0, out)


# --- a run's cost


def macs_of_step(config: RunConfig, towers: Towers, classes: int) -> float:
    """Multiply-adds of one training step; a logistic probe takes none."""
    method = config.entry
    if method.trains == "head":
        return 0.0
    image = towers.image.macs
    text = towers.text.macs
    per_text = BACKWARD * text if method.trains == "both" else text

    macs = config.batch_size * BACKWARD * image
    if method.needs & {"anchor", "hidden"}:
        macs += config.batch_size * image
    if "random_texts" in method.needs:
        macs += config.text_count * text
    # A teacher reads all that the student reads, and learns nothing from it.
    taught = 1 if method.teacher else 0
    macs += taught * config.batch_size * image
    per_text += taught * text
    if "captions" in method.needs:
        macs += config.batch_size * per_text
    if "spurious_captions" in method.needs:
        macs += config.batch_size * (text + per_text * (method.trains == "both"))
    if "class_captions" in method.needs:
        macs += classes * per_text
    return macs


def size_of_weights(config: RunConfig, towers: Towers, classes: int) -> int:
    """Bytes of a run's weights: the towers that train and the head, as 32-bit numbers."""
    method = config.entry
    numbers = 0 if method.trains == "head" else towers.image.weights
    if method.trains == "both":
        numbers += towers.text.weights
    if not method.two_towers:
        numbers += classes * (towers.width + 1)
    return FLOAT * numbers


def size_in_training(config: RunConfig, weights: int) -> int:
    """Bytes that a run holds on the disk while it trains, beside what stays; weights: theirs."""
    method = config.entry
    decay = method.ema if config.ema is None else config.ema
    is_averaged = bool(config.average) or decay is not None
    copies = TRAINED_STATE + int(is_averaged) + int(bool(method.teacher))
    return copies * weights


def measured_steps(folders: Iterable[RunFolder], device: str) -> dict[tuple[Any, ...], list[float]]:
    """ALIKE of a run -> the seconds of a step of each run that was trained on this device."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for folder in folders:
        config = folder.config()
        made = Made.of(folder)
        training = Made(tuple(made.of_work(TRAINING)))
        if training.devices != device or not training.seconds_per_step > 0:
            continue
        if set(ALIKE) <= config.keys():
            key = (model_name(config["model"]), *(config[name] for name in ALIKE[1:]))
            found.setdefault(key, []).append(training.seconds_per_step)
    return found
