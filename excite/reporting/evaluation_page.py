"""evaluation.html: a classifier evaluated on one data set, with and without images seen in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from excite.config.pixel_limit import MAX_PIXELS
from excite.evaluation.predictions import Predictions
from excite.evaluation.reliability import reliability
from excite.reporting.calibration_tables import calibration_table, set_table
from excite.reporting.decision_text import rule_text
from excite.reporting.html import common_folder, template, thumbnail
from excite.reporting.majority_text import majority_text
from excite.reporting.mistakes import confusion_view
from excite.reporting.png_figures import confusion_matrix, save
from excite.reporting.run_charts import reliability_chart
from excite.reporting.sentences import BAD, FEW_GROUPS, WARN, Statement
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
from excite.runs.prediction_table import prediction_rows
from excite.runs.run import Run
from excite.runs.training_overlap import SeenImage
from excite.system.files import write_text

MOST_SEEN = 200
"""Maximum number of images shown beside their counterparts: at 15 kB per thumbnail, up to 6 MB."""
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
    target.write_table("predictions.csv", prediction_rows(result.predictions))
    if "seen_in_training" in result.metrics:
        target.write_table("seen_in_training.csv", seen_rows(result), columns=SEEN_COLUMNS)
    save(confusion_matrix(result.metrics), folder / "confusion_matrix.png")
    page = evaluation_page(result, title=title, source=source, thumbnails=thumbnails, max_pixels=max_pixels)
    write_text(folder / "evaluation.html", page)


def seen_rows(result: Evaluation) -> list[dict[str, Any]]:
    """The images seen in training, each with its counterpart and the evidence."""
    return [
        dict(zip(("label", "predicted"), _labels(result.predictions, image), strict=True)) | image.to_dict()
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
    metrics, unseen = result.metrics, result.unseen if result.seen else None
    parts = [_part(metrics, result.predictions, "", "all")]
    if unseen is not None:
        suffix = f", without the {len(result.seen):,} seen in training"
        parts.append(_part(metrics["without_seen"], unseen, suffix, "unseen"))
    point = metrics.get("operating_point")
    return template("evaluation.html").render(
        title=title or "a classifier",
        source=source,
        n=metrics["n"],
        verdict=_verdict(metrics, result.predictions),
        majority=majority_text(metrics),
        remarks=_remarks(metrics, unseen is not None),
        tiles=tiles(metrics),
        seen=_seen_view(result, max_pixels, thumbnails),
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


def _remarks(metrics: Mapping[str, Any], some_unseen: bool) -> list[Statement]:
    """What a reader must know before the metrics."""
    statements = []
    n = metrics["n"]
    if point := metrics.get("operating_point"):
        statements.append(Statement(rule_text(point["test"]["label"], point["test"]["threshold"])))
    if seen := metrics.get("seen_in_training"):
        text = (
            f"{seen:,} of {many(n, 'image')} {'was' if seen == 1 else 'were'} seen in training; the metrics "
        )
        text += "are optimistic. "
        if selected := metrics.get("seen_in_selection"):
            text += f"The network was not fitted to {selected:,} of them, which only selected the epoch, the "
            text += "calibration, and the thresholds. "
        if some_unseen:
            rest = metrics["without_seen"]
            accuracy = number_text("accuracy", rest["accuracy"]["value"])
            bounds = interval_text("accuracy", rest["accuracy"])
            text += f"Without them the accuracy is {accuracy}" + (f" ({bounds})" if bounds else "")
            text += f" on {many(rest['n'], 'image')} of {many(rest['groups'], 'group')}."
        else:
            text += "There are no other images to evaluate on."
        statements.append(Statement(text, BAD))
    if known := metrics.get("known_patients"):
        text = f"{known:,} of {many(n, 'image')} {'shows a patient' if known == 1 else 'show patients'} "
        statements.append(
            Statement(text + "that the classifier was trained on; the metrics are optimistic.", BAD)
        )
    if copies := metrics.get("duplicates_in_train"):
        text = f"{copies:,} of {many(n, 'image')} {'has' if copies == 1 else 'have'} a near-duplicate in the "
        statements.append(Statement(text + "training set; the metrics are optimistic.", BAD))
    if metrics.get("grouped_by") == "image":
        text = "Each image is its own group, because no groups were defined. If several images show the same "
        statements.append(Statement(text + "patient or object, the intervals are too narrow.", WARN))
    if metrics["groups"] < FEW_GROUPS:
        text = f"There {'is' if metrics['groups'] == 1 else 'are'} only {many(metrics['groups'], 'group')}: "
        statements.append(Statement(text + "intervals are wide and may be too narrow.", WARN))
    return statements


def _seen_view(result: Evaluation, max_pixels: int, thumbnails: bool) -> dict[str, Any]:
    """Each seen image beside its counterpart, the least certain first, as these need review."""
    order = sorted(result.seen, key=lambda image: (image.confidence, image.row))[:MOST_SEEN]
    roots = [common_folder([getattr(image, name) for image in order]) for name in ("path", "counterpart")]
    cards = []
    for image in order:
        label, predicted = _labels(result.predictions, image)
        cards.append(
            {
                "kind": image.kind,
                "evidence": image.evidence,
                "percent": int(100 * image.confidence + 1e-9),  # rounded down: only certainty is 100 %
                "label": label,
                "predicted": predicted,
                "use": image.use,
                "images": [
                    _image(path, root, max_pixels, thumbnails)
                    for path, root in zip((image.path, image.counterpart), roots, strict=True)
                ],
            }
        )
    return {
        "count": len(result.seen),
        "cards": cards,
        "left": len(result.seen) - len(cards),
        "pictures": thumbnails,
    }


def _image(path: str, root: str, max_pixels: int, thumbnails: bool) -> dict[str, Any]:
    source = thumbnail(path, max_pixels) if thumbnails else ""
    small = source.startswith("data:image/png")
    return {"path": path, "name": path.removeprefix(root), "source": source, "small": small}


def _labels(predictions: Predictions, image: SeenImage) -> Sequence[str]:
    """The label of an image and the class that is predicted for it."""
    row = image.row
    return predictions.classes[predictions.targets[row]], predictions.classes[predictions.predicted[row]]
