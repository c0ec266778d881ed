"""What precedes the training of a run: checked data, resolved options, initial weights, the run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from excite.audit.audit import Audit
from excite.config.train_config import TrainConfig
from excite.data.file_validation import check_files
from excite.data.manifest import Manifest
from excite.data.split import split_manifest
from excite.errors import BAD_USAGE, ExciteError
from excite.insertion.insert import inserted_sites
from excite.models.catalog import create_model
from excite.models.head import head_path
from excite.models.weights import WeightsReport, load_weights
from excite.pipeline.input_check import check_input
from excite.pipeline.prepare_data import prepare_data
from excite.pipeline.resolve import resolve
from excite.pipeline.split_use import describe_split
from excite.pipeline.summary_lines import plan_line, split_line, weights_line
from excite.runs.derive import architecture_of
from excite.runs.environment import environment
from excite.runs.failed_start import discarding_failed_start
from excite.runs.moved_data import adopt_moved_data, open_run, require_images
from excite.runs.run import Run, create_run_folder
from excite.runs.training_overlap import duplicates_in_train
from excite.runs.used_plugins import require_run_plugins
from excite.system.cache import cache_directory
from excite.system.files import write_text
from excite.system.progress import Display
from excite.system.text import command_line
from excite.system.world import World
from excite.training.checkpoint import has_checkpoint

COLORS = 3  # channels of every image, as it is read
MAX_REPEATED_BATCH = 64  # images; a smaller training set fills a batch of up to this size by repetition


@dataclass(frozen=True)
class PreparedRun:
    """A run that is ready to be trained.

    Args:
        run: the run folder.
        config: resolved options.
        manifest: checked and split images.
        model: the network with its initial weights.
        new_head: whether the head is not part of the initial weights.
    """

    run: Run
    config: TrainConfig
    manifest: Manifest
    model: nn.Module
    new_head: bool


def prepare_run(
    config: TrainConfig, folder: Path, world: World, display: Display, images: Manifest | None
) -> PreparedRun:
    """Check and split the data, resolve the options, and begin the run folder.

    Nothing is written until every option has been checked.

    Args:
        folder: the run folder to create.
        images: checked and audited images for options that were checked with them, such as a fold's; None:
            read and check ``config.data``.
    """
    audited = None
    if images is None:
        audited = prepare_data(config, folder, display)  # several processes share the work through the cache
        images = audited.grouped()
    config, reasons = resolve(config, images)
    manifest = _split(config, images, display)
    if config.recipe != "probe":
        _check_batch_size(config, world.size, len(manifest.part("train")))
    # A cell of a cross-validation or a study brings the complete split that was drawn for it.
    use = describe_split(images.splits, config) if audited is not None and config.split == "folder" else ""
    display.fact("split", split_line(manifest, config) + use)
    if audited is not None:  # that of a cross-validation is shown once, for all folds
        display.fact("plan", plan_line(config))
    for reason in reasons:
        display.detail(reason)
    wanted = folder
    with display.waiting("building the network"):
        model, new_head = _load_initial_weights(config, len(manifest.classes), display)
    if audited is not None:
        with display.waiting("trying the network on an image"):
            check_input(model, config, len(manifest.classes), processes=world.size)
        folder = world.broadcast(create_run_folder(folder) if world.first else folder)
    # A cell of a cross-validation or a study has its own folder, and overwrites an earlier attempt in it.
    config = config.replace(out=str(folder))
    run = Run(folder)
    if world.first:
        with (
            discarding_failed_start(run, enabled=audited is not None),
            display.waiting("writing the run folder"),
        ):
            _begin_folder(run, config, manifest, audited, processes=world.size)
    if audited is not None:
        display.unbroken("run", str(run.path))
        if text := _other_folder_text(wanted, folder):
            display.fact("", text)
    return PreparedRun(run, config, manifest, model, new_head)


def _other_folder_text(wanted: Path, folder: Path) -> str:
    """That the wanted folder holds a run, and how to continue one that has not finished; else ""."""
    if folder == wanted:
        return ""
    if Run(wanted).finished:
        return f"{wanted} is a run already"
    resume = command_line("excite", "train", "--resume", "--out", wanted)
    return f"{wanted} is a run that has not finished; to continue it: {resume}"


def _split(config: TrainConfig, images: Manifest, display: Display) -> Manifest:
    """The images with their splits; reports near-duplicates of the training set in the others."""
    rest = 1 - config.val_fraction - config.test_fraction
    fractions = (rest, config.val_fraction, config.test_fraction)
    manifest = split_manifest(
        images, method=config.split, fractions=fractions, seed=config.seed, test_from=config.test_from
    )
    for split in ("val", "test"):
        if copies := duplicates_in_train(manifest, split):
            n = len(manifest.part(split))
            text = f"{copies} of {n} {split} images have a near-duplicate in the training set"
            display.note(f"{text}; the metrics are optimistic")
    return manifest


def _check_batch_size(config: TrainConfig, processes: int, images: int) -> None:
    """Raises: ExciteError for a batch that cannot be divided among processes and accumulation steps, or that
    would contain each training image many times."""
    if config.batch_size > max(MAX_REPEATED_BATCH, 2 * images):
        what = f"a batch of {config.batch_size} images is too large for {images} training images"
        hint = "choose a smaller --batch-size"
        raise ExciteError(what, where="batch_size", hint=hint, exit_code=BAD_USAGE)
    pieces = processes * config.accumulation_steps
    if config.batch_size % pieces or config.batch_size < pieces:
        what = f"{config.batch_size} images cannot be divided into {pieces} equal pieces "
        what += f"({processes} processes x {config.accumulation_steps} accumulation steps)"
        hint = f"choose a multiple of {pieces} with --batch-size"
        raise ExciteError(what, where="batch_size", hint=hint, exit_code=BAD_USAGE)


def _begin_folder(
    run: Run, config: TrainConfig, manifest: Manifest, audited: Audit | None, *, processes: int
) -> None:
    """Write what the training starts with; ``config.yaml`` last, which makes the folder a run."""
    manifest.save(run.path / "manifest.csv")
    if audited is not None:
        run.write_json("audit.json", audited.to_dict())
    run.write_json("environment.json", environment(config, processes))
    write_text(run.path / "config.yaml", config.to_yaml())


def reopen_run(folder: Path, display: Display, data_root: Path | None = None) -> PreparedRun:
    """A run that was begun, to be resumed.

    Args:
        data_root: the folder that its data is in now; see ``open_run``.

    Raises:
        ExciteError: if its plug-ins are missing, or its images are missing or have changed.
    """
    run = adopt_moved_data(open_run(folder, data_root, display))
    require_run_plugins(run)
    before = run.manifest
    require_images(run, before.table["path"].tolist())
    now, unreadable = check_files(before, max_pixels=run.config.max_pixels, cache=cache_directory())
    hint = "restore the file, or start a new training without --resume"
    if unreadable:
        what = f"the image has changed since the run began: {unreadable[0].reason}"
        raise ExciteError(what, where=unreadable[0].path, hint=hint)
    changed = before.table["path"][before.table["sha256"] != now.table["sha256"]]
    if len(changed):
        raise ExciteError("the image has changed since the run began", where=changed.iloc[0], hint=hint)
    classes = len(before.classes)
    if has_checkpoint(run.checkpoints):  # the initial weights are not needed, and their file may be gone
        model, new_head = create_model(**architecture_of(run.config, classes)), False
    else:
        model, new_head = _load_initial_weights(run.config, classes, display)
    return PreparedRun(run, run.config, before, model, new_head)


def _load_initial_weights(config: TrainConfig, classes: int, display: Display) -> tuple[nn.Module, bool]:
    """The network with its initial weights, and whether its head is not among those loaded."""
    torch.manual_seed(config.seed)
    model = create_model(**architecture_of(config, classes), pretrained=bool(config.pretrained))
    if sites := inserted_sites(model):
        ends = f"{sites[0].path} to {sites[-1].path}" if len(sites) > 1 else sites[0].path
        display.detail(f"{config.attention} inserted at {len(sites)} sites: {ends}")
    new_head, report = True, None
    if config.weights:
        report = load_weights(model, Path(config.weights))
        _refuse_other_channels(report, config.weights)
        new_head = f"{head_path(model)}.weight" not in report.loaded
    display.fact("weights", weights_line(config, model, report))
    if report is not None:
        display.detail(f"{config.weights}: {report}")
        for line in report.details().splitlines():
            display.detail(line)
    return model, new_head


def _refuse_other_channels(report: WeightsReport, file: str) -> None:
    """Raises: ExciteError for weights of a network that takes another number of channels, such as one."""
    for name, in_file, in_model in report.mismatched:
        if len(in_file) != 4 or len(in_model) != 4 or in_model[1] != COLORS:
            continue
        if (in_file[0], *in_file[2:]) == (in_model[0], *in_model[2:]):
            counted = "1 channel" if in_file[1] == 1 else f"{in_file[1]} channels"
            what = f"are of a network for images with {counted} ({name}); images are read with {COLORS}"
            hint = "repeat this tensor over three channels, divided by three, or use weights for color images"
            raise ExciteError(what, where=file, hint=hint, exit_code=BAD_USAGE)
