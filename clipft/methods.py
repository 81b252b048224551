"""What each method is called, trains and takes: one entry each; its formula is loaded by name.

Nothing here needs torch, so tables, figures and configurations may ask for a title or an option:
the file that an entry names is imported when the method is computed. The order of the entries is
the order in tables and figures. Methods of other people come from a notebook cell, or from a
plugin: a Python file, or an installed package with an entry point in the group `clipft.methods`.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from importlib import import_module, util
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args

from .errors import ClipftError, ConfigError, unknown
from .options import check_options, defaults

if TYPE_CHECKING:
    from .config import RunConfig

Need = Literal[
    "anchor", "zero_shot", "hidden", "context", "random_texts", "captions", "class_captions",
    "spurious_captions", "weights", "teacher", "projections",
]  # fmt: skip
Function = str | Callable[..., Any]  # "package.module:function", or the function itself
# A teacher's rule -> its options, beside those of the method's function: what the weights of a
# second copy of the student are made of, see `clipft.training.averages`.
TEACHERS: Mapping[str, Mapping[str, bool | float]] = {
    "moving": {"teacher_every": 0.02, "release_teacher": False},
    "beta": {"beta_b": 0.5},
}
PLUGINS = "CLIPFT_PLUGINS"  # the environment's name for a list of plugin files


@dataclass(frozen=True)
class Entry:
    """What methods of training and methods after it have in common.

    `function` says where the formula lives, as "package.module:function"; somebody else's entry may
    hold the function itself, and then its keyword arguments are the options.
    """

    name: str
    title: str
    paper: str
    function: Function | None = None
    options: Mapping[str, bool | int | float | str] = field(default_factory=dict, hash=False)
    # option -> the words that it takes
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if callable(self.function):
            object.__setattr__(self, "options", defaults(self.function))

    @property
    def functions(self) -> list[Function]:
        """What computes the method, named or itself."""
        return [] if self.function is None else [self.function]

    @property
    def all_options(self) -> Mapping[str, bool | int | float | str]:
        """What a run may say in its `options`, with the defaults."""
        return self.options

    def load(self) -> Callable[..., Any]:
        """The function that computes the method; raises ConfigError where it cannot be imported."""
        return self._loaded(self.function)

    def loaded(self) -> list[Callable[..., Any]]:
        """All functions that compute it; raises ConfigError as `load` does."""
        return [self._loaded(function) for function in self.functions]

    def _loaded(self, function: Function | None) -> Callable[..., Any]:
        if callable(function):
            return function
        module, _, name = str(function).partition(":")
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"{self.name}: cannot load {function!r}: {error}") from error

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise ConfigError for an unknown option, or one that does not take its value."""
        check_options(self.name, options, self.all_options)
        for name, words in self.words.items():
            if options.get(name, words[0]) not in words:
                raise unknown(name, options[name], words)

    @property
    def sources(self) -> list[Function]:
        """All functions whose text decides what the method computes."""
        return self.functions

    def source_digest(self) -> str:
        """12 letters of the sha256 of its `sources`' text; "" for this package's own."""
        sources = []
        for function in self.sources:
            home = str(getattr(function, "__module__", "")) if callable(function) else function
            if home.split(".")[0] == "clipft":
                continue
            try:
                sources.append(inspect.getsource(inspect.unwrap(self._loaded(function))))
            except (OSError, TypeError):
                return "unknown"  # the text is nowhere, e.g. of a function made by `exec`
        return hashlib.sha256("".join(sources).encode()).hexdigest()[:12] if sources else ""


