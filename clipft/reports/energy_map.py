"""TODO: docstring."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..diagnostics.energy_map import EnergyMap, Layout, energy_coordinates, energy_tsne
from ..disk import cache
from .energy_gap import Given, opened

if TYPE_CHECKING:
    from ..models.embeddings import Features


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
    names = [split.name for split in run.reported_splits() if split.part == "test"]
    after, before = ([run.features(name, a) for name in names] for a in (alpha, 0.0))
    texts, scale = run.gap_texts.cpu(), run.clip.scale

    def coordinates(found: list[Features]) -> np.ndarray:
        images = np.concatenate([np.asarray(one.embeddings[:per_split]) for one in found])
        return energy_coordinates(torch.from_numpy(images), texts, scale)

    places = [coordinates(found) for found in (before, after)]
    settings = {"layout": layout, "perplexity": perplexity, "pca": pca, "seed": seed}
    seen = hashlib.sha256(b"".join(np.round(place, 4).tobytes() for place in places)).hexdigest()[
        :16
    ]
    kept = cache.remember(
        "energy maps",
        f"{run.folder.name}, {len(places[0])} images",
        {"of": seen, **settings},
        lambda: dict(zip(("before", "after"), energy_tsne(*places, **settings), strict=True)),
    )
    return EnergyMap(
        tuple(one.split for one in before for _ in one.ids[:per_split]),
        tuple(name for one in before for name in one.ids[:per_split]),
        np.concatenate([one.label[:per_split] for one in before]),
        np.array(kept["before"]),
        np.array(kept["after"]),
    )
