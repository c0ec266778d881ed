"""From a configuration to a finished run: prepare, train, evaluate. Nothing else trains."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from excite.config.train_config import TrainConfig
from excite.data.decoded_pixels import decoded_pixels
from excite.data.manifest import Manifest
from excite.data.paths import data_name
from excite.kernels.dispatch import compilation_named_by
from excite.models.catalog import create_model
from excite.models.weights import load_weights
from excite.pipeline.context import RunContext
from excite.pipeline.finalize import Outputs, compute_outputs, finalize
from excite.pipeline.finetuning import started_from_probe
from excite.pipeline.fit import fit
from excite.pipeline.linear_probe import fit_linear_probe
from excite.pipeline.prepare_run import PreparedRun, prepare_run, reopen_run
from excite.pipeline.weight_interpolation import interpolate_weights, measure_robustness
from excite.runs.derive import architecture_of, preprocessing_of
from excite.runs.failed_start import discarding_failed_start
from excite.runs.run import Run, newest_run
from excite.system.cache import cache_directory
from excite.system.devices import choose_device
from excite.system.malloc import keep_heap
from excite.system.progress import Display
from excite.system.world import World, process_group
from excite.tracking.hook import Hook
from excite.tracking.hooks import Hooks, create_hooks
from excite.training.loop import BEST


def run_experiment(
    config: TrainConfig,
    *,
    resume: bool = False,
    data_root: Path | None = None,
    display: Display | None = None,
    images: Manifest | None = None,
    world: World | None = None,
    hooks: Sequence[Hook] = (),
) -> Run:
    """Train and evaluate a classifier; with several processes, each of them calls this.

    Args:
        config: the options; those that are ``auto`` or None are resolved.
        resume: continue the run in ``config.out`` (or the default folder) with its own options.
        data_root: the folder that the data of a resumed run is in now; None: where it was, or at the same
            place relative to the run.
        display: the progress display; None: none.
        images: checked and audited images for options that were checked with them, such as a fold's; None:
            read and check ``config.data``.
        world: the processes that train together; None: all that torchrun started.
        hooks: called by the first process, beside those that ``config.track`` names.

    Returns:
        the finished run.

    Raises:
        ExciteError: for data or options that cannot be trained on, and when a signal stops the training.
    """
    display = display or Display()
    keep_heap()
    folder = run_folder(config, resume=resume)
    device_type = choose_device(Run.open(folder).config.device if resume else config.device).type
    processes = process_group(device_type) if world is None else contextlib.nullcontext(world)
    with processes as world, contextlib.closing(display):
        shown = display if world.first else Display()
        prepared_run = None if resume else prepare_run(config, folder, world, shown, images)
        prepared_run = prepared_run or reopen_run(folder, shown, data_root)
        if not prepared_run.run.finished:
            begun_here = not resume and images is None and world.size == 1
            tracked = [*create_hooks(prepared_run.config.track), *hooks] if world.first else []
            watching = Hooks(tracked, resumed=resume)
            with (
                discarding_failed_start(prepared_run.run, enabled=begun_here),
                compilation_named_by(shown.waiting),
                watching.ended_by_errors(),
            ):
                _train(prepared_run, world, shown, watching)
            if world.first:
                watching.finish(prepared_run.run.metrics)
        world.barrier()
    return prepared_run.run


def run_folder(config: TrainConfig, *, resume: bool) -> Path:
    """``config.out``, or ``runs/`` and the data set's name.

    To resume, ``config.data`` itself if it is a run, or else the newest run of that name.
    """
    if config.out:
        return Path(config.out)
    if resume and (Path(config.data) / "config.yaml").is_file():
        return Path(config.data)
    name = data_name(config.data)
    return newest_run(Path("runs") / name, config.data) if resume else Path("runs") / name


def _train(prepared_run: PreparedRun, world: World, display: Display, hooks: Hooks) -> None:
    """Train the network; the first process then writes the classifier and its metrics."""
    run, config, manifest = prepared_run.run, prepared_run.config, prepared_run.manifest
    device = choose_device(config.device, world.local_rank)
    pixels = decoded_pixels(
        manifest,
        preprocessing_of(config),
        cache_directory(),
        progress=display.stage("decoding images"),
        keep=config.pixel_cache,
    )
    context = RunContext(run, config, manifest, prepared_run.model, pixels, device, display, world, hooks)
    if config.recipe == "probe":
        if world.first:
            hooks.start(run.path, config.to_dict())
            finalize(context, fit_linear_probe(context))
        return
    fit(context, new_head=prepared_run.new_head)
    if world.first:
        model = create_model(**architecture_of(config, len(manifest.classes))).to(device)
        load_weights(model, run.checkpoints / BEST)
        context = context.with_model(model)
        tuned = config.recipe == "finetune"
        finalize(context, _interpolate(context) if tuned else compute_outputs(context))


def _interpolate(context: RunContext) -> Outputs:
    """Move a fine-tuned network back toward its start, and compute its outputs.

    A network that returns all the way to a linear probe is one: its head is fitted on the validation images
    too, as with ``--recipe probe``.
    """
    fraction = interpolate_weights(context)
    is_probe = fraction == 0 and started_from_probe(context.run.checkpoints)
    if is_probe:
        context.display.fact(
            "kept",
            "nothing of the fine-tuning, which is not better by more than one standard error: the final "
            "model is the linear probe, refitted on train + val",
        )
        outputs = fit_linear_probe(context, table="probe.csv")
    else:
        outputs = compute_outputs(context)
    robustness = measure_robustness(context) if context.config.robustness else {}
    context.run.write_json("robustness.json", {"fraction": fraction, "probe": is_probe, **robustness})
    return outputs
