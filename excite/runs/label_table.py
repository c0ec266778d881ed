"""Probabilities of several labels as predictions, and predictions as rows of a table."""

from __future__ import annotations

import numpy as np

from excite.data.labels import LABEL, SEPARATOR
from excite.data.manifest import Manifest
from excite.evaluation.label_predictions import LabelPredictions
from excite.evaluation.prediction_columns import PROBABILITY, THRESHOLD


def label_predictions_of(
    part: Manifest, probabilities: np.ndarray, thresholds: np.ndarray | None = None
) -> LabelPredictions:
    """Predictions from probabilities (N, L) for the N images of a manifest, in its order."""
    groups, photos = (part.table[name].to_numpy(dtype=object) for name in ("group", "photo"))
    paths = tuple(part.table["path"])
    return LabelPredictions(part.targets(), probabilities, part.classes, groups, paths, photos, thresholds)


def label_prediction_rows(predictions: LabelPredictions) -> list[dict[str, object]]:
    """One row per image: path, group, photo, predicted (the labels as text), and for each label its value
    ``label:NAME``, probability ``p:NAME``, and ``threshold:NAME``."""
    names = predictions.classes
    assert predictions.paths is not None
    empty = [""] * len(predictions)
    limits = {THRESHOLD + name: limit for name, limit in zip(names, predictions.limits.tolist(), strict=True)}
    rows = zip(
        predictions.paths,
        empty if predictions.groups is None else predictions.groups,
        empty if predictions.photos is None else predictions.photos,
        predictions.predicted,
        predictions.targets.tolist(),
        predictions.probabilities.tolist(),
        strict=True,
    )
    return [
        {
            "path": path,
            "group": group,
            "photo": photo,
            "predicted": SEPARATOR.join(names[k] for k in np.flatnonzero(predicted)),
            **{LABEL + name: value for name, value in zip(names, values, strict=True)},
            **{PROBABILITY + name: value for name, value in zip(names, probabilities, strict=True)},
            **limits,
        }
        for path, group, photo, predicted, values, probabilities in rows
    ]
