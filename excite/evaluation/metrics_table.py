"""``metrics.json`` as a table: a row for each metric of each set of images, class, and subgroup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

COLUMNS = ("split", "class", "subgroup", "metric", "value", "low", "high", "n", "groups", "reason")


def metrics_table(splits: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The metrics with their intervals.

    Args:
        splits: name of a set of images -> its metrics, as ``measure`` returns them.

    Returns:
        a row for each metric: ``split``; ``class``, "" for a metric over all classes; ``subgroup``, such as
        ``site=B``, "" for all images; ``metric``; ``value``, ``low``, and ``high``, missing if undefined;
        ``n`` images and ``groups`` behind it; and the ``reason`` why something is undefined, or "".

    >>> metrics = {"n": 9, "groups": 3, "accuracy": {"value": 0.5, "low": 0.25, "high": 0.75}, "classes": {}}
    >>> metrics_table({"test": metrics})[["split", "metric", "value", "n"]].to_dict("records")
    [{'split': 'test', 'metric': 'accuracy', 'value': 0.5, 'n': 9}]
    """
    rows = [row for split, metrics in splits.items() for row in _rows(split, metrics)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(split: str, metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from _of(metrics, split=split)
    for label, values in metrics.get("classes", {}).items():
        yield from _of(values, split=split, label=label)
    for part in metrics.get("subgroups") or ():
        for values in part["rows"]:
            yield from _of(values, split=split, subgroup=f"{part['column']}={values['value']}")


def _of(
    metrics: Mapping[str, Any], *, split: str, label: str = "", subgroup: str = ""
) -> Iterator[dict[str, Any]]:
    for name, metric in metrics.items():
        if isinstance(metric, Mapping) and "value" in metric:
            yield {
                "split": split,
                "class": label,
                "subgroup": subgroup,
                "metric": name,
                "value": metric["value"],
                "low": metric.get("low"),
                "high": metric.get("high"),
                "n": metrics["n"],
                "groups": metrics["groups"],
                "reason": metric.get("reason", ""),
            }
