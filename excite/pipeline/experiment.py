"""From a configuration to a finished run: check, split, fit, evaluate. Nothing else trains."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from excite.config.train_config import TrainConfig
from excite.data.batches import TrainingBatches
from excite.data.file_validation import check_files
from excite.data.manifest import Manifest
from excite.data.pixel_cache import cached_pixels
from excite.data.sources import PixelSubset
from excite.data.split import split_manifest
from excite.errors import BAD_USAGE, ExciteError
from excite.insertion.insert import inserted_sites
from excite.models.catalog import create_model
from excite.models.head import head_path
from excite.models.weights import load_weights
from excite.pipeline.class_weights import class_weights, photo_weights
from excite.pipeline.finalize import Outputs, finalize, outputs_of
from excite.pipeline.finetuning import keep_start, start_from_probe, started_from_probe
from excite.pipeline.input_check import check_input
from excite.pipeline.linear_probe import probe, probe_features
from excite.pipeline.prepare_data import prepare_data
from excite.pipeline.resolve import resolve
from excite.pipeline.weight_interpolation import interpolate_weights, measure_robustness
from excite.runs.derive import architecture_of, augmentation_of, preprocessing_of
from excite.runs.environment import environment
from excite.runs.run import Run, create_run_folder, newest_run
from excite.runs.training_overlap import duplicates_in_train
from excite.system.cache import cache_directory
from excite.system.devices import choose_device
from excite.system.files import write_text
from excite.system.malloc import keep_heap
from excite.system.progress import Display
from excite.system.world import World, process_group
from excite.training.checkpoint import has_checkpoint
from excite.training.loop import BEST, Trainer, Validation

T = TypeVar("T")

LARGEST_REPEATED_BATCH = 64  # a small training set goes round in a batch of up to so many images


@dataclass(frozen=True)
class Plan:
    """A run that is ready to be trained.

    Args:
        run: its folder.
        config: settled options.
        manifest: checked and split images.
        model: the network, with the weights that it starts from.
        new_head: whether its last layer is not among them.
    """

    run: Run
    config: TrainConfig
    manifest: Manifest
    model: nn.Module
    new_head: bool


def run_experiment(
    config: TrainConfig,
    *,
    resume: bool = False,
    display: Display | None = None,
    images: Manifest | None = None,
    world: World | None = None,
) -> Run:
    """Train and evaluate as configured; on several processes every one of them calls this.

    Args:
        config: the options; what they leave open is settled here.
        resume: go on with the run in ``config.out`` (or the default folder) where it stopped; its own
            options count.
        display: what a person sees meanwhile.
        images: checked and audited images, such as a fold's; by default those of ``config.data`` are.
        here: the processes that train this together; by default all that torchrun started.

    Returns:
        the run, its model and figures written.

    Raises:
        ExciteError: for data or options that cannot be trained on, and when a signal stops the training.
    """
    display = display or Display()
    keep_heap()
    folder = run_folder(config, resume=resume)
    device_type = choose_device(Run.open(folder).config.device if resume else config.device).type
    together = process_group(device_type) if world is None else contextlib.nullcontext(world)
    with together as world, contextlib.closing(display):
        shown = display if world.first else Display()
        plan = _reopen(folder, shown) if resume else _prepare(config, folder, world, shown, images)
        if not plan.run.finished:
            _train(plan, world, shown)
        world.barrier()
    return plan.run


def run_folder(config: TrainConfig, *, resume: bool) -> Path:
    """``config.out``, else ``runs/`` and the data's name; to resume, the newest run of that name."""
    if config.out:
        return Path(config.out)
    data = Path(config.data)
    name = data.stem if data.suffix.lower() == ".csv" else data.resolve().name
    return newest_run(Path("runs") / name, config.data) if resume else Path("runs") / name


