"""Maps of energy vectors: t-SNE of v(x) = s T f(x), before and after tuning, without the N x M matrix.

Distances between energy vectors are those of f(x) L with L L^T = s^2 T^T T, so a map is made of N x D numbers.
Source: Lipsum-FT, arXiv:2404.00860 (the first 100 images of each split, scikit-learn's defaults).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import ConfigError, unknown
from .energies import unit

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


Layout = Literal["joint", "reused"]


def energy_coordinates(images: Tensor, texts: Tensor, scale: float) -> np.ndarray:
    """(N, min(D, M)) coordinates with the distances of the energy vectors: (N, D), (M, D) unit rows -> in logits."""
    if images.shape[-1] != texts.shape[-1]:
        raise ConfigError(
            f"images have {images.shape[-1]} dimensions, texts {texts.shape[-1]}; use one model for both"
        )
    values, vectors = np.linalg.eigh((scale**2 * texts.T @ texts).double().cpu().numpy())
    root = vectors * np.sqrt(values.clip(min=0))
    return unit(images).double().cpu().numpy() @ root[:, ::-1][:, : min(texts.shape)]


def energy_tsne(
    before: np.ndarray,
    after: np.ndarray,
    layout: Layout = "joint",
    perplexity: float = 30.0,
    pca: bool = True,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """t-SNE of the coordinates of N images before and after tuning: (N, K), (N, K) -> (N, 2), (N, 2).

    layout "joint": one map of 2 N points, in which an image that did not move stays in place; "reused": a map of each,
    the second from where the first ended and without early exaggeration, so it drifts even where nothing moved. pca:
    start from the first two principal components, else from noise; the rest are scikit-learn's defaults. Raises
    ConfigError for an unknown layout and where there are not more points than the perplexity.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if layout not in (known := ("joint", "reused")):
        raise unknown("layout", layout, known)
    if before.shape != after.shape:
        raise ConfigError(
            f"maps of shape {before.shape} and {after.shape}; wanted: the same images twice"
        )
    points = 2 * len(before) if layout == "joint" else len(before)
    if points <= perplexity:
        raise ConfigError(
            f"t-SNE of {points} points at perplexity {perplexity:g}; take more images or a lower one"
        )
    settings = {"perplexity": perplexity, "random_state": seed}
    begin = "pca" if pca else "random"
    with threadpool_limits(
        1
    ):  # small maps: threads that wait for each other cost more than they give
        if layout == "joint":
            both = TSNE(init=begin, **settings).fit_transform(
                np.concatenate([before, after]).astype(np.float32)
            )
            return both[: len(before)], both[len(before) :]
        first = TSNE(init=begin, **settings).fit_transform(before.astype(np.float32))
        return first, TSNE(init=first, early_exaggeration=1, **settings).fit_transform(
            after.astype(np.float32)
        )


@dataclass(frozen=True)
class EnergyMap:
    """Places of N images on the plane before (zero-shot) and after tuning, each (N, 2), with split, label and ids."""

    split: tuple[str, ...]
    ids: tuple[str, ...]
    label: np.ndarray
    before: np.ndarray
    after: np.ndarray
