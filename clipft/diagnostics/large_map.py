"""Maps of many energy vectors: t-SNE by openTSNE, of the first 50 principal components.

Its seconds grow as the points do, where those of scikit-learn grow faster; no N x N is made.
Source: Policar, Strazar and Zupan, openTSNE, Journal of Statistical Software 109 (2024).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..errors import ConfigError, MissingExtra
from ..progress import progress_bar
from .energy_map import Layout, check_map, points_of

COMPONENTS = 50
JOBS = 2  # the bits of a map depend on it, so it is the same on every machine
EXAGGERATED = 250  # steps of early exaggeration, openTSNE's default
STEPS = 500  # and behind it
EVERY = 10  # steps between two moves of the bar


def large_tsne(
    before: np.ndarray,
    after: np.ndarray,
    layout: Layout = "joint",
    *,
    perplexity: float = 30.0,
    pca: bool = True,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """t-SNE as `energy_tsne` makes it, by openTSNE: (N, K), (N, K) -> (N, 2) twice.

    The rest are openTSNE's defaults; neighbours are approximate from 1000 points on, and gradients
    from 10 000. One seed gives one map, on two threads however many there are. Raises MissingExtra
    without openTSNE, ConfigError as `energy_tsne` does, and for fewer points than three times the
    perplexity.
    """
    check_opentsne()
    check_map(before, after, layout, perplexity)
    points = points_of(len(before), layout)
    if points <= 3 * perplexity:
        fault = f"openTSNE of {points} points at perplexity {perplexity:g}"
        raise ConfigError(f"{fault}: it wants three times as many; take more images")

    settings: dict[str, Any] = {"perplexity": perplexity, "random_state": seed}
    settings["initialization"] = "pca" if pca else "random"
    if layout == "joint":
        both = principal_components(np.concatenate([before, after], dtype=np.float32))
        with _steps(points, EXAGGERATED + STEPS) as step:
            places = _first(both, step, settings)
        return places[: len(before)], places[len(before) :]

    with _steps(points, EXAGGERATED + 2 * STEPS) as step:
        first = _first(principal_components(before), step, settings)
        return first, _from(first, principal_components(after), step, settings)


def check_opentsne() -> None:
    """Raise MissingExtra where openTSNE is not installed."""
    if find_spec("openTSNE") is None:
        raise MissingExtra("openTSNE", "maps")


def principal_components(points: np.ndarray) -> np.ndarray:
    """The first 50 principal components in fp32: (N, K) -> (N, min(50, K))."""
    from threadpoolctl import threadpool_limits

    centred = (points - points.mean(axis=0)).astype(np.float32)
    # One thread makes the same bits everywhere.
    with threadpool_limits(1):
        _, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        # eigh gives the largest eigenvalues last.
        first_axes = axes[:, ::-1][:, :COMPONENTS].astype(np.float32)
        return centred @ first_axes


Step = Callable[[int, float, np.ndarray], None]


@contextmanager
def _steps(points: int, total: int) -> Iterator[Step]:
    """A bar over the steps of a map, as openTSNE's callback."""
    with progress_bar(total, f"t-SNE of {points} points", "step") as bar:

        def step(_iteration: int, _error: float, _places: np.ndarray) -> None:
            # What it returned would end the map.
            bar.update(EVERY)

        yield step


def _first(points: np.ndarray, step: Step, settings: dict[str, Any]) -> np.ndarray:
    """A map from its beginning."""
    return np.asarray(_tsne(step, settings).fit(points))


def _from(
    places: np.ndarray, points: np.ndarray, step: Step, settings: dict[str, Any]
) -> np.ndarray:
    """A map that begins at given places, without early exaggeration."""
    embedding = _tsne(step, settings).prepare_initial(points)
    embedding[:] = places
    embedding.optimize(n_iter=STEPS, inplace=True, propagate_exception=True)
    return np.asarray(embedding)


def _tsne(step: Step, settings: dict[str, Any]) -> Any:
    from openTSNE import TSNE

    steps = {"early_exaggeration_iter": EXAGGERATED, "n_iter": STEPS}
    return TSNE(n_jobs=JOBS, callbacks=step, callbacks_every_iters=EVERY, **steps, **settings)
