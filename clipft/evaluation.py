"""Models on splits: one engine scores any number of alphas while each image is decoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from . import metrics
from .data import Batch, pixel_chunks
from .diagnostics import energy_gap, feature_distortion
from .errors import ImageError
from .posthoc import distance, output_ensemble, wise
from .posthoc.wise import check_alpha
from .progress import progress_bar, write
from .records import Scores

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from .data import Transform
    from .models import Student
    from .records import Split, Weights

FORWARD = 256  # images in one forward pass
PREDICTED = ("prediction", "confidence", "nll")
MOVED = ("energy_gap", "feature_distortion", "feature_distortion_normalised", "wise_distance", "wise_agreement")


@torch.inference_mode()
def embed(student: Student, pixels: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> embeddings before normalising (N, D), on the student's device."""
    device = student.mean.device
    return torch.cat([student(part.to(device))[0].float() for part in pixels.split(FORWARD)])


@torch.inference_mode()
def logits_of(student: Student, pixels: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> logits (N, C), on the student's device."""
    return student.logits(embed(student, pixels)).float()


def features(student: Student, split: Split, transform: Transform, workers=0, skip_bad=False, progress=True) -> Batch:
    """A whole split, decoded and embedded once: a Batch whose `pixels` are embeddings before normalising (N, D)."""
    whole, parts, was_training = Batch([]), [], student.training
    student.eval()
    with progress_bar(len(split), f"embedding {split.name}", "image", progress) as bar:
        for chunk in pixel_chunks(split, transform, workers, skip_bad):
            if len(chunk.rows):
                parts.append(Batch.of(embed(student, chunk.pixels).cpu(), chunk.labels, chunk.rows))
            whole.bad += chunk.bad
            bar.update(len(chunk.rows) + len(chunk.bad))
    student.train(was_training)
    if whole.bad:
        write(skipped(split, whole.bad))
    if not parts:
        raise ImageError(f"no image of {split.name} can be read, the first is {split.root / split.ids[0]}")
    return Batch.join([whole, *parts])


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
        raise ImageError("no image of the selection split can be read; the weights cannot be chosen")
    return right / seen


Columns = dict[str, "Tensor"]


def sweep(
    student: Student,
    anchor: Weights,
    tuned: Weights,
    splits: Sequence[Split],
    alphas: Sequence[float],
    transform: Transform,
    moment: Tensor,
    workers: int = 0,
    skip_bad: bool = False,
    progress: bool = True,
) -> list[Scores]:
    """Score every WiSE mixture of two models on every split; each image is decoded once for the whole sweep.

    moment (D, D) of the random texts, for the energy gap. Leaves the student at the last mixture. Raises ConfigError
    for an alpha outside 0 ... 1, WeightsError where the models differ, ImageError for an unreadable image unless
    skip_bad, which leaves it out and says so.
    """
    student.eval()
    moment = moment.to(student.mean.device)

    def judge(chunk: Batch) -> Iterator[tuple[float, Columns]]:
        student.load_state_dict(anchor)
        before = embed(student, chunk.pixels)  # (N, D)
        for alpha in alphas:
            student.load_state_dict(wise(anchor, tuned, alpha))
            now = before if alpha == 0 else embed(student, chunk.pixels)  # (N, D)
            with torch.inference_mode():
                yield (
                    alpha,
                    dict(zip(PREDICTED, predictions(student.logits(now), chunk.labels), strict=True))
                    | {
                        "energy_gap": energy_gap(now, before, moment=moment),
                        "feature_distortion": feature_distortion(now, before),
                        "feature_distortion_normalised": feature_distortion(now, before, normalised=True),
                    },
                )

    return _score(judge, splits, alphas, transform, len(alphas) + 1, workers, skip_bad, progress)


def ensemble_sweep(
    student: Student,
    anchor: Weights,
    members: Sequence[Weights],
    splits: Sequence[Split],
    alphas: Sequence[float],
    transform: Transform,
    workers: int = 0,
    skip_bad: bool = False,
    progress: bool = True,
) -> list[Scores]:
    """Score (1 - alpha) logits0 + alpha * mean of the members' logits on every split: the output-space ensemble.

    With one member also its distance to WiSE at the same alpha, in logits, and how often the two predict alike. There
    is no embedding of an ensemble, hence no energy gap. Raises as `sweep` does.
    """
    student.eval()

    def judge(chunk: Batch) -> Iterator[tuple[float, Columns]]:
        found = []
        for weights in (anchor, *members):
            student.load_state_dict(weights)
            found.append(logits_of(student, chunk.pixels))  # (N, C)
        mean = torch.stack(found[1:]).mean(0)
        for alpha in alphas:
            mixed = output_ensemble(found[0], mean, alpha)
            columns = dict(zip(PREDICTED, predictions(mixed, chunk.labels), strict=True))
            if len(members) == 1:
                student.load_state_dict(wise(anchor, members[0], alpha))
                logits = logits_of(student, chunk.pixels)
                columns["wise_distance"] = distance(mixed, logits)
                columns["wise_agreement"] = (mixed.argmax(-1) == logits.argmax(-1)).float()
            yield alpha, columns

    forwards = len(alphas) + 2 if len(members) == 1 else len(members) + 1
    return _score(judge, splits, alphas, transform, forwards, workers, skip_bad, progress)


def _score(
    judge: Callable[[Batch], Iterator[tuple[float, Columns]]],
    splits: Sequence[Split],
    alphas: Sequence[float],
    transform: Transform,
    forwards: int,
    workers: int,
    skip_bad: bool,
    progress: bool,
) -> list[Scores]:
    """Decode every split once, chunk by chunk, and gather what `judge` says of each chunk at each alpha."""
    for alpha in alphas:
        check_alpha(alpha)
    scores = []
    with progress_bar(sum(map(len, splits)) * forwards, "scoring", "image", progress) as bar:
        for split in splits:
            parts: dict[float, list[dict[str, np.ndarray]]] = {alpha: [] for alpha in alphas}
            rows, bad = [], []
            for chunk in pixel_chunks(split, transform, workers, skip_bad):
                bad += chunk.bad
                size, left = len(chunk.rows) + len(chunk.bad), forwards
                if len(chunk.rows):
                    rows.append(chunk.rows)
                    for alpha, columns in judge(chunk):
                        parts[alpha].append({name: column.cpu().numpy() for name, column in columns.items()})
                        left -= 1
                        bar.update(size)
                bar.update(size * left)
            if bad:
                write(skipped(split, bad))
            if not rows:
                raise ImageError(f"no image of {split.name} can be read, the first is {split.root / split.ids[0]}")
            kept = split.take(torch.cat(rows).tolist())
            for alpha, found in parts.items():
                columns = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
                scores.append(Scores(kept.name, alpha, kept.ids, np.asarray(kept.labels), **columns))
    return scores


def skipped(split: Split, bad: Sequence[int]) -> str:
    """The one line that says which images were left out."""
    return f"skipped {len(bad)} of {len(split)} images of {split.name}, the first is {split.root / split.ids[bad[0]]}"


def measure(scores: Scores) -> dict[str, float]:
    """Every metric of one model on one split: accuracy, nll, ece, and the means of what else its scores hold."""
    right = scores.prediction == scores.label
    return {
        "accuracy": metrics.accuracy(scores.prediction, scores.label),
        "nll": metrics.nll(scores.nll),
        "ece": metrics.ece(scores.confidence, right),
    } | {name: float(values.mean()) for name in MOVED if (values := getattr(scores, name)) is not None}


def table(scores: Sequence[Scores], reference: str, trained: Sequence[str] = ()) -> pd.DataFrame:
    """Tidy rows (reference, alpha, split, role, metric, value, n).

    role: reference, shift, val (of the reference), or trained for another domain that was trained on.

    relative_accuracy, of the shifts, is against the reference test split at the same alpha.
    """
    import pandas as pd

    base = {s.alpha: metrics.accuracy(s.prediction, s.label) for s in scores if s.split == f"{reference}/test"}
    rows = []
    for one in scores:
        domain, part = one.split.split("/")
        other = "trained" if domain in trained else "shift"
        role = "val" if part == "val" else "reference" if domain == reference else other
        values = measure(one)
        if role == "shift" and base.get(one.alpha):
            values["relative_accuracy"] = metrics.relative_accuracy(values["accuracy"], base[one.alpha])
        rows += [(reference, one.alpha, one.split, role, name, value, len(one.ids)) for name, value in values.items()]
    return pd.DataFrame(rows, columns=["reference", "alpha", "split", "role", "metric", "value", "n"])
