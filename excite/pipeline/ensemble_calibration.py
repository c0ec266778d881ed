"""The ensemble of a cross-validation: calibration and thresholds are chosen on out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from excite.evaluation.calibration import fit_calibration, safe_log
from excite.evaluation.evaluate import choose_point
from excite.evaluation.prediction_sets import PredictionSets
from excite.evaluation.predictions import Predictions
from excite.pipeline.abstention_threshold import confidence_or_always
from excite.runs.classifier_file import FORMAT
from excite.runs.derive import evaluation_spec_of
from excite.runs.prediction_table import prediction_rows
from excite.runs.run import Run
from excite.system.files import sha256_of
from excite.system.progress import Display


def write_ensemble(
    run: Run, members: Sequence[Run], out_of_fold: Predictions, display: Display
) -> dict[str, Any]:
    """Write ``classifier.json`` of a cross-validation, and ``val_predictions.csv``.

    Calibration and thresholds are chosen on the out-of-fold predictions: of each image by the members that
    were not trained on it, one per repeat. The mean of all members is less confident and usually at least as
    accurate, so the thresholds are conservative. The metrics of the cross-validation do not change.

    Args:
        run: the cross-validation.
        members: the runs of all folds.
        out_of_fold: the mean over repeats, see ``mean_of_repeats``.
        display: the progress display.

    Returns:
        for ``metrics.json``: ``members``, ``calibration``, ``abstain_below``, ``n``, ``groups``, and with a
        positive class ``operating_point``.
    """
    spec = evaluation_spec_of(run.config)
    calibration, probabilities = fit_calibration(
        safe_log(out_of_fold.probabilities), out_of_fold.targets, out_of_fold.group_codes
    )
    calibrated = replace(out_of_fold, probabilities=probabilities)
    point = None if spec.positive is None else choose_point(calibrated, spec)
    if point is not None:
        calibrated = calibrated.with_rule(point.rule)
    abstain_below = spec.abstain_below
    if spec.selective_accuracy is not None:
        abstain_below = confidence_or_always(calibrated, spec.selective_accuracy, display)
    run.write_table("val_predictions.csv", prediction_rows(calibrated))
    run.write_json(
        "classifier.json",
        {
            "format": FORMAT,
            "members": [
                {"run": member.path.relative_to(run.path).as_posix(), "sha256": sha256_of(member.weights)}
                for member in members
            ],
            "classes": list(out_of_fold.classes),
            "calibration": calibration.to_dict(),
            "abstain_below": abstain_below,
            "operating_point": None if point is None else asdict(point),
            "max_pixels": run.config.max_pixels,
            "prediction_sets": PredictionSets.fit(calibrated).to_dict(),
            "sha256": {"manifest.csv": sha256_of(run.path / "manifest.csv")},
        },
    )
    summary: dict[str, Any] = {
        "members": len(members),
        "calibration": calibration.to_dict(),
        "abstain_below": abstain_below,
        "n": len(out_of_fold),
        "groups": out_of_fold.group_count,
    }
    if point is not None:
        summary["operating_point"] = asdict(point)
    return summary
