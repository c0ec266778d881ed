"""The end of a run: the final network becomes a calibrated classifier and is evaluated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from excite.config.task import MULTILABEL
from excite.data.batches import evaluation_batches
from excite.data.manifest import Manifest
from excite.data.sources import PixelSubset
from excite.errors import ExciteError
from excite.evaluation.calibration import Calibration, fit_calibration
from excite.evaluation.evaluate import choose_point, evaluate_predictions
from excite.evaluation.evaluate_labels import evaluate_labels
from excite.evaluation.label_calibration import LabelCalibration, fit_label_calibration
from excite.evaluation.label_measure import measure_labels
from excite.evaluation.label_thresholds import LabelThreshold
from excite.evaluation.measure import measure
from excite.evaluation.operating_point import OperatingPoint
from excite.evaluation.prediction_sets import PredictionSets
from excite.inference.predict import predict_logits
from excite.insertion.gate_statistics import has_identity_gates
from excite.insertion.insert import inserted_sites
from excite.pipeline.abstention_threshold import confidence_or_always
from excite.pipeline.context import RunContext
from excite.runs.classifier import Classifier
from excite.runs.derive import architecture_of, evaluation_spec_of, label_spec_of
from excite.runs.label_table import label_prediction_rows, label_predictions_of
from excite.runs.prediction_table import prediction_rows, predictions_of
from excite.runs.training_overlap import duplicates_in_train

PROBED = 8  # images that show whether every gate is one


@dataclass(frozen=True)
class Outputs:
    """Logits for images that the network was not fitted to.

    Args:
        validation: the N images that choose the calibration and the thresholds.
        validation_logits: (N, C).
        test_logits: (M, C), for the test images.
    """

    validation: Manifest
    validation_logits: np.ndarray
    test_logits: np.ndarray


def compute_outputs(context: RunContext) -> Outputs:
    """Logits of the context's network for the validation and the test images."""

    def logits(split: str) -> np.ndarray:
        images = context.images(split)
        return predict_logits(context.model, images, context.preprocessing, device=context.device)

    with context.display.waiting("predicting validation and test images"):
        return Outputs(context.manifest.part("val"), logits("val"), logits("test"))


def finalize(context: RunContext, outputs: Outputs) -> None:
    """Write the classifier, its predictions for the validation and the test images, and the metrics of both.

    The validation images choose the calibration and the thresholds, as they chose the best epoch, so their
    metrics are optimistic; those of the test images are not. The probabilities that thresholds are chosen
    with are calibrated without the fold of the image.

    Raises:
        ExciteError: if a logit is not finite.
    """
    if not np.isfinite(outputs.validation_logits).all() or not np.isfinite(outputs.test_logits).all():
        what = "the trained network's outputs are not finite: training diverged"
        raise ExciteError(what, where=context.run.path, hint="try a lower --lr, or --precision float32")
    with context.display.waiting("computing metrics and intervals"):
        if context.manifest.task == MULTILABEL:
            _evaluate_labels(context, outputs)
        else:
            _evaluate(context, outputs)


def _evaluate(context: RunContext, outputs: Outputs) -> None:
    run, manifest, held_out = context.run, context.manifest, outputs.validation
    calibration, probabilities = fit_calibration(
        outputs.validation_logits, held_out.targets(), held_out.group_codes()
    )
    test_images = manifest.part("test")
    validation = predictions_of(held_out, probabilities)
    test = predictions_of(test_images, calibration.probabilities(outputs.test_logits))
    spec = evaluation_spec_of(context.config)
    validation, test = validation.with_order(spec.ordinal), test.with_order(spec.ordinal)
    point = None if spec.positive is None else choose_point(validation, spec)
    if point is not None:
        validation, test = validation.with_rule(point.rule), test.with_rule(point.rule)
    if spec.selective_accuracy is not None:
        below = confidence_or_always(validation, spec.selective_accuracy, context.display)
        spec = replace(spec, abstain_below=below, selective_accuracy=None)
    sets = PredictionSets.fit(validation)
    _build_classifier(context, calibration, spec.abstain_below, sets, point).save(
        run, identity_gates=_identity_gates(context)
    )
    columns = {name: test_images.table[name].tolist() for name in spec.subgroups}
    metrics = {
        "val": measure(validation),
        "test": evaluate_predictions(
            test,
            spec,
            calibration=calibration,
            sets=sets,
            point=point,
            validation=validation,
            columns=columns,
        ),
    }
    run.write_table("val_predictions.csv", prediction_rows(validation))
    run.write_table("predictions.csv", prediction_rows(test))
    _write_metrics(context, metrics)


def _evaluate_labels(context: RunContext, outputs: Outputs) -> None:
    run, held_out = context.run, outputs.validation
    calibration, probabilities = fit_label_calibration(
        outputs.validation_logits, held_out.targets(), held_out.group_codes()
    )
    spec = label_spec_of(context.config)
    chosen = spec.choose(label_predictions_of(held_out, probabilities))
    limits = np.array([each.threshold for each in chosen])
    validation = label_predictions_of(held_out, probabilities, limits)
    test_images = context.manifest.part("test")
    test = label_predictions_of(test_images, calibration.probabilities(outputs.test_logits), limits)
    _build_classifier(context, calibration, label_thresholds=chosen).save(
        run, identity_gates=_identity_gates(context)
    )
    columns = {name: test_images.table[name].tolist() for name in spec.subgroups}
    metrics = {
        "val": measure_labels(validation),
        "test": evaluate_labels(test, spec, calibration=calibration, thresholds=chosen, columns=columns),
    }
    run.write_table("val_predictions.csv", label_prediction_rows(validation))
    run.write_table("predictions.csv", label_prediction_rows(test))
    _write_metrics(context, metrics)


def _write_metrics(context: RunContext, metrics: dict[str, dict[str, Any]]) -> None:
    """Write ``metrics.json``, with the near-duplicates of training images in each split."""
    for split, values in metrics.items():
        values["duplicates_in_train"] = duplicates_in_train(context.manifest, split)
        values["leaks_allowed"] = context.config.allow_leaks and bool(values["duplicates_in_train"])
    context.run.write_json("metrics.json", metrics)


def _identity_gates(context: RunContext) -> bool | None:
    """Whether the attention of the final network has no effect, on a few test images; None without gates."""
    few = PixelSubset(context.pixels, context.rows("test")[:PROBED])
    batches = evaluation_batches(few, context.preprocessing, PROBED, context.device)
    targets = torch.zeros(len(few))
    return has_identity_gates(context.model, [(images, targets) for images in batches])


def _build_classifier(
    context: RunContext,
    calibration: Calibration | LabelCalibration,
    abstain_below: float | None = None,
    sets: PredictionSets | None = None,
    point: OperatingPoint | None = None,
    label_thresholds: tuple[LabelThreshold, ...] | None = None,
) -> Classifier:
    classes = context.manifest.classes
    architecture = architecture_of(context.config, len(classes))
    if sites := inserted_sites(context.model):  # by path: a later version may choose other sites by default
        architecture |= {"where": [site.path for site in sites], "stages": None}
    return Classifier(
        context.model,
        architecture,
        classes,
        context.preprocessing,
        calibration,
        abstain_below,
        context.config.max_pixels,
        sets,
        point,
        label_thresholds,
    )
