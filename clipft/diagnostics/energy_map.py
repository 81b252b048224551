"""Maps of energy vectors: t-SNE of v(x) = s T f(x), before and after tuning.

No N x M matrix is made: distances between energy vectors are those of f(x) L with
L L^T = s^2 T^T T, so a map is made of N x D numbers. Those of many points: `large_map`.
Source: Lipsum-FT, arXiv:2404.00860 (the first 100 images of each split, scikit-learn's defaults).
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from torch import Tensor

from ..errors import ConfigError, unknown
from .energies import check_same_model, unit

Layout = Literal["joint", "reused"]


@dataclass(frozen=True)
class EnergyMap:
    """Places of N images on the plane before (zero-shot) and after tuning, each (N, 2)."""

    split: tuple[str, ...]
    ids: tuple[str, ...]
    label: np.ndarray
    before: np.ndarray
    after: np.ndarray


def energy_coordinates(images: Tensor, texts: Tensor, scale: float) -> np.ndarray:
    """(N, min(D, M)) coordinates with the distances of the energy vectors, in logits.

    images (N, D), texts (M, D) unit rows. Raises ConfigError where they are of different models.
    """
    check_same_model(images.shape[-1], texts.shape[-1])
    values, vectors = np.linalg.eigh((scale**2 * texts.T @ texts).double().cpu().numpy())
    root = vectors * np.sqrt(values.clip(min=0))
    # eigh gives the largest eigenvalues last.
    root = root[:, ::-1][:, : min(texts.shape)]
    return unit(images).double().cpu().numpy() @ root


def energy_tsne(
    before: np.ndarray,
    after: np.ndarray,
    layout: Layout = "joint",
    *,
    perplexity: float = 30.0,
    pca: bool = True,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """t-SNE of the coordinates of N images before and after tuning: (N, K), (N, K) -> (N, 2) twice.

    layout "joint": one map of 2 N points, in which an image that did not move stays in place;
    "reused": a map of each, the second from where the first ended and without early exaggeration,
    so it drifts even where nothing moved. pca: start from the first two principal components, else
    from noise; the rest are scikit-learn's defaults. Raises ConfigError for an unknown layout and
    where there are not more points than the perplexity.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    check_map(before, after, layout, perplexity)
    before = before.astype(np.float32)
    after = after.astype(np.float32)
    settings = {"perplexity": perplexity, "random_state": seed}
    start = TSNE(init="pca" if pca else "random", **settings)
    # Maps are small: threads that wait for each other cost more than they give.
    with threadpool_limits(1):
        if layout == "joint":
            places = start.fit_transform(np.concatenate([before, after]))
            return places[: len(before)], places[len(before) :]
        first = start.fit_transform(before)
        second = TSNE(init=first, early_exaggeration=1, **settings).fit_transform(after)
        return first, second


def check_map(before: np.ndarray, after: np.ndarray, layout: Layout, perplexity: float) -> None:
    """Raise ConfigError for an unknown layout, other images, or too few points for perplexity."""
    if layout not in get_args(Layout):
        raise unknown("layout", layout, get_args(Layout))
    if before.shape != after.shape:
        shapes = f"{before.shape} and {after.shape}"
        raise ConfigError(f"maps of shape {shapes}; wanted: the same images twice")
    points = points_of(len(before), layout)
    if points <= perplexity:
        fault = f"t-SNE of {points} points at perplexity {perplexity:g}"
        raise ConfigError(f"{fault}; take more images or a lower one")


def points_of(images: int, layout: Layout) -> int:
    """How many points one map of so many images has."""
    return 2 * images if layout == "joint" else images
