"""Diagnostics of finished runs as tables: what is asked of records stands in `metrics` and `diagnostics`.

Every function takes a Run or its folder. What needs embeddings takes them from the cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..data.splits import EnergyMap
from ..diagnostics.energy_gap import DistortionTest, EnergyGap, barrier, distortion_test, layer_distances, measure_gap
from ..diagnostics.energy_map import Layout, energy_coordinates, energy_tsne
from ..disk import cache
from ..errors import ConfigError, unknown
from ..evaluation.score import compare
from ..metrics import accuracy as metrics
from ..models.load import pick_device
from ..progress import progress_bar
from ..runs.run import ALPHAS, Run
from ..training.combine import combine

if TYPE_CHECKING:
    import pandas as pd

    from ..data.splits import Features, Scores
    from ..runs.sweep import Sweep

Given = Run | Path | str


def opened(run: Given, device: str = "auto") -> Run:
    """The run itself, or the one in a folder."""
    return run if isinstance(run, Run) else Run.open(run, pick_device(device))


def gap_of(run: Given, split: str, alpha: float = 1.0) -> EnergyGap:
    """The energy gap of one split's images over the run's fixed random texts, with its errors and each image's."""
    run = opened(run)
    after, before = (torch.from_numpy(run.features(split, a).embeddings) for a in (alpha, 0.0))
    return measure_gap(after, before, run.gap_texts.cpu(), run.clip.scale)


def gap_table(run: Given, alpha: float = 1.0) -> pd.DataFrame:
    """Energy gap of every reported split: mean, its standard errors over images and over texts, n.

    In squared logits, with the logit scale s inside; cosine_gap = gap / s^2 is without it.
    """
    import pandas as pd

    run, rows = opened(run), []
    for split in run.reported_splits():
        gap = gap_of(run, split.name, alpha)
        rows.append(
            (split.name, gap.mean, gap.image_error, gap.text_error, gap.mean / gap.scale**2, len(gap.per_image))
        )
    return pd.DataFrame(rows, columns=["split", "energy_gap", "image_error", "text_error", "cosine_gap", "n"])


def class_table(run: Given, split: str, alpha: float = 1.0) -> pd.DataFrame:
    """Every class on one split: images, zero-shot and tuned accuracy (fractions), their difference, mean energy gap."""
    import pandas as pd

    run = opened(run)
    before, after = (_scores(run, split, a) for a in (0.0, alpha))
    names = run.manifest.names
    zero, count = metrics.per_class(before.prediction, before.label, len(names))
    now, _ = metrics.per_class(after.prediction, after.label, len(names))
    table = pd.DataFrame({"class": names, "n": count, "zero_shot": zero, "accuracy": now, "change": now - zero})
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
        for kind, column in (("raw", "feature_distortion"), ("normalised", "feature_distortion_normalised")):
            base = getattr(found[f"{run.reference}/test"], column)
            if base is None:
                raise ConfigError(f"{run.folder} is an ensemble: it has no features, so no feature distortion")
            for shift in run.manifest.shifts(run.reference):
                test = distortion_test(base, getattr(found[f"{shift}/test"], column))
                about = {"run": run.folder.name, "method": run.name, "seed": run.config.seed, "split": f"{shift}/test"}
                rows.append(about | {"kind": kind} | vars(test) | {"verdict": test.verdict})
    names = ["run", "method", "seed", "split", "kind", *(f.name for f in fields(DistortionTest)), "verdict"]
    return pd.DataFrame(rows, columns=names)


