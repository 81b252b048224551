"""TODO: docstring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from ..config import ALPHAS
from ..errors import ConfigError, unknown
from ..metrics import accuracy as metrics
from ..metrics.calibration import Reliability, reliability
from ..metrics.curves import barrier
from ..metrics.distortion_test import DistortionTest, distortion_test
from ..progress import progress_bar
from ..reports.energy_gap import Given, opened
from .run import Run
from .scores import compare

if TYPE_CHECKING:
    import pandas as pd

    from .scores import Scores


def class_table(run: Given, split: str, alpha: float = 1.0) -> pd.DataFrame:
    """Every class on one split: images, zero-shot and tuned accuracy (fractions), their difference, mean energy gap."""
    import pandas as pd

    run = opened(run)
    before, after = (_scores(run, split, a) for a in (0.0, alpha))
    names = run.manifest.names
    zero, count = metrics.per_class(before.prediction, before.label, len(names))
    now, _ = metrics.per_class(after.prediction, after.label, len(names))
    table = pd.DataFrame(
        {"class": names, "n": count, "zero_shot": zero, "accuracy": now, "change": now - zero}
    )
    if after.energy_gap is not None:
        gaps = np.bincount(after.label, after.energy_gap, len(names))
        table["energy_gap"] = gaps / np.where(count, count, np.nan)
    return table


def distortion_table(runs: Sequence[Given], alpha: float = 1.0) -> pd.DataFrame:
    """The test of feature-distortion theory: a row per run, shift and kind (raw, normalised), see `DistortionTest`.

    Raises ConfigError for an ensemble, which has no features.
    """
    import pandas as pd

    rows = []
    for given in progress_bar(runs, "feature distortion", "run", len(runs) > 4):
        run = opened(given)
        found = {one.split: one for one in run.scores([alpha])}
        for kind, column in (
            ("raw", "feature_distortion"),
            ("normalised", "feature_distortion_normalised"),
        ):
            base = getattr(found[f"{run.reference}/test"], column)
            if base is None:
                raise ConfigError(
                    f"{run.folder} is an ensemble: it has no features, so no feature distortion"
                )
            for shift in run.manifest.shifts(run.reference):
                test = distortion_test(base, getattr(found[f"{shift}/test"], column))
                about = {
                    "run": run.folder.name,
                    "method": run.name,
                    "seed": run.config.seed,
                    "split": f"{shift}/test",
                }
                rows.append(about | {"kind": kind} | vars(test) | {"verdict": test.verdict})
    names = [
        "run",
        "method",
        "seed",
        "split",
        "kind",
        *(f.name for f in fields(DistortionTest)),
        "verdict",
    ]
    return pd.DataFrame(rows, columns=names)


def barrier_table(run: Given, alphas: Sequence[float] = ALPHAS) -> pd.DataFrame:
    """The linear path from zero-shot to tuned: on each split how far NLL (nats) and error (fraction) rise above the
    line between its ends, and at which alpha; 0 where they never do."""
    import pandas as pd

    rows = []
    for split, found in _by_split(opened(run).scores(alphas)).items():
        at = [one.alpha for one in found]
        loss = barrier(at, [float(one.nll.mean()) for one in found])
        error = barrier(at, [float((one.prediction != one.label).mean()) for one in found])
        rows.append((split, loss.height, loss.alpha, error.height, error.alpha))
    columns = ["split", "nll_barrier", "nll_alpha", "error_barrier", "error_alpha"]
    return pd.DataFrame(rows, columns=columns)


def compare_runs(first: Given, second: Given, alpha: float = 1.0) -> pd.DataFrame:
    """Two runs on the same images, a row per split: see `Comparison`. Raises ConfigError for other images."""
    import pandas as pd

    found = [_by_split(opened(run).scores([alpha])) for run in (first, second)]
    if found[0].keys() != found[1].keys():
        raise ConfigError(
            f"the runs are scored on {sorted(found[0])} and {sorted(found[1])}; use one data set"
        )
    return pd.DataFrame(
        [{"split": s} | vars(compare(found[0][s][0], found[1][s][0])) for s in found[0]]
    )


def gzsl_table(run: Given, unseen: Sequence[str], alpha: float = 1.0) -> pd.DataFrame:
    """Generalised zero-shot accuracies S, U and H of every test split; unseen: names of classes kept out of training.

    Raises ConfigError for an unknown class.
    """
    import pandas as pd

    run = opened(run)
    names = run.manifest.names
    for name in unseen:
        if name not in names:
            raise unknown(f"class of {run.manifest.name}", name, names)
    labels, rows = [names.index(name) for name in unseen], []
    for one in run.scores([alpha]):
        if one.split.endswith("/test"):
            rows.append((one.split, *metrics.gzsl(one.prediction, one.label, labels)))
    return pd.DataFrame(rows, columns=["split", "seen", "unseen", "harmonic"])


def reliability_of(run: Given, split: str, alpha: float = 1.0, bins: int = 15) -> Reliability:
    """The reliability diagram of a run on one split."""
    one = _scores(opened(run), split, alpha)
    return reliability(one.confidence, one.prediction == one.label, bins)


def _scores(run: Run, split: str, alpha: float) -> Scores:
    found = _by_split(run.scores([alpha]))
    if split not in found:
        raise unknown("reported split", split, found)
    return found[split][0]


def _by_split(scores: Sequence[Scores]) -> dict[str, list[Scores]]:
    found: dict[str, list[Scores]] = {}
    for one in scores:
        found.setdefault(one.split, []).append(one)
    return found
