"""Models on splits: one engine scores any number of alphas while each image is decoded once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from . import metrics
from .data import Batch, pixel_chunks
from .diagnostics import energy_gap, feature_distortion
from .errors import ImageError
from .posthoc import wise
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
FIELDS = ("prediction", "confidence", "nll", "energy_gap", "feature_distortion", "feature_distortion_normalised")


@torch.inference_mode()
def embed(student: Student, pixels: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> embeddings before normalising (N, D), on the student's device."""
    device = student.mean.device
    return torch.cat([student(part.to(device))[0].float() for part in pixels.split(FORWARD)])


@torch.inference_mode()
def predictions(student: Student, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings (N, D), labels (N,) -> predicted class, its probability, and nats of the true class, each (N,).

    Of tied classes the lower index wins, as torch.argmax promises.
    """
    logs = student.logits(images).float().log_softmax(-1)  # (N, C)
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
        prediction = predictions(student, embed(student, chunk.pixels), chunk.labels)[0].cpu()
        right, seen = right + int((prediction == chunk.labels).sum()), seen + len(chunk.labels)
    student.train(was_training)
    if not seen:
        raise ImageError("no image of the selection split can be read; the weights cannot be chosen")
    return right / seen


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
    for alpha in alphas:
        check_alpha(alpha)
    student.eval()
    moment = moment.to(student.mean.device)
    scores = []
    forwards = sum(map(len, splits)) * (len(alphas) + 1)
    with progress_bar(forwards, "scoring", "image", progress) as bar:
        for split in splits:
            parts: dict[float, list[list[np.ndarray]]] = {alpha: [] for alpha in alphas}
            rows, bad = [], []
            for chunk in pixel_chunks(split, transform, workers, skip_bad):
                bad += chunk.bad
                if not len(chunk.rows):
                    continue
                rows.append(chunk.rows)
                student.load_state_dict(anchor)
                before = embed(student, chunk.pixels)  # (N, D)
                bar.update(len(chunk.rows) + len(chunk.bad))
                for alpha in alphas:
                    student.load_state_dict(wise(anchor, tuned, alpha))
                    now = before if alpha == 0 else embed(student, chunk.pixels)  # (N, D)
                    with torch.inference_mode():
                        columns = (
                            *predictions(student, now, chunk.labels),
                            energy_gap(now, before, moment=moment),
                            feature_distortion(now, before),
                            feature_distortion(now, before, normalised=True),
                        )
                    parts[alpha].append([column.cpu().numpy() for column in columns])
                    bar.update(len(chunk.rows) + len(chunk.bad))
            if bad:
                write(skipped(split, bad))
            if not rows:
                raise ImageError(f"no image of {split.name} can be read, the first is {split.root / split.ids[0]}")
            kept = split.take(torch.cat(rows).tolist())
            for alpha in alphas:
                columns = [np.concatenate(column) for column in zip(*parts[alpha], strict=True)]
                scores.append(
                    Scores(
                        kept.name, alpha, kept.ids, np.asarray(kept.labels), **dict(zip(FIELDS, columns, strict=True))
                    )
                )
    return scores


def skipped(split: Split, bad: Sequence[int]) -> str:
    """The one line that says which images were left out."""
    return f"skipped {len(bad)} of {len(split)} images of {split.name}, the first is {split.root / split.ids[bad[0]]}"


def measure(scores: Scores) -> dict[str, float]:
    """Every metric of one model on one split: accuracy, nll, ece, energy_gap and both feature distortions."""
    right = scores.prediction == scores.label
    return {
        "accuracy": metrics.accuracy(scores.prediction, scores.label),
        "nll": metrics.nll(scores.nll),
        "ece": metrics.ece(scores.confidence, right),
    } | {name: float(getattr(scores, name).mean()) for name in FIELDS[3:]}


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
