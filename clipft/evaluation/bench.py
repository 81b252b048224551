"""What runs of one model and one data set share: manifest, zero-shot model, prompts, head, splits,
random texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import GAP_TEXTS, Reading, RunConfig, digest
from ..data.images import Transform
from ..data.manifests import Manifest, load_manifest
from ..data.splits import Split
from ..diagnostics.energies import second_moment
from ..errors import ConfigError, RunError
from ..inputs.batches import few_shot
from ..inputs.prompts import Captions, random_texts, spurious_templates, zero_shot_prompts
from ..inputs.ranks import ALONE, Ranks
from ..inputs.release import CentralPixels, both_sides
from ..inputs.seeds import drawing, rng
from ..models.checkpoints import read_weights
from ..models.embeddings import texts
from ..models.head import Head, read_head
from ..models.load import Clip, has_room, load_clip, pick_device
from ..models.students import Classifier, Student, TwoTowers
from ..posthoc.weights import Weights, check_finite
from ..progress import write
from ..runs.checks import check_decoder, check_domains, check_scorable, check_weights
from ..runs.folder import RunFolder
from ..runs.made import scoring_precision
from ..runs.protocol import protocol_of
from ..runs.rows import choosing_on, chosen_on, reported_on, rows_digest, seen_by, trained_on
from ..runs.run import Run
from .mixtures import Mixtures
from .per_image import PerImageJudge
from .predictions import ChosenBy

GAP_LENGTH = 8  # tokens of the random texts of energy gaps
ORIGINS = {  # digest in a run's configuration -> what is another one today
    "model_digest": "other weights of {model}",
    "manifest_digest": "another manifest",
    "head_digest": "another head",
    "spurious_digest": "other spurious templates",
    "method_digest": "another source of its method",
    "rows_digest": "other images or labels than its data set lists today",
}


@dataclass(frozen=True, eq=False)
class Bench:
    """What it takes to run models on a data set, shared by all runs of it. It knows no run folder.

    Arguments:
        config: of any of the runs; its model, pretrained and manifest count (and the seed, where
            the weights are random).
        reading: how images are read, and on which device.
        gap_texts: how many random texts energy gaps are measured on.
        kept: the runs' own copy of the manifest, in place of the one that the configuration names.
        ranks: the processes that share its work.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> bench = clipft.Bench.of(run)
        >>> mixtures = bench.mixtures(run)
        >>> middle = mixtures.at(0.5)  # WiSE-FT's weights: names to tensors
        >>> features = mixtures.features(bench.manifest.split("sketch/test"), alpha=0.5)
        >>> features.embeddings.shape
        (20, 16)
    """

    config: RunConfig
    reading: Reading = field(default_factory=Reading)
    gap_texts: int = GAP_TEXTS
    kept: Manifest | None = None
    ranks: Ranks = ALONE

    @classmethod
    def of(cls, run: Run | RunFolder | Path | str, reading: Reading | None = None) -> Bench:
        """A finished run's bench, on its own copy of the manifest.

        Arguments:
            run: a Run, its folder, or the first letters of its id.
            reading: how images are read, and on which device.

        Returns:
            The bench.

        Raises:
            RunError: where the model has changed since.
        """
        return Benches(reading).of(Run.open(run))

    def ranks_of(self, config: RunConfig) -> Ranks:
        """Those that share the training; a head alone, on embeddings that are there, is trained by
        one.
        """
        return ALONE if config.entry.trains == "head" else self.ranks

    @cached_property
    def device(self) -> str:
        """Where models run."""
        return pick_device(self.reading.device)

    @cached_property
    def manifest(self) -> Manifest:
        """The data set."""
        return seen_by(self.config, self.kept or load_manifest(self.config.manifest))

    @cached_property
    def clip(self) -> Clip:
        """The zero-shot model theta0, frozen."""
        if self.config.pretrained != "none":
            recorded = self.kept is not None
            return load_clip(
                self.config.model, self.config.pretrained, self.device, recorded=recorded
            )
        with drawing(self.config.seed, "weights", self.device):
            return load_clip(self.config.model, "none", self.device)

    @cached_property
    def prompts(self) -> Tensor:
        """Tokens (C, T, context) of the zero-shot head."""
        return zero_shot_prompts(self.manifest, self.clip.tokenizer)

    @cached_property
    def zero_shot(self) -> Tensor:
        """The zero-shot head W0 (D, C)."""
        return texts(self.clip, self.prompts, "zero-shot head", self.clip.zero_shot_head)

    @cached_property
    def random_texts(self) -> Tensor:
        """Unit embeddings (M, D) of the fixed random texts on which every run's energy gap is
        measured.

        Raises ConfigError where the model has no text tower, or no tokenizer to draw them from.
        """
        draw = rng(0, "energy_gap")
        tokens = random_texts(
            self.clip.tokenizer, self.gap_texts, GAP_LENGTH, draw, self.clip.vocabulary
        )
        return texts(self.clip, tokens, "random texts")

    def gap_moment(self) -> Tensor:
        """The second moment (D, D) of the random texts; NaN, and a line why, without any."""
        try:
            return second_moment(self.random_texts, self.clip.scale)
        except ConfigError as error:
            write(f"energy gap left out: {error}")
            dimensions = len(self.zero_shot)
            return torch.full((dimensions, dimensions), float("nan"))

    def captions(self) -> Captions:
        """Draws captions of the data set's classes."""
        return Captions(self.manifest, self.clip.tokenizer)

    def student(self, config: RunConfig) -> Student:
        """The module that a run's method trains, at the zero-shot weights; evaluated in the
        precision that the run trains in.
        """
        method = config.entry
        if method.two_towers:
            frozen_text = method.trains == "image"
            scale = config.logit_scale or "trained"
            student: Student = TwoTowers(
                self.clip, self.prompts, frozen_text=frozen_text, logit_scale=scale
            )
        else:
            scale = config.logit_scale or "frozen"
            student = Classifier(self.clip, self.zero_shot, config.head, scale)
        student.precision = config.precision
        return student.to(self.device)

    def given_head(self, config: RunConfig) -> Head:
        """The head of `head_from`; raises ConfigError where its classes are not the data set's."""
        head = read_head(config.head_from)
        head.check_classes(self.manifest.names, self.manifest.name)
        head.check_dimensions(len(self.zero_shot), config.model)
        return head

    def check(self, config: RunConfig) -> None:
        """Raise ConfigError for a name or setting that cannot be trained; nothing is loaded."""
        check_domains(config, self.manifest)
        check_decoder(config.decoder)
        config.entry.check(config)

    def train_split(self, config: RunConfig) -> Split:
        """The rows to train on: the reference or all train_domains; `shots` of each class.

        They alone are shrunk.
        """
        split = self._drawn(trained_on(config, self.manifest), config)
        return replace(split, decoding=replace(split.decoding, shrink=config.shrink))

    def selection_split(self, config: RunConfig) -> Split:
        """The rows on which the weights are chosen: held-out val, or the reported test with
        selection "paper".

        In a few-shot run it is as small as the training set. Raises ConfigError where there is
        none, see `has_selection`.
        """
        return self._drawn(choosing_on(config, self.manifest), config)

    def chosen_by(self, config: RunConfig) -> ChosenBy:
        """By what the selection split chooses weights: the metric that the reference is scored by.

        Raises ConfigError as `selection_split` does.
        """
        split = self.selection_split(config)
        return ChosenBy(self.manifest.scored_by.reference, split.groups, split.allowed)

    def has_selection(self, config: RunConfig) -> bool:
        """Whether there is anything to choose on; without, the last weights are kept."""
        return bool(chosen_on(config, self.manifest))

    def training_splits(self, config: RunConfig) -> list[Split]:
        """What a training reads: the rows to train on, and to choose on where there are any."""
        splits = [self.train_split(config)]
        if self.has_selection(config):
            splits.append(self.selection_split(config))
        return splits

    def selection_transform(self, config: RunConfig) -> Transform:
        """What is made of an image on which the weights are chosen.

        On purpose unlike Lipsum-FT's release, images have the model's own resize, as they are
        reported with; there the central 224 / 256 of the shorter side is cut out first.
        `protocol: release` is as there; what is reported stays.
        """
        if protocol_of(config).plain_resize:
            return CentralPixels(both_sides(self.clip.size))
        return self.clip.transform

    def _drawn(self, names: Sequence[str], config: RunConfig) -> Split:
        split = Split.join([self.manifest.split(name) for name in names])
        if not config.shots:
            return split
        draw = rng(config.seed, f"few_shot:{split.name}")
        return few_shot(split, config.shots, draw)

    def reported_splits(self, config: RunConfig) -> list[Split]:
        """Reference val, where there is one, reference test, and every shift's test."""
        return [self.manifest.split(name) for name in reported_on(config, self.manifest)]

    def made_of(self, config: RunConfig) -> dict[str, str]:
        """Digests of what a run of this configuration is made of, kept with it."""
        digests = {"model_digest": self.clip.digest(), "manifest_digest": self.manifest.digest()}
        if config.head_from:
            digests["head_digest"] = self.given_head(config).digest()
        if "spurious_captions" in config.entry.needs:
            digests["spurious_digest"] = digest(spurious_templates(self.manifest))
        source = config.entry.source_digest()
        if source:  # a method from outside the package
            digests["method_digest"] = source
        return digests

    def rows_of(self, config: RunConfig) -> dict[str, str]:
        """The digest of the rows that are trained and chosen on; those of EmojiShift follow from
        its manifest.

        Raises ConfigError where a list is missing or malformed.
        """
        if self.manifest.is_rendered:
            return {}
        return {"rows_digest": rows_digest(self.training_splits(config))}

    def check_made_of(self, run: Run) -> None:
        """Raise RunError where a run was made of other weights or another manifest than today's."""
        today = {"model_digest": self.clip.digest(), "manifest_digest": self.manifest.digest()}
        compare_digests(run.folder, run.made_of, today, run.config.model)

    def tuned(self, run: Run) -> Weights:
        """Weights that training chose, or a post-hoc method made, on the device.

        Raises WeightsError where one of their numbers is not finite.
        """
        weights = self._chosen(run)
        return {name: tensor.to(self.device) for name, tensor in weights.items()}

    def _chosen(self, run: Run) -> Weights:
        """What training chose, on the host; see `tuned`."""
        check_weights(run)
        weights = read_weights(run.folder.weights_file)
        check_finite(weights, str(run.folder))
        return weights

    def _end(self, run: Run) -> Weights:
        """What training chose, on the device; on the host, pinned, where it has no room for it."""
        weights = self._chosen(run)
        size = sum(tensor.nbytes for tensor in weights.values())
        if has_room(self.device, size):
            return {name: tensor.to(self.device) for name, tensor in weights.items()}
        return {name: tensor.pin_memory() for name, tensor in weights.items()}

    def _start_of(self, student: Student) -> Weights:
        """What a student starts from, which stays when it is moved: the towers are the frozen
        CLIP's own tensors, the head is a copy.
        """
        frozen = self.clip.model.state_dict()
        start = {}
        for name, tensor in student.state_dict().items():
            own_name = name.removeprefix("clip.")
            start[name] = frozen[own_name] if own_name in frozen else tensor.clone()
        return start

    def mixtures(self, run: Run) -> Mixtures:
        """The run's model at any alpha, in the precision of its scores; an ensemble's ends are its
        members'. Ends for which the card has no room stay on the host.

        Raises ConfigError where the reading asks for another precision than it was scored in.
        """
        precision = scoring_precision(run, self.reading.precision)
        members = run.members if run.is_ensemble else [run]
        student = self.student(run.config)
        student.precision = precision
        return Mixtures(
            student=student,
            start=self._start_of(student),
            ends=[self._end(member) for member in members],
            moment=self.gap_moment,
            is_ensemble=run.is_ensemble,
            reading=self.reading,
            ranks=self.ranks,
            per_image=self._per_image(run),
        )

    def _per_image(self, run: Run) -> Callable[..., PerImageJudge] | None:
        """Makes the judge of a run that mixes each image anew; None for any other."""
        if run.rule is None:
            return None
        check_scorable(run)
        fitted = read_weights(run.folder.mixture_file)
        return partial(PerImageJudge, rule=run.rule.load_rule()(fitted))


