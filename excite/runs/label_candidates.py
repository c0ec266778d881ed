"""Label candidates of a cross-validation, for a person to review."""

from __future__ import annotations

from typing import Any

import numpy as np

from excite.evaluation.label_noise import LabelNoise, find_label_noise
from excite.evaluation.predictions import Predictions
from excite.runs.run import Run

FILE = "label_candidates.csv"
COLUMNS = ("rank", "path", "label", "suggested", "p_label", "p_suggested", "margin", "images", "group")


def write_candidates(run: Run, out_of_fold: Predictions) -> dict[str, Any]:
    """Write ``label_candidates.csv``, one row per photo.

    Returns:
        for ``metrics.json``: ``unit`` (photos, or images if none has copies), ``units``, ``candidates``, and
        ``thresholds`` by class.
    """
    noise = find_label_noise(out_of_fold)
    run.write_table(FILE, _rows(noise, out_of_fold), COLUMNS)
    unit = "photos" if out_of_fold.has_copies else "images"
    thresholds = zip(out_of_fold.classes, noise.thresholds.tolist(), strict=True)
    return {
        "unit": unit,
        "units": noise.units,
        "candidates": len(noise.candidates),
        "thresholds": {name: value if np.isfinite(value) else None for name, value in thresholds},
    }


def _rows(found: LabelNoise, predictions: Predictions) -> list[dict[str, Any]]:
    """One row per candidate, with the image that has the lowest probability of its label."""
    assert predictions.paths is not None
    assert predictions.groups is not None
    return [
        {
            "rank": rank,
            "path": predictions.paths[one.rows[0]],
            "label": one.label,
            "suggested": one.suggested,
            "p_label": one.probability,
            "p_suggested": one.suggested_probability,
            "margin": one.margin,
            "images": len(one.rows),
            "group": predictions.groups[one.rows[0]],
        }
        for rank, one in enumerate(found.candidates, start=1)
    ]