def _prepare(
    config: TrainConfig, folder: Path, world: World, display: Display, images: Manifest | None
) -> Plan:
    """Check and split the data, settle the options, begin the run folder. The first process goes ahead, so
    that the others find its work in the cache."""
    found = (
        main_process_first(world, lambda: prepare_data(config, folder, display)) if images is None else None
    )
    manifest = images if found is None else found.grouped()
    assert manifest is not None
    config, reasons = resolve(config, manifest)
    manifest = split_manifest(
        manifest,
        method=config.split,
        fractions=(1 - config.val_fraction - config.test_fraction, config.val_fraction, config.test_fraction),
        seed=config.seed,
    )
    for split in ("val", "test"):
        if copies := duplicates_in_train(manifest, split):
            n = len(manifest.part(split))
            text = f"{copies} of {n} {split} images have a near-duplicate in the training set"
            display.note(f"{text}; the metrics are optimistic")
    if config.recipe != "probe":
        _check_batch(config, world.size, len(manifest.part("train")))
    for reason in reasons:
        display.note(reason)
    model, new_head = _load_initial_weights(config, len(manifest.classes), display)
    check_input(model, config, len(manifest.classes), processes=world.size)
    # From here on something is written: all that can be wrong with the options has been found.
    # A fold's or a study's cell has a folder of its own; what an earlier attempt left there is overwritten.
    path = world.broadcast(create_run_folder(folder) if world.first and images is None else folder)
    run = Run(path)
    config = config.replace(out=str(path))
    if world.first:
        manifest.save(path / "manifest.csv")
        if found is not None:
            run.write_json("audit.json", found.to_dict())
        facts = environment(config.device, torch.get_num_threads(), world.size, config.seed)
        run.write_json("environment.json", facts)
        write_text(path / "config.yaml", config.to_yaml())
    return Plan(run, config, manifest, model, new_head)


def _check_batch(config: TrainConfig, processes: int, images: int) -> None:
    """Raises: ExciteError for a batch that cannot be cut for processes and pieces, or that would hold each
    training image many times."""
    if config.batch_size > max(LARGEST_REPEATED_BATCH, 2 * images):
        what = f"{config.batch_size} images in a batch, but the training set has {images}"
        raise ExciteError(what, where="batch_size", hint="give a smaller one", exit_code=BAD_USAGE)
    pieces = processes * config.accumulation_steps
    if config.batch_size % pieces or config.batch_size < pieces:
        raise ExciteError(
            f"{config.batch_size} images cannot be cut into {pieces} equal pieces "
            f"({processes} processes x accumulate {config.accumulation_steps})",
            where="batch_size",
            exit_code=BAD_USAGE,
        )


def main_process_first(world: World, work: Callable[[], T]) -> T:
    """Have the first process do the work and fill the cache, then the others."""
    result = work() if world.first else None
    world.barrier()
    return work() if result is None else result


def _reopen(folder: Path, display: Display) -> Plan:
    run = Run.open(folder)
    before = run.manifest
    now, bad = check_files(before, max_pixels=run.config.max_pixels, cache=cache_directory())
    if bad:
        raise ExciteError(f"the data has changed: {bad[0].reason}", where=bad[0].path, hint="train anew")
    changed = before.table["path"][before.table["sha256"] != now.table["sha256"]]
    if len(changed):
        raise ExciteError(
            "is not the image that the run began with", where=changed.iloc[0], hint="train anew"
        )
    classes = len(before.classes)
    if has_checkpoint(run.checkpoints):  # then where it started from is of no interest, and may be gone
        model, new_head = create_model(**architecture_of(run.config, classes)), False
    else:
        model, new_head = _load_initial_weights(run.config, classes, display)
    return Plan(run, run.config, before, model, new_head)


def _train(plan: Plan, world: World, display: Display) -> None:
    run, config, manifest = plan.run, plan.config, plan.manifest
    device = choose_device(config.device, world.local_rank)
    preprocessing = preprocessing_of(config)
    pixels = main_process_first(
        world,
        lambda: cached_pixels(
            manifest, preprocessing, cache_directory(), progress=display.stage("decoding images")
        ),
    )
    parts = {split: manifest.part(split) for split in ("train", "val", "test")}
    counts = f"{len(parts['train'])} images to train on, {len(parts['val'])} to validate, "
    display.note(f"{counts}{len(parts['test'])} to test; {len(manifest.classes)} classes")
    if config.recipe == "probe":
        if world.first:
            outputs = probe(run, config, manifest, plan.model, pixels, device, display)
            finalize(run, config, manifest, plan.model, outputs)
        return
    _fit(plan, pixels, device, world, display)
    if world.first:
        model = create_model(**architecture_of(config, len(manifest.classes))).to(device)
        load_weights(model, run.checkpoints / BEST)
        if config.recipe == "finetune":
            outputs = _restore(plan, model, pixels, device, display)
        else:
            outputs = outputs_of(model, config, manifest, pixels, device)
        finalize(run, config, manifest, model, outputs)


