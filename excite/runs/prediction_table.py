"""Probabilities of a classifier as predictions, and predictions as rows of a table."""

from __future__ import annotations

import numpy as np

from excite.data.manifest import Manifest
from excite.evaluation.prediction_columns import PROBABILITY, THRESHOLD
from excite.evaluation.predictions import Predictions


def predictions_of(part: Manifest, probabilities: np.ndarray) -> Predictions:
    """Predictions from probabilities (N, C) for the N images of a manifest, in its order."""
    groups, photos = (part.table[name].to_numpy(dtype=object) for name in ("group", "photo"))
    paths = tuple(part.table["path"])
    return Predictions(part.targets(), probabilities, part.classes, groups, paths, photos)


def prediction_rows(predictions: Predictions) -> list[dict[str, object]]:
    """One row per image: path, label, group, photo, predicted, and ``p:CLASS`` for each class.

    With a rule there is a column ``threshold:CLASS``, from which ``read_predictions`` reads it back.
    """
    names, rule = predictions.classes, predictions.rule
    columns = [PROBABILITY + name for name in names]
    assert predictions.paths is not None
    empty = [""] * len(predictions)
    rows = zip(
        predictions.paths,
        predictions.targets,
        empty if predictions.groups is None else predictions.groups,
        empty if predictions.photos is None else predictions.photos,
        predictions.predicted,
        predictions.probabilities.tolist(),
        [{}] * len(predictions)
        if rule is None
        else [{THRESHOLD + rule.label: threshold} for threshold in rule.of_images(len(predictions)).tolist()],
        strict=True,
    )
    return [
        {
            "path": path,
            "label": names[target],
            "group": group,
            "photo": photo,
            "predicted": names[predicted],
            **dict(zip(columns, row, strict=True)),
            **threshold,
        }
        for path, target, group, photo, predicted, row, threshold in rows
    ]
