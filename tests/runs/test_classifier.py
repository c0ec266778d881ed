"""A classifier that is written to a run folder is read back as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from excite.data.preprocessing import Preprocessing
from excite.errors import ExciteError
from excite.evaluation.calibration import Calibration
from excite.evaluation.prediction_sets import PredictionSets
from excite.models.catalog import create_model
from excite.runs.classifier import Classifier
from excite.runs.run import Run

ARCHITECTURE = {"name": "cifar_resnet20", "num_classes": 2}
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))


def saved(place: Path, sets: PredictionSets | None) -> tuple[Classifier, Classifier]:
    """A classifier, and what is read after it was written."""
    model = create_model("cifar_resnet20", num_classes=2)
    calibration = Calibration(1.7, (0.25, -0.25))
    written = Classifier(model, ARCHITECTURE, ("a", "b"), Preprocessing(32), calibration, 0.6, sets=sets)
    place.mkdir()
    (place / "manifest.csv").write_text("path,label\n")
    run = Run(place)
    written.save(run)
    return written, Classifier.load(run)


def test_without_validation_images_a_classifier_has_no_sets_and_is_read_back(tmp_path: Path) -> None:
    written, read = saved(tmp_path / "run", None)
    assert read.calibration == written.calibration
    assert read.predict(PICTURE) == written.predict(PICTURE)
    with pytest.raises(ExciteError, match="has no prediction sets"):
        read.predict(PICTURE, set_level=0.9)


def test_a_set_contains_the_classes_that_reach_the_threshold(tmp_path: Path) -> None:
    sets = PredictionSets(9, (1e-6, 0.9), (0.0, 1.0))
    _, read = saved(tmp_path / "run", sets)
    assert read.sets == sets
    [prediction] = read.predict(PICTURE, set_level=0.9)
    assert sorted(prediction.classes_in_set or ()) == ["a", "b"]
    assert [replace(prediction, classes_in_set=None)] == read.predict(PICTURE)
    with pytest.raises(ExciteError, match="need 99 validation groups"):
        read.predict(PICTURE, set_level=0.99)


def test_a_grayscale_network_is_refused_in_one_line() -> None:
    model = create_model("cifar_resnet20", num_classes=2, in_chans=1)
    with pytest.raises(ExciteError, match="takes images with 1 channel") as raised:
        Classifier(model, {}, ("a", "b"), Preprocessing(32))
    assert "in_chans=3" in str(raised.value)
