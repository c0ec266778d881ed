"""Cross-validation: one training per fold, so that every image is tested once by a network that never saw it.

The networks of all folds together are the classifier of the run (``runs/ensemble_weights.py``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.data.split import repeated_folds
from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.evaluate import evaluate_predictions
from excite.evaluation.folds import corrected_mean, mean_of_folds, measure_repeats, pool
from excite.evaluation.matching import mean_of_repeats
from excite.evaluation.predictions import Predictions
from excite.models.catalog import create_model
from excite.pipeline.ensemble_calibration import write_ensemble
from excite.pipeline.experiment import run_experiment, run_folder
from excite.pipeline.fold_workers import helpers, train_next_folds
from excite.pipeline.input_check import check_input
from excite.pipeline.prepare_data import prepare_data
from excite.pipeline.resolve import resolve
from excite.pipeline.summary_lines import plan_line
from excite.plugins.loading import load_modules
from excite.runs.derive import architecture_of, evaluation_spec_of
from excite.runs.environment import environment
from excite.runs.failed_start import discarding_failed_start
from excite.runs.label_candidates import write_candidates
from excite.runs.moved_data import adopt_moved_data, open_run, require_images
from excite.runs.prediction_table import prediction_rows
from excite.runs.run import Run, create_run_folder
from excite.runs.used_plugins import require_run_plugins
from excite.system.devices import choose_device
from excite.system.files import write_text
from excite.system.malloc import keep_heap
from excite.system.progress import Display
from excite.system.world import World, process_group
from excite.tracking.hook import Hook

CORRECTED = ("accuracy", "balanced_accuracy", "auroc", "mcc", "log_loss", "brier")
HELPER = "import sys; from excite.pipeline.cross_validation import help_with; help_with(*sys.argv[1:])"


def cross_validate(
    config: TrainConfig,
    *,
    resume: bool = False,
    data_root: Path | None = None,
    display: Display | None = None,
    hooks: Sequence[Hook] = (),
) -> Run:
    """Train all folds of all repeats, and evaluate their test predictions together.

    Under torchrun, each process trains different folds; so do ``config.jobs`` processes on this machine.

    Args:
        config: the options; those that are ``auto`` or None are resolved.
        resume: continue the cross-validation in ``config.out``: finished folds stay, and those that were
            begun are resumed.
        display: the progress display; None: none.
        hooks: called for each fold, which is a training; they are objects of this process, so that the folds
            of other processes do not have them.

    Returns:
        the finished run; its folds are ``run.fold(repeat, fold)``.

    Raises:
        ExciteError: for data or options that cannot be trained on, and when a signal stops the training.
    """
    display = display or Display()
    keep_heap()
    folder = run_folder(config, resume=resume)
    device_type = choose_device(Run.open(folder).config.device if resume else config.device).type
    with process_group(device_type) as world, contextlib.closing(display):
        shown = display if world.first else Display()
        if resume:
            run = adopt_moved_data(open_run(folder, data_root, shown))
            require_run_plugins(run)
            require_images(run, run.manifest.table["path"].tolist())
        else:
            run = Run(world.broadcast(_begin(config, folder, shown) if world.first else folder))
            world.barrier()
        jobs = run.config.jobs
        if jobs > 1 and hooks:
            what, hint = (
                "are not called for folds of other processes",
                "register them, and name them in track",
            )
            raise ExciteError(what, where="hooks", hint=hint, exit_code=BAD_USAGE)
        if jobs > 1:
            shown.note(
                f"training {jobs} folds at a time; see {run.path}/helper-*.log for the progress of the others"
            )
        alone = not resume and world.size == 1 and jobs == 1
        with (
            discarding_failed_start(run, enabled=alone),
            helpers(jobs - 1, HELPER, run.path, config.imports),
            _threads(jobs),
        ):
            _train_folds(run, World(local_rank=world.local_rank), shown, hooks)
        if world.first and not run.finished:
            with shown.waiting("computing metrics and intervals"):
                _finalize(run, shown)
        world.barrier()
    return run


def help_with(folder: str, *imports: str) -> None:
    """Train folds of a cross-validation that another process began, until all are finished.

    Args:
        imports: the modules that the user named.
    """
    from excite.system.progress import ConsoleDisplay

    load_modules(imports)
    run = Run.open(folder)
    with _threads(run.config.jobs):
        _train_folds(run, World(), ConsoleDisplay())


def _begin(config: TrainConfig, folder: Path, display: Display) -> Path:
    """Audit the data, resolve the options, draw the folds, and write them for every process."""
    assert config.folds is not None
    config = config.replace(test_fraction=1 / config.folds)
    audited = prepare_data(config, folder, display)
    images = audited.grouped()
    config, reasons = resolve(config, images)
    assert config.folds is not None
    folds = repeated_folds(images, config.folds, config.repeats, seed=config.seed, method=config.split)
    if images.splits:
        display.note("the split of the data set is not used: every image is tested in one of the folds")
    display.fact("plan", f"{plan_line(config)}, {config.folds * config.repeats} trainings")
    for reason in reasons:
        display.detail(reason)
    classes = len(images.classes)
    with torch.random.fork_rng(devices=()):
        check_input(create_model(**architecture_of(config, classes)), config, classes)
    columns = {f"fold_{repeat}": folds[:, repeat] for repeat in range(config.repeats)}
    path = create_run_folder(folder)
    run = Run(path)
    images.with_columns(split="", **columns).save(path / "manifest.csv")
    run.write_json("audit.json", audited.to_dict())
    run.write_json("environment.json", environment(config, config.jobs))
    write_text(path / "config.yaml", config.replace(out=str(path)).to_yaml())
    display.unbroken("run", str(path))
    return path


def _train_folds(run: Run, world: World, display: Display, hooks: Sequence[Hook] = ()) -> None:
    config, images = run.config, _images(run)
    assert config.folds is not None
    cells = [(repeat, fold) for repeat in range(config.repeats) for fold in range(config.folds)]

    def train(index: int) -> None:
        repeat, fold = cells[index]
        display.fact("fold", f"{index + 1} of {len(cells)}: repeat {repeat}, fold {fold}")
        cell = run.fold(repeat, fold)
        parts = _parts(images, repeat, fold)
        # With its own manifest as data, a fold can be trained again on its own.
        options = config.replace(
            data=str(cell.path / "manifest.csv"),
            out=str(cell.path),
            seed=config.seed + repeat,
            split="folder",
            folds=None,
            repeats=1,
            jobs=1,
        )
        resume = (cell.path / "config.yaml").is_file()
        run_experiment(options, resume=resume, display=display, images=parts, world=world, hooks=hooks)

    train_next_folds([run.fold(*cell) for cell in cells], train)


def _images(run: Run) -> Manifest:
    """All images, with the class order of every fold's network."""
    from excite.data.reading import read_manifest

    return read_manifest(run.path / "manifest.csv", complete=False)


