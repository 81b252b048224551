"""A run is a frozen record; its id is the hash of its content; each random choice has its own
generator.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from .errors import ConfigError, unknown
from .methods import METHODS, Method, training_method


def digest(content: Any, length: int = 12) -> str:
    """The first letters of the sha256 of the content's sorted JSON: same content, same name."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:length]


def seed_of(seed: int, purpose: str) -> int:
    """A 56-bit seed for one named purpose: a new draw elsewhere never moves an old result."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{purpose}".encode()).digest()[:7], "big")


ZERO_SHOT, TUNED = 0.0, 1.0  # the ends of alpha
DEFAULT = "clipft"  # protocol of a run
Precision = Literal["32-true", "tf32", "bf16-mixed"]  # of a forward pass
TRACKERS = ("tensorboard", "wandb")  # what can show a run, each an extra of its name
ALPHAS = tuple(tenth / 10 for tenth in range(11))  # what a sweep scores unless told otherwise
# random texts of the fixed set on which energy gaps are measured, as in Lipsum-FT
GAP_TEXTS = 10_000


def check_alpha(alpha: float) -> float:
    """The mixing weight itself; raises ConfigError outside 0 ... 1."""
    if not ZERO_SHOT <= alpha <= TUNED:
        raise ConfigError(f"alpha is {alpha}, expected 0 (zero-shot) ... 1 (tuned)")
    return float(alpha)


@dataclass(frozen=True)
class Reading:
    """How images are read and models run; nothing of it changes a result.

    Arguments:
        device: auto, cpu, cuda or mps.
        workers: processes that decode images; 0: this one; auto: as many as there are cores where
            that is faster.
        skip_bad: leave unreadable images out, and say how many, instead of ending at the first.
        progress: show progress bars.
        precision: in which models are scored and embed images; "": that of the run.
        checkpointing: of a training step keep less in memory, and compute it twice.
        checkpoint_minutes: a training saves its state as often, beside its validations; 0: at
            validations alone.
        log: tensorboard or wandb also show the run, its history and its scores; "": neither.
        devices: on how many cards of this machine (or processes, on its processor) a run is trained
            and scored; a script that says more than 1 is started once for each. Under torchrun
            that says how many.

    Example:
        >>> quiet = clipft.Reading(device="cpu", progress=False)
        >>> runs = clipft.score("runs", [0.25], reading=quiet)
    """

    device: str = "auto"
    workers: int | Literal["auto"] = "auto"
    skip_bad: bool = False
    progress: bool = True
    precision: Literal["", "32-true", "tf32", "bf16-mixed"] = ""
    checkpointing: bool = False
    checkpoint_minutes: float = 10.0
    log: str = ""
    devices: int = 1

    def __post_init__(self) -> None:
        is_count = isinstance(self.devices, int) and not isinstance(self.devices, bool)
        if not is_count or self.devices < 1:
            raise ConfigError(f"devices is {self.devices!r}, expected 1 or more")
        is_number = isinstance(self.workers, int) and self.workers >= 0
        if self.workers != "auto" and not is_number:
            raise ConfigError(f"workers is {self.workers!r}, expected auto, or 0 or more")
        if not self.checkpoint_minutes >= 0:  # nor NaN
            raise ConfigError(
                f"checkpoint_minutes is {self.checkpoint_minutes!r}, expected 0 or more"
            )
        known = ("", *get_args(Precision))
        if self.precision not in known:
            raise unknown("precision", self.precision, get_args(Precision))
        if self.log not in ("", *TRACKERS):
            raise unknown("tracker", self.log, TRACKERS)


class Record(BaseModel):
    """Base of configurations: frozen; an unknown key is an error that names the nearest one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    other_names: ClassVar[Mapping[str, str]] = {}  # what else people call a key -> the key

    def __init__(self, **values: Any):
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(self._explain(error)) from None

    @classmethod
    def read(cls, values: Any, source: str = "configuration") -> Self:
        """Check values (a mapping from YAML, JSON or a command); raises ConfigError in one line."""
        with said_of(source):
            return cls(**_as_mapping(values))

    @classmethod
    def _explain(cls, error: ValidationError) -> str:
        """The first error in one line; a misspelt key before a missing one it explains."""
        errors = error.errors()
        misspelt = [row for row in errors if row["type"] == "extra_forbidden"]
        first = [*misspelt, *errors][0]
        where = ".".join(f"{part!s:.80}" for part in first["loc"])
        if misspelt:
            if len(first["loc"]) > 1:
                return str(unknown("key", where, ()))
            return str(unknown("key", where, cls.model_fields, cls.other_names))
        if not where:  # a rule over several keys says all itself
            return first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            return f"{where}: {first['msg']}"
        return f"{where}: {first['msg']:.200}, got {first['input']!r:.80}"


