"""A model at any alpha, scored: where alpha mixes, and the one engine that scores any number of
mixtures at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import TUNED, ZERO_SHOT, Reading, check_alpha
from ..data.splits import Split
from ..diagnostics.energy_gap import energy_gap
from ..diagnostics.feature_distortion import feature_distortion
from ..errors import ConfigError, RunError
from ..inputs.batches import Pixels, rows_of
from ..inputs.ranks import ALONE, Ranks
from ..metrics.curves import kinks
from ..models.embeddings import Features, Point, extract, in_tower, stream, tower_digest
from ..models.students import Student
from ..posthoc.ensemble import distance, output_ensemble
from ..posthoc.weights import Weights, check_same_shape
from ..posthoc.wise import mix_into, wise
from ..progress import progress_bar
from ..runs.image_scores import Gathered
from ..runs.scores import MOVED, PREDICTED, Scores, ScoreStore, as_store
from .predictions import Heads, predictions

NO_ADAPTIVE = "adaptive alphas are for runs with weights; give an ensemble's alphas one by one"
MOST_ALPHAS = 65  # where refinement stops
OF_WEIGHTS, BESIDE_WISE = MOVED[:3], MOVED[3:]
Columns = dict[str, Tensor]
Embeddings = Iterator[tuple[Any, Tensor]]


@dataclass(frozen=True)
class Refine:
    """Also score between alphas, where the accuracy of a split is further than `tolerance` (a
    fraction) from the line between its neighbours.
    """

    tolerance: float
    most: int = MOST_ALPHAS

    def next_alphas(
        self, accuracy: Mapping[tuple[str, float], float], splits: Sequence[Split]
    ) -> list[float]:
        """Alphas to score next: the middles of the intervals at which the accuracy bends.

        accuracy: of each split at each alpha that was scored.
        """
        alphas = sorted({alpha for _, alpha in accuracy})
        curves = []
        for alpha in alphas:
            curves.append([accuracy[split.name, alpha] for split in splits])
        room = max(0, self.most - len(alphas))
        return kinks(alphas, np.array(curves), self.tolerance)[:room]


@dataclass
class Mixtures:
    """A run's weights from zero-shot to tuned, and its model at any alpha on that line.

    start: weights theta0, head included; ends: the tuned weights; an ensemble's are those of its
    members, and its alpha mixes logits. moment: the second moment (D, D) of the random texts, asked
    for when a sweep begins. The student is left at some mixture; start and ends must not be its own
    tensors, may lie on another device, and are never written to. ranks: those that share the images
    of `score`, and all know the scores then. per_image: makes the judge of an ensemble that mixes
    each image by itself.
    """

    student: Student
    start: Weights
    ends: Sequence[Weights]
    moment: Callable[[], Tensor]
    is_ensemble: bool = False
    reading: Reading = field(default_factory=Reading)
    ranks: Ranks = ALONE
    per_image: Callable[[Mixtures, Sequence[float]], Judge] | None = None

    @property
    def tuned(self) -> Weights:
        """The weights training chose or a post-hoc method made; raises RunError for an ensemble."""
        if self.is_ensemble:
            raise RunError("this is an ensemble and has no weights of its own; use its members")
        return self.ends[0]

    def at(self, alpha: float) -> Weights:
        """WiSE-FT's weights at this alpha, see `posthoc.wise`."""
        return wise(self.start, self._end(alpha), alpha)

    def _end(self, alpha: float) -> Weights:
        """What is mixed into start: at alpha 0, as an ensemble has it, too, nothing else."""
        return self.tuned if alpha else self.start

    @cached_property
    def towers(self) -> list[str]:
        """The digests of the vision towers of start and of the ends."""
        return [tower_digest(weights) for weights in (self.start, *self.ends)]

    def features(self, split: Split, alpha: float = TUNED) -> Features:
        """Embeddings of a split by the model at this alpha, from the cache if they are there."""
        end = self._end(alpha)
        check_same_shape(self.start, end)
        mix_into(self.student.state_dict(), self.start, end, alpha)
        return extract(self.student, split, self.reading)

    def pixels(self, split: Split, **about: int) -> Pixels:
        """What the model is shown of a split."""
        transform = self.student.transform
        return Pixels(split, transform, self.reading, ranks=self.ranks, **about)

    def score(
        self,
        splits: Sequence[Split],
        alphas: Sequence[float],
        refine: Refine | None = None,
        known: Sequence[Scores] = (),
        scores: Gathered | None = None,
    ) -> ScoreStore:
        """Score the model at every alpha on every split; each image is decoded once for the whole
        sweep, and what is said of it goes to the disk as it comes.

        known: scores of earlier sweeps, which are not made again. scores: where they are added,
        which may hold some of an earlier stop. Raises ConfigError for an alpha outside 0 ... 1,
        WeightsError where the models differ, ImageError for an unreadable image unless skip_bad,
        which leaves it out and says so.
        """
        for end in self.ends:
            check_same_shape(self.start, end)
        known = as_store(known)
        todo = [check_alpha(alpha) for alpha in alphas if alpha not in known.alphas]
        scores = Gathered() if scores is None else scores
        if refine is not None:
            self._score_adaptively(splits, todo, refine, known, scores)
        elif todo and self.per_image is not None:
            score_splits(self.per_image(self, todo), splits, scores)
        elif todo and self.is_ensemble:
            score_splits(EnsembleJudge(self, todo), splits, scores)
        elif todo:
            score_splits(WiseJudge(self, todo, self._moment()), splits, scores)
        return scores

    def _moment(self) -> Tensor:
        return self.moment().to(self.student.device)

    def _score_adaptively(
        self,
        splits: Sequence[Split],
        todo: list[float],
        refine: Refine,
        known: ScoreStore,
        scores: Gathered,
    ) -> None:
        """Score these alphas, then those at which a curve bends, until none does."""
        if self.is_ensemble:
            raise ConfigError(NO_ADAPTIVE)
        moment = self._moment()
        # Several passes over the same images: decoded once, kept as far as memory goes.
        pixels = {}
        for split in splits:
            pixels[split.name] = self.pixels(split)
        accuracy = {(of.split, of.alpha): float(of.correct.mean()) for of in known}
        if not todo:
            # Every alpha that was asked for is there: look only where a curve still bends.
            todo = self._bends(refine, accuracy, splits)
        while todo:
            score_splits(WiseJudge(self, todo, moment), splits, scores, pixels)
            for key in scores.keys:
                if key not in accuracy:
                    accuracy[key] = float(scores.read(key).correct.mean())
            todo = self._bends(refine, accuracy, splits)

    def _bends(self, refine: Refine, accuracy: Any, splits: Sequence[Split]) -> list[float]:
        """The next alphas; the first rank says them, which knows scores of an earlier stop, too."""
        found = refine.next_alphas(accuracy, splits) if self.ranks.is_first else []
        return self.ranks.joined(torch.tensor(found, dtype=torch.float64)).tolist()


