"""Models on splits: one engine scores any number of alphas while each image is decoded once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..config import check_alpha
from ..diagnostics.energies import unit
from ..diagnostics.energy_gap import energy_gap
from ..diagnostics.feature_distortion import feature_distortion
from ..errors import ImageError
from ..inputs.batches import Batch, Pixels
from ..metrics.curves import kinks
from ..models.embeddings import Point, embed, stream, tower_digest
from ..posthoc.ensemble import distance, output_ensemble
from ..posthoc.weights import check_same_shape
from ..posthoc.wise import mix_into
from ..progress import progress_bar
from ..runs.scores import Scores

if TYPE_CHECKING:
    from torch import Tensor

    from ..data.splits import Split
    from ..models.students import Student
    from ..posthoc.weights import Weights

PREDICTED = ("prediction", "confidence", "nll")
MOST_ALPHAS = 65  # where refinement stops

Columns = dict[str, "Tensor"]


@torch.inference_mode()
def logits_of(student: Student, pixels: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> logits (N, C), on the student's device."""
    return student.logits(embed(student, pixels)).float()


@torch.inference_mode()
def predictions(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, C), labels (N,) -> predicted class, its probability, and nats of the true class, each (N,).

    Of tied classes the lower index wins, as torch.argmax promises.
    """
    logs = logits.float().log_softmax(-1)  # (N, C)
    prediction = logs.argmax(-1)
    return (
        prediction,
        logs.gather(-1, prediction[:, None])[:, 0].exp(),
        -logs.gather(-1, labels.to(logs.device)[:, None])[:, 0],
    )


def accuracy_on(student: Student, chunks: Iterable[Batch]) -> float:
    """Top-1 accuracy on decoded pixels, in evaluation mode; raises ImageError where no image is left."""
    was_training = student.training
    student.eval()
    right, seen = 0, 0
    for chunk in chunks:
        if not len(chunk.rows):
            continue
        prediction = predictions(logits_of(student, chunk.pixels), chunk.labels)[0].cpu()
        right, seen = right + int((prediction == chunk.labels).sum()), seen + len(chunk.labels)
    student.train(was_training)
    if not seen:
        raise ImageError(
            "no image of the selection split can be read; the weights cannot be chosen"
        )
    return right / seen


class Heads:
    """The linear head of each point, built once: a head from the text tower costs a pass over all class prompts."""

    def __init__(self, student: Student, points: Mapping[Hashable, Point]):
        self.student, self.points, self.kept = student, points, {}

    @torch.inference_mode()
    def logits(self, name: Hashable, embeddings: Tensor) -> Tensor:
        """Embeddings (N, D), not normalised -> logits (N, C) of the point's head."""
        if name not in self.kept:
            self.points[name].load()
            self.kept[name] = tuple(part.detach().clone() for part in self.student.linear())
        weight, bias = self.kept[name]
        return unit(embeddings) @ weight + bias


def sweep(
    student: Student,
    anchor: Weights,
    tuned: Weights,
    splits: Sequence[Split],
    alphas: Sequence[float],
    moment: Tensor,
    workers: int = 0,
    skip_bad: bool = False,
    progress: bool = True,
    adaptive: float = 0.0,
    known: Sequence[Scores] = (),
) -> list[Scores]:
    """Score every WiSE mixture of two models on every split; each image is decoded once for the whole sweep.

    moment (D, D) of the random texts, for the energy gap. adaptive: also score between alphas, where the accuracy of
    a split is further than this fraction from the line between its neighbours; known: scores of earlier sweeps, which
    are not made again. Leaves the student at some mixture; anchor and tuned must not be its own tensors.
    Raises ConfigError for an alpha outside 0 ... 1, WeightsError where the models differ, ImageError for an unreadable
    image unless skip_bad, which leaves it out and says so.
    """
    check_same_shape(anchor, tuned)
    zero, full = tower_digest(anchor), tower_digest(tuned)
    target, moment = student.state_dict(), moment.to(student.mean.device)
    ends = {0.0: zero, 1.0: full}

    def point(alpha: float) -> Point:
        return Point(
            partial(mix_into, target, anchor, tuned, alpha),
            zero if zero == full else ends.get(alpha),
        )

    def judge(
        alphas: Sequence[float], heads: Heads, labels: Tensor, embeddings: Iterator
    ) -> Iterator:
        before = None
        for alpha, now in embeddings:
            before = now if before is None else before  # alpha 0 comes first
            if alpha not in alphas:
                continue
            with torch.inference_mode():
                columns = dict(
                    zip(PREDICTED, predictions(heads.logits(alpha, now), labels), strict=True)
                ) | {
                    "energy_gap": energy_gap(now, before, moment=moment),
                    "feature_distortion": feature_distortion(now, before),
                    "feature_distortion_normalised": feature_distortion(
                        now, before, normalised=True
                    ),
                }
            yield alpha, columns

    pixels = {}
    if adaptive:
        pixels = {
            split.name: Pixels(split, student.transform, workers, skip_bad) for split in splits
        }
    have = {one.alpha for one in known}
    scores, todo = [*known], [alpha for alpha in alphas if check_alpha(alpha) not in have]
    todo = todo or (_between(scores, splits, adaptive) if adaptive else [])
    while todo:
        points = {alpha: point(alpha) for alpha in dict.fromkeys([0.0, *todo])}
        judges = partial(judge, set(todo), Heads(student, points))
        scores += _score(student, points, judges, splits, todo, pixels, workers, skip_bad, progress)
        todo = _between(scores, splits, adaptive) if adaptive else []
    return scores[len(known) :]


