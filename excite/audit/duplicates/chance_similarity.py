"""How much alike pictures of a set are that are no copies of each other.

Digits, X-rays and slices of scans share outline and ground: two of them agree as copies of photos do. So a
pair has to agree better than strangers of its own set.
"""

from __future__ import annotations

import numpy as np

from excite.audit.duplicates.nearest_neighbors import nearest_exactly

RANK, SHARE_OF_SET, FARTHEST = 50, 0.05, 500
"""The neighbor that is taken for a stranger: the 50th, in a large set the one after a twentieth of it, up to
the 500th. Where more than 3 % of a set had more copies than that, they would pass for look-alikes."""
FEWEST = 100
"""In smaller sets nobody can say who is a stranger."""
SHARE, TIMES = 0.97, 2.0
"""Needed is twice what this share of strangers stays under. Without, 2,655 pairs of the 1,797 handwritten
digits passed for copies when enlarged to 28 pixels, with it 20; of mpox's pairs of pass 2 it costs 1 %."""
_SAMPLE = 300


def agreement(left: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """(correlation, Fisher's z of it in standard deviations) of two pictures whose mean is about 0.

    Pixels count by how evenly they contribute: an outline on plain ground correlates with any other of its
    kind, but few pixels say so.
    """
    length = float(np.sqrt((left * left).sum() * (right * right).sum()))
    if length == 0:
        return 0.0, 0.0
    products = left * right
    correlation = float(products.sum()) / length
    pixels = float(np.abs(products).sum()) ** 2 / max(float((products * products).sum()), 1e-12)
    return correlation, float(np.arctanh(np.clip(correlation, -0.9999, 0.9999))) * pixels**0.5


def sample_background_pairs(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(a, b) of some rows and a neighbor far enough to be no copy; empty for a small set.

    Args:
        keys: (n, d) float32, of unit length; the nearer the more alike.
    """
    n = len(keys)
    if n < FEWEST:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    some = np.sort(np.random.default_rng(0).choice(n, min(n, _SAMPLE), replace=False))
    rank = min(max(RANK, int(SHARE_OF_SET * n)), FARTHEST)
    return some, nearest_exactly(keys, keys[some], rank + 1)[0][:, rank]


def required_agreement(of_strangers: np.ndarray, least: float) -> float:
    """The standard deviations that a pair must agree with, given what strangers do."""
    return max(least, TIMES * float(np.quantile(of_strangers, SHARE))) if len(of_strangers) else least
