"""The coverage and the size of prediction sets on test images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from excite.evaluation.effective_sample_size import effective_groups
from excite.evaluation.intervals import FEWEST_GROUPS, LEVEL, too_few
from excite.evaluation.operating_point import fraction
from excite.evaluation.prediction_sets import PredictionSets
from excite.evaluation.predictions import Predictions

LEVELS = (0.8, 0.9, 0.95, 0.99)  # reported by an evaluation, as far as the validation groups allow


def measure_sets(
    predictions: Predictions, sets: PredictionSets, levels: Sequence[float] = LEVELS
) -> list[dict[str, Any]]:
    """The coverage and the size of prediction sets on test images, for each level that the sets allow.

    Returns:
        rows with ``level``, ``threshold``, ``n``, ``groups``, ``validation_groups``; ``covered`` (fraction of
        images with the true class in their set), ``single`` (fraction of sets of one class), and
        ``mean_size`` as ``{"value", "low", "high", "method"}``.
    """
    rows = []
    everyone = np.ones(len(predictions), dtype=bool)
    for level in filter(sets.allows, levels):
        inside = sets.contains(predictions.probabilities, level)
        sizes = inside.sum(axis=1)
        covered = inside[np.arange(len(predictions)), predictions.targets]
        rows.append(
            {
                "level": level,
                "threshold": sets.threshold(level),
                "n": len(predictions),
                "groups": predictions.group_count,
                "validation_groups": sets.groups,
                "covered": fraction(covered, everyone, predictions.group_codes, ""),
                "single": fraction(sizes == 1, everyone, predictions.group_codes, ""),
                "mean_size": _mean_size(sizes, predictions),
            }
        )
    return rows


def _mean_size(sizes: np.ndarray, predictions: Predictions) -> dict[str, Any]:
    """The mean of a count per image, with an interval by the linearized jackknife over groups."""
    mean, codes = float(sizes.mean()), predictions.group_codes
    groups = predictions.group_count
    if groups < FEWEST_GROUPS:
        return {"value": mean, "low": None, "high": None, "reason": too_few(groups)}
    off = np.bincount(codes, sizes - mean)
    error = np.sqrt(groups / (groups - 1) * (off**2).sum()) / len(sizes)
    half = float(stdtrit(max(effective_groups(np.bincount(codes)) - 1, 1.0), 0.5 + LEVEL / 2) * error)
    low, high = max(1.0, mean - half), min(float(len(predictions.classes)), mean + half)
    return {"value": mean, "low": low, "high": high, "method": "jackknife"}
