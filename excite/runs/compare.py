"""Metrics of several runs, and paired differences on the test images that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from excite.config.train_config import DATA, EVALUATION, RUN, TrainConfig
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.comparison import compare, mcnemar
from excite.evaluation.delong import delong
from excite.evaluation.matching import shared_images
from excite.evaluation.measure import measure, metric_names
from excite.evaluation.metrics import ORDINAL
from excite.evaluation.ordinal import parse_order
from excite.evaluation.predictions import Predictions, read_predictions
from excite.runs.comparison import Comparison
from excite.runs.run import Run
from excite.system.text import command_line

SAME_CONFIGURATION = frozenset({"seed", "out", "jobs", "thumbnails", "device"})
METRICS = ("accuracy", "balanced_accuracy", "auroc", "log_loss", "brier")


def compare_runs(
    sources: Sequence[str | Path],
    metrics: Sequence[str] | None = None,
    *,
    ordinal: Sequence[str] = (),
) -> Comparison:
    """Metrics of each run on its own test images, and the difference of each from the first on shared images.

    Images are matched by path or, if no path is shared, by content. The copies of one photo count once: its
    prediction is the mean over them.

    Args:
        sources: run folders, or tables of predictions; of a cross-validation, its first repeat.
        metrics: names in ``metrics.OVERALL``, and with an order of the classes in ``metrics.ORDINAL``; None:
            ``METRICS``, and with an order all of ``ORDINAL``.
        ordinal: the classes from the lowest to the highest; (): as in the training of the runs, if all agree.

    Returns:
        ``runs``: for each ``run``, ``repeats``, ``n``, ``groups``, and each metric as in ``measure``;
        ``differences``: for each further run ``first``, ``second``, ``differing_options`` (name -> both
        values; None for tables), ``study`` (the command that compares the configurations; None if they differ
        in what a study shares), and either the ``reason`` why there is no difference, or ``n``, ``groups``,
        ``identical`` (whether every probability is equal), ``metrics`` (name -> ``Difference``),
        ``mcnemar``, and for two classes ``delong``. They are about these networks: another seed makes another
        difference.

    Raises:
        ExciteError: for fewer than two sources, one that is not a run, and an unknown metric.
    """
    if len(sources) < 2:
        raise ExciteError("a comparison needs at least two runs", exit_code=BAD_USAGE)
    sets = with_common_order(sources, [test_predictions(source) for source in sources], ordinal)
    metrics = chosen_metrics(metrics, sets[0])
    rows = []
    for source, one in zip(sources, sets, strict=True):
        values = measure(one.by_photo())
        columns = {name: values[name] for name in ("n", "groups", *metrics)}
        rows.append({"run": str(source), "repeats": _repeats(source), **columns})
    differences = []
    for source, one in zip(sources[1:], sets[1:], strict=True):
        names: dict[str, Any] = {"first": str(sources[0]), "second": str(source)}
        names["differing_options"] = differing_options(sources[0], source)
        names["study"] = _study_command(sources[0], source, names["differing_options"])
        differences.append(names | _difference(sources[0], sets[0], source, one, metrics))
    return Comparison(runs=rows, differences=differences)


def with_common_order(
    sources: Sequence[str | Path], sets: Sequence[Predictions], ordinal: Sequence[str]
) -> list[Predictions]:
    """The predictions with the order of their classes: the given one, or that of the runs if all agree."""
    if not ordinal:
        orders = {
            () if is_table(source) else parse_order(Run.open(source).config.ordinal) for source in sources
        }
        same_classes = len({frozenset(each.classes) for each in sets}) == 1
        ordinal = orders.pop() if len(orders) == 1 and same_classes else ()
    return [each.with_order(ordinal) for each in sets]


def chosen_metrics(metrics: Sequence[str] | None, predictions: Predictions) -> Sequence[str]:
    """The metrics to compare. Raises: ExciteError for one that these predictions do not have."""
    if metrics is None:
        return METRICS if predictions.order is None else METRICS + ORDINAL
    known = metric_names(predictions)
    for metric in metrics:
        if metric in ORDINAL and metric not in known:
            what = f"{metric} needs the order of the classes"
            raise ExciteError(what, where="--metrics", hint="name it with --ordinal", exit_code=BAD_USAGE)
        if metric not in known:
            raise unknown_name("metric", metric, known, where="--metrics")
    return metrics


def _difference(
    source: str | Path, first: Predictions, other: str | Path, second: Predictions, metrics: Sequence[str]
) -> dict[str, Any]:
    try:
        one, two = shared_images(*matched_paths(source, first, other, second))
    except ExciteError as error:
        return {"reason": error.what}
    one, two = one.by_photo(), two.by_photo()
    found: dict[str, Any] = {"n": len(one), "groups": one.group_count}
    found["identical"] = bool(np.array_equal(one.probabilities, two.probabilities))
    found["metrics"] = {name: asdict(value) for name, value in compare(one, two, metrics).items()}
    found["mcnemar"] = asdict(mcnemar(one, two))
    if len(one.classes) == 2:
        try:
            found["delong"] = asdict(delong(one, two))
        except ExciteError as error:
            found["delong"] = {"reason": error.what}
    return found


def differing_options(first: str | Path, second: str | Path) -> dict[str, list[Any]] | None:
    """The options, except the seed, in which two runs differ, with both values; None for tables."""
    if is_table(first) or is_table(second):
        return None
    one, two = (Run.open(source).config.to_dict() for source in (first, second))
    return {
        name: [one[name], two[name]]
        for name in one
        if name not in SAME_CONFIGURATION and one[name] != two[name]
    }


def _study_command(
    first: str | Path, second: str | Path, differing: Mapping[str, Sequence[Any]] | None
) -> str | None:
    """The command that compares the configurations of two runs over seeds; None if a study cannot."""
    panels = {each.name: each.metadata["panel"] for each in fields(TrainConfig)}
    if not differing or {panels[name] for name in differing} & {DATA, EVALUATION, RUN}:
        return None
    arms: list[str] = []
    for number, source in enumerate((first, second)):
        config = Run.open(source).config
        network = config.model + ("" if config.attention in ("none", "auto") else f"+{config.attention}")
        settings: dict[str, Any] = {}
        for name in differing.keys() - {"model", "attention"}:
            value = differing[name][number]
            settings |= (
                {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {}
            )
            settings |= {} if value in (None, "auto") or isinstance(value, dict) else {name: value}
        text = "".join(f",{name}={settings[name]}" for name in sorted(settings))
        arms += ["--arm", f"{('first', 'second')[number]}:{network}{text}"]
    data = Run.open(first).config.data
    return command_line("excite", "study", "run", data, *arms, "--seeds", 5)


def is_table(source: str | Path) -> bool:
    """Whether a source is a table of predictions, not a run folder."""
    return Path(source).suffix.lower() == ".csv"


def matched_paths(
    source: str | Path, first: Predictions, other: str | Path, second: Predictions
) -> tuple[Predictions, Predictions]:
    """Both predictions, with file hashes in place of paths if no path is shared."""
    if set(first.paths or ()) & set(second.paths or ()):
        return first, second
    return (
        replace(first, paths=by_content(source, first.paths or ())),
        replace(second, paths=by_content(other, second.paths or ())),
    )


def test_predictions(source: str | Path) -> Predictions:
    """The predictions of a table, or of a finished run for its test images."""
    return read_predictions(source) if is_table(source) else open_finished(source).predicted()


def open_finished(source: str | Path) -> Run:
    """A finished run. Raises: ExciteError for another folder, and a run that has not finished."""
    run = Run.open(source)
    if not run.finished:
        resume = command_line("excite", "train", "--resume", "--out", Path(source))
        hint = f"continue it with {resume}"
        raise ExciteError("the training has not finished", where=source, hint=hint)
    return run


def _repeats(source: str | Path) -> int:
    """How often a cross-validation was repeated; 1 for everything else."""
    return 1 if is_table(source) else Run.open(source).config.repeats


def by_content(source: str | Path, paths: Sequence[str]) -> tuple[str, ...] | None:
    """File hashes in place of paths, where the run knows them; None without paths."""
    if is_table(source) or not paths:
        return tuple(paths) or None
    table = Run.open(source).manifest.table
    hashes = dict(zip(table["path"], table["sha256"], strict=True))
    found = tuple(hashes.get(path, path) for path in paths)
    return tuple(paths) if len(set(found)) < len(found) else found  # identical files cannot be matched