def compare_digests(
    folder: RunFolder, recorded: Mapping[str, Any], today: Mapping[str, str], model: str
) -> None:
    """Raise RunError that names the first of today's digests that a folder was not begun from."""
    for key, value in today.items():
        if key == "rows_digest" and key not in recorded:
            continue  # an older clipft did not look
        if recorded.get(key) != value:
            other = ORIGINS[key].format(model=model)
            raise RunError(
                f"{folder} was begun from {other}; to train anew use another runs folder"
                " (--runs), or delete this one"
            )


class Benches:
    """Benches by what they share: ten runs of one model and manifest load one CLIP."""

    def __init__(
        self, reading: Reading | None = None, gap_texts: int = GAP_TEXTS, ranks: Ranks = ALONE
    ):
        self.ranks = ranks
        self.reading = reading or Reading()
        self._gap_texts = gap_texts
        self._benches: dict[tuple[Any, ...], Bench] = {}

    def of(self, run: Run) -> Bench:
        """The bench of a run, see `Bench.of`."""
        config = run.config
        manifest = run.manifest
        # Random weights are drawn by the seed.
        seed = config.seed if config.pretrained == "none" else None
        data = (manifest.digest(), _place(manifest), manifest.trained, manifest.made_of)
        key = (config.model, config.pretrained, seed, *data, config.decoder)
        if key not in self._benches:
            about = (self.reading, self._gap_texts, manifest, self.ranks)
            self._benches[key] = Bench(config, *about)
        bench = self._benches[key]
        bench.check_made_of(run)
        return bench


def _place(manifest: Manifest) -> Path | None:
    """Where the images lie; None where nobody said it, which ends only what reads them."""
    try:
        return manifest.place
    except ConfigError:
        return None
