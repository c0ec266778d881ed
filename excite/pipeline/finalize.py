"""The end of a training: the best weights become a calibrated classifier, which is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.data.sources import PixelSubset
from excite.errors import ExciteError
from excite.evaluation.abstention import choose_confidence
from excite.evaluation.calibration import fit_temperature
from excite.evaluation.evaluate import evaluate_predictions
from excite.evaluation.measure import measure
from excite.inference.predict import predict_logits, softmax
from excite.insertion.insert import inserted_sites
from excite.runs.classifier import Classifier
from excite.runs.derive import architecture_of, evaluation_spec_of, preprocessing_of
from excite.runs.prediction_table import prediction_rows, predictions_of
from excite.runs.run import Run
from excite.runs.training_overlap import duplicates_in_train


@dataclass(frozen=True)
class Outputs:
    """What a network says of images that it was not fitted to.

    Args:
        validation: the images that temperature and thresholds are chosen with.
        validation_logits, test_logits: (N, C) for those, and for the test images.
    """

    validation: Manifest
    validation_logits: np.ndarray
    test_logits: np.ndarray


def finalize(run: Run, config: TrainConfig, manifest: Manifest, model: nn.Module, outputs: Outputs) -> None:
    """Write the classifier, what it says of the validation and the test images, and the figures of both.

    Temperature and thresholds are chosen on the validation images, as the best epoch was: their own figures
    flatter, and the test's do not.

    Args:
        manifest: all images.
        model: with its final weights.
    """
    if not np.isfinite(outputs.validation_logits).all() or not np.isfinite(outputs.test_logits).all():
        what = "the trained network's outputs are not finite: training diverged"
        raise ExciteError(what, where=run.path, hint="try a lower --lr, or --precision float32")
    temperature = fit_temperature(outputs.validation_logits, outputs.validation.targets())
    part = manifest.part("test")
    validation = predictions_of(outputs.validation, softmax(outputs.validation_logits / temperature))
    test = predictions_of(part, softmax(outputs.test_logits / temperature))
    abstain_below = config.abstain_below or 0.0
    if config.selective_accuracy is not None:
        abstain_below = choose_confidence(validation, config.selective_accuracy)
    _classifier(model, config, manifest, temperature, abstain_below).save(run)
    spec = evaluation_spec_of(config)
    columns = {name: part.table[name].tolist() for name in spec.subgroups}
    figures = {
        "val": measure(validation),
        "test": evaluate_predictions(
            test, spec, temperature=temperature, validation=validation, columns=columns
        ),
    }
    for split, those in figures.items():
        those["duplicates_in_train"] = duplicates_in_train(manifest, split)
        those["leaks_allowed"] = config.allow_leaks and bool(those["duplicates_in_train"])
    run.write_table("val_predictions.csv", prediction_rows(validation))
    run.write_table("predictions.csv", prediction_rows(test))
    run.write_json("metrics.json", figures)


def outputs_of(
    model: nn.Module, config: TrainConfig, manifest: Manifest, pixels: np.ndarray, device: torch.device
) -> Outputs:
    """What a trained network says of the validation and the test images.

    Args:
        manifest: all images; the rows of ``pixels`` are in its order.
    """

    def logits(split: str) -> np.ndarray:
        rows = np.flatnonzero(manifest.table["split"] == split)
        return predict_logits(model, PixelSubset(pixels, rows), preprocessing_of(config), device=device)

    return Outputs(manifest.part("val"), logits("val"), logits("test"))


def _classifier(
    model: nn.Module, config: TrainConfig, manifest: Manifest, temperature: float, abstain_below: float
) -> Classifier:
    architecture = architecture_of(config, len(manifest.classes))
    if sites := inserted_sites(model):  # by path: a later table of families may choose others
        architecture |= {"where": [site.path for site in sites], "stages": None}
    preprocessing = preprocessing_of(config)
    return Classifier(
        model,
        architecture,
        manifest.classes,
        preprocessing,
        temperature,
        abstain_below,
        config.max_pixels,
    )