@contextlib.contextmanager
def said_of(source: str) -> Iterator[None]:
    """A ConfigError from within says first where the values are from."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _as_mapping(values: Any) -> dict[str, Any]:
    """The values themselves; raises ConfigError where they are no names with values."""
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"expected a mapping of names to values, got {values!r:.80}")
    return values


def _number_or_word(value: Any) -> Any:
    """A text that is a number as that: 1e-3 is a text in YAML 1.1."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


Fraction = Annotated[float, Field(ge=0, lt=1)]
Option = Annotated[bool | int | float | str, BeforeValidator(_number_or_word)]
# What papers and other libraries call a setting. Spellings near to ours need no line.
OTHER_NAMES = {
    "learning_rate": "lr",
    "max_lr": "lr",
    "epochs": "steps",
    "max_steps": "steps",
    "iterations": "steps",
    "iters": "steps",
    "bs": "batch_size",
    "batch": "batch_size",
    "batchsize": "batch_size",
    "wd": "weight_decay",
    "weight": "weight_decay",
    "lambda": "lam",
    "reg": "lam",
    "dataset": "manifest",
    "data": "manifest",
    "arch": "model",
    "architecture": "model",
    "backbone": "model",
    "weights": "pretrained",
    "checkpoint": "pretrained",
    "ckpt": "pretrained",
    "objective": "method",
    "algorithm": "method",
    "loss": "method",
    "domain": "reference",
    "id_domain": "reference",
    "grad_clip": "clip_norm",
    "max_grad_norm": "clip_norm",
    "eval_freq": "eval_every",
    "val_every": "eval_every",
    "amp": "precision",
    "layer_wise_lr_decay": "layer_decay",
    "llrd": "layer_decay",
    "peft": "adapter",
    "lora": "adapter",
    "lora_r": "adapter_rank",
    "lora_alpha": "adapter_alpha",
    "rank": "adapter_rank",
    "trainable": "train_only",
    "dtype": "precision",
    "few_shot": "shots",
    "tau": "options.tau",
    "temperature": "options.tau",
    "mask": "options.mask",
    "margin": "options.margin",
}


