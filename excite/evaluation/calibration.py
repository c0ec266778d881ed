"""Do 80 % mean 80 %? Calibration error, reliability bins, and a temperature that mends the probabilities."""

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

COLDEST, HOTTEST = 0.05, 20.0  # a perfect validation set has no best temperature: colder is better
SMALLEST = 1e-38  # a probability of 0 stands for float32's smallest: its logarithm must exist
DRAWS = 1000


@dataclass(frozen=True)
class Bin:
    """Images of about one confidence.

    Args:
        above, up_to: its confidences.
        n, groups: images and groups in it.
        confidence: their mean confidence.
        accuracy, low, high: how many of them are right, with the interval; None where there is none.
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
    """The bins of a reliability diagram that hold images.

    Args:
        mass: bins of as many images each, instead of equal width.
    """
    confidences = predictions.confidences
    edges = equal_mass(confidences, bins) if mass else equal_width(bins)
    place = bin_of(confidences, edges)
    found = []
    for index in np.unique(place):
        inside = place == index
        codes = np.unique(predictions.group_codes[inside], return_inverse=True)[1]
        right = predictions.correct[inside]
        interval = grouped_wilson(np.bincount(codes, right), np.bincount(codes), level=level)
        found.append(
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
    return tuple(found)


def calibration_error(predictions: Predictions, *, bins: int = BINS, mass: bool = False) -> float:
    """Expected calibration error: mean over images of |confidence - accuracy| of their bin (Naeini 2015)."""
    found = reliability(predictions, bins=bins, mass=mass)
    return sum(one.n * abs(one.confidence - one.accuracy) for one in found) / len(predictions)


def calibrated_range(
    predictions: Predictions,
    *,
    equal: str = "ece",
    bins: int = BINS,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """What the calibration error would be if the confidences were true: chance alone makes it more than 0.

    Each draw decides by the confidence whether an image is right (consistency resampling, Bröcker & Smith
    2007), independently of the others.

    Args:
        equal: ``ece`` for bins of equal width, ``ece_equal_mass`` for equal mass.
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
    """(N, C) logarithms of the probabilities: logits up to a constant in each row, which softmax forgets."""
    return np.log(predictions.probabilities.clip(SMALLEST))


def fit_temperature(logits: np.ndarray, targets: np.ndarray, *, smoothing: bool = True) -> float:
    """The temperature T that makes softmax(logits / T) likeliest (Guo et al. 2017), for validation images.

    Args:
        logits: (N, C), of the validation set: fitted on the test set, the test set's figures would be none.
        targets: (N,) class indices.
        smoothing: as if one image more had been seen, of all classes in equal parts: a true class counts for
            (N + 1/C) / (N + 1) of its image, and the others for the rest (Platt's idea, 1999, section 2.2,
            with Perks' prior of 1947, for two classes Jeffreys'). Twenty images that are all right do not
            prove that every answer is, and without it their temperature would be 0. It fades as N grows.

    Returns:
        T between 0.05 and 20; above 1 where the classifier is too sure of itself.

    Raises:
        ExciteError: if there are no images, or logits are not finite.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if len(logits) == 0:
        raise ExciteError("there are no images to fit a temperature on")
    if not np.isfinite(logits).all():
        raise ExciteError("a temperature needs finite logits", exit_code=BAD_USAGE)
    images, classes = logits.shape
    other = 1 / (classes * (images + 1)) if smoothing else 0.0
    truth = np.full(logits.shape, other)
    truth[np.arange(images), targets] = 1 - (classes - 1) * other

    def loss(log_inverse: float) -> float:
        return -float((truth * log_softmax(logits * np.exp(log_inverse), axis=1)).sum(axis=1).mean())

    # Convex in 1 / T, so one valley in its logarithm, too.
    found = minimize_scalar(
        loss, bounds=(-np.log(HOTTEST), -np.log(COLDEST)), method="bounded", options={"xatol": 1e-10}
    )
    return float(np.exp(-found.x))


def with_temperature(predictions: Predictions, temperature: float) -> Predictions:
    """The same images with probabilities softmax(logits / T): the same answers, other confidences."""
    probabilities = softmax(logits_of(predictions) / temperature, axis=1)
    return Predictions(
        predictions.targets, probabilities, predictions.classes, predictions.groups, predictions.paths
    )


def before_and_after(test: Predictions, temperature: float) -> dict[str, Any]:
    """Calibration of a test set with T = 1 and with the temperature that a validation set gave.

    Returns:
        ``temperature``, and under ``before`` and ``after``: ``log_loss``, ``brier``, ``ece`` and
        ``ece_equal_mass`` as ``{"value": v}``, and ``reliability``, the bins as dictionaries.
    """
    result: dict[str, Any] = {"temperature": temperature, "n": len(test), "groups": test.group_count}
    for name, one in (("before", test), ("after", with_temperature(test, temperature))):
        result[name] = {
            "log_loss": {"value": float(negative_log_likelihoods(one.probabilities, one.targets).mean())},
            "brier": {"value": float(brier_terms(one.probabilities, one.targets).mean())},
            "ece": {"value": calibration_error(one)},
            "ece_equal_mass": {"value": calibration_error(one, mass=True)},
            "reliability": [asdict(found) for found in reliability(one)],
        }
    return result