def _restore(
    plan: Plan, model: nn.Module, pixels: np.ndarray, device: torch.device, display: Display
) -> Outputs:
    """Move a fine-tuned network back toward its start, and ask it. One that comes back all the way to a
    probe is a probe: it learns from the validation images too, as one by ``--recipe probe`` does."""
    run, config, manifest = plan.run, plan.config, plan.manifest
    share = interpolate_weights(model, run.checkpoints, config, manifest, pixels, device, display)
    back = share == 0 and started_from_probe(run.checkpoints)
    if back:
        display.note("nothing of what was tuned is kept: the answer is the probe, fitted anew with val, too")
        outputs = probe(run, config, manifest, model, pixels, device, display, table="probe.csv")
    else:
        outputs = outputs_of(model, config, manifest, pixels, device)
    shifts = measure_robustness(model, run.checkpoints, config, manifest, pixels, device, display)
    run.write_json("robustness.json", {"fraction": share, "probe": back, **shifts})
    return outputs


def _fit(plan: Plan, pixels: np.ndarray, device: torch.device, world: World, display: Display) -> None:
    """The loop, from its newest checkpoint to its end."""
    run, config, manifest = plan.run, plan.config, plan.manifest
    preprocessing = preprocessing_of(config)
    training, validation = manifest.part("train"), manifest.part("val")
    rows = {split: np.flatnonzero(manifest.table["split"] == split) for split in ("train", "val")}
    weights = class_weights(training, by_photo=config.augmented_copies == "one")
    targets = training.targets()
    batches = TrainingBatches(
        PixelSubset(pixels, rows["train"], device=device),
        targets,
        classes=len(manifest.classes),
        preprocessing=preprocessing,
        batch_size=config.batch_size,
        augmentation=augmentation_of(config),
        seed=config.seed,
        parts=world.size * config.accumulation_steps,
        sampling=_sampling(training, weights, config),
        photos=training.photo_codes() if config.augmented_copies == "one" else None,
        device=device,
    )
    model = plan.model.to(device)
    if config.recipe == "finetune" and not has_checkpoint(run.checkpoints):
        features = partial(probe_features, config, manifest, model, pixels, device, display)
        probed = plan.new_head and start_from_probe(model, config, manifest, features, display)
        if world.first:
            keep_start(model, run.checkpoints, probe=probed)
    trainer = Trainer(
        model,
        batches,
        # Which epoch is the best is asked of one view: several would take as many times as long.
        Validation(
            PixelSubset(pixels, rows["val"]), validation.targets(), replace(preprocessing, tta="none")
        ),
        config,
        folder=run.checkpoints,
        device=device,
        world=world,
        display=display,
        class_weights=weights.to(device) if config.balance == "weights" else None,
        on_epoch=lambda counters: run.write_table("metrics.csv", counters.history),
    )
    trainer.resume()
    counters = trainer.run()
    display.note(f"{counters.finished}; epoch {counters.best_epoch} is the best and kept")


def _sampling(training: Manifest, weights: torch.Tensor, config: TrainConfig) -> np.ndarray | None:
    """(N,) probability of each training image to be drawn, where classes are balanced by drawing."""
    if config.balance != "sampling":
        return None
    shares = weights.numpy()[training.targets()].astype(np.float64)
    if config.augmented_copies == "one":
        shares *= photo_weights(training)
    return shares / shares.sum()


def _load_initial_weights(config: TrainConfig, classes: int, display: Display) -> tuple[nn.Module, bool]:
    """The network with the weights to start from, and whether its head is a new one."""
    torch.manual_seed(config.seed)
    model = create_model(**architecture_of(config, classes), pretrained=config.pretrained)
    if sites := inserted_sites(model):
        ends = f"{sites[0].path} to {sites[-1].path}" if len(sites) > 1 else sites[0].path
        display.note(f"{config.attention} inserted at {len(sites)} sites, {ends}")
    new_head = True
    if config.weights:
        report = load_weights(model, Path(config.weights))
        new_head = f"{head_path(model)}.weight" not in report.loaded
        display.note(f"{config.weights}: {report}")
        for line in report.details().splitlines():
            display.note(line)
    return model, new_head