@dataclass(frozen=True)
class Known:
    """What is known of a chunk: labels (n,), rows of the split (n,), the classes that may be
    predicted, (): all, and those that count as one.
    """

    labels: Tensor
    rows: Tensor
    allowed: tuple[int, ...] = ()
    alike: tuple[tuple[int, ...], ...] = ()


class Judge:
    """What the engine asks: the models to show a split to, and what they say of each chunk.

    Of a model the vision tower is mixed for each chunk, all else once, for its head. columns: the
    names of what it says of each image.
    """

    columns: Sequence[str] = PREDICTED

    def __init__(self, mixtures: Mixtures, alphas: Sequence[float]):
        self.mixtures = mixtures
        self.alphas = alphas
        self.points: dict[Any, Point] = {}
        self._tower: Weights = {}
        self._rest: Weights = {}
        for name, tensor in mixtures.student.state_dict().items():
            part = self._tower if in_tower(name) else self._rest
            part[name] = tensor
        self._loads: dict[Any, Callable[[], object]] = {}
        self.heads = Heads(mixtures.student, self._loads)

    def show(self, name: Any, end: Weights, alpha: float, digest: str | None = None) -> None:
        """Add the model at alpha between start and this end; digest: of its tower, if known."""
        start = self.mixtures.start
        self.points[name] = Point(partial(mix_into, self._tower, start, end, alpha), digest)
        self._loads[name] = partial(mix_into, self._rest, start, end, alpha)

    def begin(self, split: Split, pixels: Pixels) -> None:
        """Look at a split before its chunks are judged; most judges need not."""

    def __call__(self, known: Known, embeddings: Embeddings) -> Iterator[tuple[float, Columns]]:
        """What is known, each point's embeddings (n, D) -> alpha and columns (n,) of `Scores`."""
        raise NotImplementedError


