"""Calibration of logits: a temperature and an intercept for each class, fitted on validation images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.effective_sample_size import effective_groups
from excite.evaluation.intervals import FEWEST_GROUPS
from excite.evaluation.one_standard_error import first_within_error
from excite.evaluation.predictions import Predictions

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0  # without errors in validation, the best would be 0
MIN_PROBABILITY = 1e-38  # replaces 0, which has no logarithm; near float32's smallest normal number
# Precisions of the prior of the intercepts, the simplest calibration first; infinite: no intercepts.
PRIOR_PRECISIONS = (np.inf, 64.0, 16.0, 4.0, 1.0, 0.25)
FOLDS = 5  # of the validation groups, to choose the precision
MAX_LOGITS_FOR_CHOICE = 2_000_000  # of more, whole groups are drawn at random


@dataclass(frozen=True)
class Calibration:
    """Probabilities softmax(logits / temperature + intercept).

    Args:
        temperature: the divisor of the logits.
        intercept: what is added to the logits of each class after the division; C values with mean 0.

    Example:
        >>> calibration = Calibration(2.0, (0.5, -0.5))
        >>> calibration.probabilities(np.array([[-1.0, 1.0]])).round(6).tolist()
        [[0.5, 0.5]]
    """

    temperature: float
    intercept: tuple[float, ...]

    @classmethod
    def identity(cls, num_classes: int) -> Calibration:
        """The calibration that changes nothing, for C classes."""
        return cls(1.0, (0.0,) * num_classes)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """The calibration that ``to_dict`` stored."""
        return cls(float(values["temperature"]), tuple(map(float, values["intercept"])))

    def to_dict(self) -> dict[str, Any]:
        """``temperature`` and ``intercept``, a list in the order of the classes, for a JSON file."""
        return {"temperature": self.temperature, "intercept": list(self.intercept)}

    @property
    def inverse(self) -> Calibration:
        """The calibration that turns the logarithms of this one's probabilities into softmax(logits)."""
        intercept = tuple(-self.temperature * value for value in self.intercept)
        return Calibration(1 / self.temperature, intercept)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(..., C) logits -> (..., C) probabilities in float64."""
        scaled = np.asarray(logits, dtype=np.float64) / self.temperature
        result: np.ndarray = softmax(scaled + np.array(self.intercept), axis=-1)
        return result

    def apply(self, predictions: Predictions) -> Predictions:
        """The predictions with calibrated probabilities; an intercept may change the most probable class."""
        return replace(predictions, probabilities=self.probabilities(safe_log(predictions.probabilities)))


def safe_log(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities (..., C), also of those that are 0: logits up to a constant per row."""
    logarithms: np.ndarray = np.log(probabilities.clip(MIN_PROBABILITY))
    return logarithms


