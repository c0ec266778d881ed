"""Predictions into figures. Every figure comes with the number of images behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from excite.errors import ExciteError


def classification_metrics(
    probabilities: np.ndarray, targets: np.ndarray, classes: Sequence[str], groups: int
) -> dict[str, Any]:
    """The figures of one set of images, as they stand in ``metrics.json``.

    Args:
        probabilities: (N, C), rows that sum to 1.
        targets: (N,) class indices.
        classes: C names.
        groups: number of independent groups, such as patients, that the images come from.

    Returns:
        ``n``, ``groups``; ``accuracy``, ``balanced_accuracy`` (mean sensitivity of the classes that occur),
        ``macro_f1`` (of the same classes) and ``log_loss`` (nats; at most 36 an image), each
        ``{"value": v}``; ``classes``: name -> ``n``, ``sensitivity`` and ``ppv``, None where there is nothing
        to divide by; ``confusion``: (C, C) counts, rows are the truth.
    """
    if len(targets) == 0:
        raise ExciteError("there are no images to measure on")
    every = np.arange(len(classes))
    guesses = probabilities.argmax(axis=1)
    confusion = confusion_matrix(targets, guesses, labels=every)
    ppv, sensitivity, f1, support = precision_recall_fscore_support(
        targets, guesses, labels=every, zero_division=0.0
    )
    present = support > 0
    guessed = confusion.sum(axis=0) > 0
    # Not scikit-learn's log_loss: it warns of, or refuses, rows that sum to 1 no closer than float32 can.
    likelihoods = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    figures = {
        "accuracy": float((guesses == targets).mean()),
        "balanced_accuracy": float(sensitivity[present].mean()),
        "macro_f1": float(f1[present].mean()),
        "log_loss": float(np.log(1 / likelihoods.clip(np.finfo(np.float64).eps, 1)).mean()),
    }
    per_class = {
        name: {
            "n": int(support[index]),
            "sensitivity": float(sensitivity[index]) if present[index] else None,
            "ppv": float(ppv[index]) if guessed[index] else None,
        }
        for index, name in enumerate(classes)
    }
    return {
        "n": len(targets),
        "groups": groups,
        **{name: {"value": value} for name, value in figures.items()},
        "classes": per_class,
        "confusion": confusion.tolist(),
    }
