"""ROC and precision-recall curves, reduced to the points that are visible."""

from __future__ import annotations

import numpy as np

from excite.evaluation.predictions import Predictions

TOLERANCE = 0.002  # of an axis of 320 units: less than a pixel of a curve
FINEST = 1e-12


def roc_points(predictions: Predictions, index: int) -> np.ndarray | None:
    """(K, 2) false positive rate and sensitivity over all thresholds, of a class against the rest.

    None if the class, or the rest, has no images.
    """
    from sklearn.metrics import roc_curve

    positive = predictions.targets == index
    if positive.all() or not positive.any():
        return None
    false_positive_rate, sensitivity, _ = roc_curve(positive, predictions.probabilities[:, index])
    return np.column_stack([false_positive_rate, sensitivity])


def precision_recall_points(predictions: Predictions, index: int) -> np.ndarray | None:
    """(K, 2) sensitivity and PPV as a step function; its area is the average precision.

    None if the class has no images.
    """
    from sklearn.metrics import precision_recall_curve

    positive = predictions.targets == index
    if not positive.any():
        return None
    precision, recall, _ = precision_recall_curve(
        positive, predictions.probabilities[:, index], drop_intermediate=True
    )
    # scikit-learn appends recall 0 and precision 1, which belongs to no threshold.
    precision, recall = precision[-2::-1], recall[-2::-1]
    before = np.concatenate([[0.0], recall[:-1]])
    steps = np.column_stack([before, precision, recall, precision]).reshape(-1, 2)
    return steps[np.concatenate([[True], (np.diff(steps, axis=0) != 0).any(axis=1)])]


def simplify_line(points: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """A subset of the points of a line (K, 2); the others are within the tolerance of the new line.

    Ramer 1972, Douglas & Peucker 1973: the furthest point from a chord is kept and splits the chord.
    """
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    segments = [(0, len(points) - 1)]
    while segments:
        first, last = segments.pop()
        if last - first < 2:
            continue
        apart = _distances(points[first + 1 : last], points[first], points[last])
        worst = int(apart.argmax())
        if apart[worst] > tolerance:
            middle = first + 1 + worst
            keep[middle] = True
            segments += [(first, middle), (middle, last)]
    return points[keep]


def _distances(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(K,) distance from each point to a line segment."""
    direction = end - start
    along = ((points - start) @ direction / max(float(direction @ direction), FINEST)).clip(0, 1)
    return np.hypot(*(points - start - along[:, None] * direction).T)
