"""What the data suggests: how it is split, what the network sees of it, and what is asked."""

from __future__ import annotations

import math

import numpy as np

from excite.config.train_config import TrainConfig
from excite.data.intensity import format_range
from excite.data.manifest import Manifest, normalize_name
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.pipeline.resolver import Resolver
from excite.runs.derive import column_names

# Largest input by default, in pixels. The networks were made for 224, and trained weights were trained at it;
# from scratch on a CPU 96 trains five times as fast, which is minutes instead of an hour.
# A little more than that shows trained weights more (Touvron et al. 2019, arXiv 1906.06423).
FULL_SIZE, TRAINED_SIZE, CPU_SIZE = 224, 288, 96


def check_folds(config: TrainConfig) -> None:
    """Raises: ExciteError for options of a cross-validation where there is none, and the other way round."""
    if config.folds is not None and config.split == "folder":
        what = "folds are drawn, and not what the data says"
        raise ExciteError(what, where="--split", hint="grouped, random or auto", exit_code=BAD_USAGE)
    for name in ("repeats", "jobs"):
        if config.folds is None and getattr(config, name) > 1:
            what = "belongs to a cross-validation"
            raise ExciteError(what, where=f"--{name}", hint="add --folds 5", exit_code=BAD_USAGE)


def resolve_split(now: Resolver) -> None:
    """How images are parted."""
    if now.config.split != "auto":
        return
    table = now.manifest.table
    if table["split"].ne("").any() and now.config.folds is None:
        now.choose("split", "folder", "the data says which image belongs where")
    elif now.config.group_pattern is not None:
        now.choose("split", "grouped", "the file names hold groups")
    elif table["group"].ne("").any():
        now.choose("split", "grouped", "some images belong together")
    else:
        now.choose("split", "random", "no images are known to belong together")


def resolve_images(now: Resolver) -> None:
    """Depth, size and mirror images, and of which views an answer is the mean."""
    extremes = now.manifest.extremes
    if now.config.intensity_range is None and extremes is not None:
        text = f"{extremes.images} images have more than 8 bits per channel, with samples from "
        text += f"{extremes.low:g} to {extremes.high:g}"
        now.choose("intensity_range", format_range(extremes.range), text)
    if now.config.image_size is None:
        now.choose("image_size", *_image_size(now))
    if now.config.flips == "auto":
        now.set(flips="none" if now.config.data == "digits" else "horizontal")
    if now.config.tta == "auto":
        mirrored = now.config.recipe != "scratch" and now.config.flips != "none"
        now.set(tta="flip" if mirrored else "none")
    if now.config.tta != "none" and now.config.flips == "none":
        what = "a mirror image is another class here, and views are mirrored"
        raise ExciteError(what, where="--tta", hint="leave it out", exit_code=BAD_USAGE)


def resolve_positive(now: Resolver) -> None:
    """Which class is to be found."""
    classes = now.manifest.classes
    if now.config.positive is not None:
        now.set(positive=normalize_name(now.config.positive))
    if now.config.positive is None and len(classes) == 2:
        rarer = min(classes, key=lambda name: now.manifest.counts()[name])
        now.choose("positive", rarer, "the rarer of two classes; a threshold is chosen for it")


def check_evaluation_options(config: TrainConfig, manifest: Manifest) -> None:
    """Raises: ExciteError for a class or a column that the data does not have, before anything is trained."""
    if config.positive is None and (config.sensitivity is not None or config.specificity is not None):
        what = f"which of {len(manifest.classes)} classes is to be found?"
        raise ExciteError(what, where="--positive", hint="name it", exit_code=BAD_USAGE)
    if config.positive is not None and config.positive not in manifest.classes:
        raise unknown_name("class", config.positive, manifest.classes, where="--positive")
    for name in column_names(config.subgroups):
        if name not in manifest.table:
            raise unknown_name("column", name, list(manifest.table.columns), where="--subgroups")


def _image_size(now: Resolver) -> tuple[int, str]:
    table = now.manifest.table
    side = float(np.median(np.minimum(table["width"], table["height"])))
    size = max(16, 16 * math.ceil(side / 16))
    on_device = CPU_SIZE if now.device.type == "cpu" else FULL_SIZE
    largest = TRAINED_SIZE if now.trained else on_device
    if size > largest:
        what = "for trained weights" if now.trained else f"from scratch on {now.device.type}"
        return largest, f"the largest by default {what}; the pictures have {side:.0f}"
    return size, f"the pictures have {side:.0f}"
