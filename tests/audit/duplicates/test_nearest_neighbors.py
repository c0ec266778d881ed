"""Nearest neighbors against a sort of all dot products."""

from __future__ import annotations

import numpy as np
import pytest

from excite.audit.duplicates import nearest_neighbors
from excite.audit.duplicates.nearest_neighbors import nearest, nearest_exactly


def unit(n: int, d: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 3, 40])
def test_exact_neighbors_are_the_largest_dot_products(k: int) -> None:
    vectors, queries = unit(40, 5, 0), unit(7, 5, 1)
    rows, likeness = nearest_exactly(vectors, queries, k)
    expected = np.argsort(-(queries @ vectors.T), axis=1)[:, :k]
    assert np.array_equal(rows, expected)
    np.testing.assert_allclose(likeness, np.take_along_axis(queries @ vectors.T, expected, 1), rtol=1e-5)


def test_more_neighbors_than_vectors_are_not_invented() -> None:
    rows, _ = nearest(unit(3, 4, 0), unit(2, 4, 1), 10)
    assert rows.shape == (2, 3)


def test_the_inverted_file_finds_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_neighbors, "EXACT", 100)
    vectors = unit(1500, 16, 0)
    rows, likeness = nearest(vectors, vectors[:200], 2)
    assert np.array_equal(rows[:, 0], np.arange(200))
    np.testing.assert_allclose(likeness[:, 0], 1, atol=1e-5)


def test_nearest_neighbors_by_cells_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    base = random.standard_normal((700, 32))
    vectors = np.concatenate([base, base + 0.3 * random.standard_normal(base.shape)]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    exact = nearest(vectors, vectors, 2)
    product = vectors @ vectors.T
    assert (exact[0] == np.argsort(-product, axis=1)[:, :2]).all()
    monkeypatch.setattr(nearest_neighbors, "EXACT", 100)
    rows, likeness = nearest(vectors, vectors, 2)
    assert (rows[:, 1] == exact[0][:, 1]).mean() > 0.99
    np.testing.assert_allclose(likeness[:, 0], 1, atol=1e-5)
