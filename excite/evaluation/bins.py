"""Bins of confidence, shared by the calibration error and the reliability diagram."""

from __future__ import annotations

import numpy as np


def equal_width(bins: int) -> np.ndarray:
    """(bins + 1,) edges between 0 and 1."""
    return np.linspace(0, 1, bins + 1)


def equal_mass(confidences: np.ndarray, bins: int) -> np.ndarray:
    """Edges at the quantiles, from 0 to 1, for bins with equally many images.

    Equal confidences stay in one bin, so there may be fewer bins than requested.
    """
    edges = np.quantile(confidences, equal_width(bins))
    return np.unique(np.concatenate([[0.0], edges[1:-1], [1.0]]))


def bin_of(confidences: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(N,) the bin of each confidence; bins include their upper edge, the first bin also its lower."""
    place = np.searchsorted(edges, confidences, side="left") - 1
    return place.clip(0, len(edges) - 2)
