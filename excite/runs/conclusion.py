"""The end of a training: the best weights become a calibrated classifier, which is measured."""

from __future__ import annotations

import numpy as np
import torch

from excite.data.loading import PixelSource
from excite.data.manifest import Manifest
from excite.evaluation.abstention import choose_confidence
from excite.evaluation.calibration import fit_temperature
from excite.evaluation.judge import judge
from excite.evaluation.measure import measure
from excite.insertion.insert import inserted_sites
from excite.models.catalogue import create_model
from excite.models.weights import load_weights
from excite.runs.audited import siblings_in_train
from excite.runs.classifier import Classifier, softmax
from excite.runs.predictions import prediction_rows, predictions_of, questions_of
from excite.runs.run import Run
from excite.runs.settle import architecture_of, preprocessing_of
from excite.training.config import TrainConfig
from excite.training.loop import BEST


def conclude(
    run: Run, config: TrainConfig, manifest: Manifest, pixels: np.ndarray, device: torch.device
) -> None:
    """Write the classifier, what it says of the validation and the test images, and the figures of both.

    Temperature and thresholds are chosen on the validation images, as the best epoch was: their own figures
    flatter, and the test's do not.

    Args:
        manifest: all images; the rows of ``pixels`` are in its order.
    """
    classifier = _best(run, config, manifest, device)
    parts = {split: manifest.part(split) for split in ("val", "test")}
    sources = {
        split: PixelSource(pixels, np.flatnonzero(manifest.table["split"] == split)) for split in parts
    }
    logits = classifier.logits(sources["val"])
    classifier.temperature = fit_temperature(logits, parts["val"].targets())
    validation = predictions_of(parts["val"], softmax(logits / classifier.temperature))
    if config.not_sure_below is not None:
        classifier.not_sure_below = config.not_sure_below
    elif config.sure_accuracy is not None:
        classifier.not_sure_below = choose_confidence(validation, config.sure_accuracy)
    classifier.save(run)
    test = predictions_of(parts["test"], classifier.probabilities(sources["test"]))
    questions = questions_of(config)
    columns = {name: parts["test"].table[name].tolist() for name in questions.by}
    figures = {
        "val": measure(validation),
        "test": judge(
            test, questions, temperature=classifier.temperature, validation=validation, columns=columns
        ),
    }
    for split, those in figures.items():
        those["siblings_in_train"] = siblings_in_train(manifest, split)
        those["leaks_allowed"] = config.allow_leaks and bool(those["siblings_in_train"])
    run.write_table("val_predictions.csv", prediction_rows(validation))
    run.write_table("predictions.csv", prediction_rows(test))
    run.write_json("metrics.json", figures)


def _best(run: Run, config: TrainConfig, manifest: Manifest, device: torch.device) -> Classifier:
    """The classifier of the best averaged weights, not calibrated yet."""
    architecture = architecture_of(config, len(manifest.classes))
    model = create_model(**architecture).to(device)
    load_weights(model, run.checkpoints / BEST)
    if sites := inserted_sites(model):  # by path: a later table of families may choose others
        architecture |= {"where": [site.path for site in sites], "stages": None}
    return Classifier(model, architecture, manifest.classes, preprocessing_of(config))