class WiseJudge(Judge):
    """Weights mixed: the embeddings of each mixture against those of zero-shot."""

    columns = (*PREDICTED, *OF_WEIGHTS)

    def __init__(self, mixtures: Mixtures, alphas: Sequence[float], moment: Tensor):
        super().__init__(mixtures, alphas)
        self.moment = moment
        start_tower, tuned_tower = mixtures.towers
        digests = {ZERO_SHOT: start_tower, TUNED: tuned_tower}
        frozen_tower = start_tower == tuned_tower
        # Alpha 0 comes first: all others are compared with it.
        for alpha in dict.fromkeys([ZERO_SHOT, *alphas]):
            digest = start_tower if frozen_tower else digests.get(alpha)
            self.show(alpha, mixtures.tuned, alpha, digest)

    def __call__(self, known: Known, embeddings: Embeddings) -> Iterator[tuple[float, Columns]]:
        """See `Judge`."""
        before = None
        for alpha, now in embeddings:
            if before is None:
                before = now
            if alpha in self.alphas:
                yield alpha, self._columns(alpha, known, now, before)

    @torch.inference_mode()
    def _columns(self, alpha: float, known: Known, now: Tensor, before: Tensor) -> Columns:
        columns = _predicted(self.heads.logits(alpha, now), known)
        gap = energy_gap(now, before, moment=self.moment)
        distortion = feature_distortion(now, before)
        normalised = feature_distortion(now, before, normalised=True)
        return columns | dict(zip(OF_WEIGHTS, (gap, distortion, normalised), strict=True))


class ZeroShotJudge(Judge):
    """The zero-shot model alone: nothing is mixed, nothing moved."""

    def __init__(self, mixtures: Mixtures):
        super().__init__(mixtures, [ZERO_SHOT])
        self.show(ZERO_SHOT, mixtures.start, ZERO_SHOT, tower_digest(mixtures.start))

    def __call__(self, known: Known, embeddings: Embeddings) -> Iterator[tuple[float, Columns]]:
        """See `Judge`."""
        for alpha, now in embeddings:
            yield alpha, _predicted(self.heads.logits(alpha, now), known)


class EnsembleJudge(Judge):
    """Logits mixed: (1 - alpha) logits0 + alpha * mean of the members' logits.

    With one member also its distance to WiSE at the same alpha, in logits, and how often the two
    predict alike. There is no embedding of an ensemble, hence no energy gap.
    """

    def __init__(self, mixtures: Mixtures, alphas: Sequence[float]):
        super().__init__(mixtures, alphas)
        members = mixtures.ends
        self.single = len(members) == 1
        if self.single:
            self.columns = (*PREDICTED, *BESIDE_WISE)

        start_tower, *member_towers = mixtures.towers
        self.show("zero-shot", mixtures.start, ZERO_SHOT, start_tower)
        for number, member in enumerate(members):
            self.show(number, member, TUNED, member_towers[number])
        if self.single:
            for alpha in alphas:
                if alpha not in (ZERO_SHOT, TUNED):
                    self.show(("wise", alpha), members[0], alpha)

    def __call__(self, known: Known, embeddings: Embeddings) -> Iterator[tuple[float, Columns]]:
        """See `Judge`."""
        logits = {name: self.heads.logits(name, now) for name, now in embeddings}
        numbers = range(len(self.mixtures.ends))
        mean = torch.stack([logits[number] for number in numbers]).mean(0)
        # At the ends WiSE is the models themselves.
        logits["wise", ZERO_SHOT] = logits["zero-shot"]
        logits["wise", TUNED] = logits[0]
        for alpha in self.alphas:
            mixed = output_ensemble(logits["zero-shot"], mean, alpha)
            columns = _predicted(mixed, known)
            if self.single:
                wise_logits = logits["wise", alpha]
                of_wise = _predicted(wise_logits, known)["prediction"]
                agrees = (columns["prediction"] == of_wise).float()
                beside = (distance(mixed, wise_logits), agrees)
                columns |= dict(zip(BESIDE_WISE, beside, strict=True))
            yield alpha, columns


