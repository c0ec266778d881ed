"""The confusion matrix, and the most confident errors of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from excite.config.pixel_limit import MAX_PIXELS
from excite.data.intensity import IntensityRange
from excite.evaluation.predictions import Predictions
from excite.reporting.chart_with_data import csv_address
from excite.reporting.html import common_folder, thumbnail
from excite.reporting.svg import framed

WORST = 24
MOST_CLASSES = 15
"""Up to this number of classes the matrix is a table of numbers; above it, a picture."""
MOST_PAIRS = 30
DEEPEST = 36  # percent of color in a full cell: text on it stays readable in light and dark mode
SIDE = 380  # units of the picture


def confusion_view(metrics: Mapping[str, Any], name: str = "confusion") -> dict[str, Any]:
    """The confusion matrix as a table or a picture, the most frequent confusions, and all counts as CSV.

    Args:
        metrics: with ``confusion``, (C, C) counts whose rows are the labels, and ``classes``.
        name: unique on the page; the download is called ``name.csv``.
    """
    counts = np.array(metrics["confusion"])
    classes = list(metrics["classes"])
    totals = counts.sum(axis=1)
    fractions = counts / np.maximum(totals, 1)[:, None]
    small = len(classes) <= MOST_CLASSES
    wrong = counts * ~np.eye(len(classes), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [tuple(np.unravel_index(place, counts.shape)) for place in order]
    rows = [
        {
            "name": label,
            "n": int(totals[row]),
            "cells": [
                {
                    "count": int(counts[row, column]),
                    "fraction": f"{100 * fractions[row, column]:.0f} %" if counts[row, column] else "",
                    "deep": round(DEEPEST * float(fractions[row, column]), 1),
                    "right": row == column,
                }
                for column in range(len(classes))
            ],
        }
        for row, label in enumerate(classes)
    ]
    return {
        "name": name,
        "classes": classes,
        "rows": rows if small else [],
        "picture": None if small else _picture(fractions, name),
        "pairs": [
            (classes[row], classes[column], int(counts[row, column]), f"{100 * fractions[row, column]:.0f} %")
            for row, column in pairs
            if wrong[row, column]
        ],
        "pairs_left": max(int((wrong > 0).sum()) - MOST_PAIRS, 0),
        "address": csv_address(
            ["label", *classes], [[label, *row] for label, row in zip(classes, counts.tolist(), strict=True)]
        ),
    }


def worst_mistakes(
    predictions: Predictions,
    *,
    thumbnails: bool = False,
    max_pixels: int = MAX_PIXELS,
    intensity_range: IntensityRange | None = None,
) -> dict[str, Any]:
    """The errors with the highest probability of the predicted class, one per group.

    Copies of one image would fill the page.

    Args:
        thumbnails: embed thumbnails; consider the privacy of the people in them.
    """
    paths = predictions.paths or tuple(f"image {row + 1}" for row in range(len(predictions)))
    root = common_folder(paths) if predictions.paths else ""
    wrong = np.flatnonzero(~predictions.correct)
    confidences = predictions.probabilities[wrong, predictions.predicted[wrong]]
    order = wrong[np.argsort(-confidences, kind="stable")]
    groups, first = np.unique(predictions.group_codes[order], return_index=True)
    of_group = np.bincount(predictions.group_codes[wrong])
    rows = []
    for row in order[np.sort(first)[:WORST]]:
        label, predicted = int(predictions.targets[row]), int(predictions.predicted[row])
        source = thumbnail(paths[row], max_pixels, intensity_range) if thumbnails else ""
        rows.append(
            {
                "path": paths[row].removeprefix(root),
                "label": predictions.classes[label],
                "predicted": predictions.classes[predicted],
                "more": int(of_group[predictions.group_codes[row]]) - 1,
                "confidence": f"{100 * predictions.probabilities[row, predicted]:.1f} %",
                "label_probability": f"{100 * predictions.probabilities[row, label]:.1f} %",
                "source": source,
                "small": source.startswith("data:image/png"),
            }
        )
    return {"rows": rows, "wrong": len(wrong), "groups": len(groups), "root": root, "pictures": thumbnails}


def _picture(fractions: np.ndarray, name: str) -> Markup:
    """A square for each pair of classes that occurs; its opacity is the fraction of the row."""
    classes = len(fractions)
    margin = 22
    cell = (SIDE - margin - 2) / classes
    square = '<rect class="square" x="{:g}" y="{:g}" width="{:g}" height="{:g}" fill-opacity="{:g}"/>'
    parts = [
        Markup('<rect class="frame" x="{0}" y="{0}" width="{1}" height="{1}"/>').format(
            margin, SIDE - margin - 2
        )
    ]
    for row, column in zip(*np.nonzero(fractions), strict=True):
        # The scale starts at a tenth, so that the smallest fraction is visible.
        depth = round(0.1 + 0.9 * float(fractions[row, column]), 2)
        x, y = round(margin + column * cell, 1), round(margin + row * cell, 1)
        size = round(max(cell - 0.3, 0.6), 1)
        parts.append(Markup(square).format(x, y, size, size, depth))
    words = '<text class="middle axis" x="{:g}" y="14">predicted, classes 1 to {}</text>'
    parts.append(Markup(words).format(margin + (SIDE - margin) / 2, classes))
    words = (
        '<text class="middle axis" transform="translate(14 {:g}) rotate(-90)">label, classes 1 to {}</text>'
    )
    parts.append(Markup(words).format(margin + (SIDE - margin) / 2, classes))
    description = f"Confusion matrix of {classes} classes: rows are labels, columns predictions; "
    description += "darker cells hold a larger fraction of the row."
    return framed(name, "Confusion matrix", description, SIDE, SIDE, parts)
