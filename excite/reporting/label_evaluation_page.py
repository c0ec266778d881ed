"""evaluation.html of a classifier of several labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from excite.evaluation.label_measure import label_reliability
from excite.evaluation.label_predictions import LabelPredictions
from excite.reporting.html import template
from excite.reporting.label_facts import confident_errors, label_headline
from excite.reporting.label_report import (
    calibration_rows,
    label_subgroups,
    label_table,
    label_tiles,
    overall_labels,
)
from excite.reporting.run_charts import reliability_chart
from excite.reporting.seen_view import remarks
from excite.runs.evaluate import Evaluation

MISTAKES = 50


def label_evaluation_page(
    result: Evaluation, predictions: LabelPredictions, seen: Mapping[str, Any], *, title: str, source: str
) -> str:
    """The page as HTML; see ``evaluation_page``.

    Args:
        predictions: of the result.
        seen: as ``seen_view`` gives it.
    """
    metrics, unseen = result.metrics, result.unseen if result.seen else None
    parts = [_part(metrics, predictions, "", "all")]
    if isinstance(unseen, LabelPredictions):
        suffix = f", without the {len(result.seen):,} seen in training"
        parts.append(_part(metrics["without_seen"], unseen, suffix, "unseen"))
    return template("label_evaluation.html").render(
        title=title or "a classifier",
        source=source,
        n=metrics["n"],
        verdict=label_headline(metrics),
        remarks=remarks(metrics, unseen is not None),
        tiles=label_tiles(metrics),
        seen=seen,
        interval=metrics.get("interval", {}),
        overall=overall_labels(metrics, metrics["without_seen"] if unseen is not None else None),
        all_images="all images" if unseen is not None else "value",
        unseen_images="not seen in training",
        parts=parts,
        mistakes=confident_errors(predictions, MISTAKES),
        subgroups=[label_subgroups(found) for found in metrics.get("subgroups") or ()],
    )


def _part(
    metrics: Mapping[str, Any], predictions: LabelPredictions, suffix: str, name: str
) -> dict[str, Any]:
    """The sections shown for all images and again for those not seen in training."""
    bins = label_reliability(predictions)
    return {
        "suffix": suffix,
        "classes": label_table(metrics),
        "calibrated": calibration_rows(metrics),
        "reliability": reliability_chart(f"reliability-{name}", f"Reliability{suffix}", bins),
    }
