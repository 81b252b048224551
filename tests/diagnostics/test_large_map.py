"""Maps by openTSNE: components against scikit-learn's, neighbours as scikit-learn counts them."""

import logging

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from clipft.diagnostics import large_map
from clipft.diagnostics.energy_map import energy_tsne
from clipft.diagnostics.large_map import large_tsne, principal_components
from clipft.errors import ConfigError, MissingExtra

CLUSTERS = 6
SMALL = {"perplexity": 8.0, "seed": 3}


def clusters(images, dimensions=60, seed=0):
    """Clusters that lie apart, and the number of each image's."""
    generator = np.random.default_rng(seed)
    label = np.arange(images) % CLUSTERS
    centres = 4 * generator.standard_normal((CLUSTERS, dimensions))
    return centres[label] + generator.standard_normal((images, dimensions)), label


BEFORE, LABEL = clusters(240)
AFTER = BEFORE + 0.3 * np.random.default_rng(9).standard_normal(BEFORE.shape)


@pytest.fixture
def few_steps(monkeypatch):
    """Enough where it is the same map that counts, and not a good one."""
    monkeypatch.setattr(large_map, "EXAGGERATED", 50)
    monkeypatch.setattr(large_map, "STEPS", 50)


@pytest.mark.parametrize("shape", [(200, 70), (30, 8), (20, 60)])
def test_components_are_scikit_learns(shape):
    points = np.random.default_rng(1).standard_normal(shape) * np.linspace(1, 9, shape[1]) + 5
    found = principal_components(points)
    count = min(50, *shape)
    theirs = PCA(count).fit_transform(points)
    assert found.dtype == np.float32 and found.shape == (shape[0], min(50, shape[1]))
    # The last of fewer points than dimensions is nothing.
    known = min(count, shape[0] - 1)
    np.testing.assert_allclose(abs(found[:, :known]), abs(theirs[:, :known]), atol=2e-2)


def same_cluster(places):
    """Of each point's five nearest, the fraction that is of its own cluster."""
    nearest = NearestNeighbors(n_neighbors=6).fit(places).kneighbors(places)[1][:, 1:]
    return (LABEL[nearest] == LABEL[:, None]).mean()


@pytest.mark.parametrize("layout", ["joint", "reused"])
@pytest.mark.parametrize("tsne", [energy_tsne, large_tsne])
def test_neighbours_stay_together(tsne, layout):
    maps = tsne(BEFORE, AFTER, layout, **SMALL)
    for points, places in zip((BEFORE, AFTER), maps, strict=True):
        assert places.shape == (240, 2)
        assert same_cluster(places) > 0.99
        assert trustworthiness(points, places) > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("images", [600, 5100])
def test_neighbours_of_many_points_stay_together(images, monkeypatch):
    """Neighbours are approximate from 1000 points on, gradients from 10 000, two for each image."""
    monkeypatch.setattr(large_map, "EXAGGERATED", 150)
    monkeypatch.setattr(large_map, "STEPS", 100)
    points, label = clusters(images)
    before, after = large_tsne(points, points.copy(), "joint")
    nearest = NearestNeighbors(n_neighbors=6).fit(before).kneighbors(before)[1][:, 1:]
    assert (label[nearest] == label[:, None]).mean() > 0.99
    apart = np.linalg.norm(before - after, axis=1)
    assert apart.max() < 0.01 * np.ptp(before)


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("layout", ["joint", "reused"])
@pytest.mark.parametrize("pca", [True, False])
def test_a_seed_makes_the_same_map_again(layout, pca):
    once, again = (large_tsne(BEFORE, AFTER, layout, pca=pca, **SMALL) for _ in range(2))
    other = large_tsne(BEFORE, AFTER, layout, pca=pca, perplexity=8.0, seed=4)
    for first, second, third in zip(once, again, other, strict=True):
        np.testing.assert_array_equal(first, second)
        assert not np.allclose(first, third)


@pytest.mark.parametrize("layout", ["joint", "reused"])
def test_a_model_that_did_not_change_stays_in_place(layout):
    before, after = large_tsne(BEFORE, BEFORE.copy(), layout, **SMALL)
    apart = cdist(before, after)
    assert np.diag(apart).mean() < (0.02 if layout == "joint" else 0.2) * apart.mean()


@pytest.mark.usefixtures("few_steps")
def test_the_reused_map_begins_as_a_map_of_the_first_alone():
    before, _ = large_tsne(BEFORE, AFTER, "reused", **SMALL)
    alone, _ = large_tsne(BEFORE, BEFORE.copy(), "reused", **SMALL)
    np.testing.assert_array_equal(before, alone)


@pytest.mark.usefixtures("few_steps")
def test_every_step_moves_the_bar_and_nothing_else_is_said(monkeypatch, caplog, capsys):
    moved = []

    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, steps):
            moved.append(steps)
            return True  # as tqdm does when it draws

    titles = []
    monkeypatch.setattr(large_map, "progress_bar", lambda *told: titles.append(told) or Bar())
    with caplog.at_level(logging.WARNING):
        large_tsne(BEFORE, AFTER, "joint", **SMALL)
        large_tsne(BEFORE, AFTER, "reused", **SMALL)
    assert titles == [(100, "t-SNE of 480 points", "step"), (150, "t-SNE of 240 points", "step")]
    assert sum(moved) == 100 + 150
    assert caplog.records == [] and capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"layout": "jiont"}, "did you mean 'joint'"),
        ({"perplexity": 500.0}, "t-SNE of 480 points at perplexity 500"),
        ({"perplexity": 160.0}, "openTSNE of 480 points at perplexity 160: it wants three times"),
        ({"after": AFTER[:-1]}, "the same images twice"),
    ],
)
def test_a_mistake_is_one_line(wrong, words):
    with pytest.raises(ConfigError, match=words) as raised:
        large_tsne(**{"before": BEFORE, "after": AFTER} | wrong)
    assert "\n" not in str(raised.value)


def test_without_opentsne_a_line_says_what_brings_it(monkeypatch):
    monkeypatch.setattr(large_map, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"openTSNE is not.*'clipft\[maps\]'") as raised:
        large_tsne(BEFORE, AFTER)
    assert "\n" not in str(raised.value)
