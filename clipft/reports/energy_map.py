"""Energy maps of finished runs: where tuning moved each image's energy vector."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch

from ..config import TUNED, ZERO_SHOT, Reading
from ..diagnostics.energy_map import EnergyMap, energy_coordinates, energy_tsne, points_of
from ..diagnostics.large_map import check_opentsne, large_tsne
from ..disk.cache import default_cache
from ..errors import ConfigError, unknown
from ..evaluation.bench import Bench
from ..models.embeddings import Features
from ..options import defaults
from ..progress import write
from ..runs.run import Run
from .energy_gap import Given

Engine = Literal["auto", "sklearn", "opentsne"]
TITLES = {"sklearn": "scikit-learn", "opentsne": "openTSNE"}
MANY = 10_000  # points: above, scikit-learn takes much longer than openTSNE
SLOW = 1000  # points: above, either takes more than two seconds
ROWS = 1 << 12  # of coordinates that are rounded at once


def energy_map(
    run: Given,
    alpha: float = TUNED,
    per_split: int | None = 100,
    reading: Reading | None = None,
    *,
    engine: Engine = "auto",
    **settings: Any,
) -> EnergyMap:
    """t-SNE of the energy vectors of test images, before and after tuning, on one map.

    Kept in the cache. Source: Lipsum-FT, arXiv:2404.00860.

    Arguments:
        run: a run, or its folder.
        alpha: of the model after tuning.
        per_split: the first so many images of every reported test split; None: all.
        reading: how images are read, where embeddings are not in the cache.
        engine: who makes the map: "sklearn", as in the paper; "opentsne", of the first 50 principal
            components (`pip install 'clipft[maps]'`); "auto": scikit-learn up to 10 000 points, of
            which a joint map has two for each image, and openTSNE above.
        settings: layout, perplexity, pca and seed of `diagnostics.energy_map.energy_tsne`.

    Returns:
        Split, id and class of each image, and its places (N, 2) before and after.

    Raises:
        ConfigError: where there are too few images for the perplexity, or a setting is wrong.
        MissingExtra: where openTSNE is wanted and not installed.
        RunError: where the run is not finished, or its model or data set have changed since.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> places = clipft.energy_map(run, per_split=10, perplexity=5)
        >>> places.before.shape  # three test splits
        (30, 2)
        >>> clipft.energy_map(run, per_split=None, perplexity=5).before.shape  # all images
        (60, 2)
    """
    if per_split is not None and per_split < 1:
        raise ConfigError(f"per_split is {per_split}, expected 1 or more, or None: all images")
    run = Run.open(run)
    bench = Bench.of(run, reading)
    mixtures = bench.mixtures(run)
    splits = [split for split in bench.reported_splits(run.config) if split.part == "test"]
    whole = defaults(energy_tsne) | settings
    images = sum(len(split.ids[:per_split]) for split in splits)
    points = points_of(images, whole.get("layout", "joint"))
    engine = _engine(engine, points)
    after = [mixtures.features(split, alpha) for split in splits]
    before = [mixtures.features(split, ZERO_SHOT) for split in splits]

    def coordinates(features: Sequence[Features]) -> np.ndarray:
        images = [np.asarray(of_split.embeddings[:per_split]) for of_split in features]
        stacked = torch.from_numpy(np.concatenate(images))
        return energy_coordinates(stacked, bench.random_texts.cpu(), bench.clip.scale)

    places = [coordinates(before), coordinates(after)]

    def make() -> dict[str, np.ndarray]:
        if points > SLOW:
            write(f"t-SNE of {points} points by {TITLES[engine]}")
        tsne = energy_tsne if engine == "sklearn" else large_tsne
        map_before, map_after = tsne(places[0], places[1], **whole)
        return {"before": map_before, "after": map_after}

    key = {"of": _digest(places), **whole}
    if engine != "sklearn":
        key["engine"] = engine
    title = f"{run.id}, {len(places[0])} images"
    maps = default_cache().remember("energy maps", title, key, make)
    return _as_map(before, maps, per_split)


def _engine(asked: Engine, points: int) -> Engine:
    """Who makes the map, known before an image is read; raises MissingExtra without openTSNE."""
    if asked not in get_args(Engine):
        raise unknown("engine", asked, get_args(Engine))
    if asked == "auto":
        asked = "sklearn" if points <= MANY else "opentsne"
    if asked == "opentsne":
        check_opentsne()
    return asked


def _digest(places: Sequence[np.ndarray]) -> str:
    """16 letters that name the coordinates, up to rounding."""
    whole = hashlib.sha256()
    for coordinates in places:
        for start in range(0, len(coordinates), ROWS):
            whole.update(np.round(coordinates[start : start + ROWS], 4).tobytes())
    return whole.hexdigest()[:16]


def _as_map(
    features: Sequence[Features], maps: Mapping[str, np.ndarray], per_split: int | None
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