def energy_map(
    run: Given,
    alpha: float = 1.0,
    per_split: int = 100,
    layout: Layout = "joint",
    perplexity: float = 30.0,
    pca: bool = True,
    seed: int = 0,
) -> EnergyMap:
    """t-SNE of the energy vectors of the first images of every reported test split, before and after tuning.

    Kept in the cache. Raises as `energy_tsne` does.
    """
    run = opened(run)
    names = [split.name for split in run.reported_splits() if split.split == "test"]
    after, before = ([run.features(name, a) for name in names] for a in (alpha, 0.0))
    texts, scale = run.gap_texts.cpu(), run.clip.scale

    def coordinates(found: list[Features]) -> np.ndarray:
        images = np.concatenate([np.asarray(one.embeddings[:per_split]) for one in found])
        return energy_coordinates(torch.from_numpy(images), texts, scale)

    places = [coordinates(found) for found in (before, after)]
    settings = {"layout": layout, "perplexity": perplexity, "pca": pca, "seed": seed}
    seen = hashlib.sha256(b"".join(np.round(place, 4).tobytes() for place in places)).hexdigest()[:16]
    kept = cache.remember(
        "energy maps", f"{run.folder.name}, {len(places[0])} images", {"of": seen, **settings},
        lambda: dict(zip(("before", "after"), energy_tsne(*places, **settings), strict=True)),
    )  # fmt: skip
    return EnergyMap(
        tuple(one.split for one in before for _ in one.ids[:per_split]),
        tuple(name for one in before for name in one.ids[:per_split]),
        np.concatenate([one.label[:per_split] for one in before]), np.array(kept["before"]), np.array(kept["after"]),
    )  # fmt: skip


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


def path_table(run: Given, alphas: Sequence[float] = ALPHAS) -> pd.DataFrame:
    """WiSE against the output-space ensemble at every alpha and split: accuracies, NLL, distance of logits, agreement.

    The ensemble is a run of its own beside this one, made once (`combine output_ensemble`). Equal where logits are
    linear in the weights.
    """
    run = opened(run)
    mixed, summed = run.score(alphas), combine("output_ensemble", [run]).score(alphas)
    keys = ["alpha", "split", "role"]
    mixed, summed = (one[one.alpha.isin(alphas)] for one in (mixed, summed))
    tables = [t.pivot_table(index=keys, columns="metric", values="mean") for t in (mixed, summed)]
    wise = tables[0][["accuracy", "nll"]].add_prefix("wise_")
    ensemble = tables[1][["accuracy", "nll"]].add_prefix("ensemble_")
    return wise.join(ensemble).join(tables[1][["wise_distance", "wise_agreement"]]).reset_index()


def layer_table(run: Given) -> pd.DataFrame:
    """How far tuning moved each layer: ||theta - theta0||_2, and relative to ||theta0||_2."""
    import pandas as pd

    run = opened(run)
    rows = [(name, *moved) for name, moved in layer_distances(run.anchor, run.tuned).items()]
    return pd.DataFrame(rows, columns=["layer", "distance", "relative"])


def compare_runs(first: Given, second: Given, alpha: float = 1.0) -> pd.DataFrame:
    """Two runs on the same images, a row per split: see `metrics.Comparison`. Raises ConfigError for other images."""
    import pandas as pd

    found = [_by_split(opened(run).scores([alpha])) for run in (first, second)]
    if found[0].keys() != found[1].keys():
        raise ConfigError(f"the runs are scored on {sorted(found[0])} and {sorted(found[1])}; use one data set")
    return pd.DataFrame([{"split": s} | vars(compare(found[0][s][0], found[1][s][0])) for s in found[0]])


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


def exact(sweep: Sweep, alpha: float, images: int = 100) -> pd.DataFrame:
    """Score a run at any alpha on some images of each test split, evenly spread: columns split, images, exact, line.

    Fractions: exact is the accuracy there, line what the sweep's scored alphas beside it say of the same images. Raises
    RunError or ConfigError where the run's weights or images are not at hand.
    """
    import pandas as pd

    run, rows = opened(sweep.folder), []
    splits = [split for split in run.reported_splits() if split.name in sweep.splits]
    parts = [split.take(np.unique(np.linspace(0, len(split) - 1, images, dtype=int)).tolist()) for split in splits]
    right = sweep.prediction == sweep.label
    for one in run.sweep(parts, [alpha], progress=False):
        of = sweep.rows[one.split]
        there = of[np.isin(sweep.ids[of], one.ids)]
        line = np.interp(alpha, sweep.alphas, right[:, there].mean(1))
        rows.append((one.split, len(one.ids), float((one.prediction == one.label).mean()), float(line)))
    return pd.DataFrame(rows, columns=["split", "images", "exact", "line"])


def reliability_of(run: Given, split: str, alpha: float = 1.0, bins: int = 15) -> metrics.Reliability:
    """The reliability diagram of a run on one split."""
    one = _scores(opened(run), split, alpha)
    return metrics.reliability(one.confidence, one.prediction == one.label, bins)


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
