"""A cross-validation's doubts about the labels, written down for a person's eye."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from excite.evaluation.label_noise import LabelNoise, find_label_noise
from excite.evaluation.predictions import Predictions
from excite.runs.run import Run

FILE = "label_candidates.csv"
COLUMNS = ("rank", "path", "label", "suggested", "p_label", "p_suggested", "margin", "images", "group")


def write_candidates(run: Run, out_of_fold: Predictions, images: pd.DataFrame) -> dict[str, Any]:
    """Write ``label_candidates.csv``, one row a photo where the data know photos, else one a group.

    Args:
        images: the manifest's table by path; its column ``photo``, where there is one, names each photo.

    Returns:
        for ``metrics.json``: ``unit`` (photos, groups or images), ``units``, ``candidates``, ``estimated``
        wrong labels, ``thresholds`` by class, and the estimated ``joint`` of labels (rows) and truth.
    """
    photos = None
    if "photo" in images:
        own = images.loc[list(out_of_fold.paths or ()), ["group", "photo"]].fillna("").astype(str)
        # A photo's name may be used again in another group.
        photos = [f"{group}\0{photo}" if photo else group for group, photo in own.itertuples(index=False)]
    found = find_label_noise(out_of_fold, photos)
    run.write_table(FILE, _rows(found, out_of_fold), COLUMNS)
    unit = "images" if found.units == len(out_of_fold) else "groups" if photos is None else "photos"
    thresholds = zip(out_of_fold.classes, found.thresholds.tolist(), strict=True)
    return {
        "unit": unit,
        "units": found.units,
        "candidates": len(found.candidates),
        "estimated": found.estimated,
        "thresholds": {name: value if np.isfinite(value) else None for name, value in thresholds},
        "joint": found.joint.tolist(),
    }


def _rows(found: LabelNoise, predictions: Predictions) -> list[dict[str, Any]]:
    """Each candidate with the one of its images that looks least like its label."""
    assert predictions.paths is not None
    assert predictions.groups is not None
    return [
        {
            "rank": rank,
            "path": predictions.paths[one.rows[0]],
            "label": one.label,
            "suggested": one.suggested,
            "p_label": one.probability,
            "p_suggested": one.suggested_probability,
            "margin": one.margin,
            "images": len(one.rows),
            "group": predictions.groups[one.rows[0]],
        }
        for rank, one in enumerate(found.candidates, start=1)
    ]
