"""Questions to scored runs, answered from their folders as tables. Nothing is computed by a model,
nothing is written.

Every function takes a Run, its folder, or `runs/` and the first letters of its id. What was not
scored is a RunError with the line to run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import ALPHAS, TUNED, ZERO_SHOT
from ..errors import ConfigError, unknown
from ..metrics import accuracy as metrics
from ..metrics.calibration import Reliability, reliability
from ..metrics.curves import barrier
from ..metrics.distortion_test import DistortionTest, distortion_test
from ..progress import progress_bar
from .run import Run, open_runs
from .scores import Scores, compare

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

Given = Run | Path | str
DISTORTIONS = {"raw": "feature_distortion", "normalised": "feature_distortion_normalised"}
GZSL = ("seen", "unseen", "harmonic")  # S, U, H


def class_table(run: Given, split: str, alpha: float = TUNED) -> pd.DataFrame:
    """Every class on one split, before and after tuning.

    Arguments:
        run: a Run, its folder, or the first letters of its id.
        split: of those that were scored, e.g. sketch/test.
        alpha: of the model after tuning.

    Returns:
        A row per class: class, n (images), zero_shot and accuracy (fractions), change, energy_gap
        (mean, squared logits; an ensemble has none).

    Raises:
        ConfigError: for a split that is not there.
        RunError: where this alpha was not scored.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> clipft.class_table(run, "sketch/test").columns.tolist()
        ['class', 'n', 'zero_shot', 'accuracy', 'change', 'energy_gap']
    """
    import pandas as pd

    run = Run.open(run)
    names = run.manifest.names
    before = scores_of(run, split, ZERO_SHOT)
    after = scores_of(run, split, alpha)
    zero_shot, count = metrics.per_class(before.prediction, before.label, len(names))
    tuned, _ = metrics.per_class(after.prediction, after.label, len(names))
    columns = {"class": names, "n": count, "zero_shot": zero_shot, "accuracy": tuned}
    table = pd.DataFrame(columns | {"change": tuned - zero_shot})
    if after.energy_gap is not None:
        gaps = np.bincount(after.label, after.energy_gap, len(names))
        table["energy_gap"] = gaps / np.where(count, count, np.nan)
    return table


def distortion_table(runs: Given | Sequence[Given], alpha: float = TUNED) -> pd.DataFrame:
    """The test of feature-distortion theory, which says that tuning moves reference images further.

    Arguments:
        runs: one, several, or a folder of runs.
        alpha: of the models after tuning.

    Returns:
        A row per run, shift and kind (raw, normalised): mean distortions, their difference with
        Welch's 95 % interval, and the verdict (holds, fails, open), see `DistortionTest`.

    Raises:
        ConfigError: for an ensemble, which has no features.
        RunError: where this alpha was not scored.

    Example:
        >>> table = clipft.distortion_table("runs")
        >>> len(table)  # two runs, two shifts, two kinds
        8
    """
    import pandas as pd

    rows = []
    opened = open_runs(runs)
    for run in progress_bar(opened, "feature distortion", "run", show=len(opened) > 4):
        scores = run.scores(alpha)
        for kind, column in DISTORTIONS.items():
            rows += _distortion_rows(run, scores, kind, column)
    about = ["run", "method", "lr", "steps", "seed", "split", "domain", "part", "kind"]
    numbers = list(DistortionTest.__dataclass_fields__)
    return pd.DataFrame(rows, columns=[*about, *numbers, "verdict"])


def _distortion_rows(
    run: Run, scores: dict[str, Scores], kind: str, column: str
) -> list[dict[str, Any]]:
    """One run's reference images against those of each shift."""
    reference = getattr(scores[f"{run.reference}/test"], column)
    if reference is None:
        raise ConfigError(
            f"{run.folder} is an ensemble: it has no features, so no feature distortion"
        )
    config = run.config
    settings = {"lr": config.lr, "steps": config.steps, "seed": config.seed}
    about = {"run": run.id, "method": str(run.name), **settings, "kind": kind}
    rows = []
    for shifted in scores.values():
        if shifted.part != "test" or shifted.domain == run.reference:
            continue
        test = distortion_test(reference, getattr(shifted, column))
        where = {"split": shifted.split, "domain": shifted.domain, "part": shifted.part}
        rows.append(about | where | vars(test) | {"verdict": test.verdict})
    return rows


def barrier_table(run: Given, alphas: Sequence[float] = ALPHAS) -> pd.DataFrame:
    """The way from zero-shot to tuned: how far it rises above the line between its ends.

    Arguments:
        run: a Run, its folder, or the first letters of its id.
        alphas: where to look.

    Returns:
        A row per split: nll_barrier (nats) and error_barrier (fraction), each with the alpha of its
        highest point; 0 where the curve never rises above the line.

    Raises:
        RunError: where an alpha was not scored.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> clipft.barrier_table(run, alphas=[0, 0.5, 1]).columns.tolist()
        ['split', 'nll_barrier', 'nll_alpha', 'error_barrier', 'error_alpha']
    """
    import pandas as pd

    run = Run.open(run)
    nll: dict[str, list[float]] = {}
    error: dict[str, list[float]] = {}
    ordered = sorted(set(alphas))
    for alpha in ordered:
        for split, scores in run.scores(alpha).items():
            nll.setdefault(split, []).append(float(scores.nll.mean()))
            error.setdefault(split, []).append(float((~scores.correct).mean()))
    rows = []
    for split in nll:
        loss_barrier = barrier(ordered, nll[split])
        error_barrier = barrier(ordered, error[split])
        rows.append(
            {
                "split": split,
                "nll_barrier": loss_barrier.height,
                "nll_alpha": loss_barrier.alpha,
                "error_barrier": error_barrier.height,
                "error_alpha": error_barrier.alpha,
            }
        )
    return pd.DataFrame(rows)


