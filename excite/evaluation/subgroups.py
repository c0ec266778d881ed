"""The same figures for each site, skin tone or camera: any column of the manifest."""

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
SMALL = 20  # groups: 16 right of 20 may be anything from 58 to 92 %, so nothing follows from such a row
MOST = 50  # values: more is a table of names or dates
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
    """Figures of the images of each value of a column.

    Args:
        values: (N,) the column, in the order of the predictions; "" and missing ones make "(unknown)".
        name: what the column is called.
        metrics: of ``metrics.OVERALL``.

    Returns:
        ``column``, and ``rows``, from the largest: ``value``, ``n``, ``groups``, ``small`` (fewer than 20
        groups), ``present`` (classes that occur), and each metric as in ``measure``.

    Raises:
        ExciteError: another number of values than images, more than 50 different ones, an unknown metric.
    """
    for metric in metrics:
        if metric not in OVERALL:
            raise unknown_name("metric", metric, OVERALL)
    if len(values) != len(predictions):
        what = f"{len(values)} values for {len(predictions)} images"
        raise ExciteError(what, where=name, exit_code=BAD_USAGE)
    column = pd.Series(list(values), dtype="object")
    names = column.where(column.notna(), "").astype(str).str.strip().replace("", UNKNOWN)
    sizes = names.value_counts(sort=False)
    if len(sizes) > MOST:
        what = f"{len(sizes)} different values make no subgroups; at most {MOST} do"
        raise ExciteError(what, where=name, hint="is it a name or a number?", exit_code=BAD_USAGE)
    rows = []
    for value, _ in sorted(sizes.items(), key=lambda item: (-item[1], str(item[0]))):
        part = predictions.take(np.asarray(names == value))
        figures = measure(part, level=level, resamples=resamples, seed=seed)
        rows.append(
            {
                "value": str(value),
                "n": figures["n"],
                "groups": figures["groups"],
                "small": figures["groups"] < SMALL,
                "present": len(np.unique(part.targets)),
                **{metric: figures[metric] for metric in metrics},
            }
        )
    return {"column": name, "rows": rows}
