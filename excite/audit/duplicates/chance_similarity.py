"""The similarity of unrelated images of a data set, which near-duplicates must exceed.

Digits, X-rays, and slices of scans share outline and background: two of them agree as much as copies of
photos. So a pair must agree better than background pairs of its own data set.
"""

from __future__ import annotations

import numpy as np

from excite.audit.duplicates.nearest_neighbors import nearest_exactly

RANK, FRACTION_OF_SET, LARGEST_RANK = 50, 0.05, 500
"""Rank of the neighbor in a background pair: the 50th; in a large data set 5 % of its size, at most the
500th. It would be a copy if more than 3 % of the images had more copies than that."""
MIN_IMAGES = 100
"""Smaller data sets have no background pairs."""
QUANTILE, FACTOR = 0.97, 2.0
"""A pair must reach twice this quantile of the background pairs. Without the rule, 2,655 pairs of the 1,797
handwritten digits, enlarged to 28 pixels, counted as copies, with it 20; it costs 1 % of the pairs of pass 2
in the mpox set."""
_SAMPLE = 300


def agreement(left: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """(correlation, its Fisher z in standard deviations) of two images with a mean of about 0.

    The effective number of pixels depends on how evenly they contribute: outlines on a plain background
    correlate, but on the evidence of few pixels.

    Args:
        left, right: arrays of equal shape.
    """
    length = float(np.sqrt((left * left).sum() * (right * right).sum()))
    if length == 0:
        return 0.0, 0.0
    products = left * right
    correlation = float(products.sum()) / length
    pixels = float(np.abs(products).sum()) ** 2 / max(float((products * products).sum()), 1e-12)
    return correlation, float(np.arctanh(np.clip(correlation, -0.9999, 0.9999))) * pixels**0.5


def sample_background_pairs(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Background pairs: some rows, each with a neighbor of a rank that copies do not have.

    Args:
        keys: (n, d) float32, of unit length.

    Returns:
        (a, b), rows; empty for a small data set.
    """
    n = len(keys)
    if n < MIN_IMAGES:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    some = np.sort(np.random.default_rng(0).choice(n, min(n, _SAMPLE), replace=False))
    rank = min(max(RANK, int(FRACTION_OF_SET * n)), LARGEST_RANK)
    return some, nearest_exactly(keys, keys[some], rank + 1)[0][:, rank]


def required_agreement(background: np.ndarray, least: float) -> float:
    """The agreement that a pair needs, in standard deviations, given that of background pairs."""
    return max(least, FACTOR * float(np.quantile(background, QUANTILE))) if len(background) else least
