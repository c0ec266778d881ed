"""evaluation.html: a classifier evaluated on one data set, with and without images seen in training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from excite.config.pixel_limit import MAX_PIXELS
from excite.evaluation.label_predictions import LabelPredictions
from excite.evaluation.predictions import Predictions
from excite.evaluation.reliability import reliability
from excite.reporting.calibration_tables import calibration_table, set_table
from excite.reporting.decision_text import rule_text
from excite.reporting.html import template
from excite.reporting.label_evaluation_page import label_evaluation_page
from excite.reporting.majority_text import majority_text
from excite.reporting.mistakes import confusion_view
from excite.reporting.png_figures import confusion_matrix, save
from excite.reporting.run_charts import reliability_chart
from excite.reporting.seen_view import remarks, seen_view, shown_labels
from excite.reporting.sentences import Statement
from excite.reporting.tables import (
    class_table,
    interval_text,
    number_text,
    overall_table,
    point_table,
    subgroup_table,
    tiles,
)
from excite.reporting.text import many
from excite.runs.evaluate import Evaluation
from excite.runs.label_table import label_prediction_rows
from excite.runs.prediction_table import prediction_rows
from excite.runs.run import Run
from excite.system.files import write_text

SEEN_COLUMNS = ("path", "label", "predicted", "counterpart", "kind", "evidence", "confidence", "use")


def write_evaluation(
    result: Evaluation,
    folder: Path,
    *,
    title: str = "",
    source: str = "",
    thumbnails: bool = True,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Write ``metrics.json``, ``predictions.csv``, ``confusion_matrix.png`` and ``evaluation.html``, and,
    for data other than the run's own, ``seen_in_training.csv``, which may have no rows.

    Args:
        title: what was evaluated.
        source: a sentence that describes the images.
        thumbnails: show the images that were seen in training; mind the privacy of the people in them.
    """
    target = Run(folder)
    target.write_json("metrics.json", {result.split: result.metrics})
    predictions = result.predictions
    if isinstance(predictions, LabelPredictions):
        target.write_table("predictions.csv", label_prediction_rows(predictions))
    else:
        target.write_table("predictions.csv", prediction_rows(predictions))
        save(confusion_matrix(result.metrics), folder / "confusion_matrix.png")
    if "seen_in_training" in result.metrics:
        target.write_table("seen_in_training.csv", seen_rows(result), columns=SEEN_COLUMNS)
    page = evaluation_page(result, title=title, source=source, thumbnails=thumbnails, max_pixels=max_pixels)
    write_text(folder / "evaluation.html", page)


def seen_rows(result: Evaluation) -> list[dict[str, Any]]:
    """The images seen in training, each with its counterpart and the evidence."""
    return [
        dict(zip(("label", "predicted"), shown_labels(result.predictions, image), strict=True))
        | image.to_dict()
        for image in result.seen
    ]


def evaluation_page(
    result: Evaluation,
    *,
    title: str = "",
    source: str = "",
    thumbnails: bool = True,
    max_pixels: int = MAX_PIXELS,
) -> str:
    """The page as HTML: one file without scripts or external resources.

    Names of files and classes are escaped.
    """
    predictions, seen = result.predictions, seen_view(result, max_pixels, thumbnails)
    if isinstance(predictions, LabelPredictions):
        return label_evaluation_page(result, predictions, seen, title=title, source=source)
    metrics, unseen = result.metrics, result.unseen if result.seen else None
    assert not isinstance(unseen, LabelPredictions)
    parts = [_part(metrics, predictions, "", "all")]
    if unseen is not None:
        suffix = f", without the {len(result.seen):,} seen in training"
        parts.append(_part(metrics["without_seen"], unseen, suffix, "unseen"))
    point = metrics.get("operating_point")
    return template("evaluation.html").render(
        title=title or "a classifier",
        source=source,
        n=metrics["n"],
        verdict=_verdict(metrics, predictions),
        majority=majority_text(metrics),
        remarks=_rule_statements(metrics) + remarks(metrics, unseen is not None),
        tiles=tiles(metrics),
        seen=seen,
        interval=metrics.get("interval", {}),
        overall=overall_table(metrics, metrics["without_seen"] if unseen is not None else None),
        all_images="all images" if unseen is not None else "value",
        unseen_images="not seen in training",
        parts=parts,
        point=point_table(point["chosen"], point["test"]) if point else None,
        chosen=point,
        abstention=metrics.get("abstention"),
        sets=set_table(metrics.get("prediction_sets") or ()),
        subgroups=[subgroup_table(found) for found in metrics.get("subgroups") or ()],
    )


def _part(metrics: Mapping[str, Any], predictions: Predictions, suffix: str, name: str) -> dict[str, Any]:
    """The sections shown for all images and again for those not seen in training."""
    bins = [asdict(one) for one in reliability(predictions)]
    return {
        "suffix": suffix,
        "classes": class_table(metrics["classes"], metrics.get("low_group_count") or ()),
        "confusion": confusion_view(metrics, f"confusion-{name}"),
        "ece": metrics["ece"],
        "calibration": metrics.get("calibration"),
        "class_calibration": calibration_table(metrics),
        "reliability": reliability_chart(f"reliability-{name}", f"Reliability{suffix}", bins),
    }


def _verdict(metrics: Mapping[str, Any], predictions: Predictions) -> dict[str, str]:
    accuracy = metrics["accuracy"]
    interval = interval_text("accuracy", accuracy)
    size = f"{many(metrics['n'], 'image')} of {many(metrics['groups'], 'group')}"
    return {
        "value": number_text("accuracy", accuracy["value"]),
        "interval": f"95 % interval {interval}" if interval else f"no interval: {accuracy.get('reason', '')}",
        "what": f"of the images are classified correctly: {int(predictions.correct.sum()):,} of {size}",
    }


def _rule_statements(metrics: Mapping[str, Any]) -> list[Statement]:
    point = metrics.get("operating_point")
    return [Statement(rule_text(point["test"]["label"], point["test"]["threshold"]))] if point else []
