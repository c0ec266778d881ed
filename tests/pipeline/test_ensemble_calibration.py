"""Calibration and thresholds of an ensemble."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from excite.config.train_config import TrainConfig
from excite.evaluation.predictions import Predictions
from excite.pipeline.abstention_threshold import ALWAYS_ABSTAIN
from excite.pipeline.ensemble_calibration import write_ensemble
from excite.runs.run import Run
from excite.system.progress import Display


def test_an_accuracy_that_no_threshold_reaches_makes_the_ensemble_abstain(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(TrainConfig(data="d", selective_accuracy=0.95).to_yaml())
    (tmp_path / "manifest.csv").write_text("path,label\n")
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    wrong = Predictions(np.array([1, 0, 1]), shares, ("a", "b"), np.array(["", "", ""]), ("x", "y", "z"))
    notes: list[str] = []
    display = Display()
    display.note = notes.append  # type: ignore[method-assign]
    found = write_ensemble(Run(tmp_path), [], wrong, display)
    assert found["abstain_below"] == ALWAYS_ABSTAIN > 1
    assert notes == [
        "the classifier would abstain on every image: 3 validation groups do not show that any threshold "
        "reaches a selective accuracy of 95.0% on new images; it takes at least 45, accepted without an "
        "error (train with more validation images)"
    ]
