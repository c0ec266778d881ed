"""The evaluation of a classifier of one class per image on a set of images."""

from __future__ import annotations

from typing import Any

import numpy as np

from excite.data.manifest import Manifest
from excite.evaluation.calibration import Calibration
from excite.evaluation.evaluate import EvaluationSpec, choose_point, evaluate_predictions
from excite.evaluation.operating_point import OperatingPoint
from excite.runs.classifier import Classifier
from excite.runs.derive import evaluation_spec_of
from excite.runs.prediction_table import predictions_of
from excite.runs.run import Run

CRITERION = ("positive", "sensitivity", "specificity")  # of an operating point


class ClassEvaluator:
    """Measures a run's classifier of one class per image.

    Args:
        run: a finished run.
        classifier: its classifier.
        spec: what to evaluate.
        images: N images.
        probabilities: (N, C).
    """

    def __init__(
        self,
        run: Run,
        classifier: Classifier,
        spec: EvaluationSpec,
        images: Manifest,
        probabilities: np.ndarray,
    ) -> None:
        self.classifier, self.spec, self.images = classifier, spec, images
        self.point = _point_for(spec, run, classifier)
        predictions = predictions_of(images, probabilities)
        self.predictions = predictions.with_rule(None if self.point is None else self.point.rule)
        self.validation = run.predicted("val") if spec.selective_accuracy is not None else None

    def metrics(self, rows: np.ndarray) -> dict[str, Any]:
        """The metrics of the images in a mask (N,)."""
        calibration = self.classifier.calibration
        assert isinstance(calibration, Calibration)
        return evaluate_predictions(
            self.predictions.take(rows),
            self.spec,
            calibration=calibration,
            sets=self.classifier.sets,
            point=self.point,
            validation=self.validation,
            columns={name: self.images.table[name][rows].tolist() for name in self.spec.subgroups},
        )


def _point_for(spec: EvaluationSpec, run: Run, classifier: Classifier) -> OperatingPoint | None:
    """The classifier's own operating point, or for another class or criterion one for it."""
    if spec.positive is None:
        return None
    trained = evaluation_spec_of(run.config)
    if all(getattr(spec, name) == getattr(trained, name) for name in CRITERION):
        return classifier.operating_point
    return choose_point(run.predicted("val"), spec)