class RunConfig(Record):
    """Everything that decides the outcome of one run, and nothing else (no device, no folder).

    The defaults are the recipe of Lipsum-FT (arXiv:2404.00860) on DomainNet.

    Arguments:
        manifest: the data set: a name of `clipft datasets`, or the path of a YAML file.
        reference: the domain that is tuned on; "": the manifest's own.
        train_domains: (): the reference alone; several only for pre-training.
        shifts: the domains that robustness is measured on; (): all but the reference.
        model: a name of open_clip, a folder, hf-hub:OWNER/NAME, or emoji-tiny.
        pretrained: a tag of open_clip, or a checkpoint of any shape; "": what the model's folder
            holds; "none": random weights.
        method: a name of `clipft methods`.
        lam: weight of the method's regulariser; None: its own.
        lr: the peak, after warm-up.
        text_rate: the text tower's learning rate as a fraction of lr; for methods that train it.
        layer_decay: the learning rate of a tower's block l of L is lr times this to the L - l, of
            what stands before the blocks times this to the L; 1: alike.
        train_only: what alone is trained, the rest stays theta0: head (with its scale), first or
            last N blocks, or how names of tensors begin, as visual.transformer.resblocks.11; ():
            all that the method trains.
        adapter: lora adds a product of low rank to each matrix of attention and MLP, and trains
            that and the head alone; what is evaluated and kept holds the sum. "": none.
        adapter_rank: r of that product.
        adapter_alpha: the product is weighted by adapter_alpha / adapter_rank.
        steps: how many.
        batch_size: images in each.
        warmup: fraction of the steps.
        weight_decay: of AdamW.
        betas: of AdamW.
        clip_norm: gradients are clipped to this norm; None: not.
        crop: area of the random-resized crop, as fractions.
        flip: mirror half of the training images.
        shots: training images per class, drawn by the seed; 0: all.
        head: fixed is s f W with s frozen; absorbed a linear layer that holds s and has a bias;
            frozen is fixed of which W never trains: the zero-shot head stays, the tower is tuned
            (CLIPood's own).
        head_from: head.safetensors of an export, where the head starts; "": as the method says.
        solver: of the linear probe of LP and LP-FT.
        logit_scale: clamped is trained with s <= 100; "": the method's own.
        ema: decay of averaged weights, kept in place of the last; None: the method's own.
        average: of the weights, kept in place of the last: ema, of decay 0.999 (another decay is
            `ema` alone); beta, their mean from theta0 on, weighted by a Beta(b, b) density over the
            steps (CLIPood's); "": as `ema` says.
        beta_b: b of average=beta; None: 0.5, which weighs start and end most; 1: the plain mean.
        options: the method's own, e.g. tau.
        captions: of contrastive methods: a random template and name, or the first.
        text_count: random texts a step (M).
        text_length: tokens in each of them (L).
        precision: of the forward pass; tf32 is 32-true with TensorFloat-32 products on a card.
        accumulate: parts in which a batch goes through the model, one after the other; the
            gradient is the whole batch's.
        compile: images go through the vision towers by torch.compile, where that works.
        decoder: pillow, the pixels that open_clip sees; fast, torchcodec and torchvision, in half
            the time: resized, some values are off by 1 of 255 (0.5 % from 500 pixels to 224), and
            where an image is enlarged a few by up to 4. What torchcodec reads otherwise goes by
            Pillow. protocol: release resizes in its own way: fast changes no pixel of its training.
        shrink: training images first become so small, pixels of the shorter side, as `clipft
            datasets pack` keeps them; 0: they stay as they are.
        eval_every: steps between two validations.
        selection: which weights are kept: holdout, of the best accuracy on held-out training
            images; loss, of the least cross-entropy on them, theta0 included (as FLYP's few-shot);
            paper, the best on the reported test images (as the papers do; tables say so); or last.
        protocol: clipft, or release: all at once what clipft does on purpose unlike a paper's
            release. Lipsum-FT's: a first step of rate 0; with precision=bf16-mixed AdamW's first
            moment in bf16; TensorFlow's crops and bicubic resize, without antialiasing or rounding;
            weights chosen on the central 224 / 256 of an image. FLYP's methods, and head=absorbed
            as WiSE-FT's: a short batch ends an epoch; few shots of FLYP are cropped and captioned
            once. Then greedy soups of these runs turn ties round. Not in it: what is a setting of
            its own (selection=paper, manifest=release/domainnet, precision); the releases' random
            generators and Lipsum-FT's shuffle in a buffer of 16 batches; what TPGM's release does;
            the images of a linear probe, which stay plain embeddings.
        seed: of every random draw.

    Raises:
        ConfigError: for an unknown setting or a value that cannot be.

    Example:
        >>> config = clipft.RunConfig(method="lipsum", lr=3e-4, steps=120)
        >>> config.batch_size
        256
        >>> clipft.RunConfig(steps=0)
        Traceback (most recent call last):
        clipft.errors.ConfigError: steps: ...
    """

    other_names: ClassVar[Mapping[str, str]] = OTHER_NAMES

    manifest: str = "emoji_shift"
    reference: str = ""
    train_domains: tuple[str, ...] = ()
    shifts: tuple[str, ...] = ()
    model: str = "emoji-tiny"
    pretrained: str = ""

    method: str = "ft"
    lam: float | None = Field(None, ge=0)
    lr: float = Field(1e-5, ge=0)
    text_rate: float = Field(1.0, ge=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    train_only: tuple[str, ...] = ()
    adapter: Literal["", "lora"] = ""
    adapter_rank: int = Field(8, ge=1)
    adapter_alpha: float = Field(16.0, gt=0)
    steps: int = Field(5000, ge=1)
    batch_size: int = Field(256, ge=1)
    warmup: float = Field(0.1, ge=0, le=1)
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    clip_norm: float | None = Field(None, gt=0)
    crop: tuple[float, float] = (0.08, 1.0)
    flip: bool = True
    shots: int = Field(0, ge=0)
    head: Literal["frozen", "fixed", "absorbed"] = "fixed"
    head_from: str = ""
    solver: Literal["logistic", "adamw"] = "logistic"
    logit_scale: Literal["", "frozen", "trained", "clamped"] = ""
    ema: float | None = Field(None, ge=0, le=1)
    average: Literal["", "ema", "beta"] = ""
    beta_b: float | None = Field(None, gt=0)
    options: dict[str, Option] = {}
    captions: Literal["sampled", "fixed"] = "sampled"
    text_count: int = Field(80, ge=1)
    text_length: int = Field(8, ge=1)
    precision: Precision = "32-true"
    accumulate: int = Field(1, ge=1)
    compile: bool = False
    decoder: Literal["pillow", "fast"] = "pillow"
    shrink: int = Field(0, ge=0)

    eval_every: int = Field(1000, ge=1)
    selection: Literal["holdout", "loss", "paper", "last"] = "holdout"
    protocol: Literal["clipft", "release"] = DEFAULT
    seed: int = 0

    def __init__(self, **values: Any):
        if "preset" in values:
            advice = f"clipft.recipe({{'preset': {values['preset']!r}, ...}}) gives a RunConfig"
            raise ConfigError(f"preset is no setting, but stands for many; {advice}")
        super().__init__(**values)
        method = training_method(self.method)
        if method.frozen_head and "head" not in values:
            super().__init__(**values, head="frozen")
        method.check(self)

    @classmethod
    def recorded(cls, values: Any, source: str) -> Self:
        """What a run folder records. Its method may be unknown here, or take other options today.

        Raises ConfigError for a key that is none, and a value of another kind.
        """
        config = cls.__new__(cls)
        with said_of(source):
            # The record's own checks alone: reading needs no formula.
            Record.__init__(config, **_as_mapping(values))
        return config

    @model_validator(mode="after")
    def _crop_is_a_range(self) -> Self:
        if not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"crop is {self.crop}, expected two fractions 0 < low <= high <= 1")
        return self

    @model_validator(mode="after")
    def _parts_have_images(self) -> Self:
        if self.accumulate > self.batch_size:
            wanted = f"expected at most batch_size, {self.batch_size}"
            raise ValueError(f"accumulate is {self.accumulate}, {wanted}")
        return self

    @property
    def entry(self) -> Method:
        """What its method is and trains; raises ConfigError where the method is unknown here."""
        return METHODS[self.method]

    @property
    def id(self) -> str:
        """12 letters, the hash of what is not default: a new key renames no old run."""
        return digest(self.model_dump(mode="json", exclude_defaults=True))


