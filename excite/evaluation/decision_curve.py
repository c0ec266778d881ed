"""Decision curves: net benefit of acting on the classifier, on every image, or on none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.intervals import LEVEL, RESAMPLES, Interval, bootstrap_interval
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import jackknife_weights, resample_weights

THRESHOLDS = np.arange(1, 100) / 100


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit at each threshold, in true positives per image.

    Args:
        label: the positive class.
        thresholds: probabilities at which one acts.
        model, low, high: net benefit of the classifier and its interval; None if there is none, for example
            if no image reaches the threshold.
        everyone: net benefit of acting on every image; that of acting on none is 0.
        n, groups: number of images and groups.
    """

    label: str
    thresholds: tuple[float, ...]
    model: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    everyone: tuple[float, ...]
    n: int
    groups: int


def decision_curve(
    predictions: Predictions,
    label: str | None = None,
    *,
    thresholds: np.ndarray = THRESHOLDS,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> DecisionCurve:
    """Decision curve analysis (Vickers & Elkin 2006).

    Args:
        label: the positive class; by default the second of two.
        thresholds: in (0, 1).

    Raises:
        ExciteError: for more than two classes without ``label``, an unknown class, or a threshold outside
            (0, 1).
    """
    if label is None:
        if len(predictions.classes) != 2:
            raise ExciteError(
                "a decision curve of more than two classes needs a positive class (label)",
                exit_code=BAD_USAGE,
            )
        label = predictions.classes[1]
    index = predictions.class_index(label)
    thresholds = np.asarray(thresholds, dtype=np.float64)
    if ((thresholds <= 0) | (thresholds >= 1)).any():
        raise ExciteError("thresholds must be in (0, 1)", exit_code=BAD_USAGE)
    positive = predictions.targets == index
    codes, groups, n = predictions.group_codes, predictions.group_count, len(predictions)
    odds = thresholds / (1 - thresholds)
    acted = predictions.probabilities[:, index] >= thresholds[:, None]
    benefits = np.where(positive, 1.0, -odds[:, None])
    gains = np.stack([np.bincount(codes, row, groups) for row in acted * benefits])
    images = np.bincount(codes, minlength=groups).astype(np.float64)
    drawn, left = (
        gains @ weights / (images @ weights)
        for weights in (
            resample_weights(groups, resamples, np.random.default_rng(seed)),
            jackknife_weights(groups, np.random.default_rng(seed)),
        )
    )
    model = gains.sum(axis=1) / n
    bounds: list[Interval] = [
        bootstrap_interval(float(value), one, other, level=level, groups=groups)
        for value, one, other in zip(model, drawn, left, strict=True)
    ]
    return DecisionCurve(
        label,
        tuple(thresholds.tolist()),
        tuple(model.tolist()),
        tuple(interval.low for interval in bounds),
        tuple(interval.high for interval in bounds),
        tuple(benefits.mean(axis=1).tolist()),
        n,
        groups,
    )
