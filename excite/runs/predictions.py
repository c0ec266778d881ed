"""From a classifier's probabilities to the table that every figure is made of."""

from __future__ import annotations

import numpy as np

from excite.data.manifest import Manifest, same_name
from excite.evaluation.judge import Questions
from excite.evaluation.predictions import PREFIX, Predictions
from excite.training.config import TrainConfig


def predictions_of(part: Manifest, probabilities: np.ndarray) -> Predictions:
    """What was said (N, C) of the N images of a manifest, in its order."""
    groups, photos = (part.table[name].to_numpy(dtype=object) for name in ("group", "photo"))
    paths = tuple(part.table["path"])
    return Predictions(part.targets(), probabilities, part.classes, groups, paths, photos)


def prediction_rows(predictions: Predictions) -> list[dict[str, object]]:
    """One row an image: path, label, group, photo, predicted, and ``p:CLASS`` for each class."""
    names = predictions.classes
    columns = [PREFIX + name for name in names]
    assert predictions.paths is not None
    nothing = [""] * len(predictions)
    rows = zip(
        predictions.paths,
        predictions.targets,
        nothing if predictions.groups is None else predictions.groups,
        nothing if predictions.photos is None else predictions.photos,
        predictions.guesses,
        predictions.probabilities.tolist(),
        strict=True,
    )
    return [
        {
            "path": path,
            "label": names[target],
            "group": group,
            "photo": photo,
            "predicted": names[guess],
            **dict(zip(columns, row, strict=True)),
        }
        for path, target, group, photo, guess, row in rows
    ]


def questions_of(config: TrainConfig) -> Questions:
    """What a configuration asks of an evaluation."""
    return Questions(
        None if config.positive is None else same_name(config.positive),
        config.sensitivity,
        config.specificity,
        config.not_sure_below,
        config.sure_accuracy,
        column_names(config.by),
    )


def column_names(text: str | None) -> tuple[str, ...]:
    """Columns as given on the command line, separated by commas."""
    return tuple(name.strip() for name in text.split(",")) if text else ()
