"""Metrics of several runs with several labels per image, and paired differences on shared images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from excite.config.task import MULTILABEL
from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.comparison import compare
from excite.evaluation.label_measure import measure_labels
from excite.evaluation.label_predictions import (
    LabelPredictions,
    read_label_predictions,
    task_of_table,
)
from excite.runs.compare import by_content, differing_options, is_table, open_finished
from excite.runs.comparison import Comparison

OF_LABEL = ("auroc", "average_precision", "sensitivity", "specificity")
OF_VALUES = ("log_loss", "brier")
AVERAGES = ("auroc", "average_precision", "f1", "log_loss")


def has_labels(source: str | Path) -> bool:
    """Whether a run, or a table of predictions, is of several labels per image."""
    task = task_of_table(source) if is_table(source) else open_finished(source).task
    return task == MULTILABEL


def compare_label_runs(sources: Sequence[str | Path]) -> Comparison:
    """Metrics of each run on its own test images, and the difference of each from the first on shared images.

    Each label is compared where both know its value, by swapping the predictions of both within groups, as
    ``evaluation.comparison.compare`` does; the log loss and the Brier score over every value of every label,
    likewise. Images are matched by path or, if no path is shared, by content.

    Args:
        sources: run folders, or tables of predictions.

    Returns:
        ``task`` (multilabel); ``runs``: for each ``run``, ``n``, ``groups``, and macro averages;
        ``differences``: for each further run ``first``, ``second``, ``differing_options``, and either the
        ``reason`` why there is no difference, or ``n`` shared values, ``groups``, ``metrics`` (name ->
        ``Difference`` over all values), and ``labels``: name -> metric -> ``Difference``.

    Raises:
        ExciteError: for fewer than two sources, one that is not a run, and one with one class per image.
    """
    if len(sources) < 2:
        raise ExciteError("a comparison needs at least two runs", exit_code=BAD_USAGE)
    for source in sources:
        if not has_labels(source):
            what = "has one class per image, and another of these runs several labels"
            raise ExciteError(what, where=source, exit_code=BAD_USAGE)
    sets = [_predictions(source) for source in sources]
    rows = []
    for source, one in zip(sources, sets, strict=True):
        measured = measure_labels(one)
        averages = {name: measured["macro"][name] for name in AVERAGES}
        rows.append({"run": str(source), "n": measured["n"], "groups": measured["groups"], **averages})
    differences = []
    for source, one in zip(sources[1:], sets[1:], strict=True):
        names: dict[str, Any] = {"first": str(sources[0]), "second": str(source)}
        names["differing_options"] = differing_options(sources[0], source)
        differences.append(names | _difference(sources[0], sets[0], source, one))
    return Comparison(task=MULTILABEL, runs=rows, differences=differences)


def _predictions(source: str | Path) -> LabelPredictions:
    return read_label_predictions(source) if is_table(source) else open_finished(source).predicted_labels()


def _difference(
    source: str | Path, first: LabelPredictions, other: str | Path, second: LabelPredictions
) -> dict[str, Any]:
    if set(first.classes) != set(second.classes):
        odd = sorted(set(first.classes) ^ set(second.classes))[0]
        return {"reason": f"the labels differ: only one of the runs has {odd!r}"}
    if not set(first.paths or ()) & set(second.paths or ()):
        first = replace(first, paths=by_content(source, first.paths or ()))
        second = replace(second, paths=by_content(other, second.paths or ()))
    try:
        one, two = first.flattened(), second.flattened()
        whole = compare(one, two, OF_VALUES)
        labels = {}
        for index, name in enumerate(first.classes):
            pair = first.of_label(index), second.of_label(second.class_index(name))
            found = compare(*pair, OF_LABEL, label=name)
            labels[name] = {metric: asdict(each) for metric, each in found.items()}
    except ExciteError as error:
        return {"reason": error.what}
    counts = whole[OF_VALUES[0]]
    return {
        "n": counts.n,
        "groups": counts.groups,
        "metrics": {name: asdict(each) for name, each in whole.items()},
        "labels": labels,
    }