def _between(scores: Sequence[Scores], splits: Sequence[Split], tolerance: float) -> list[float]:
    """Alphas to score next: the middles of the intervals at which the curves of accuracy bend."""
    right = {(s.split, s.alpha): float((s.prediction == s.label).mean()) for s in scores}
    alphas = sorted({alpha for _, alpha in right})
    curves = np.array([[right[split.name, alpha] for split in splits] for alpha in alphas])
    return kinks(alphas, curves, tolerance)[: max(0, MOST_ALPHAS - len(alphas))]


def ensemble_sweep(
    student: Student,
    anchor: Weights,
    members: Sequence[Weights],
    splits: Sequence[Split],
    alphas: Sequence[float],
    workers: int = 0,
    skip_bad: bool = False,
    progress: bool = True,
) -> list[Scores]:
    """Score (1 - alpha) logits0 + alpha * mean of the members' logits on every split: the output-space ensemble.

    With one member also its distance to WiSE at the same alpha, in logits, and how often the two predict alike. There
    is no embedding of an ensemble, hence no energy gap. Raises as `sweep` does.
    """
    target = student.state_dict()
    single = len(members) == 1
    points: dict[Hashable, Point] = {
        "zero": Point(partial(mix_into, target, anchor, anchor, 0), tower_digest(anchor))
    }
    for number, member in enumerate(members):
        check_same_shape(anchor, member)
        points[number] = Point(partial(mix_into, target, anchor, member, 1), tower_digest(member))
    for alpha in alphas if single else ():
        if check_alpha(alpha) not in (0, 1):
            points["wise", alpha] = Point(partial(mix_into, target, anchor, members[0], alpha))

    def judge(heads: Heads, labels: Tensor, embeddings: Iterator) -> Iterator:
        found = {name: heads.logits(name, now) for name, now in embeddings}
        mean = torch.stack([found[number] for number in range(len(members))]).mean(0)
        found |= {("wise", 0.0): found["zero"], ("wise", 1.0): found[0]}
        for alpha in alphas:
            mixed = output_ensemble(found["zero"], mean, alpha)
            columns = dict(zip(PREDICTED, predictions(mixed, labels), strict=True))
            if single:
                columns["wise_distance"] = distance(mixed, found["wise", alpha])
                columns["wise_agreement"] = (
                    mixed.argmax(-1) == found["wise", alpha].argmax(-1)
                ).float()
            yield alpha, columns

    judges = partial(judge, Heads(student, points))
    return _score(student, points, judges, splits, alphas, {}, workers, skip_bad, progress)


def _score(
    student: Student,
    points: Mapping[Hashable, Point],
    judge: Callable[[Tensor, Iterator], Iterator[tuple[float, Columns]]],
    splits: Sequence[Split],
    alphas: Sequence[float],
    pixels: Mapping[str, Pixels],
    workers: int,
    skip_bad: bool,
    progress: bool,
) -> list[Scores]:
    """Show every split to every point, chunk by chunk, and gather what `judge` says of each chunk at each alpha."""
    scores = []
    with progress_bar(sum(map(len, splits)) * len(points), "scoring", "image", progress) as bar:
        for split in splits:
            parts: dict[float, list[dict[str, np.ndarray]]] = {alpha: [] for alpha in alphas}
            rows, held = [], pixels.get(split.name)
            for chunk, embeddings in stream(
                student, points, split, held, workers, skip_bad, bar.update
            ):
                if len(chunk.rows):
                    rows += chunk.rows.tolist()
                    for alpha, columns in judge(chunk.labels, embeddings):
                        parts[alpha].append(
                            {name: column.cpu().numpy() for name, column in columns.items()}
                        )
            if not rows:
                raise ImageError(
                    f"no image of {split.name} can be read, the first is {split.root / split.ids[0]}"
                )
            kept = split if len(rows) == len(split) else split.take(rows)
            for alpha, found in parts.items():
                columns = {
                    name: np.concatenate([part[name] for part in found]) for name in found[0]
                }
                scores.append(
                    Scores(kept.name, alpha, kept.ids, np.asarray(kept.labels), **columns)
                )
    return scores