def _parts(images: Manifest, repeat: int, fold: int) -> Manifest:
    """One fold as test images, the rest as training images; validation images are drawn from these later."""
    held_out = images.table[f"fold_{repeat}"].astype(int) == fold
    return images.with_columns(split=np.where(held_out, "test", "train"))


def _finalize(run: Run, display: Display) -> None:
    """Evaluate the pooled test predictions; write metrics, the ensemble, and the label candidates."""
    config = run.config
    assert config.folds is not None
    pooled: list[Predictions] = []
    every_fold: list[Predictions] = []
    rows: list[dict[str, Any]] = []
    for repeat in range(config.repeats):
        folds = [run.fold(repeat, fold) for fold in range(config.folds)]
        tested = [fold.predicted() for fold in folds]
        pooled.append(pool(tested))
        every_fold += tested
        rows += [_row(run, fold, repeat, number) for number, fold in enumerate(folds)]
        name = "predictions.csv" if repeat == 0 else f"repeat-{repeat}/predictions.csv"
        numbers = [number for number, part in enumerate(tested) for _ in range(len(part))]
        numbered = zip(prediction_rows(pooled[-1]), numbers, strict=True)
        run.write_table(name, [{**row, "fold": number} for row, number in numbered])
    spec = evaluation_spec_of(config)
    table = _images(run).table.set_index("path")
    columns = {name: table.loc[list(pooled[0].paths or ()), name].tolist() for name in spec.subgroups}
    pooled = [repeat.with_order(spec.ordinal) for repeat in pooled]
    test = evaluate_predictions(pooled[0], spec.without_validation(), columns=columns)
    if config.repeats > 1:
        test |= measure_repeats(pooled)
        if "photos" in test:
            test["photos"] |= measure_repeats([repeat.by_photo() for repeat in pooled])
    test["auroc"]["mean_of_folds"] = mean_of_folds(every_fold)
    test["duplicates_in_train"] = sum(row["duplicates_in_train"] for row in rows[: config.folds])
    members = [Run(run.path / row["run"]) for row in rows]
    out_of_fold = mean_of_repeats(pooled)
    metrics = {"test": test, "folds": rows, "corrected": _corrected(rows)}
    metrics["ensemble"] = write_ensemble(run, members, out_of_fold, display)
    metrics["label_noise"] = write_candidates(run, out_of_fold)
    run.write_json("metrics.json", metrics)


def _row(run: Run, fold: Run, repeat: int, number: int) -> dict[str, Any]:
    """The metrics of a fold; with fine-tuning also the ``fraction`` of fine-tuned weights in the final."""
    test = fold.metrics["test"]
    return {
        "repeat": repeat,
        "fold": number,
        "run": str(fold.path.relative_to(run.path)),
        "train": len(fold.manifest.part("train")),
        "n": test["n"],
        "groups": test["groups"],
        "duplicates_in_train": test["duplicates_in_train"],
        **{name: test[name]["value"] for name in CORRECTED},
        **(
            {"fraction": fold.read_json("robustness.json")["fraction"]}
            if fold.config.recipe == "finetune"
            else {}
        ),
    }


def _corrected(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over folds with the variance of Nadeau and Bengio 2003, of the metrics that every fold has."""
    train, test = (float(np.mean([row[size] for row in rows])) for size in ("train", "n"))
    means = {}
    for name in CORRECTED:
        values = [row[name] for row in rows]
        if None not in values:
            means[name] = asdict(corrected_mean(values, train=train, test=test, metric=name))
    return means


@contextlib.contextmanager
def _threads(jobs: int) -> Iterator[None]:
    """Divide the threads among the jobs."""
    before = torch.get_num_threads()
    if jobs > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    try:
        yield
    finally:
        torch.set_num_threads(before)
