"""All that is asked of one set of predictions: figures, calibration, threshold, abstention, subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.abstention import choose_confidence, with_abstention
from excite.evaluation.calibration import before_and_after, with_temperature
from excite.evaluation.measure import measure
from excite.evaluation.operating_point import OperatingPoint, at_threshold, choose_threshold
from excite.evaluation.predictions import Predictions
from excite.evaluation.subgroups import subgroups

SENSITIVITY = 0.95  # wished where there is a positive class and nothing else is said


@dataclass(frozen=True)
class EvaluationSpec:
    """What a user asks beside the figures that everybody gets.

    Args:
        positive: the class that is to be found; None: no threshold is chosen.
        sensitivity, specificity: the wish that the threshold is to meet; neither: a sensitivity of 0.95.
        abstain_below: confidence under which the answer is "not sure".
        selective_accuracy: the same, chosen on validation: how many of its answers are to be right.
        by: columns whose values are measured apart.
    """

    positive: str | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    abstain_below: float | None = None
    selective_accuracy: float | None = None
    subgroups: tuple[str, ...] = ()

    @property
    def needs_validation(self) -> bool:
        """Whether something is to be chosen on validation images."""
        return self.positive is not None or self.selective_accuracy is not None

    def without_validation(self) -> EvaluationSpec:
        """Those of them that need no validation images."""
        return replace(self, positive=None, selective_accuracy=None)


def evaluate_predictions(
    predictions: Predictions,
    spec: EvaluationSpec,
    *,
    temperature: float | None = None,
    validation: Predictions | None = None,
    columns: Mapping[str, Sequence[object]] | None = None,
) -> dict[str, Any]:
    """The figures of one set of images, as they stand under its name in ``metrics.json``.

    Args:
        predictions: with the temperature applied.
        temperature: that one, for the calibration before and after it; None where there is not one.
        validation: predictions of the validation images, likewise: thresholds are chosen there.
        columns: the values (N,) of each of ``questions.subgroups``.

    Returns:
        what ``measure`` returns, and where they can be had: ``photos``, the same of whole photos where
        several images are copies of one, each counted once; ``calibration`` (see ``before_and_after``),
        ``operating_point`` with ``chosen`` on validation and ``test`` here, ``abstention``, ``subgroups``.

    Raises:
        ExciteError: for a class, column or wish that cannot be had, and for a wish without validation.
    """
    if validation is None and spec.needs_validation:
        what = "a threshold is chosen on validation images, and there are no predictions of them"
        raise ExciteError(what, hint="name them with --validation", exit_code=BAD_USAGE)
    figures = measure(predictions)
    if predictions.has_copies:
        figures["photos"] = measure(predictions.by_photo())
    if temperature is not None:
        plain = with_temperature(predictions, 1 / temperature)
        figures["calibration"] = before_and_after(plain, temperature)
    if spec.positive is not None and validation is not None:
        figures["operating_point"] = _operating_point(predictions, validation, spec)
    threshold = spec.abstain_below
    if spec.selective_accuracy is not None and validation is not None:
        threshold = choose_confidence(validation, spec.selective_accuracy)
    if threshold is not None:
        figures["abstention"] = with_abstention(predictions, threshold)
    if spec.subgroups:
        values = columns or {}
        figures["subgroups"] = [subgroups(predictions, values[name], name=name) for name in spec.subgroups]
    return figures


def choose_point(validation: Predictions, spec: EvaluationSpec) -> OperatingPoint:
    """The threshold of ``questions.positive``, with the wish that everybody gets who names none.

    Raises: ExciteError as ``choose_threshold``.
    """
    assert spec.positive is not None
    sensitivity = spec.sensitivity
    if sensitivity is None and spec.specificity is None:
        sensitivity = SENSITIVITY
    return choose_threshold(validation, spec.positive, sensitivity=sensitivity, specificity=spec.specificity)


def _operating_point(
    predictions: Predictions, validation: Predictions, spec: EvaluationSpec
) -> dict[str, Any]:
    chosen = choose_point(validation, spec)
    return {"chosen": asdict(chosen), "test": at_threshold(predictions, chosen.label, chosen.threshold)}
