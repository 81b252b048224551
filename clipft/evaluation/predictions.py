"""Pixels or embeddings in, logits and predictions out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..diagnostics.energies import unit
from ..errors import ImageError
from ..inputs.batches import Batch
from ..inputs.ranks import ALONE, Ranks
from ..models.embeddings import embed
from ..models.head import check_scores
from ..models.students import Student
from ..runs.scores import UNLABELLED, metric_statistic


@torch.inference_mode()
def logits_of(student: Student, pixels: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> logits (N, C), on the student's device."""
    return student.logits(embed(student, pixels)).float()


class Predicted(NamedTuple):
    """What logits z say of N images, each (N,); the names are those of `scores.PREDICTED`.

    prediction: the class; confidence: its probability; nll: nats of the true class; entropy: of the
    softmax, nats; logsumexp: log sum_c exp(z_c), minus the energy of Liu et al., arXiv:2010.03759.
    """

    prediction: Tensor
    confidence: Tensor
    nll: Tensor
    entropy: Tensor
    logsumexp: Tensor


@torch.inference_mode()
def predictions(
    logits: Tensor, labels: Tensor, allowed: Sequence[int] = (), alike: Sequence[Sequence[int]] = ()
) -> Predicted:
    """What logits (N, C) say of images, labels (N,).

    Of tied classes the lower index wins, as torch.argmax promises. allowed: the classes that may be
    predicted, all others are masked before the softmax; (): all may. alike: classes that count as
    the first of them, whose logit is the highest of theirs. An image without a label has an NLL
    that is not a number. Raises WeightsError where a logit is not finite.
    """
    return said_of(restricted(logits, allowed, alike), labels)


def restricted(
    logits: Tensor, allowed: Sequence[int] = (), alike: Sequence[Sequence[int]] = ()
) -> Tensor:
    """Logits (N, C) in float32, -inf of the classes that may not be predicted, see `predictions`.

    Raises WeightsError where a logit is not finite.
    """
    check_scores(logits)
    logits = _joined(logits.float(), alike)
    if allowed:
        mask = torch.full_like(logits[0], -torch.inf)
        mask[list(allowed)] = 0
        logits = logits + mask
    return logits


@torch.inference_mode()
def said_of(logits: Tensor, labels: Tensor) -> Predicted:
    """What restricted logits (N, C), or log-probabilities, say of images, labels (N,)."""
    logs = logits.log_softmax(-1)  # (N, C)
    prediction = logs.argmax(-1)
    log_confidence = logs.gather(-1, prediction[:, None])[:, 0]
    labels = labels.to(logs.device)
    is_known = labels != UNLABELLED
    log_of_label = logs.gather(-1, torch.where(is_known, labels, 0)[:, None])[:, 0]
    return Predicted(
        prediction=prediction,
        confidence=log_confidence.exp(),
        nll=torch.where(is_known, -log_of_label, torch.nan),
        entropy=torch.special.entr(logs.exp()).sum(-1),
        logsumexp=logits.gather(-1, prediction[:, None])[:, 0] - log_confidence,
    )


def _joined(logits: Tensor, alike: Sequence[Sequence[int]]) -> Tensor:
    """Logits (N, C) in which the first of classes that are alike has the highest of their logits,
    and the others have none.
    """
    if not alike:
        return logits
    joined = logits.clone()
    for classes in alike:
        joined[:, list(classes)] = -torch.inf
        joined[:, classes[0]] = logits[:, list(classes)].amax(-1)
    return joined


@dataclass(frozen=True)
class ChosenBy:
    """By what images choose weights: the metric of the data set.

    groups: of each row of their split, for the worst one. allowed: as in `predictions`.
    """

    metric: str = "accuracy"
    groups: tuple[str, ...] = ()
    allowed: tuple[int, ...] = ()

    def accuracy(self, prediction: Tensor, labels: Tensor, rows: Tensor | None = None) -> float:
        """The metric, a fraction, of (N,) predictions; rows: which of the split, all if not said.

        Raises ConfigError for a worst group where no image is in a group.
        """
        group = None
        if self.groups:
            group = np.array(self.groups)
            group = group if rows is None else group[rows.numpy()]
        told = (prediction.cpu().numpy(), labels.cpu().numpy())
        return metric_statistic(self.metric, *told, group).value


ACCURACY = ChosenBy()


@dataclass(frozen=True)
class Validation:
    """What is said of weights: what is called accuracy, see `ChosenBy`, and mean cross-entropy."""

    accuracy: float
    loss: float


def validate_on(
    student: Student, chunks: Iterable[Batch], chosen_by: ChosenBy = ACCURACY, ranks: Ranks = ALONE
) -> Validation:
    """Accuracy and loss on decoded pixels, in evaluation mode; raises ImageError without images.

    ranks: each has chunks of its own, and all are counted.
    """
    was_training = student.training
    student.eval()
    none = torch.empty(0, dtype=torch.long)
    predicted = [none]
    labels = [none]
    rows = [none]
    nats = torch.zeros((), dtype=torch.float64)
    for chunk in chunks:
        if not len(chunk.rows):
            continue
        logits = logits_of(student, chunk.pixels)
        said = predictions(logits, chunk.labels, chosen_by.allowed)
        nats += said.nll.double().sum().cpu()
        predicted.append(said.prediction.cpu())
        labels.append(chunk.labels)
        rows.append(chunk.rows)
    student.train(was_training)
    read = [ranks.joined(torch.cat(column)) for column in (predicted, labels, rows)]
    if not len(read[0]):
        raise ImageError(
            "no image of the selection split can be read; the weights cannot be chosen"
        )
    return Validation(chosen_by.accuracy(*read), float(ranks.total(nats)) / len(read[0]))


class Heads:
    """The linear head of each point, built once: it may cost a pass over all class prompts.

    loads: what makes the student's head, and its text tower, those of a point.
    """

    def __init__(self, student: Student, loads: Mapping[Any, Callable[[], object]]):
        self._student = student
        self._loads = loads
        self._built: dict[Any, tuple[Tensor, Tensor]] = {}

    @torch.inference_mode()
    def logits(self, name: Any, embeddings: Tensor) -> Tensor:
        """Embeddings (N, D), not normalised -> logits (N, C) of the point's head."""
        if name not in self._built:
            self._loads[name]()
            weight, bias = self._student.linear()
            self._built[name] = (weight.detach().clone(), bias.detach().clone())
        weight, bias = self._built[name]
        return unit(embeddings) @ weight + bias