def fit_calibration(
    logits: np.ndarray, targets: np.ndarray, groups: np.ndarray | None = None
) -> tuple[Calibration, np.ndarray]:
    """The temperature and the intercepts that maximize the penalized likelihood on validation images.

    Guo et al. 2017, section 4.2, with one scale for all classes, as their scale for each class overfits. A
    temperature alone cannot undo a shift of the prior, such as that of a loss or of batches with balanced
    classes, which adds a constant to the logits of a class (Saerens et al. 2002, equation 4).

    Targets are smoothed as in ``fit_temperature``. Each intercept has a normal prior with mean 0, whose
    weight relative to the likelihood is 1 / (effective number of groups), not 1 / images. Its precision is
    chosen by cross-validation over groups: of the precisions with a held-out log loss within one standard
    error of the lowest, the highest (Breiman et al. 1984, section 3.4.3). An infinite precision, that is a
    temperature alone, is among them, and is used with fewer than 10 groups.

    Args:
        logits: (N, C), of the validation images; never of the test images.
        targets: (N,) class indices.
        groups: (N,) codes or names of the groups; None: every image is its own group.

    Returns:
        the calibration, and probabilities (N, C) of the same images, each calibrated without its fold of the
        groups; with a single group, by the same images. Thresholds are chosen with these: with probabilities
        that were fitted to the same images, they would promise too much.

    Raises:
        ExciteError: if there are no images, or a logit is not finite.

    Example:
        >>> random = np.random.default_rng(0)
        >>> logits = random.normal(size=(4000, 2))
        >>> targets = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
        >>> shifted, held_out = fit_calibration(logits + [0, 3], targets)
        >>> round(shifted.intercept[0] - shifted.intercept[1], 1)  # a shift of 3, over the temperature
        3.0
    """
    logits = _as_finite_logits(logits)
    codes = np.arange(len(logits)) if groups is None else _group_codes(groups)
    precision = PRIOR_PRECISIONS[0]
    if int(codes.max()) + 1 >= FEWEST_GROUPS:
        rows = _rows_of_random_groups(codes, MAX_LOGITS_FOR_CHOICE // logits.shape[1])
        out_of_fold = _out_of_fold_probabilities(logits[rows], targets[rows], codes[rows], PRIOR_PRECISIONS)
        of_true_class = out_of_fold[:, np.arange(len(rows)), targets[rows]]
        precision = PRIOR_PRECISIONS[first_within_error(-safe_log(of_true_class), codes[rows])]
    calibration = _fit_path(logits, targets, codes, (precision,))[0]
    return calibration, _out_of_fold_probabilities(logits, targets, codes, (precision,))[0]


def fit_temperature(
    logits: np.ndarray, targets: np.ndarray, groups: np.ndarray | None = None, *, smoothing: bool = True
) -> float:
    """The temperature T that maximizes the likelihood of softmax(logits / T) (Guo et al. 2017).

    Args:
        logits: (N, C), of the validation images; never of the test images.
        targets: (N,) class indices.
        groups: (N,) codes or names of the groups; None: every image is its own group.
        smoothing: add one pseudo-group, spread evenly over the classes, as Platt (1999, section 2.2) does for
            two: the target of the true class is (G + 1/C) / (G + 1), and the other classes share the rest,
            with G the effective number of groups, so that copies of an image count as one. Without it, the
            temperature of a few images without errors would be 0. The effect vanishes as G grows.

    Returns:
        T between 0.05 and 20; above 1 if the classifier is overconfident.

    Raises:
        ExciteError: if there are no images, or a logit is not finite.
    """
    logits = _as_finite_logits(logits)
    codes = np.arange(len(logits)) if groups is None else _group_codes(groups)
    group_count = effective_groups(np.bincount(codes))
    return _minimize_temperature(logits, _smooth_targets(targets, logits.shape[1], group_count, smoothing))


def _as_finite_logits(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, dtype=np.float64)
    if len(logits) == 0:
        raise ExciteError("a temperature cannot be fitted without images")
    if not np.isfinite(logits).all():
        raise ExciteError("a temperature cannot be fitted: some logits are not finite", exit_code=BAD_USAGE)
    return logits


def _smooth_targets(
    targets: np.ndarray, num_classes: int, group_count: float, smoothing: bool = True
) -> np.ndarray:
    """(N, C) target probabilities, with one pseudo-group spread over all classes.

    Half a group for each of two classes is Jeffreys' prior, 1 / C for each of C classes that of Perks (1947).
    """
    other = 1 / (num_classes * (group_count + 1)) if smoothing else 0.0
    truth = np.full((len(targets), num_classes), other)
    truth[np.arange(len(targets)), targets] = 1 - (num_classes - 1) * other
    return truth


def _minimize_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    from scipy.optimize import minimize_scalar  # half a second that predictions need not wait for

    def loss(log_inverse: float) -> float:
        return -float((truth * log_softmax(logits * np.exp(log_inverse), axis=1)).sum(axis=1).mean())

    # Convex in 1 / T, and so unimodal in its logarithm.
    optimum = minimize_scalar(
        loss,
        bounds=(-np.log(MAX_TEMPERATURE), -np.log(MIN_TEMPERATURE)),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return float(np.exp(-optimum.x))


def _fit_path(
    logits: np.ndarray, targets: np.ndarray, codes: np.ndarray, precisions: tuple[float, ...]
) -> list[Calibration]:
    """The calibration for each precision of the prior, in descending order."""
    from scipy.optimize import minimize

    num_classes, group_count = logits.shape[1], effective_groups(np.bincount(codes))
    truth = _smooth_targets(targets, num_classes, group_count)
    temperature = _minimize_temperature(logits, truth)
    start = np.concatenate([[1 / temperature], np.zeros(num_classes)])
    bounds = [(1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE)] + [(None, None)] * num_classes
    calibrations = []
    for precision in precisions:
        if np.isinf(precision):
            calibrations.append(Calibration(temperature, (0.0,) * num_classes))
            continue
        ridge = precision / group_count  # the prior's share of the mean loss
        optimum = minimize(_loss, start, (logits, truth, ridge), method="L-BFGS-B", jac=True, bounds=bounds)
        start = optimum.x  # a warm start for the next, weaker prior
        intercept = start[1:] - start[1:].mean()
        calibrations.append(Calibration(float(1 / start[0]), tuple(intercept.tolist())))
    return calibrations


def _loss(
    parameters: np.ndarray, logits: np.ndarray, truth: np.ndarray, ridge: float
) -> tuple[float, np.ndarray]:
    """Penalized mean log loss, and its gradient in 1 / T and the intercepts; convex in both."""
    intercept = parameters[1:]
    log_probabilities = log_softmax(parameters[0] * logits + intercept, axis=1)
    loss = -(truth * log_probabilities).sum() / len(logits) + ridge / 2 * (intercept**2).sum()
    slopes = (np.exp(log_probabilities) - truth) / len(logits)
    return float(loss), np.concatenate([[(slopes * logits).sum()], slopes.sum(axis=0) + ridge * intercept])


def _out_of_fold_probabilities(
    logits: np.ndarray, targets: np.ndarray, codes: np.ndarray, precisions: tuple[float, ...]
) -> np.ndarray:
    """(precisions, N, C) probabilities of each image by the calibration fitted to the other folds."""
    codes = _group_codes(codes)
    group_count = int(codes.max()) + 1
    folds = min(FOLDS, group_count)
    fold = (np.random.default_rng(0).permutation(group_count) % folds)[codes]
    result = np.empty((len(precisions), *logits.shape))
    for number in range(folds):
        held_out = fold == number
        others = ~held_out if folds > 1 else held_out  # a single group leaves nothing to hold out
        fitted = _fit_path(logits[others], targets[others], _group_codes(codes[others]), precisions)
        for row, calibration in enumerate(fitted):
            result[row, held_out] = calibration.probabilities(logits[held_out])
    return result


def _rows_of_random_groups(codes: np.ndarray, most: int) -> np.ndarray:
    """Rows of all groups, or of random groups with about ``most`` images."""
    sizes = np.bincount(codes)
    order = np.random.default_rng(0).permutation(len(sizes))
    drawn = order[: max(FEWEST_GROUPS, int(np.searchsorted(np.cumsum(sizes[order]), most, side="right")))]
    return np.flatnonzero(np.isin(codes, drawn))


def _group_codes(groups: np.ndarray) -> np.ndarray:
    """(N,) the number of each image's group, from 0 on without gaps."""
    return np.unique(groups, return_inverse=True)[1]
