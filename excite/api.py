"""The verbs as Python functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from excite.reporting.figures import draw_figures
from excite.runs.experiment import run_experiment
from excite.runs.run import Run
from excite.training.config import TrainConfig
from excite.training.distributed import first_process
from excite.training.progress import ConsoleDisplay, Display


def train(data: str | Path, *, resume: bool = False, quiet: bool = False, **options: Any) -> Run:
    """Train on a folder of images and evaluate, as ``excite train`` does.

    Args:
        data: a folder of class folders, a folder with train/val/test, a CSV file, or ``"digits"``.
        resume: go on with the run in ``out`` where it stopped.
        quiet: show no progress.
        options: any option of ``TrainConfig``, by name.

    Raises:
        ExciteError: for data or options that cannot be trained on.
    """
    return train_as_configured(TrainConfig().replace(data=str(data), **options), resume=resume, quiet=quiet)


def train_as_configured(config: TrainConfig, *, resume: bool = False, quiet: bool = False) -> Run:
    """``train`` with its options in one configuration."""
    run = run_experiment(config, resume=resume, display=Display() if quiet else ConsoleDisplay())
    if first_process():
        draw_figures(run)
    return run
