"""A run's classifier on images that it was not trained with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from excite.data.cache import cache_directory
from excite.data.checking import check_files, refuse_bad
from excite.data.loading import PixelSource
from excite.data.manifest import Manifest
from excite.data.pixels import cached_pixels
from excite.data.reading import read_manifest
from excite.data.split import apply_group_pattern
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.metrics import classification_metrics
from excite.runs.audited import siblings_in_train
from excite.runs.run import Run
from excite.training.progress import Display


@dataclass(frozen=True)
class Evaluation:
    """Figures of a set of images and the predictions behind them.

    Args:
        split: what the set is called: test, val, train, or all.
        figures: as in ``metrics.json``.
        predictions: one row an image.
    """

    split: str
    figures: dict[str, Any]
    predictions: list[dict[str, object]]


def evaluate_run(
    run: Run,
    data: str | None = None,
    *,
    split: str | None = None,
    device: str = "cpu",
    max_bad: float = 0.01,
    display: Display | None = None,
) -> Evaluation:
    """Measure a run's classifier.

    Args:
        data: a folder or CSV as for training; None: the run's own images.
        split: which part of it; None: ``test`` where the data has one, else all.
        max_bad: largest share of unreadable files to go on with.

    Raises:
        ExciteError: if a class of the data is none of the run's, or the run's test images have changed.
    """
    display = display or Display()
    classifier = run.classifier(device)
    before = run.manifest if data is None else read_manifest(data, complete=False)
    manifest = _aligned(before, classifier.classes, data)
    chosen = split or ("test" if "test" in manifest.splits else "all")
    if chosen != "all":
        if chosen not in manifest.splits:
            known = (*manifest.splits, "all")
            raise unknown_name("split", chosen, known, where=data or run.path)
        manifest = manifest.part(chosen)
    config = run.config
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
    if data is None and (bad or not checked.table["sha256"].equals(manifest.table["sha256"])):
        raise ExciteError("its images are not what they were when it was trained", where=run.path)
    if config.group_pattern and not checked.table["group"].any():
        checked = apply_group_pattern(checked, config.group_pattern)
    pixels = cached_pixels(
        checked, classifier.preprocessing, cache_directory(), progress=display.stage("decoding images")
    )
    probabilities = classifier.probabilities(PixelSource(pixels))
    figures = classification_metrics(
        probabilities, checked.targets(), classifier.classes, checked.group_count()
    )
    figures["siblings_in_train"] = 0 if data else siblings_in_train(before, chosen)
    return Evaluation(chosen, figures, prediction_rows(checked, probabilities))


def prediction_rows(part: Manifest, probabilities: np.ndarray) -> list[dict[str, object]]:
    """One row an image: path, label, predicted, and ``p:CLASS`` for each class."""
    columns = [f"p:{name}" for name in part.classes]
    rows = zip(
        part.table["path"],
        part.table["label"],
        probabilities.argmax(axis=1),
        probabilities.tolist(),
        strict=True,
    )
    return [
        {
            "path": path,
            "label": label,
            "predicted": part.classes[guess],
            **dict(zip(columns, row, strict=True)),
        }
        for path, label, guess, row in rows
    ]


def _aligned(manifest: Manifest, classes: tuple[str, ...], data: str | Path | None) -> Manifest:
    """The manifest with the run's classes in the run's order."""
    strangers = sorted(set(manifest.classes) - set(classes))
    if strangers:
        raise ExciteError(
            f"class {strangers[0]!r} is none of the run's: {', '.join(classes[:12])}",
            where=data,
            hint="rename its folder, or leave it out",
            exit_code=BAD_USAGE,
        )
    return Manifest(manifest.table, classes, manifest.ignored)
