"""Calibration of several labels: a temperature and an intercept for each, fitted on validation images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit, logit

from excite.data.labels import PRESENT, UNKNOWN
from excite.errors import ExciteError
from excite.evaluation.calibration import fit_calibration
from excite.evaluation.label_predictions import LabelPredictions

CLOSEST = 1e-15  # to 0 and 1: the largest logit is about 35


@dataclass(frozen=True)
class LabelCalibration:
    """Probabilities sigmoid(logits / temperature + intercept), for each label.

    Args:
        temperature: the divisors of the logits, L values.
        intercept: what is added after the division, L values.

    Example:
        >>> calibration = LabelCalibration((2.0, 1.0), (0.0, 1.0))
        >>> calibration.probabilities(np.array([[0.0, -1.0]])).tolist()
        [[0.5, 0.5]]
    """

    temperature: tuple[float, ...]
    intercept: tuple[float, ...]

    @classmethod
    def identity(cls, labels: int) -> LabelCalibration:
        """The calibration that changes nothing, for L labels."""
        return cls((1.0,) * labels, (0.0,) * labels)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelCalibration:
        """Of ``to_dict``'s result."""
        return cls(tuple(map(float, values["temperature"])), tuple(map(float, values["intercept"])))

    def to_dict(self) -> dict[str, Any]:
        """``temperature`` and ``intercept``, lists in the order of the labels, for a JSON file."""
        return {"temperature": list(self.temperature), "intercept": list(self.intercept)}

    @property
    def inverse(self) -> LabelCalibration:
        """The calibration that undoes this one: applied to the logits of its probabilities."""
        pairs = zip(self.temperature, self.intercept, strict=True)
        temperature = tuple(1 / one for one in self.temperature)
        return LabelCalibration(temperature, tuple(-scale * shift for scale, shift in pairs))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(..., L) logits -> (..., L) probabilities in float64."""
        scaled = np.asarray(logits, dtype=np.float64) / np.array(self.temperature)
        result: np.ndarray = expit(scaled + np.array(self.intercept))
        return result

    def apply(self, predictions: LabelPredictions) -> LabelPredictions:
        """The predictions with calibrated probabilities."""
        logits = logit(predictions.probabilities.clip(CLOSEST, 1 - CLOSEST))
        return replace(predictions, probabilities=self.probabilities(logits))


def fit_label_calibration(
    logits: np.ndarray, targets: np.ndarray, groups: np.ndarray
) -> tuple[LabelCalibration, np.ndarray]:
    """The calibration of each label, as ``fit_calibration`` fits it to the two classes absent and present.

    Args:
        logits: (N, L), of the validation images.
        targets: (N, L): 1, 0, or -1; unknown values take no part.
        groups: (N,) codes or names of the groups.

    Returns:
        the calibration, and probabilities (N, L) of the same images, each calibrated without its fold of the
        groups; where the value of a label is unknown, by the calibration itself.

    Raises:
        ExciteError: if a label is unknown for every image, or a logit is not finite.

    Example:
        >>> random = np.random.default_rng(0)
        >>> logits = random.normal(size=(3000, 2))
        >>> targets = (random.random(logits.shape) < expit(logits)).astype(int)
        >>> found, _ = fit_label_calibration(logits * [1, 3], targets, np.arange(3000))
        >>> round(found.temperature[1] / found.temperature[0])
        3
    """
    temperatures, intercepts = [], []
    held_out = np.full(np.shape(logits), np.nan)
    for column, values in enumerate(np.asarray(targets).T):
        rows = np.flatnonzero(values != UNKNOWN)
        if not len(rows):
            raise ExciteError(
                "a label whose value is unknown for every validation image cannot be calibrated"
            )
        half = np.asarray(logits, dtype=np.float64)[rows, column] / 2
        pair = np.stack([-half, half], axis=1)
        fitted, probabilities = fit_calibration(
            pair, (values[rows] == PRESENT).astype(np.int64), groups[rows]
        )
        temperatures.append(fitted.temperature)
        intercepts.append(fitted.intercept[1] - fitted.intercept[0])
        held_out[rows, column] = probabilities[:, 1]
    calibration = LabelCalibration(tuple(temperatures), tuple(intercepts))
    whole = calibration.probabilities(logits)
    return calibration, np.where(np.isnan(held_out), whole, held_out)
