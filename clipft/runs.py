"""A run folder and what belongs to it: configuration, data, zero-shot model, tuned weights, scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .config import Record, RunConfig, check_options, rng
from .data import few_shot
from .errors import ConfigError, RunError
from .evaluation import ensemble_sweep, sweep, table
from .export import Head, export_clip, read_head
from .manifests import Manifest, load_manifest
from .models import Classifier, Clip, Student, TwoTowers, load_clip
from .objectives import METHODS
from .posthoc import POSTHOC, wise
from .posthoc.wise import check_alpha
from .progress import write
from .prompts import Captions, random_texts, special_tokens, zero_shot_prompts
from .records import Split
from .store import atomic, lock, read_json, read_scores, read_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from torch import Tensor

    from .objectives import Method
    from .records import Weights

ALPHAS = tuple(i / 10 for i in range(11))
GAP_TEXTS, GAP_LENGTH = 10_000, 8  # the fixed set on which energy gaps are measured, as in Lipsum-FT


def pick_device(name: str = "auto") -> str:
    """`auto` is the GPU where there is one; raises ConfigError for a device that this machine lacks."""
    found = [*(["cuda"] if torch.cuda.is_available() else []), *(["mps"] if torch.backends.mps.is_available() else [])]
    if name == "auto":
        return [*found, "cpu"][0]
    kind, _, index = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 0
    if kind not in (*found, "cpu") or (index and not (index.isdecimal() and int(index) < count)):
        raise ConfigError(f"no device {name!r} here; found: {', '.join([*found, 'cpu'])}")
    return name


class After(Record):
    """What was done to finished runs: a post-hoc method, its options, and the runs (folders beside this one)."""

    name: str
    options: dict[str, Any] = {}
    of: tuple[str, ...] = ()  # post-hoc methods that the first of the runs is itself made by
    among: int = 1  # how many runs were given; an ensemble's members are those it kept
    members: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Run:
    """One run: `Run.open(folder)` for one that exists, `train(config)` to make one, `combine` to derive one."""

    config: RunConfig
    folder: Path
    device: str = "cpu"
    after: After | None = None

    @classmethod
    def create(cls, config: RunConfig, runs: Path | str, device: str = "cpu") -> Run:
        """The run of this configuration; names are checked (ConfigError), nothing is written."""
        run = cls(config, Path(runs) / config.id, device)
        for domain in (run.reference, *config.train_domains):
            run.manifest.check_domain(domain)
        run._check_method()
        return run

    def _check_method(self) -> None:
        config, method = self.config, self.method
        check_options(method.name, config.options, method.options)
        if config.lam is not None and method.lam is None:
            raise ConfigError(f"{method.name} has no regulariser, so lam={config.lam:g} would do nothing; leave it out")
        if self.two_towers and (config.head != "fixed" or config.head_from):
            raise ConfigError(f"{method.name} builds its head from its text tower; leave out head and head_from")
        if config.head_from and method.head != "zero_shot":
            raise ConfigError(f"{method.name} says itself where its head starts; head_from goes with method=ft")
        if config.solver == "adamw" and method.head != "probe":
            raise ConfigError(f"{method.name} has no linear probe, so solver=adamw would do nothing; leave it out")
        if config.head == "absorbed" and config.logit_scale in ("trained", "clamped"):
            raise ConfigError("head=absorbed holds the logit scale in its weights; leave out logit_scale")
        if method.head == "probe" and config.solver == "adamw" and method.trains != "head":
            raise ConfigError(
                f"{method.name} takes solver=logistic; for a head that AdamW trained: method=lp solver=adamw, "
                "clipft export, then method=ft head_from=FOLDER/head.safetensors"
            )

    @classmethod
    def open(cls, folder: Path | str, device: str = "cpu") -> Run:
        """The run that lies in a folder; raises RunError where there is none or it is not finished."""
        recorded = read_json(Path(folder) / "config.json")
        after = None
        if isinstance(recorded, dict):
            after = recorded.pop("after", None)
            recorded = {key: value for key, value in recorded.items() if not key.endswith("_digest")}
        source = f"{folder}/config.json"
        after = None if after is None else After.read(after, source)
        run = cls(RunConfig.read(recorded, source), Path(folder), device, after)
        if not run.finished:
            raise RunError(f"{folder} is not finished; train it to its end first: the same command goes on with it")
        return run

    def origin(self) -> dict[str, str]:
        """Digests of the zero-shot weights and the manifest, kept with the configuration."""
        return {"model_digest": self.clip.digest(), "manifest_digest": self.manifest.digest()}

    def check_origin(self, recorded: dict, today: dict[str, str] | None = None) -> None:
        """Raise RunError where the folder was begun from other weights or another manifest than today's."""
        names = {
            "model_digest": f"other weights of {self.config.model}",
            "manifest_digest": "another manifest",
            "head_digest": "another head",
        }
        for key, value in (today or self.origin()).items():
            if recorded.get(key) != value:
                raise RunError(f"{self.folder} was begun from {names[key]}; use another runs folder, or delete it")

    @property
    def is_ensemble(self) -> bool:
        """Whether this is the mean of its members' logits, which has no weights of its own."""
        return self.after is not None and POSTHOC[self.after.name].ensemble

    @property
    def finished(self) -> bool:
        """Whether the tuned weights are there."""
        return self.is_ensemble or (self.folder / "weights.safetensors").exists()

    @property
    def members(self) -> list[Run]:
        """The runs that an ensemble joins."""
        return [Run.open(self.folder.parent / name, self.device) for name in self.after.members]

    @property
    def two_towers(self) -> bool:
        """Whether the head is built from the text tower; else it is a layer that trains."""
        return self.method.trains in ("image", "both")

    @property
    def method(self) -> Method:
        """The method's entry in the registry."""
        return METHODS[self.config.method]

    @cached_property
    def manifest(self) -> Manifest:
        """The data set."""
        return load_manifest(self.config.manifest)

    @property
    def reference(self) -> str:
        """The in-distribution domain."""
        return self.config.reference or self.manifest.reference

    @cached_property
    def clip(self) -> Clip:
        """The zero-shot model theta0, frozen, on the run's device."""
        if self.config.pretrained == "none":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(rng(self.config.seed, "weights").initial_seed())
                return load_clip(self.config.model, "none", self.device)
        return load_clip(self.config.model, self.config.pretrained, self.device)

    @cached_property
    def prompts(self) -> Tensor:
        """Tokens (C, T, context) of the zero-shot head."""
        return zero_shot_prompts(self.manifest, self.clip.tokenizer)

    @cached_property
    def zero_shot(self) -> Tensor:
        """The zero-shot head W0 (D, C)."""
        return self.clip.zero_shot_head(self.prompts)

    def _at_theta0(self) -> Student:
        scale = self.config.logit_scale or ("trained" if self.two_towers else "frozen")
        if self.two_towers:
            fresh = TwoTowers(self.clip, self.prompts, self.method.trains == "image", scale)
        else:
            fresh = Classifier(self.clip, self.zero_shot, self.config.head, scale)
        return fresh.to(self.device)

    @cached_property
    def student(self) -> Student:
        """The module that the method trains, at the zero-shot weights."""
        return self._at_theta0()

    @cached_property
    def anchor(self) -> Weights:
        """Weights of the zero-shot model, head included."""
        return self._at_theta0().state_dict()

    def given_head(self) -> Head:
        """The head of `head_from`; raises ConfigError where its classes are not the data set's."""
        head = read_head(self.config.head_from)
        head.check_classes(self.manifest.names, self.manifest.name)
        head.check_dimensions(len(self.zero_shot), self.config.model)
        return head

    @cached_property
    def tuned(self) -> Weights:
        """Weights that training chose, or a post-hoc method made; raises RunError for an ensemble."""
        if self.is_ensemble:
            raise RunError(f"{self.folder} is an ensemble and has no weights of its own; use its members")
        weights = read_weights(self.folder / "weights.safetensors")
        return {name: tensor.to(self.device) for name, tensor in weights.items()}

    def captions(self) -> Captions:
        """Draws captions of the data set's classes."""
        return Captions(self.manifest, self.clip.tokenizer)

    def train_split(self) -> Split:
        """The rows that are trained on: the reference, or the joined train_domains; `shots` of each class."""
        return self._drawn(self._joined("train"))

    def selection_split(self) -> Split:
        """The rows on which the weights are chosen: held-out val, or the reported test with selection "paper".

        In a few-shot run it is as small as the training set.
        """
        return self._drawn(self._joined("test" if self.config.selection == "paper" else "val"))

    def _drawn(self, split: Split) -> Split:
        if not self.config.shots:
            return split
        draw = rng(self.config.seed, f"few_shot:{split.name}")
        return few_shot(split, self.config.shots, draw, self.manifest.names)

    def _joined(self, part: str) -> Split:
        domains = self.config.train_domains or (self.reference,)
        return Split.join([self.manifest.split(f"{domain}/{part}") for domain in domains])

    def reported_splits(self) -> list[Split]:
        """Reference val, reference test, and every shift's test."""
        names = [f"{self.reference}/val", f"{self.reference}/test"]
        names += [f"{domain}/test" for domain in self.manifest.shifts(self.reference)]
        return [self.manifest.split(name) for name in names]

    @cached_property
    def gap_texts(self) -> Tensor:
        """Unit embeddings (M, D) of the fixed random texts on which every run's energy gap is measured.

        Raises ConfigError where the model has no byte-pair text tower to draw them for.
        """
        tokens = random_texts(self.clip.tokenizer, GAP_TEXTS, GAP_LENGTH, rng(0, "energy_gap"), self.clip.vocabulary)
        return self.clip.embed_texts(tokens)

    def _gap_moment(self) -> Tensor:
        """The second moment (D, D) of gap_texts; not a number, and a line that says why, where there are none."""
        from .energies import second_moment

        try:
            return second_moment(self.gap_texts, self.clip.scale)
        except ConfigError as error:
            write(f"energy gap left out: {error}")
            return torch.full((len(self.zero_shot), len(self.zero_shot)), float("nan"))

    def export(self, folder: Path | str, alpha: float = 1.0, half: bool = False) -> Path:
        """Write the model at this alpha as an open_clip `local-dir:` folder, in fp16 if `half`.

        The head and the class names lie beside it; open_clip alone would classify with the zero-shot head. A model that
        was pre-trained here from random weights knows only the tokens of its captions: those are listed in clipft.json
        (random texts are drawn from them), and the embeddings of all others are set to 0.
        """
        weights, extra = wise(self.anchor, self.tuned, alpha), {}
        if self.config.pretrained == "none" and self.method.trains == "both":
            extra["random_text_tokens"] = known = self.captions().vocabulary()
            begin, end, size = special_tokens(self.clip.tokenizer)
            unknown = torch.ones(size, dtype=torch.bool, device=self.device)
            unknown[[*known, begin, end, 0]] = False
            (table,) = (tensor for name, tensor in weights.items() if name.endswith("token_embedding.weight"))
            table[unknown] = 0
        self.student.load_state_dict(weights)
        dtype = torch.float16 if half else None
        return export_clip(folder, self.clip, self.student, self.manifest.names, extra, dtype)

    def score(
        self, alphas: Sequence[float] = ALPHAS, workers: int = 0, skip_bad: bool = False, progress: bool = True
    ) -> pd.DataFrame:
        """Sweep WiSE over every reported split and keep the table as scores.parquet; done once.

        Metrics: accuracy, nll, ece, energy_gap (on the split's own images, with the logit scale),
        feature_distortion, feature_distortion_normalised, relative_accuracy. Raises ConfigError for an alpha
        outside 0 ... 1, RunError where another process writes the folder.
        """
        import pandas as pd

        alphas = sorted({check_alpha(alpha) for alpha in alphas})
        if not alphas:
            raise ConfigError("no alpha to score; give at least one between 0 and 1")
        file, recorded = self.folder / "scores.parquet", read_json(self.folder / "config.json")
        self.check_origin(recorded)
        with lock(self.folder):
            known = read_scores(file) if file.exists() else None
            missing = alphas if known is None else [alpha for alpha in alphas if alpha not in set(known["alpha"])]
            if not missing:
                return known
            splits, rest = self.reported_splits(), (workers, skip_bad, progress)
            if self.is_ensemble:
                tuned = [member.tuned for member in self.members]
                scores = ensemble_sweep(self.student, self.anchor, tuned, splits, missing, self.clip.transform, *rest)
            else:
                moment = self._gap_moment()
                scores = sweep(
                    self.student, self.anchor, self.tuned, splits, missing, self.clip.transform, moment, *rest
                )
            rows = table(scores, self.reference, self.config.train_domains)
            rows = pd.concat([known, rows]).sort_values("alpha", kind="stable", ignore_index=True)
            with atomic(file) as temporary:
                rows.to_parquet(temporary)
        return rows
