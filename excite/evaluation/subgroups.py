"""Metrics of subgroups: images with the same value of a column of the manifest, such as site or skin tone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.intervals import LEVEL, RESAMPLES
from excite.evaluation.measure import measure
from excite.evaluation.metrics import OVERALL
from excite.evaluation.predictions import Predictions

SHOWN = ("accuracy", "balanced_accuracy", "auroc", "log_loss")
SMALL = 20  # groups: the interval of 16 correct out of 20 is 58 to 92 %
MOST = 50  # values: columns with more are names or dates
UNKNOWN = "(unknown)"


def subgroups(
    predictions: Predictions,
    values: Sequence[object],
    *,
    name: str = "subgroup",
    metrics: Sequence[str] = SHOWN,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Metrics of the images with each value of a column.

    Args:
        predictions: N images.
        values: (N,) the column, in the order of the predictions; "" and missing values become "(unknown)".
        name: name of the column.
        metrics: names in ``metrics.OVERALL``.
        level, resamples, seed: as for ``measure``.

    Returns:
        ``column`` and ``rows``, the largest first: ``value``, ``n``, ``groups``, ``small`` (fewer than 20
            groups),
        ``present`` (number of classes that occur), and each metric as in ``measure``.

    Raises:
        ExciteError: if the numbers of values and images differ, for more than 50 different values, and for an
            unknown metric.
    """
    for metric in metrics:
        if metric not in OVERALL:
            raise unknown_name("metric", metric, OVERALL)
    if len(values) != len(predictions):
        what = f"{len(values)} values for {len(predictions)} images"
        raise ExciteError(what, where=name, exit_code=BAD_USAGE)
    rows = []
    for value, mask in subgroup_rows(values, name):
        part = predictions.take(mask)
        measured = measure(part, level=level, resamples=resamples, seed=seed)
        rows.append(
            {
                "value": value,
                "n": measured["n"],
                "groups": measured["groups"],
                "small": measured["groups"] < SMALL,
                "present": len(np.unique(part.targets)),
                **{metric: measured[metric] for metric in metrics},
            }
        )
    return {"column": name, "rows": rows}


def subgroup_rows(values: Sequence[object], name: str) -> list[tuple[str, np.ndarray]]:
    """Each value of a column with the mask (N,) of its rows, the largest first.

    Raises:
        ExciteError: for more than 50 different values.
    """
    column = pd.Series(list(values), dtype="object")
    names = column.where(column.notna(), "").astype(str).str.strip().replace("", UNKNOWN)
    sizes = names.value_counts(sort=False)
    if len(sizes) > MOST:
        what = f"{len(sizes)} different values are too many for subgroups; the limit is {MOST}"
        raise ExciteError(what, where=name, hint="choose a column with fewer values", exit_code=BAD_USAGE)
    ordered = sorted(sizes.items(), key=lambda item: (-item[1], str(item[0])))
    return [(str(value), np.asarray(names == value)) for value, _ in ordered]