def compare_runs(first: Given, second: Given, alpha: float = TUNED) -> pd.DataFrame:
    """Two runs on the same images: a paired comparison of every split.

    Arguments:
        first: a Run, its folder, or the first letters of its id.
        second: another.
        alpha: of both.

    Returns:
        A row per split: accuracies, their difference with its 95 % interval, how many images one
        alone gets right, and McNemar's exact p.

    Raises:
        ConfigError: where they were scored on other images.
        RunError: where this alpha was not scored.

    Example:
        >>> first, second = clipft.open_runs("runs")
        >>> clipft.compare_runs(first, second).split.tolist()
        ['real/val', 'real/test', 'sketch/test', 'clipart/test']
    """
    import pandas as pd

    first_scores = Run.open(first).scores(alpha)
    second_scores = Run.open(second).scores(alpha)
    if first_scores.keys() != second_scores.keys():
        raise ConfigError(
            f"the runs are scored on {sorted(first_scores)} and {sorted(second_scores)};"
            " use one data set"
        )
    rows = []
    for split, scores in first_scores.items():
        rows.append({"split": split} | vars(compare(scores, second_scores[split])))
    return pd.DataFrame(rows)


def mixtures_compared(of_weights: pd.DataFrame, of_logits: pd.DataFrame) -> pd.DataFrame:
    """WiSE against the output-space ensemble: two runs' tidy scores side by side.

    Arguments:
        of_weights: of a run, mixed in weights.
        of_logits: of its `output_ensemble`.

    Returns:
        A row per alpha that both have and split: wise_accuracy, wise_nll, ensemble_accuracy,
        ensemble_nll, wise_distance, wise_agreement.
    """
    keys = ["alpha", "split", "domain", "part", "role"]
    weights, logits = (
        table.pivot_table(index=keys, columns="metric", values="mean", observed=True)
        for table in (of_weights, of_logits)
    )
    measured = ["accuracy", "nll"]
    compared = weights[measured].add_prefix("wise_")
    compared = compared.join(logits[measured].add_prefix("ensemble_"), how="inner")
    return compared.join(logits[["wise_distance", "wise_agreement"]]).reset_index()


def gzsl_table(run: Given, unseen: Sequence[str], alpha: float = TUNED) -> pd.DataFrame:
    """Generalised zero-shot accuracies of every test split: on seen and on unseen classes.

    Arguments:
        run: a Run, its folder, or the first letters of its id.
        unseen: names of the classes that were kept out of training.
        alpha: of the model.

    Returns:
        A row per split: seen S, unseen U and harmonic H = 2 S U / (S + U), fractions: means over
        images, and with `class_` before their names means over classes, the protocol of the field.

    Raises:
        ConfigError: for an unknown class.
        RunError: where this alpha was not scored.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> clipft.gzsl_table(run, unseen=["bee"]).columns.tolist()
        ['split', 'seen', 'unseen', 'harmonic', 'class_seen', 'class_unseen', 'class_harmonic']
    """
    import pandas as pd

    run = Run.open(run)
    names = run.manifest.names
    for name in unseen:
        if name not in names:
            raise unknown(f"class of {run.manifest.name}", name, names)
    labels = [names.index(name) for name in unseen]
    rows = []
    for split, scores in run.scores(alpha).items():
        if scores.part == "test":
            by_image = metrics.gzsl(scores.prediction, scores.label, labels)
            by_class = metrics.gzsl(scores.prediction, scores.label, labels, by_class=True)
            rows.append((split, *by_image, *by_class))
    columns = ["split", *GZSL, *(f"class_{name}" for name in GZSL)]
    return pd.DataFrame(rows, columns=columns)


def reliability_of(run: Given, split: str, alpha: float = TUNED, bins: int = 15) -> Reliability:
    """The reliability diagram of a run on one split: is it right as often as it is confident?

    Arguments:
        run: a Run, its folder, or the first letters of its id.
        split: of those that were scored, e.g. sketch/test.
        alpha: of the model.
        bins: of equal width, between 0 and 1.

    Returns:
        Of each bin the mean confidence, the accuracy and the number of images.

    Raises:
        ConfigError: for a split that is not there.
        RunError: where this alpha was not scored.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> int(clipft.reliability_of(run, "sketch/test").count.sum())
        20
    """
    scores = scores_of(Run.open(run), split, alpha)
    return reliability(scores.confidence, scores.correct, bins)


def scores_of(run: Run, split: str, alpha: float) -> Scores:
    """A run's scores of one split; raises ConfigError with the nearest name if not scored."""
    scores = run.scores(alpha)
    if split not in scores:
        raise unknown("reported split", split, scores)
    return scores[split]
