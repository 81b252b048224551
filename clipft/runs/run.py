"""A run folder and what belongs to it: configuration, data, zero-shot model, tuned weights, scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..config import ALPHAS, Record, RunConfig, check_alpha
from ..data.manifests import Manifest, load_manifest
from ..data.splits import Split
from ..disk.files import atomic, read_json
from ..disk.lock import lock
from ..errors import ConfigError, RunError
from ..evaluation.score import ensemble_sweep, sweep
from ..inputs.batches import few_shot
from ..inputs.draws import rng
from ..inputs.prompts import Captions, random_texts, special_tokens, zero_shot_prompts
from ..models.checkpoints import read_weights
from ..models.embeddings import extract, texts
from ..models.export import export_clip
from ..models.head import Head, read_head
from ..models.load import Clip, load_clip
from ..models.students import Classifier, Student, TwoTowers
from ..objectives.registry import METHODS
from ..posthoc.registry import POSTHOC
from ..posthoc.wise import wise
from ..progress import write
from .folder import read_scores
from .scores import from_frame, table, to_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from torch import Tensor

    from ..models.embeddings import Features
    from ..objectives.registry import Method
    from ..posthoc.weights import Weights
    from .scores import Scores

GAP_TEXTS, GAP_LENGTH = (
    10_000,
    8,
)  # the fixed set on which energy gaps are measured, as in Lipsum-FT


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
        run.method.check(config)
        return run

    @classmethod
    def open(cls, folder: Path | str, device: str = "cpu") -> Run:
        """The run that lies in a folder; raises RunError where there is none or it is not finished."""
        recorded = read_json(Path(folder) / "config.json")
        after = None
        if isinstance(recorded, dict):
            after = recorded.pop("after", None)
            recorded = {
                key: value for key, value in recorded.items() if not key.endswith("_digest")
            }
        source = f"{folder}/config.json"
        after = None if after is None else After.read(after, source)
        run = cls(RunConfig.read(recorded, source), Path(folder), device, after)
        if not run.finished:
            raise RunError(
                f"{folder} is not finished; train it to its end first: the same command goes on with it"
            )
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
                raise RunError(
                    f"{self.folder} was begun from {names[key]}; use another runs folder, or delete it"
                )

    @property
    def is_ensemble(self) -> bool:
        """Whether this is the mean of its members' logits, which has no weights of its own."""
        return self.after is not None and POSTHOC[self.after.name].ensemble

    @property
    def name(self) -> str:
        """The method, and what was done after it: `lipsum+tpgm`."""
        after = () if self.after is None else (*self.after.of, self.after.name)
        return "+".join([self.config.method, *after])

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
        return texts(self.clip, self.prompts, "zero-shot head", self.clip.zero_shot_head)

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
            raise RunError(
                f"{self.folder} is an ensemble and has no weights of its own; use its members"
            )
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
        tokens = random_texts(
            self.clip.tokenizer, GAP_TEXTS, GAP_LENGTH, rng(0, "energy_gap"), self.clip.vocabulary
        )
        return texts(self.clip, tokens, "random texts")

    def _gap_moment(self) -> Tensor:
        """The second moment (D, D) of gap_texts; not a number, and a line that says why, where there are none."""
        from ..diagnostics.energies import second_moment

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
            (table,) = (
                tensor
                for name, tensor in weights.items()
                if name.endswith("token_embedding.weight")
            )
            table[unknown] = 0
        self.student.load_state_dict(weights)
        dtype = torch.float16 if half else None
        return export_clip(folder, self.clip, self.student, self.manifest.names, extra, dtype)

    def features(
        self, split: str, alpha: float = 1.0, workers: int = 0, progress: bool = True
    ) -> Features:
        """Embeddings of a split (`sketch/test`) by the model at this alpha, from the cache if they are there."""
        self.student.load_state_dict(wise(self.anchor, self.tuned, alpha) if alpha else self.anchor)
        return extract(self.student, self.manifest.split(split), workers, False, progress)

    def scores(
        self,
        alphas: Sequence[float] = ALPHAS,
        workers: int = 0,
        skip_bad: bool = False,
        progress: bool = True,
        adaptive: float = 0.0,
    ) -> list[Scores]:
        """What the model at each alpha says of every image of the reported splits; kept as images.parquet, done once.

        adaptive: also score between alphas, where the accuracy of a split bends by more than this fraction. Raises
        ConfigError for an alpha outside 0 ... 1, RunError where another process writes the folder.
        """
        import pandas as pd

        alphas = sorted({check_alpha(alpha) for alpha in alphas})
        if not alphas:
            raise ConfigError("no alpha to score; give at least one between 0 and 1")
        if adaptive and self.is_ensemble:
            raise ConfigError(
                "adaptive alphas are for runs with weights; give an ensemble's alphas one by one"
            )
        file, recorded = self.folder / "images.parquet", read_json(self.folder / "config.json")
        self.check_origin(recorded)
        with lock(self.folder):
            known = read_scores(file) if file.exists() else None
            have = [] if known is None else from_frame(known)
            missing, more = sorted(set(alphas) - {one.alpha for one in have}), []
            if missing or adaptive:
                splits = self.reported_splits()
                more = self.sweep(splits, missing, workers, skip_bad, progress, adaptive, have)
            if more:
                if known is None:  # no summary can be of these images
                    (self.folder / "scores.parquet").unlink(missing_ok=True)
                known = pd.concat([known, to_frame(more)]).sort_values(
                    "alpha", kind="stable", ignore_index=True
                )
                with atomic(file) as temporary:
                    known.astype({"split": "category", "id": "category"}).to_parquet(temporary)
        wanted = set(known["alpha"]) if adaptive else set(alphas)
        return from_frame(known[known["alpha"].isin(wanted)])

    def sweep(
        self,
        splits: Sequence[Split],
        alphas: Sequence[float],
        workers=0,
        skip_bad=False,
        progress=True,
        *refine,
    ) -> list[Scores]:
        """What the model at each alpha says of any splits; nothing is kept. Raises as `evaluation.sweep` does."""
        rest = (splits, alphas)
        if self.is_ensemble:
            tuned = [member.tuned for member in self.members]
            return ensemble_sweep(
                self.student, self.anchor, tuned, *rest, workers, skip_bad, progress
            )
        moment = self._gap_moment()
        return sweep(
            self.student,
            self.anchor,
            self.tuned,
            *rest,
            moment,
            workers,
            skip_bad,
            progress,
            *refine,
        )

    def score(
        self,
        alphas: Sequence[float] = ALPHAS,
        workers: int = 0,
        skip_bad: bool = False,
        progress: bool = True,
        adaptive: float = 0.0,
    ) -> pd.DataFrame:
        """Every metric of `scores`, with 95 % intervals, as the tidy table that is kept as scores.parquet.

        Metrics: accuracy, class_accuracy, macro_f1, nll, ece, energy_gap (on the split's own images, with the logit
        scale), feature_distortion, feature_distortion_normalised, relative_accuracy. Raises as `scores` does.
        """
        import pandas as pd

        file, images = self.folder / "scores.parquet", self.folder / "images.parquet"
        if file.exists() and images.exists() and not adaptive:
            known = read_scores(file)
            if {check_alpha(alpha) for alpha in alphas} <= set(known["alpha"]):
                self.check_origin(read_json(self.folder / "config.json"))
                return known
        found = self.scores(alphas, workers, skip_bad, progress, adaptive)
        wanted = {one.alpha for one in found}
        with lock(self.folder):
            known = read_scores(file) if file.exists() else None
            have = set() if known is None else set(known["alpha"])
            if wanted <= have:
                return known
            rows = table(
                [one for one in found if one.alpha not in have],
                self.reference,
                self.config.train_domains,
            )
            rows = pd.concat([known, rows]).sort_values("alpha", kind="stable", ignore_index=True)
            with atomic(file) as temporary:
                rows.to_parquet(temporary)
        return rows
