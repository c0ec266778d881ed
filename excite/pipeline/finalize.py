"""The end of a run: the final network becomes a calibrated classifier and is evaluated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from excite.data.manifest import Manifest
from excite.errors import ExciteError
from excite.evaluation.abstention import choose_confidence
from excite.evaluation.calibration import fit_temperature
from excite.evaluation.evaluate import evaluate_predictions
from excite.evaluation.measure import measure
from excite.inference.predict import predict_logits, softmax
from excite.insertion.insert import inserted_sites
from excite.pipeline.context import RunContext
from excite.runs.classifier import Classifier
from excite.runs.derive import architecture_of, evaluation_spec_of
from excite.runs.prediction_table import prediction_rows, predictions_of
from excite.runs.training_overlap import duplicates_in_train


@dataclass(frozen=True)
class Outputs:
    """Logits for images that the network was not fitted to.

    Args:
        validation: the N images that choose the temperature and the thresholds.
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

    return Outputs(context.manifest.part("val"), logits("val"), logits("test"))


def finalize(context: RunContext, outputs: Outputs) -> None:
    """Write the classifier, its predictions for the validation and the test images, and the metrics of both.

    The validation images choose the temperature and the thresholds, as they chose the best epoch, so their
    metrics are optimistic; those of the test images are not.

    Raises:
        ExciteError: if a logit is not finite.
    """
    run, config, manifest = context.run, context.config, context.manifest
    if not np.isfinite(outputs.validation_logits).all() or not np.isfinite(outputs.test_logits).all():
        what = "the trained network's outputs are not finite: training diverged"
        raise ExciteError(what, where=run.path, hint="try a lower --lr, or --precision float32")
    temperature = fit_temperature(outputs.validation_logits, outputs.validation.targets())
    test_images = manifest.part("test")
    validation = predictions_of(outputs.validation, softmax(outputs.validation_logits / temperature))
    test = predictions_of(test_images, softmax(outputs.test_logits / temperature))
    abstain_below = config.abstain_below or 0.0
    if config.selective_accuracy is not None:
        abstain_below = choose_confidence(validation, config.selective_accuracy)
    _build_classifier(context, temperature, abstain_below).save(run)
    spec = evaluation_spec_of(config)
    columns = {name: test_images.table[name].tolist() for name in spec.subgroups}
    metrics = {
        "val": measure(validation),
        "test": evaluate_predictions(
            test, spec, temperature=temperature, validation=validation, columns=columns
        ),
    }
    for split, values in metrics.items():
        values["duplicates_in_train"] = duplicates_in_train(manifest, split)
        values["leaks_allowed"] = config.allow_leaks and bool(values["duplicates_in_train"])
    run.write_table("val_predictions.csv", prediction_rows(validation))
    run.write_table("predictions.csv", prediction_rows(test))
    run.write_json("metrics.json", metrics)


def _build_classifier(context: RunContext, temperature: float, abstain_below: float) -> Classifier:
    classes = context.manifest.classes
    architecture = architecture_of(context.config, len(classes))
    if sites := inserted_sites(context.model):  # by path: a later version may choose other sites by default
        architecture |= {"where": [site.path for site in sites], "stages": None}
    return Classifier(
        context.model,
        architecture,
        classes,
        context.preprocessing,
        temperature,
        abstain_below,
        context.config.max_pixels,
    )
