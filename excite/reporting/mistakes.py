"""Which classes are taken for which, and the mistakes that the classifier was surest of."""

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
"""Classes of a matrix whose cells can hold their numbers; a larger one is a picture."""
MOST_PAIRS = 30
DEEPEST = 36  # percent of color in a full cell: dark text on it, and light text in the dark, stay readable
SIDE = 380  # units of the picture


def confusion_view(figures: Mapping[str, Any], name: str = "confusion") -> dict[str, Any]:
    """The confusion matrix as rows of cells or as a picture, the commonest confusions, and all as CSV.

    Args:
        figures: with ``confusion``, (C, C) counts whose rows are the truth, and ``classes``.
        name: unique on the page; the download is called ``name.csv``.
    """
    counts = np.array(figures["confusion"])
    classes = list(figures["classes"])
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
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
                    "share": f"{100 * shares[row, column]:.0f} %" if counts[row, column] else "",
                    "deep": round(DEEPEST * float(shares[row, column]), 1),
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
        "picture": None if small else _picture(shares, name),
        "pairs": [
            (classes[row], classes[column], int(counts[row, column]), f"{100 * shares[row, column]:.0f} %")
            for row, column in pairs
            if wrong[row, column]
        ],
        "pairs_left": max(int((wrong > 0).sum()) - MOST_PAIRS, 0),
        "address": csv_address(
            ["truth", *classes], [[label, *row] for label, row in zip(classes, counts.tolist(), strict=True)]
        ),
    }


def worst_mistakes(
    predictions: Predictions,
    *,
    thumbnails: bool = False,
    max_pixels: int = MAX_PIXELS,
    intensity_range: IntensityRange | None = None,
) -> dict[str, Any]:
    """The wrong answers of the highest probability, of each group the surest: its copies would fill the page.

    Args:
        thumbnails: embed small pictures of them: mind whose they are.
    """
    paths = predictions.paths or tuple(f"image {row + 1}" for row in range(len(predictions)))
    root = common_folder(paths) if predictions.paths else ""
    wrong = np.flatnonzero(~predictions.correct)
    order = wrong[np.argsort(-predictions.confidences[wrong], kind="stable")]
    groups, first = np.unique(predictions.group_codes[order], return_index=True)
    of_group = np.bincount(predictions.group_codes[wrong])
    rows = []
    for row in order[np.sort(first)[:WORST]]:
        truth, said = int(predictions.targets[row]), int(predictions.predicted[row])
        source = thumbnail(paths[row], max_pixels, intensity_range) if thumbnails else ""
        rows.append(
            {
                "path": paths[row].removeprefix(root),
                "truth": predictions.classes[truth],
                "said": predictions.classes[said],
                "more": int(of_group[predictions.group_codes[row]]) - 1,
                "sure": f"{100 * predictions.probabilities[row, said]:.1f} %",
                "true": f"{100 * predictions.probabilities[row, truth]:.1f} %",
                "source": source,
                "small": source.startswith("data:image/png"),
            }
        )
    return {"rows": rows, "wrong": len(wrong), "groups": len(groups), "root": root, "pictures": thumbnails}


def _picture(shares: np.ndarray, name: str) -> Markup:
    """A square for each pair of classes that occurs, the stronger the more of the class it is."""
    classes = len(shares)
    margin = 22
    cell = (SIDE - margin - 2) / classes
    square = '<rect class="square" x="{:g}" y="{:g}" width="{:g}" height="{:g}" fill-opacity="{:g}"/>'
    parts = [
        Markup('<rect class="frame" x="{0}" y="{0}" width="{1}" height="{1}"/>').format(
            margin, SIDE - margin - 2
        )
    ]
    for row, column in zip(*np.nonzero(shares), strict=True):
        # The least share is still to be seen: a tenth is where the scale begins.
        depth = round(0.1 + 0.9 * float(shares[row, column]), 2)
        x, y = round(margin + column * cell, 1), round(margin + row * cell, 1)
        size = round(max(cell - 0.3, 0.6), 1)
        parts.append(Markup(square).format(x, y, size, size, depth))
    words = '<text class="middle axis" x="{:g}" y="14">answer, classes 1 to {}</text>'
    parts.append(Markup(words).format(margin + (SIDE - margin) / 2, classes))
    words = (
        '<text class="middle axis" transform="translate(14 {:g}) rotate(-90)">truth, classes 1 to {}</text>'
    )
    parts.append(Markup(words).format(margin + (SIDE - margin) / 2, classes))
    told = f"Confusion matrix of {classes} classes: rows are the truth, columns the answers, "
    told += "the stronger the color the more of the class."
    return framed(name, "Confusion matrix", told, SIDE, SIDE, parts)
