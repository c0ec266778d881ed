"""The commands as Python functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from excite.audit.audit import Audit, audit
from excite.audit.reading import read_images
from excite.config.pixel_limit import MAX_PIXELS
from excite.config.train_config import TrainConfig
from excite.data.file_validation import check_files
from excite.pipeline.cross_validation import cross_validate
from excite.pipeline.experiment import run_experiment, run_folder
from excite.reporting.png_figures import draw_figures
from excite.reporting.report import write_report
from excite.runs.compare import METRICS, compare_runs
from excite.runs.compare_configurations import compare_configurations
from excite.runs.run import Run
from excite.system.cache import cache_directory
from excite.system.progress import ConsoleDisplay, Display
from excite.system.world import first_process


def train(data: str | Path, *, resume: bool = False, quiet: bool = False, **options: Any) -> Run:
    """Train on a folder of images and evaluate, as ``excite train`` does.

    Args:
        data: a folder of class folders, a folder with train/val/test, a CSV file, or ``"digits"``.
        resume: continue the interrupted run in ``out``; the weights become those of an uninterrupted run.
        quiet: show no progress.
        options: any option of ``TrainConfig``, by name.

    Raises:
        ExciteError: for unreadable data, and for unknown or invalid options.

    >>> run = train(photos, model="cifar_resnet20", image_size=32, epochs=1, device="cpu", quiet=True)
    >>> run.metrics["test"]["n"]
    12
    """
    config = TrainConfig().replace(data=str(data), **options)
    return train_as_configured(config, resume=resume, display=Display() if quiet else ConsoleDisplay())


def audit_dataset(
    data: str | Path,
    *,
    near_duplicates: bool | None = None,
    decisions: str | Path | None = None,
    group_pattern: str | None = None,
    max_pixels: int = MAX_PIXELS,
    **columns: str,
) -> Audit:
    """Find near-duplicates, leaks, label conflicts, and unreadable files, as ``excite audit`` does.

    Nothing is written.

    Args:
        data: as for ``train``, or a folder of unlabeled images.
        near_duplicates: find cropped, rotated, and recolored copies too; by default for up to 20,000 images.
        decisions: the reviewed ``decisions.csv`` of an earlier audit.
        group_pattern: regular expression on the file name; its first capture group is the group.
        max_pixels: images with more pixels are unreadable.
        columns: ``path_column``, ``label_column``, ``group_column``, ``split_column`` of a CSV.

    Raises:
        ExciteError: for data or decisions that cannot be read.

    >>> result = audit_dataset(photos, near_duplicates=False)
    >>> len(result), len(result.pairs)
    (60, 0)
    """
    cache = cache_directory()
    images, unreadable = check_files(
        read_images(data, group_pattern=group_pattern, **columns),
        max_pixels=max_pixels,
        cache=cache,
        complete=False,
    )
    return audit(
        images,
        unreadable=unreadable,
        near_duplicates=near_duplicates,
        max_pixels=max_pixels,
        cache=cache,
        decisions=[] if decisions is None else [Path(decisions)],
    )


def compare(
    first: Sequence[str | Path],
    second: Sequence[str | Path] | None = None,
    *,
    metrics: Sequence[str] = METRICS,
) -> dict[str, Any]:
    """Compare runs on the test images that they share, as ``excite compare`` does.

    Args:
        first: run folders, or tables of predictions. Without ``second``, each is compared with the first, and
            the differences are about these networks.
        second: runs of a second configuration; ``first`` are then the runs of the first one, with other
            seeds. The difference is about the configurations.
        metrics: names of overall metrics.

    Returns:
        as ``runs.compare.compare_runs``, or with ``second`` as
        ``runs.compare_configurations.compare_configurations``.

    Raises:
        ExciteError: for runs that cannot be compared, and for an unknown metric.

    >>> run = train(photos, model="cifar_resnet20", image_size=32, epochs=1, device="cpu", quiet=True)
    >>> found = compare([run.path, run.path], metrics=["accuracy"])
    >>> found["differences"][0]["metrics"]["accuracy"]["value"]
    0.0
    """
    return compare_runs(first, metrics) if second is None else compare_configurations(first, second, metrics)


def train_as_configured(config: TrainConfig, *, resume: bool, display: Display) -> Run:
    """Train with the options of a configuration; with ``folds``, cross-validate.

    The random state of the caller does not change.
    """
    begun = Run.open(run_folder(config, resume=True)).config if resume else config
    work = run_experiment if begun.folds is None else cross_validate
    with torch.random.fork_rng(devices=()):
        run = work(config, resume=resume, display=display)
    if first_process():
        with display.waiting("writing the report"):
            draw_figures(run)
            write_report(run, thumbnails=run.config.thumbnails)
    return run
