"""A run's classifier on images that it was not trained with."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from excite.data.cache import cache_directory
from excite.data.checking import check_files, refuse_bad
from excite.data.intensity import beyond_range
from excite.data.loading import PixelSource
from excite.data.manifest import Manifest
from excite.data.pixels import cached_pixels
from excite.data.reading import read_manifest
from excite.data.split import apply_group_pattern
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.judge import Questions, judge
from excite.evaluation.predictions import Predictions, read_predictions
from excite.runs.audited import siblings_in_train
from excite.runs.predictions import column_names, predictions_of, questions_of
from excite.runs.run import Run
from excite.runs.seen import seen_in_training
from excite.training.progress import Display


@dataclass(frozen=True)
class Evaluation:
    """Figures of a set of images and the predictions behind them.

    Args:
        split: what the set is called: test, val, train, or all.
        figures: as in ``metrics.json``.
        predictions: what was said of each image.
    """

    split: str
    figures: dict[str, Any]
    predictions: Predictions


def evaluate_run(
    run: Run,
    data: str | None = None,
    *,
    split: str | None = None,
    questions: Questions | None = None,
    mapping: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    device: str = "cpu",
    max_bad: float = 0.01,
    display: Display | None = None,
) -> Evaluation:
    """Measure a run's classifier.

    Args:
        data: a folder or CSV as for training; None: the run's own images.
        split: which part of it; None: ``test`` where the data has one, else all.
        questions: what is asked beside the usual figures; None: what the training was asked.
        mapping: classes of the data that are another one of the run's, such as Chickenpox -> Others.
        columns: ``path_column``, ``label_column``, ``group_column``, ``split_column`` of a CSV.
        max_bad: largest share of unreadable files to go on with.

    Raises:
        ExciteError: if a class of the data is none of the run's, or the run's test images have changed; and
            for a cross-validation's own images, all of which most of its members have seen.
    """
    display = display or Display()
    config = run.config
    if data is None and config.folds is not None:
        what = "is a cross-validation: its own images are measured, each by a model that had not seen it"
        hint = "see report.html, or name other images: excite evaluate RUN DATA"
        raise ExciteError(what, where=run.path, hint=hint, exit_code=BAD_USAGE)
    classifier = run.classifier(device)
    questions = questions or questions_of(config)
    before = run.manifest if data is None else read_manifest(data, complete=False, **(columns or {}))
    manifest = _aligned(before, classifier.classes, mapping or {}, data or run.path)
    questions = _answerable(questions, manifest, column_names(config.by) if data else (), display)
    chosen = split or ("test" if "test" in manifest.splits else "all")
    if chosen != "all":
        if chosen not in manifest.splits:
            known = (*manifest.splits, "all")
            raise unknown_name("split", chosen, known, where=data or run.path)
        manifest = manifest.part(chosen)
    checked, bad = check_files(
        manifest,
        max_pixels=config.max_pixels,
        cache=cache_directory(),
        progress=display.stage("checking images"),
        complete=False,
    )
    for file in bad:
        display.note(f"left out: {file.path}: {file.reason}")
    refuse_bad(bad, len(manifest), max_bad)
    trained_range = classifier.preprocessing.intensity_range
    if data is not None and (text := beyond_range(checked.extremes, trained_range)):
        display.note(text)
    if data is None and (bad or not checked.table["sha256"].equals(manifest.table["sha256"])):
        raise ExciteError("its images are not what they were when it was trained", where=run.path)
    if config.group_pattern and not checked.table["group"].any():
        checked = apply_group_pattern(checked, config.group_pattern)
    pixels = cached_pixels(
        checked, classifier.preprocessing, cache_directory(), progress=display.stage("decoding images")
    )
    predictions = predictions_of(checked, classifier.probabilities(PixelSource(pixels)))
    figures = judge(
        predictions,
        questions,
        temperature=classifier.temperature,
        validation=run.predicted("val") if questions.need_validation else None,
        columns={name: checked.table[name].tolist() for name in questions.by},
    )
    if data is None:
        figures["siblings_in_train"] = siblings_in_train(before, chosen)
    else:
        figures["siblings_in_train"] = _warned(run, checked, display)
    return Evaluation(chosen, figures, predictions)


def _answerable(
    questions: Questions, manifest: Manifest, asked_in_training: Collection[str], display: Display
) -> Questions:
    """The questions without columns that only the training's data have; others must be there."""
    missing = [name for name in questions.by if name not in manifest.table]
    for name in missing:
        if name not in asked_in_training:
            raise unknown_name("column", name, list(manifest.table.columns), where="--by")
        display.note(f"there is no column {name!r} in this data: its values are not measured apart")
    return replace(questions, by=tuple(name for name in questions.by if name not in missing))


def evaluate_table(
    file: Path, questions: Questions, *, validation: Path | None = None, group_column: str = "group"
) -> Evaluation:
    """Measure anybody's predictions: a table with path, label and a column p:CLASS for each class.

    Args:
        validation: such a table of validation images, which thresholds are chosen with.

    Raises:
        ExciteError: as ``read_predictions`` and ``judge``, and for a column that the table does not have.
    """
    predictions = read_predictions(file, group=group_column)
    columns = {}
    if questions.by:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        for name in questions.by:
            if name not in table:
                raise unknown_name("column", name, list(table.columns), where="--by")
            columns[name] = table[name].tolist()
    held = None if validation is None else read_predictions(validation, group=group_column)
    if held is not None and held.classes != predictions.classes:
        raise ExciteError("has other classes than the table to be measured", where=validation)
    return Evaluation("table", judge(predictions, questions, validation=held, columns=columns), predictions)


def _warned(run: Run, images: Manifest, display: Display) -> int:
    """How many images the training has seen; a person is told of them."""
    seen = seen_in_training(run, images, display)
    if seen.any():
        first = images.table["path"].iloc[int(seen.argmax())]
        whom = "" if run.config.folds is None else " by most members of the ensemble"
        text = f"{seen.sum()} of {len(images)} images were trained on{whom}, as they are or as other copies"
        display.note(f"{text}: their figures flatter; the first is {first}")
    return int(seen.sum())


def _aligned(
    manifest: Manifest, classes: tuple[str, ...], mapping: Mapping[str, str], where: object
) -> Manifest:
    """The manifest with the run's classes in the run's order."""
    for theirs, ours in mapping.items():
        if theirs not in manifest.classes:
            raise unknown_name("class", theirs, manifest.classes, where=f"--map {theirs}={ours}")
        if ours not in classes:
            raise unknown_name("class", ours, classes, where=f"--map {theirs}={ours}")
    labels = [mapping.get(label, label) for label in manifest.table["label"]]
    if strangers := sorted(set(labels) - set(classes)):
        near = difflib.get_close_matches(strangers[0], classes, n=1) or classes[-1:]
        hint = f"say what it is with --map '{strangers[0]}={near[0]}', or leave it out"
        named = ", ".join(repr(name) for name in strangers[:12])
        what = f"class {named} is" if len(strangers) == 1 else f"classes {named} are"
        what += f" none of the run's: {', '.join(classes[:12])}"
        raise ExciteError(what, where=where, hint=hint, exit_code=BAD_USAGE)
    return Manifest(manifest.table.assign(label=labels), classes, manifest.ignored)