@functools.cache
def _plain() -> RunConfig:
    return RunConfig()


def plain_settings() -> dict[str, Any]:
    """The defaults of RunConfig as run folders record them; an older record lacks newer keys."""
    return _plain().model_dump(mode="json")


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """KEY=VALUE as a mapping; `options.tau=2` goes deeper. Raises ConfigError for else."""
    values: dict[str, Any] = {}
    for setting in settings:
        key, mark, text = setting.partition("=")
        if not mark:
            raise ConfigError(f"{setting!r:.200} is no setting; wanted: KEY=VALUE, e.g. lr=1e-5")
        outer, dot, inner = key.partition(".")
        if not dot:
            values[key] = _value(setting, text)
            continue
        group = values.setdefault(outer, {})
        if not isinstance(group, dict):
            raise ConfigError(
                f"{setting!r:.200}: {outer} is {group!r:.80} already; give one or the other"
            )
        group[inner] = _value(setting, text)
    return values


def _value(setting: str, text: str) -> Any:
    """A setting's value as YAML reads it, but 1e-4, a text in YAML 1.1, is a number."""
    from .parsing import parse_yaml

    if not text:
        return ""  # null is a value: it takes a preset's setting back
    try:
        value = parse_yaml(text)
    except ValueError as error:
        fault = f"cannot read the value of {setting!r:.200}; lists are written [0.5, 1.0]"
        raise ConfigError(f"{fault} ({error})") from None
    return _number_or_word(value)