@dataclass(frozen=True)
class Method(Entry):
    """A fine-tuning method: its loss is cross-entropy + lam * penalty, or penalty alone.

    The penalty is `function(step, **options)`; without one the loss is cross-entropy. Text-side
    needs: captions (one an image), class_captions (one a class, every step: the logits then come
    from the text tower instead of a head). teacher: the rule of the copy that "teacher" asks for;
    moving, where the need alone says so. per_image: the penalty is a mean over images, or reads
    none; then the parts of a batch (`accumulate`) go through the model once, else twice.
    `after_step(move, **options)` is called for each trained tensor after each step of the
    optimiser, see `objectives.move`; its keyword arguments are options, too.
    """

    needs: AbstractSet[Need] = frozenset()
    lam: float | None = None
    # vision: tower and head; image, both: towers and scale, the head is built from the text tower
    trains: Literal["head", "vision", "image", "both"] = "vision"
    # where the head starts; probe: a linear probe
    head: Literal["zero_shot", "zeros", "probe"] = "zero_shot"
    # decay of the averaged weights that are kept in place of the trained ones
    ema: float | None = None
    per_image: bool = False
    after_step: Function | None = None
    frozen_head: bool = False  # the head is the zero-shot one and stays it: head=frozen
    # dropout is off and BatchNorm keeps the pre-trained statistics
    eval_mode: bool = False
    teacher: Literal["", "moving", "beta"] = ""
    base: Function = ""  # as `function`: what stands in place of cross-entropy

    def __post_init__(self) -> None:
        super().__post_init__()
        if callable(self.after_step):
            options = {**self.options, **defaults(self.after_step)}
            object.__setattr__(self, "options", options)
        needs = frozenset(self.needs)
        if self.teacher:
            needs |= {"teacher"}
        elif "teacher" in needs:
            object.__setattr__(self, "teacher", "moving")
        object.__setattr__(self, "needs", needs)
        if self.teacher not in ("", *TEACHERS):
            raise unknown(f"teacher of {self.name}", self.teacher, TEACHERS)
        for need in self.needs - set(get_args(Need)):
            raise unknown(f"need of {self.name}", need, get_args(Need))

    @property
    def functions(self) -> list[Function]:
        """What computes the method: its loss, and what follows a step."""
        return super().functions + ([] if self.after_step is None else [self.after_step])

    @property
    def sources(self) -> list[Function]:
        """Its functions, and what stands in place of cross-entropy."""
        return self.functions + ([self.base] if self.base else [])

    def load_after_step(self) -> Callable[..., Any]:
        """What follows a step; raises ConfigError where it cannot be imported."""
        return self._loaded(self.after_step)

    @property
    def all_options(self) -> Mapping[str, bool | int | float | str]:
        """Those of its functions, and those of the teacher."""
        return {**self.options, **TEACHERS.get(self.teacher, {})}

    @property
    def uses_cross_entropy(self) -> bool:
        """Whether cross-entropy over the classes is a term of the loss."""
        return not self.base and (self.function is None or self.lam is not None)

    def load_base(self) -> Callable[..., Any]:
        """The function that stands in place of cross-entropy."""
        return self._loaded(self.base)

    @property
    def two_towers(self) -> bool:
        """Whether the head is built from the text tower; else it is a layer of its own."""
        return self.trains in ("image", "both")

    @property
    def is_mean(self) -> bool:
        """Whether the loss of a batch is the mean of those of its parts, computed alone.

        Captions of all classes belong to no part.
        """
        return (self.function is None or self.per_image) and "class_captions" not in self.needs

    def check(self, config: RunConfig) -> None:
        """Raise ConfigError for a setting that is not known here or that would do nothing."""
        self.check_options(config.options)
        fault = self._head_fault(config) or self._hidden_fault(config)
        fault = fault or self._average_fault(config) or self._teacher_fault(config)
        if config.lam is not None and self.lam is None:
            fault = f"has no regulariser, so lam={config.lam:g} would do nothing; leave it out"
        elif config.text_rate != 1 and self.trains != "both":
            fault = "trains no text tower, so text_rate would do nothing; leave it out"
        elif self.after_step is not None and config.adapter:
            fault = "follows each step of the weights themselves, so not adapter; leave it out"
        elif self.trains == "head" and _of_towers(config):
            idle = " and ".join(_of_towers(config))
            fault = f"trains no tower, so {idle} would do nothing; leave it out"
        elif not fault and config.solver == "adamw":
            fault = self._solver_fault()
        elif not fault and config.protocol == "release":
            fault = self._protocol_fault(config)
        if fault:
            raise ConfigError(f"{self.name} {fault}")
        _check_head_alone(config)
        _check_adapter_alone(config)

    def _head_fault(self, config: RunConfig) -> str:
        """What of the head's settings does not go with this method; "" where all does."""
        if self.two_towers and (config.head != "fixed" or config.head_from):
            return "builds its head from its text tower; leave out head and head_from"
        if self.frozen_head and config.head != "frozen":
            return f"keeps the zero-shot head, so not head={config.head}; leave it out"
        if config.head == "frozen" and (self.head != "zero_shot" or self.trains == "head"):
            return "needs a head that trains, so not head=frozen; leave it out"
        if self.head != "zero_shot" and config.head_from:
            return "says itself where its head starts; head_from goes with method=ft"
        return ""

    def _hidden_fault(self, config: RunConfig) -> str:
        """Why hidden states cannot be caught; "" where they can, or are not needed."""
        if "hidden" not in self.needs:
            return ""
        if not self.is_mean:
            return "reads hidden states, so it must be a mean over images: say per_image=True"
        if config.compile:
            return "reads hidden states, which a compiled tower does not show; leave out compile"
        return ""

    def _average_fault(self, config: RunConfig) -> str:
        """What of the average's settings says nothing, or two things; "" where all is well."""
        if config.beta_b is not None and config.average != "beta":
            return f"has no use for beta_b={config.beta_b:g} without average=beta; leave it out"
        if not config.average:
            return ""
        if self.trains == "head" and config.solver == "logistic":
            return f"takes no steps, so average={config.average} would do nothing; leave it out"
        decay = self.ema if config.ema is None else config.ema
        if decay is not None:
            kept = f"keeps an average of decay {decay:g}"
            return f"{kept}, and one is enough; leave out ema or average, or say method=ft"
        return ""

    def _teacher_fault(self, config: RunConfig) -> str:
        """Why no step would update the teacher; "" where some do."""
        every: Any = config.options.get("teacher_every", 0)
        if self.teacher and every > 1:
            wanted = "wanted: a fraction of the steps, 0.02 for 50 updates"
            return f"would never update its teacher at teacher_every={every:g}; {wanted}"
        return ""

    def _protocol_fault(self, config: RunConfig) -> str:
        """Why protocol=release does not go with this method; "" where it does."""
        if self.trains == "head" and config.solver == "logistic":
            return "takes no steps, so protocol=release would do nothing; leave it out"
        return ""

    def _solver_fault(self) -> str:
        """Why solver=adamw does not go with this method; "" where it does."""
        if self.head != "probe":
            return "has no linear probe, so solver=adamw would do nothing; leave it out"
        if self.trains != "head":
            advice = "for a head that AdamW trained: method=lp solver=adamw, clipft export, then"
            return f"takes solver=logistic; {advice} method=ft head_from=FOLDER/head.safetensors"
        return ""


