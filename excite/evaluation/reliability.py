"""Reliability diagrams and calibration errors, of the predicted class and of each class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from excite.evaluation.bins import bin_of, equal_mass, equal_width
from excite.evaluation.calibrated_range import classwise_range
from excite.evaluation.calibration import Calibration
from excite.evaluation.intervals import LEVEL, grouped_wilson
from excite.evaluation.metrics import BINS, brier_terms, negative_log_likelihoods
from excite.evaluation.operating_point import fraction
from excite.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Bin:
    """Images of similar confidence.

    Args:
        above, up_to: the edges of the bin.
        n, groups: number of images and groups.
        confidence: mean confidence.
        accuracy, low, high: accuracy and the bounds of its interval, None if it has none.
    """

    above: float
    up_to: float
    n: int
    groups: int
    confidence: float
    accuracy: float
    low: float | None
    high: float | None


def reliability(
    predictions: Predictions, *, bins: int = BINS, mass: bool = False, level: float = LEVEL
) -> tuple[Bin, ...]:
    """The bins of a reliability diagram that contain images.

    Args:
        bins: number of bins.
        mass: bins with equally many images, instead of equal width.
        level: level of the intervals.
    """
    confidences = predictions.confidences
    edges = equal_mass(confidences, bins) if mass else equal_width(bins)
    place = bin_of(confidences, edges)
    result = []
    for index in np.unique(place):
        inside = place == index
        codes = np.unique(predictions.group_codes[inside], return_inverse=True)[1]
        correct = (predictions.most_probable == predictions.targets)[inside]
        interval = grouped_wilson(np.bincount(codes, correct), np.bincount(codes), level=level)
        result.append(
            Bin(
                above=float(edges[index]),
                up_to=float(edges[index + 1]),
                n=int(inside.sum()),
                groups=int(codes.max()) + 1,
                confidence=float(confidences[inside].mean()),
                accuracy=float(correct.mean()),
                low=interval.low,
                high=interval.high,
            )
        )
    return tuple(result)


def calibration_error(predictions: Predictions, *, bins: int = BINS, mass: bool = False) -> float:
    """Expected calibration error (ECE): the mean over images of |confidence - accuracy| of their bin.

    Naeini et al. 2015.
    """
    filled = reliability(predictions, bins=bins, mass=mass)
    return sum(one.n * abs(one.confidence - one.accuracy) for one in filled) / len(predictions)


def class_calibration(predictions: Predictions, *, bins: int = BINS) -> dict[str, Any]:
    """Predicted and observed frequency of each class, and the calibration error of each class.

    The error of a class is that of ``calibration_error`` for its probability instead of the confidence; their
    mean is the classwise ECE (Kull et al. 2019, equation 3). A shift of the prior between training and test
    moves the frequencies of the classes, which the error of the predicted class may hide.

    Returns:
        ``classwise_ece``, the mean over classes, as ``{"value", "calibrated": {"low", "high"}}``, and
        ``classes``: name -> ``predicted`` (the mean probability), ``observed`` as ``{"value", "low", "high",
        "method"}``, and ``ece``.
    """
    probabilities, targets = predictions.probabilities, predictions.targets
    classes, codes = len(predictions.classes), predictions.group_codes
    place = bin_of(probabilities, equal_width(bins)) + bins * np.arange(classes)
    off = probabilities - (targets[:, None] == np.arange(classes))
    sums = np.abs(np.bincount(place.ravel(), off.ravel(), bins * classes)).reshape(classes, bins)
    errors = sums.sum(axis=1) / len(predictions)
    expected = classwise_range(predictions, bins=bins)
    everyone = np.ones(len(predictions), dtype=bool)

    def error(value: float, bounds: Iterable[float]) -> dict[str, Any]:
        low, high = map(float, bounds)
        return {"value": float(value), "calibrated": {"low": low, "high": high}}

    rows = {
        name: {
            "predicted": {"value": float(probabilities[:, index].mean())},
            "observed": fraction(targets == index, everyone, codes, ""),
            "ece": error(errors[index], expected.classes[index]),
        }
        for index, name in enumerate(predictions.classes)
    }
    return {"classwise_ece": error(errors.mean(), expected.mean), "classes": rows}


def before_and_after(test: Predictions, calibration: Calibration) -> dict[str, Any]:
    """Calibration of a test set without and with the calibration fitted on a validation set.

    Args:
        test: predictions without calibration; its rule, which is for calibrated ones, is not used.

    Returns:
        ``temperature``; ``intercept``: class -> value; ``n``, ``groups``; ``changed``, the number of images
        whose most probable class the intercepts change; and under ``before`` and ``after``: ``log_loss``,
        ``brier``, ``ece``, ``ece_equal_mass``, ``accuracy``, and ``balanced_accuracy`` as ``{"value": v}``,
        and ``reliability``, the bins as dictionaries.
    """
    test = test.with_rule(None)
    after = calibration.apply(test)
    result: dict[str, Any] = {
        "temperature": calibration.temperature,
        "intercept": dict(zip(test.classes, calibration.intercept, strict=True)),
        "n": len(test),
        "groups": test.group_count,
        "changed": int((after.predicted != test.predicted).sum()),
    }
    for name, one in (("before", test), ("after", after)):
        hits, sizes = np.bincount(one.targets, one.correct), np.bincount(one.targets)
        result[name] = {
            "log_loss": {"value": float(negative_log_likelihoods(one.probabilities, one.targets).mean())},
            "brier": {"value": float(brier_terms(one.probabilities, one.targets).mean())},
            "ece": {"value": calibration_error(one)},
            "ece_equal_mass": {"value": calibration_error(one, mass=True)},
            "accuracy": {"value": float(one.correct.mean())},
            "balanced_accuracy": {"value": float((hits[sizes > 0] / sizes[sizes > 0]).mean())},
            "reliability": [asdict(each) for each in reliability(one)],
        }
    return result
