"""Calibration error, reliability bins, and temperature scaling."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.bins import bin_of, equal_mass, equal_width
from excite.evaluation.intervals import LEVEL, grouped_wilson
from excite.evaluation.metrics import BINS, brier_terms, negative_log_likelihoods
from excite.evaluation.predictions import Predictions

COLDEST, HOTTEST = 0.05, 20.0  # without errors in the validation set, the best temperature would be 0
SMALLEST = 1e-38  # replaces probabilities of 0, which have no logarithm; near float32's smallest normal
DRAWS = 1000


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
        right = predictions.correct[inside]
        interval = grouped_wilson(np.bincount(codes, right), np.bincount(codes), level=level)
        result.append(
            Bin(
                above=float(edges[index]),
                up_to=float(edges[index + 1]),
                n=int(inside.sum()),
                groups=int(codes.max()) + 1,
                confidence=float(confidences[inside].mean()),
                accuracy=float(right.mean()),
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


def calibrated_range(
    predictions: Predictions,
    *,
    equal: str = "ece",
    bins: int = BINS,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """The range of the calibration error expected of a calibrated classifier, which chance keeps above 0.

    Consistency resampling (Bröcker & Smith 2007): each draw samples for every image independently whether it
    is correct, with its confidence as the probability.

    Args:
        equal: ``ece`` for bins of equal width, ``ece_equal_mass`` for bins with equally many images.
        draws: number of draws.
    """
    confidences = predictions.confidences
    edges = equal_mass(confidences, bins) if equal == "ece_equal_mass" else equal_width(bins)
    place = bin_of(confidences, edges)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    sorted_confidences = confidences[order]
    generator = np.random.default_rng(seed)
    errors = np.empty(draws)
    for draw in range(draws):
        off = sorted_confidences - (generator.random(len(order)) < sorted_confidences)
        errors[draw] = np.abs(np.add.reduceat(off, starts)).sum() / len(order)
    low, high = np.quantile(errors, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def logits_of(predictions: Predictions) -> np.ndarray:
    """(N, C) logarithms of the probabilities: logits up to a constant per row, which softmax ignores."""
    return np.log(predictions.probabilities.clip(SMALLEST))


def fit_temperature(logits: np.ndarray, targets: np.ndarray, *, smoothing: bool = True) -> float:
    """The temperature T that maximizes the likelihood of softmax(logits / T) (Guo et al. 2017).

    Args:
        logits: (N, C), of the validation images; never of the test images.
        targets: (N,) class indices.
        smoothing: add one pseudo-image, spread over all classes: the target of the true class is
            (N + 1/C) / (N + 1), and the other classes share the rest (Platt 1999, section 2.2, with Perks'
            prior of 1947, for two classes Jeffreys'). Without it, the temperature of a few images without
            errors would be 0. The effect vanishes as N grows.

    Returns:
        T between 0.05 and 20; above 1 if the classifier is overconfident.

    Raises:
        ExciteError: if there are no images, or a logit is not finite.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if len(logits) == 0:
        raise ExciteError("a temperature cannot be fitted without images")
    if not np.isfinite(logits).all():
        raise ExciteError("a temperature cannot be fitted: some logits are not finite", exit_code=BAD_USAGE)
    images, classes = logits.shape
    other = 1 / (classes * (images + 1)) if smoothing else 0.0
    truth = np.full(logits.shape, other)
    truth[np.arange(images), targets] = 1 - (classes - 1) * other

    def loss(log_inverse: float) -> float:
        return -float((truth * log_softmax(logits * np.exp(log_inverse), axis=1)).sum(axis=1).mean())

    # Convex in 1 / T, and so unimodal in its logarithm.
    optimum = minimize_scalar(
        loss, bounds=(-np.log(HOTTEST), -np.log(COLDEST)), method="bounded", options={"xatol": 1e-10}
    )
    return float(np.exp(-optimum.x))


def with_temperature(predictions: Predictions, temperature: float) -> Predictions:
    """The predictions with probabilities softmax(logits / T): the same classes, other confidences."""
    probabilities = softmax(logits_of(predictions) / temperature, axis=1)
    return Predictions(
        predictions.targets, probabilities, predictions.classes, predictions.groups, predictions.paths
    )


def before_and_after(test: Predictions, temperature: float) -> dict[str, Any]:
    """Calibration of a test set with T = 1 and with the temperature fitted on a validation set.

    Returns:
        ``temperature``, ``n``, ``groups``, and under ``before`` and ``after``: ``log_loss``, ``brier``,
        ``ece``, and ``ece_equal_mass`` as ``{"value": v}``, and ``reliability``, the bins as dictionaries.
    """
    result: dict[str, Any] = {"temperature": temperature, "n": len(test), "groups": test.group_count}
    for name, one in (("before", test), ("after", with_temperature(test, temperature))):
        result[name] = {
            "log_loss": {"value": float(negative_log_likelihoods(one.probabilities, one.targets).mean())},
            "brier": {"value": float(brier_terms(one.probabilities, one.targets).mean())},
            "ece": {"value": calibration_error(one)},
            "ece_equal_mass": {"value": calibration_error(one, mass=True)},
            "reliability": [asdict(each) for each in reliability(one)],
        }
    return result
