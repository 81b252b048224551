"""Maps of energy vectors: coordinates against the N x M matrix, maps against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.spatial.distance import cdist, pdist
from sklearn.manifold import TSNE

from clipft.diagnostics.energy_map import energy_coordinates, energy_tsne
from clipft.errors import ConfigError


def normal(seed, *shape):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=torch.float32)


def rows_of_length_one(x):
    x = np.asarray(x, dtype=float)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def texts_of_length_one(seed, m, d):
    return torch.tensor(rows_of_length_one(normal(seed, m, d))).float()


@settings(deadline=None)
@given(
    st.integers(2, 12),
    st.integers(1, 20),
    st.integers(2, 12),
    st.integers(0, 2**32 - 1),
    st.floats(0.5, 100),
)
def test_coordinates_lie_as_far_apart_as_energy_vectors(n, m, d, seed, scale):
    images = 3 * normal(seed, n, d)
    texts = texts_of_length_one(seed + 1, m, d)
    vectors = scale * rows_of_length_one(images) @ texts.numpy().T.astype(float)  # (N, M)
    found = energy_coordinates(images, texts, scale)
    assert found.shape == (n, min(d, m))
    np.testing.assert_allclose(pdist(found), pdist(vectors), rtol=1e-4, atol=1e-4 * scale)
    np.testing.assert_allclose(
        np.linalg.norm(found, axis=1), np.linalg.norm(vectors, axis=1), rtol=1e-4, atol=1e-4 * scale
    )


@pytest.mark.parametrize(("m", "d"), [(40, 6), (4, 16)])
def test_more_and_fewer_texts_than_dimensions(m, d):
    images = normal(0, 9, d)
    texts = texts_of_length_one(1, m, d)
    vectors = 100 * rows_of_length_one(images) @ texts.numpy().T.astype(float)
    np.testing.assert_allclose(
        pdist(energy_coordinates(images, texts, 100.0)), pdist(vectors), rtol=1e-4
    )


def test_coordinates_do_not_see_the_length_of_an_embedding():
    images = normal(0, 5, 6)
    texts = normal(1, 9, 6)
    np.testing.assert_allclose(
        energy_coordinates(images * torch.arange(1, 6)[:, None], texts, 2.0),
        energy_coordinates(images, texts, 2.0),
        rtol=1e-5,
        atol=1e-5,
    )


def test_texts_of_another_model_are_refused():
    with pytest.raises(ConfigError, match="images have 6 dimensions, texts 5"):
        energy_coordinates(normal(0, 4, 6), normal(1, 4, 5), 1.0)


# --- t-SNE

HEAPS = [normal(0, 15, 5).numpy(), normal(1, 15, 5).numpy() + 9]
BEFORE = np.concatenate(HEAPS).astype(float)
AFTER = BEFORE + 0.3 * normal(2, 30, 5).numpy()
SMALL = {"perplexity": 5.0, "seed": 3}


def scikit_learns(points, pca):
    tsne = TSNE(perplexity=5.0, random_state=3, init="pca" if pca else "random")
    return tsne.fit_transform(points)


@pytest.mark.parametrize("pca", [True, False])
def test_the_joint_map_is_scikit_learns_of_all_points(pca):
    maps = energy_tsne(BEFORE, AFTER, "joint", pca=pca, **SMALL)
    both = np.concatenate([BEFORE, AFTER]).astype(np.float32)
    theirs = scikit_learns(both, pca)
    np.testing.assert_allclose(np.concatenate(maps), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pca", [True, False])
def test_the_reused_map_starts_with_scikit_learns_and_goes_on_from_there(pca):
    before, after = energy_tsne(BEFORE, AFTER, "reused", pca=pca, **SMALL)
    theirs = scikit_learns(BEFORE.astype(np.float32), pca)
    np.testing.assert_allclose(before, theirs, rtol=1e-4, atol=1e-4)
    assert after.shape == (30, 2) and np.isfinite(after).all()


@pytest.mark.parametrize("layout", ["reused", "joint"])
def test_a_seed_makes_the_same_map_again(layout):
    once, again = (energy_tsne(BEFORE, AFTER, layout, pca=False, **SMALL) for _ in range(2))
    other = energy_tsne(BEFORE, AFTER, layout, pca=False, perplexity=5.0, seed=4)
    for first, second, third in zip(once, again, other, strict=True):
        np.testing.assert_array_equal(first, second)
        assert not np.allclose(first, third)


@pytest.mark.parametrize("layout", ["joint", "reused"])
def test_a_model_that_did_not_change_stays_in_place(layout):
    """What stays close stays in place: so 04_energy_tsne tells its readers."""
    points = normal(4, 60, 5).numpy().astype(float)
    points[30:] += 9
    before, after = energy_tsne(points, points.copy(), layout, **SMALL)
    apart = cdist(before, after)
    assert np.diag(apart).mean() < (0.1 if layout == "joint" else 0.5) * apart.mean()


@pytest.mark.parametrize(
    ("layout", "count", "points"), [("reused", 5, 5), ("joint", 2, 4), ("joint", 0, 0)]
)
def test_fewer_points_than_the_perplexity_are_refused(layout, count, points):
    with pytest.raises(ConfigError, match=f"t-SNE of {points} points at perplexity 5") as raised:
        energy_tsne(BEFORE[:count], AFTER[:count], layout, perplexity=5.0)
    assert "\n" not in str(raised.value)


def test_six_points_are_enough_for_perplexity_five():
    before, after = energy_tsne(BEFORE[:6], AFTER[:6], "reused", perplexity=5.0)
    assert before.shape == after.shape == (6, 2)


def test_maps_of_other_images_are_refused():
    with pytest.raises(ConfigError, match="the same images twice"):
        energy_tsne(BEFORE, AFTER[:-1], **SMALL)


def test_an_unknown_layout_is_refused():
    """It is a parameter of a notebook: a misspelt one must not be drawn as another."""
    with pytest.raises(ConfigError, match="jiont"):
        energy_tsne(BEFORE, AFTER, "jiont", **SMALL)
