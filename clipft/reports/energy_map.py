"""Energy maps of finished runs: where tuning moved each image's energy vector."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..config import TUNED, ZERO_SHOT, Reading
from ..diagnostics.energy_map import EnergyMap, energy_coordinates, energy_tsne
from ..disk.cache import default_cache
from ..evaluation.bench import Bench
from ..models.embeddings import Features
from ..options import defaults
from ..runs.run import Run
from .energy_gap import Given


def energy_map(
    run: Given,
    alpha: float = TUNED,
    per_split: int = 100,
    reading: Reading | None = None,
    **settings: Any,
) -> EnergyMap:
    """t-SNE of the energy vectors of test images, before and after tuning, on one map.

    Kept in the cache. Source: Lipsum-FT, arXiv:2404.00860.

    Arguments:
        run: a run, or its folder.
        alpha: of the model after tuning.
        per_split: the first so many images of every reported test split.
        reading: how images are read, where embeddings are not in the cache.
        settings: layout, perplexity, pca and seed of `diagnostics.energy_map.energy_tsne`.

    Returns:
        Split, id and class of each image, and its places (N, 2) before and after.

    Raises:
        ConfigError: where there are too few images for the perplexity, or a setting is wrong.
        RunError: where the run is not finished, or its model or data set have changed since.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> places = clipft.energy_map(run, per_split=10, perplexity=5)
        >>> places.before.shape  # three test splits
        (30, 2)
    """
    run = Run.open(run)
    bench = Bench.of(run, reading)
    mixtures = bench.mixtures(run)
    splits = [split for split in bench.reported_splits(run.config) if split.part == "test"]
    after = [mixtures.features(split, alpha) for split in splits]
    before = [mixtures.features(split, ZERO_SHOT) for split in splits]

    def coordinates(features: Sequence[Features]) -> np.ndarray:
        images = [np.asarray(of_split.embeddings[:per_split]) for of_split in features]
        stacked = torch.from_numpy(np.concatenate(images))
        return energy_coordinates(stacked, bench.random_texts.cpu(), bench.clip.scale)

    places = [coordinates(before), coordinates(after)]
    whole = defaults(energy_tsne) | settings

    def make() -> dict[str, np.ndarray]:
        map_before, map_after = energy_tsne(places[0], places[1], **whole)
        return {"before": map_before, "after": map_after}

    key = {"of": _digest(places), **whole}
    title = f"{run.id}, {len(places[0])} images"
    maps = default_cache().remember("energy maps", title, key, make)
    return _as_map(before, maps, per_split)


def _digest(places: Sequence[np.ndarray]) -> str:
    """16 letters that name the coordinates, up to rounding."""
    rounded = [np.round(coordinates, 4).tobytes() for coordinates in places]
    return hashlib.sha256(b"".join(rounded)).hexdigest()[:16]


def _as_map(
    features: Sequence[Features], maps: Mapping[str, np.ndarray], per_split: int
) -> EnergyMap:
    splits: list[str] = []
    ids: list[str] = []
    labels = []
    for of_split in features:
        first_ids = of_split.ids[:per_split]
        splits += [of_split.split] * len(first_ids)
        ids += first_ids
        labels.append(of_split.label[:per_split])
    places = (np.array(maps["before"]), np.array(maps["after"]))
    return EnergyMap(tuple(splits), tuple(ids), np.concatenate(labels), *places)
