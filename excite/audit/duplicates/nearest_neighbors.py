"""Nearest neighbors of many vectors: exact for few vectors, otherwise by an inverted file."""

from __future__ import annotations

import numpy as np

EXACT = 6000
"""Up to this many vectors, all are compared in about a second; beyond, the time per vector grows as
sqrt(n)."""
PROBES = 24
"""Number of cells searched for a query. For 1,500 of CIFAR-10's 60,000 pictures, they contained the nearest
neighbor of 87 %, and of all 125 whose nearest neighbor has a similarity of at least 0.9."""
_BLOCK = 1024


def nearest(
    vectors: np.ndarray, queries: np.ndarray, k: int, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` vectors with the largest dot product with each query.

    Vectors and queries have unit length, (n, d) and (q, d) float32. An inverted file with sqrt(n) cells
    (Jégou et al., "Product quantization for nearest neighbor search", 2011, without the product).

    Returns:
        (rows, similarity), both (q, k), best first; -1 in both where fewer were found.
    """
    k = min(k, len(vectors))
    if len(vectors) <= EXACT:
        return nearest_exactly(vectors, queries, k)
    cells, centers = _cells(vectors, seed)
    probes = nearest_exactly(centers, queries, PROBES)[0]
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    similarity = np.full((len(queries), k), -1, dtype=np.float32)
    order = np.argsort(probes, axis=None, kind="stable")
    starts = np.searchsorted(probes.ravel()[order], np.arange(len(centers) + 1))
    for number, members in enumerate(cells):
        asking = order[starts[number] : starts[number + 1]] // PROBES
        if len(members) == 0:
            continue
        for start in range(0, len(asking), _BLOCK):
            who = asking[start : start + _BLOCK]
            near, how = nearest_exactly(vectors[members], queries[who], min(k, len(members)))
            rows[who], similarity[who] = _best(
                np.hstack([rows[who], members[near]]), np.hstack([similarity[who], how]), k
            )
    return rows, similarity


def nearest_exactly(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As ``nearest``, by comparing all vectors."""
    rows = np.empty((len(queries), k), dtype=np.int64)
    similarity = np.empty((len(queries), k), dtype=np.float32)
    every = np.arange(len(vectors))
    for start in range(0, len(queries), _BLOCK):
        part = slice(start, start + _BLOCK)
        product = queries[part] @ vectors.T
        rows[part], similarity[part] = _best(np.broadcast_to(every, product.shape), product, k)
    return rows, similarity


def _best(rows: np.ndarray, similarity: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` most similar of each line, best first."""
    if k < similarity.shape[1]:
        chosen = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        rows, similarity = np.take_along_axis(rows, chosen, 1), np.take_along_axis(similarity, chosen, 1)
    order = np.argsort(-similarity, axis=1, kind="stable")
    return np.take_along_axis(rows, order, 1), np.take_along_axis(similarity, order, 1)


def _cells(vectors: np.ndarray, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """(rows of each cell, unit centers) by a few iterations of k-means on a sample."""
    count = max(PROBES, int(np.sqrt(len(vectors))))
    random = np.random.default_rng(seed)
    sample = vectors[random.choice(len(vectors), min(len(vectors), 32 * count), replace=False)]
    centers = sample[:count].copy()
    for _ in range(4):
        cell = nearest_exactly(centers, sample, 1)[0][:, 0]
        sums = np.zeros_like(centers)
        np.add.at(sums, cell, sample)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centers = np.where(norms > 0, sums / np.maximum(norms, 1e-9), centers)
    cell = nearest_exactly(centers, vectors, 1)[0][:, 0]
    order = np.argsort(cell, kind="stable")
    return np.split(order, np.searchsorted(cell[order], np.arange(1, count))), centers