def _predicted(logits: Tensor, known: Known) -> Columns:
    return predictions(logits, known.labels, known.allowed, known.alike)._asdict()


class Own:
    """What a rank's models say of its own rows of a split, before it goes to all.

    Numbers travel as fp64, which holds them all, so that a rank without rows can be told as well.
    """

    def __init__(self, names: Sequence[str]):
        self._names = names
        self._parts: dict[float, list[np.ndarray]] = {}

    def add(self, alpha: float, rows: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        """What the model at an alpha says of some rows (n,)."""
        numbers = [rows, *(columns[name] for name in self._names)]
        self._parts.setdefault(alpha, []).append(np.stack(numbers, 1).astype(np.float64))

    def join(self, split: Split, alphas: Sequence[float], scores: Gathered, ranks: Ranks) -> None:
        """Add what all ranks say of the split, in the order of its rows."""
        for alpha in alphas:
            none = np.empty((0, 1 + len(self._names)))
            numbers = ranks.joined_array(np.concatenate([none, *self._parts.get(alpha, [])]))
            columns = {}
            for name, column in zip(self._names, numbers.T[1:], strict=True):
                columns[name] = column.astype(np.int64 if name == PREDICTED[0] else np.float32)
            if len(numbers):
                scores.add(split, alpha, numbers[:, 0].astype(np.int64), columns)


def score_splits(
    judge: Judge, splits: Sequence[Split], scores: Gathered, pixels: Mapping[str, Pixels] = {}
) -> None:
    """Show every split to every point, chunk by chunk; add what the judge says at each alpha."""
    ranks = judge.mixtures.ranks
    images = sum(len(rows_of(split, ranks)) for split in splits)
    expected = len(judge.points)  # of each split, before it is looked at
    show = judge.mixtures.reading.progress
    with progress_bar(images * expected, "scoring", "image", show=show) as bar:
        for split in splits:
            kept = partial(scores.has_kept, split, judge.alphas)
            if ranks.first_says(kept):
                bar.update(len(rows_of(split, ranks)) * expected)
                continue
            own = Own(judge.columns)
            shown = pixels.get(split.name) or judge.mixtures.pixels(split, keep_bytes=0)
            judge.begin(split, shown)
            bar.total += len(rows_of(split, ranks)) * (len(judge.points) - expected)
            chunks = stream(judge.mixtures.student, judge.points, shown, bar.update)
            for chunk, embeddings in chunks:
                if not len(chunk.rows):
                    continue
                rows = chunk.rows.numpy()
                known = Known(chunk.labels, chunk.rows, split.allowed, split.alike)
                # All alphas first: a card is not waited for between them.
                for alpha, columns in list(judge(known, embeddings)):
                    arrays = {name: column.cpu().numpy() for name, column in columns.items()}
                    if ranks.is_alone:
                        scores.add(split, alpha, rows, arrays)
                    else:
                        own.add(alpha, rows, arrays)
            if not ranks.is_alone:
                own.join(split, judge.alphas, scores, ranks)
            scores.is_whole(split)
