"""Metrics of several runs, and paired differences on the test images that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.comparison import compare, mcnemar
from excite.evaluation.delong import delong
from excite.evaluation.matching import shared_images
from excite.evaluation.measure import measure
from excite.evaluation.metrics import OVERALL
from excite.evaluation.predictions import Predictions, read_predictions
from excite.runs.run import Run
from excite.system.text import command_line

METRICS = ("accuracy", "balanced_accuracy", "auroc", "log_loss", "brier")


def compare_runs(sources: Sequence[str | Path], metrics: Sequence[str] = METRICS) -> dict[str, Any]:
    """Metrics of each run on its own test images, and the difference of each from the first on shared images.

    Images are matched by path or, if no path is shared, by content. The copies of one photo count once: its
    prediction is the mean over them.

    Args:
        sources: run folders, or tables of predictions; of a cross-validation, its first repeat.
        metrics: names in ``metrics.OVERALL``.

    Returns:
        ``runs``: for each ``run``, ``repeats``, ``n``, ``groups``, and each metric as in ``measure``;
        ``differences``: for each further run ``first``, ``second``, and either the ``reason`` why there is no
        difference, or ``n``, ``groups``, ``metrics`` (name -> ``Difference``), ``mcnemar``, and for two
        classes ``delong``.

    Raises:
        ExciteError: for fewer than two sources, one that is not a run, and an unknown metric.
    """
    for metric in metrics:
        if metric not in OVERALL:
            raise unknown_name("metric", metric, OVERALL, where="--metrics")
    if len(sources) < 2:
        raise ExciteError("a comparison needs at least two runs", exit_code=BAD_USAGE)
    sets = [_predictions(source) for source in sources]
    rows = []
    for source, one in zip(sources, sets, strict=True):
        values = measure(one.by_photo())
        columns = {name: values[name] for name in ("n", "groups", *metrics)}
        rows.append({"run": str(source), "repeats": _repeats(source), **columns})
    differences = []
    for source, one in zip(sources[1:], sets[1:], strict=True):
        names = {"first": str(sources[0]), "second": str(source)}
        differences.append(names | _difference(sources[0], sets[0], source, one, metrics))
    return {"runs": rows, "differences": differences}


def _difference(
    source: str | Path, first: Predictions, other: str | Path, second: Predictions, metrics: Sequence[str]
) -> dict[str, Any]:
    assert first.paths is not None
    if not set(first.paths) & set(second.paths or ()):
        first, second = _by_content(source, first), _by_content(other, second)
    try:
        one, two = shared_images(first, second)
    except ExciteError as error:
        return {"reason": error.what}
    one, two = one.by_photo(), two.by_photo()
    found: dict[str, Any] = {"n": len(one), "groups": one.group_count}
    found["metrics"] = {name: asdict(value) for name, value in compare(one, two, metrics).items()}
    found["mcnemar"] = asdict(mcnemar(one, two))
    if len(one.classes) == 2:
        try:
            found["delong"] = asdict(delong(one, two))
        except ExciteError as error:
            found["delong"] = {"reason": error.what}
    return found


def _predictions(source: str | Path) -> Predictions:
    if Path(source).suffix.lower() == ".csv":
        return read_predictions(source)
    run = Run.open(source)
    if not run.finished:
        resume = command_line("excite", "train", "--resume", "--out", Path(source))
        hint = f"continue it with {resume}"
        raise ExciteError("the training has not finished", where=source, hint=hint)
    return run.predicted()


def _repeats(source: str | Path) -> int:
    """How often a cross-validation was repeated; 1 for everything else."""
    return 1 if Path(source).suffix.lower() == ".csv" else Run.open(source).config.repeats


def _by_content(source: str | Path, predictions: Predictions) -> Predictions:
    """The predictions with file hashes in place of paths, where the run knows them."""
    if Path(source).suffix.lower() == ".csv":
        return predictions
    table = Run.open(source).manifest.table
    hashes = dict(zip(table["path"], table["sha256"], strict=True))
    paths = [hashes.get(path, path) for path in predictions.paths or ()]
    if len(set(paths)) < len(paths):  # identical files cannot be matched one to one
        return predictions
    return replace(predictions, paths=tuple(paths))
