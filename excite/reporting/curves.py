"""ROC and precision-recall curves, with only as many points as can be seen."""

from __future__ import annotations

import numpy as np

from excite.evaluation.predictions import Predictions

TOLERANCE = 0.002  # of an axis of 320 units: less than a pixel of a curve
FINEST = 1e-12


def roc_points(predictions: Predictions, index: int) -> np.ndarray | None:
    """(K, 2) false positive rate and sensitivity over all thresholds, of a class against the rest.

    None where the class, or the rest, has no image.
    """
    from sklearn.metrics import roc_curve

    positive = predictions.targets == index
    if positive.all() or not positive.any():
        return None
    false_alarms, found, _ = roc_curve(positive, predictions.probabilities[:, index])
    return np.column_stack([false_alarms, found])


def precision_recall_points(predictions: Predictions, index: int) -> np.ndarray | None:
    """(K, 2) sensitivity and PPV, as the steps whose area is the average precision: without interpolation.

    None where the class has no image.
    """
    from sklearn.metrics import precision_recall_curve

    positive = predictions.targets == index
    if not positive.any():
        return None
    precision, recall, _ = precision_recall_curve(
        positive, predictions.probabilities[:, index], drop_intermediate=True
    )
    # scikit-learn ends with recall 0 and precision 1, where no image is named: no point of a curve.
    precision, recall = precision[-2::-1], recall[-2::-1]
    before = np.concatenate([[0.0], recall[:-1]])
    steps = np.column_stack([before, precision, recall, precision]).reshape(-1, 2)
    return steps[np.concatenate([[True], (np.diff(steps, axis=0) != 0).any(axis=1)])]


def thinned(points: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Fewer points of a line (K, 2), from which no other one is further than the tolerance.

    Ramer 1972, Douglas & Peucker 1973: the furthest point from a chord is kept, and divides it.
    """
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    open_parts = [(0, len(points) - 1)]
    while open_parts:
        first, last = open_parts.pop()
        if last - first < 2:
            continue
        apart = _distances(points[first + 1 : last], points[first], points[last])
        worst = int(apart.argmax())
        if apart[worst] > tolerance:
            middle = first + 1 + worst
            keep[middle] = True
            open_parts += [(first, middle), (middle, last)]
    return points[keep]


def _distances(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(K,) from each point to the piece of a line between two others."""
    way = end - start
    along = ((points - start) @ way / max(float(way @ way), FINEST)).clip(0, 1)
    return np.hypot(*(points - start - along[:, None] * way).T)