def _of_towers(config: RunConfig) -> list[str]:
    """The settings of towers alone that are not as by default."""
    keys = ("accumulate", "compile", "layer_decay", "train_only", "adapter")
    plain = type(config).model_fields
    return [key for key in keys if getattr(config, key) != plain[key].default]


def _check_head_alone(config: RunConfig) -> None:
    """Raise ConfigError for settings of a head that contradict each other, whatever the method."""
    trains_scale = config.logit_scale in ("trained", "clamped")
    if config.head == "absorbed" and trains_scale:
        advice = "leave out logit_scale"
        raise ConfigError(f"head=absorbed holds the logit scale in its weights; {advice}")
    if config.head == "frozen" and (trains_scale or config.head_from):
        advice = "leave out logit_scale and head_from"
        raise ConfigError(f"head=frozen keeps the zero-shot head and its scale; {advice}")


def _check_adapter_alone(config: RunConfig) -> None:
    """Raise ConfigError for settings of an adapter where there is none."""
    if not config.adapter:
        for key in ("adapter_rank", "adapter_alpha"):
            if getattr(config, key) != type(config).model_fields[key].default:
                raise ConfigError(f"{key} would do nothing without adapter=lora")


@dataclass(frozen=True)
class Posthoc(Entry):
    """A method after training.

    `function(anchor, members, held_out, **options)` gives weights, or for an ensemble the positions
    of the members whose mean logits it is. An ensemble with a rule mixes each image anew: its
    function gives what was fitted, tensors by name, of which the class `rule` is made, see
    `posthoc.per_image`. One that asks nothing of the held-out images can do without them.
    """

    many: bool = False  # takes several runs
    least: int = 1  # how many runs it needs
    ensemble: bool = False  # has no weights: its alpha mixes what models say
    rule: Function | None = None  # as `function`
    asks: bool = True  # the held-out images
    asks_training: bool = False  # the images that were trained on, too
    mixes: bool = False  # its option alpha is WiSE's, from 0 to 1
    # options that held-out images choose (its option `choose`), unless one of them is given
    chosen: tuple[str, ...] = ()

    def check(self, count: int, options: Mapping[str, Any]) -> None:
        """Raise ConfigError for a bad option or a number of runs that this method does not take."""
        self.check_options(options)
        given = [name for name in self.chosen if name in options]
        if given and options.get("choose"):
            fault = f"{self.name} is given {given[0]}, and shall choose it on held-out images"
            raise ConfigError(f"{fault}; leave one of them out")
        if count < self.least or (count > 1 and not self.many):
            least = COUNTS.get(self.least, f"{self.least} runs")
            takes = f"{least} or more" if self.many else "one run"
            raise ConfigError(f"{self.name} takes {takes}, got {count}")

    def load_rule(self) -> Callable[..., Any]:
        """The class of `rule`; raises ConfigError where it cannot be imported."""
        return self._loaded(self.rule)

    def completed(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options that were given; where one is of `chosen`, nothing is chosen."""
        if any(name in options for name in self.chosen):
            return {"choose": False, **options}
        return dict(options)


E = TypeVar("E", bound=Entry)
F = TypeVar("F", bound=Callable[..., Any])


class Registry(dict[str, E], Generic[E]):
    """Name -> entry: a dict that refuses kindly an unknown name, and a name that is given twice.

    `clipft.METHODS` holds the methods to train, `clipft.POSTHOC` what is done to runs, both
    in the order of tables and figures.

    Arguments:
        kind: what its entries are called in errors.
        record: the class of its entries.
        entries: what it holds at first.

    Example:
        >>> clipft.METHODS["lipsum"].title
        'Lipsum-FT'
        >>> clipft.POSTHOC["tpgm_c"].options["mu"]
        1.0
        >>> clipft.METHODS["lipsumm"]
        Traceback (most recent call last):
        clipft.errors.ConfigError: unknown method 'lipsumm'; did you mean 'lipsum'? ...
    """

    def __init__(self, kind: str, record: type[E], entries: Iterable[E]):
        super().__init__()
        self.kind = kind
        self.record = record
        for entry in entries:
            self.add(entry)

    def __missing__(self, name: str) -> E:
        # Nobody pays for plugins until a name is asked for that is not here.
        load_plugins()
        if name not in self:
            raise unknown(self.kind, name, self)
        return self[name]

    def add(self, entry: E) -> None:
        """Register an entry under its name; raises ConfigError where the name is taken."""
        if entry.name in self:
            fault = f"{self.kind} {entry.name!r} is registered twice"
            raise ConfigError(f"{fault}; choose another name")
        self[entry.name] = entry

    @contextlib.contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Nothing that is added in this block stays where the block fails."""
        before = dict(self)
        try:
            yield
        except BaseException:
            self.clear()
            self.update(before)
            raise

    def register(self, name: str, **about: Any) -> Callable[[F], F]:
        """A decorator that adds its function; `about` are the other fields of the entry."""

        def add(function: F) -> F:
            self.add(self.record(name, function=function, **about))
            return function

        return add


# fmt: off
METHODS = Registry("method", Method, [
    Method("ft", "FT", "arXiv:2109.01903"),
    Method("scratch_ft", "Scratch-FT", "arXiv:2404.00860", head="zeros"),
    Method("lp", "LP", "arXiv:2103.00020", trains="head", head="probe"),
    Method("lp_ft", "LP-FT", "arXiv:2202.10054", head="probe"),
    Method("ema", "EMA", "arXiv:2404.00860", ema=0.999),
    Method("l2sp", "L2-SP", "arXiv:1802.01483", "clipft.objectives.l2sp:l2sp",
           needs={"weights"}, lam=0.01, per_image=True),
    Method("kd", "KD", "arXiv:1503.02531", "clipft.objectives.kd:kd",
           needs={"anchor"}, lam=1.0, options={"tau": 1.0}, per_image=True),
    Method("feat_kd", "FeatKD", "arXiv:2404.00860", "clipft.objectives.feat_kd:feat_kd",
           needs={"anchor"}, lam=1.0, per_image=True),
    Method("ldifs", "LDIFS", "arXiv:2308.13320", "clipft.objectives.ldifs:ldifs",
           needs={"hidden"}, lam=10.0, options={"layers": "all", "over": "channels"},
           words={"layers": ("all", "release"), "over": ("channels", "tokens")}, per_image=True),
    Method("car", "CAR-FT", "arXiv:2211.16175", "clipft.objectives.car:car",
           needs={"anchor", "context"}, lam=1.0, options={"tau": 1.0}, per_image=True),
    Method("lipsum", "Lipsum-FT", "arXiv:2404.00860", "clipft.objectives.lipsum:lipsum",
           needs={"anchor", "random_texts"}, lam=1.0, per_image=True),
    Method("self_distill", "self-distilled EMA", "ours, after arXiv:2311.01723",
           "clipft.objectives.self_distill:self_distill", lam=1.0, teacher="moving",
           per_image=True),
    Method("flyp", "FLYP", "arXiv:2212.00638", "clipft.objectives.flyp:flyp",
           needs={"captions"}, trains="both", options={"mask": False}),
    Method("flyp_image", "FLYP, image tower", "arXiv:2212.00638", "clipft.objectives.flyp:flyp",
           needs={"captions"}, trains="image", options={"mask": False}),
    Method("flyp_ce", "FLYP, CE", "arXiv:2212.00638", needs={"class_captions"}, trains="both"),
    Method("flyp_with_ce", "FLYP + CE", "arXiv:2212.00638", "clipft.objectives.flyp:flyp",
           needs={"captions", "class_captions"}, lam=1.0, trains="both", options={"mask": False}),
    Method("clipood", "CLIPood", "arXiv:2302.00864", "clipft.objectives.clipood:clipood",
           needs={"zero_shot"}, options={"margin": 0.3}, per_image=True, frozen_head=True,
           eval_mode=True),
    Method("carot", "CaRot", "arXiv:2311.01723", "clipft.objectives.carot:carot",
           needs={"captions", "projections"}, trains="both", teacher="moving",
           options={"oc": 0.2, "sd": 1.5, "x": 0.05}),
    Method("tracer", "TRACER", "arXiv:2605.29380", "clipft.objectives.carot:tracer",
           needs={"captions", "projections"}, trains="both", teacher="beta",
           options={"sd": 1.5, "temperature": 1.0, "oc": 0.0, "x": 0.0}),
    Method("starft", "StarFT", "arXiv:2505.13232", "clipft.objectives.starft:starft",
           needs={"anchor", "captions", "spurious_captions"}, lam=0.5, trains="both",
           options={"diminishing": True}, base="clipft.objectives.flyp:flyp"),
    Method("starft_ce", "StarFT, CE", "arXiv:2505.13232", "clipft.objectives.starft:starft",
           needs={"anchor", "spurious_captions"}, lam=0.5, options={"diminishing": True}),
    Method("mse_class", "MSE, class head", "arXiv:2404.00860",
           "clipft.objectives.ablations:mse_class", needs={"anchor"}, lam=1.0, per_image=True),
    Method("mse_context", "MSE, context", "arXiv:2404.00860",
           "clipft.objectives.ablations:mse_context", needs={"anchor", "context"}, lam=1.0,
           per_image=True),
    Method("kld_random", "KLD, random texts", "arXiv:2404.00860",
           "clipft.objectives.ablations:kld_random", needs={"anchor", "random_texts"}, lam=1.0,
           options={"tau": 1.0}, per_image=True),
    Method("spd", "SPD", "arXiv:2411.01713", options={"decay": 1.0},
           after_step="clipft.objectives.spd:spd"),
    Method("ftp", "FTP", "arXiv:2310.19182", options={"k": 1.0},
           after_step="clipft.objectives.ftp:ftp"),
])

COUNTS = {1: "one run", 2: "two runs"}
GIVEN, TURNED = "given", "turned"  # order of runs of one accuracy: as given, or from the last on
TIES = {"ties": (GIVEN, TURNED)}
NORMS = {"norm": ("frobenius", "mars")}
LOOK_UP = {"by": ("grid", "beta")}
LAST_OUTSIDE = {"last_outside": ("a", "one")}
POSTHOC = Registry("post-hoc method", Posthoc, [
    Posthoc("wise", "WiSE", "arXiv:2109.01903", "clipft.posthoc.wise:apply_wise",
            options={"alpha": 0.5}, mixes=True, asks=False),
    Posthoc("wise_head", "WiSE, head", "arXiv:2109.01903", "clipft.posthoc.wise:apply_wise_head",
            options={"alpha": 0.5}, mixes=True, asks=False),
    Posthoc("wise_fisher", "WiSE, Fisher", "arXiv:2111.09832", "clipft.posthoc.fisher:apply_fisher",
            options={"alpha": 0.5, "images": 256}, mixes=True),
    Posthoc("tpgm", "TPGM", "arXiv:2303.10720", "clipft.posthoc.tpgm:apply_tpgm",
            options={"steps": 200, "batch": 64, "lr": 0.01, "norm": "frobenius"}, words=NORMS),
    Posthoc("tpgm_c", "TPGM-C", "arXiv:2303.10720", "clipft.posthoc.tpgm:apply_tpgm_c",
            options={"mu": 1.0, "steps": 200, "batch": 64, "lr": 0.01, "norm": "frobenius"},
            words=NORMS),
    Posthoc("uniform_soup", "uniform soup", "arXiv:2203.05482",
            "clipft.posthoc.soup:apply_uniform_soup", many=True, asks=False),
    Posthoc("greedy_soup", "greedy soup", "arXiv:2203.05482",
            "clipft.posthoc.soup:apply_greedy_soup", many=True, options={"ties": GIVEN},
            words=TIES),
    Posthoc("model_stock", "Model Stock", "arXiv:2403.19522",
            "clipft.posthoc.model_stock:apply_model_stock", many=True, least=2, asks=False),
    Posthoc("lines", "LiNeS", "arXiv:2410.17146", "clipft.posthoc.lines:apply_lines",
            options={"a": 0.5, "choose": True, "last_outside": "a", "head": 1.0},
            words=LAST_OUTSIDE, chosen=("a",)),
    Posthoc("output_ensemble", "output ensemble", "arXiv:2109.01903",
            "clipft.posthoc.ensemble:apply_output_ensemble", many=True, ensemble=True, asks=False),
    Posthoc("greedy_ensemble", "greedy ensemble", "arXiv:2203.05482",
            "clipft.posthoc.ensemble:apply_greedy_ensemble", many=True, ensemble=True,
            options={"limit": 4, "ties": GIVEN}, words=TIES),
    # Transductive: the test images of a split are looked at as a set, without labels.
    Posthoc("dawin", "DaWin (transductive)", "arXiv:2410.03782",
            "clipft.posthoc.dawin:apply_dawin", ensemble=True, rule="clipft.posthoc.dawin:DaWin",
            options={"points": 11, "offset": True, "by": "grid", "components": 3}, words=LOOK_UP),
    Posthoc("dawin_output", "DaWin, outputs (transductive)", "arXiv:2410.03782",
            "clipft.posthoc.dawin:apply_dawin_output", ensemble=True,
            rule="clipft.posthoc.dawin:DaWinOutput", options={"offset": True}),
    Posthoc("vrf", "VRF", "arXiv:2411.06966", "clipft.posthoc.vrf:apply_vrf", ensemble=True,
            rule="clipft.posthoc.vrf:VRF", options={"a": 1.5, "b": 0.6, "choose": True},
            asks_training=True, chosen=("a", "b")),
])
# fmt: on


def training_method(name: str) -> Method:
    """The method of this name; raises ConfigError, where it comes after training says so."""
    if name in POSTHOC and name not in METHODS:
        raise ConfigError(
            f"{name} comes after training: train a run first, then clipft combine {name} RUN"
        )
    return METHODS[name]


def posthoc_method(name: str) -> Posthoc:
    """The post-hoc method of this name; raises ConfigError, where it is a training says so."""
    if name in METHODS and name not in POSTHOC:
        raise ConfigError(f"{name} is a method to train, so: clipft train method={name}")
    return POSTHOC[name]


# Decorators for other people's functions: @method("mine", title="Mine", paper="yours", lam=1.0)
method = METHODS.register
posthoc = POSTHOC.register


# --- what `clipft methods` prints


# fmt: off
TRAINS = {"head": "head", "vision": "vision tower, head",
          "image": "vision tower, scale", "both": "both towers, scale"}
# fmt: on


def method_tables() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """A row for each method to train, and for each method after training."""
    load_plugins()
    training = []
    for entry in METHODS.values():
        lam = "" if entry.lam is None else f"{entry.lam:g}"
        training.append(_row(entry, lam=lam, trains=TRAINS[entry.trains]))
    after = []
    for entry in POSTHOC.values():
        after.append(_row(entry, takes="runs" if entry.many else "a run"))
    return training, after


def _row(entry: Entry, **own: str) -> dict[str, str]:
    """What all have, with options and their defaults as they are written on the command line."""
    row = {"name": entry.name, "title": entry.title} | own
    options = [f"{name}={json.dumps(value)}" for name, value in entry.all_options.items()]
    return row | {"options": " ".join(options), "source": entry.paper}


# --- plugins


def use_plugins(paths: Iterable[Path | str]) -> None:
    """Load these files, here and in every process that this one starts (kernels above all).

    Raises ConfigError as `load_plugin` does.
    """
    files = _named_files()
    for path in paths:
        load_plugin(path)
        files.append(str(Path(path).resolve()))
    os.environ[PLUGINS] = os.pathsep.join(dict.fromkeys(files))


def load_plugins() -> None:
    """Load what is not loaded yet: the files of $CLIPFT_PLUGINS, then installed entry points."""
    for path in _named_files():
        load_plugin(path)
    load_entry_points()


def _named_files() -> list[str]:
    """The files of $CLIPFT_PLUGINS."""
    return [path for path in os.environ.get(PLUGINS, "").split(os.pathsep) if path]


def load_plugin(path: Path | str) -> None:
    """Import a Python file, which registers methods; once a process.

    Raises ConfigError in one line where it is missing or fails; none of its methods stays then.
    """
    file = Path(path).resolve()
    name = f"clipft_plugin_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return
    if not file.is_file():
        raise ConfigError(f"plugin {path}: there is no such file")
    spec = util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"plugin {path}: expected a Python file, whose name ends in .py")

    module = util.module_from_spec(spec)
    # Dataclasses and `inspect` look for the module there while it is still being run.
    sys.modules[name] = module
    try:
        with _whole_or_not(str(path)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def load_entry_points() -> None:
    """Import the entry points `clipft.methods` of installed packages, which register methods."""
    for point in entry_points(group="clipft.methods"):
        with _whole_or_not(point.value):
            point.load()


@contextlib.contextmanager
def _whole_or_not(plugin: str) -> Iterator[None]:
    """Say what fails in a plugin in one line that names it, and take its methods back."""
    try:
        with METHODS.undone_on_error(), POSTHOC.undone_on_error():
            yield
    except Exception as error:
        reason = " ".join(str(error).split())
        if not isinstance(error, ClipftError):
            reason = f"{type(error).__name__}: {reason}"
        raise ConfigError(f"plugin {plugin}: {reason}") from error
