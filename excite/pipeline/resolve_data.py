"""Resolve options that depend on the data: split, input, and evaluation."""

from __future__ import annotations

import math

import numpy as np

from excite.audit.people import may_show_people
from excite.config.label_options import refuse_for_classes, refuse_for_labels
from excite.config.task import MULTICLASS, MULTILABEL
from excite.config.train_config import TrainConfig
from excite.data.intensity import format_range
from excite.data.manifest import Manifest, normalize_name
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.ordinal import complete_order, format_order, parse_order
from excite.pipeline.resolver import Resolver
from excite.runs.derive import column_names

# The largest default input, in pixels. Networks are designed, and weights pretrained, for 224. From scratch
# on a CPU, 96 trains five times as fast: minutes instead of an hour. Pretrained weights are more accurate on
# somewhat larger inputs than they were trained on (Touvron et al. 2019, arXiv 1906.06423).
FULL_SIZE, PRETRAINED_SIZE, CPU_SIZE = 224, 288, 96


def check_folds(config: TrainConfig) -> None:
    """Raises: ExciteError for cross-validation options without ``folds``, and for a given split with it."""
    if config.folds is not None and config.split == "folder":
        what = "cross-validation draws its own folds and cannot use the split of the data set"
        raise ExciteError(what, where="--split", hint="choose grouped, random, or auto", exit_code=BAD_USAGE)
    if config.folds is not None and config.test_from != "train":
        what = "cross-validation draws its own folds and cannot use the split of the data set"
        raise ExciteError(what, where="--test-from", hint="omit it", exit_code=BAD_USAGE)
    for name in ("repeats", "jobs"):
        if config.folds is None and getattr(config, name) > 1:
            what = "has no effect without cross-validation"
            raise ExciteError(what, where=f"--{name}", hint="add --folds 5", exit_code=BAD_USAGE)


def resolve_split(resolver: Resolver) -> None:
    """How images are split."""
    if resolver.config.split != "auto":
        return
    table = resolver.manifest.table
    if table["split"].ne("").any() and resolver.config.folds is None:
        resolver.choose("split", "folder", "the data set comes with a split")
    elif resolver.config.group_pattern is not None:
        resolver.choose("split", "grouped", "--group-pattern defines groups")
    elif table["group"].ne("").any():
        resolver.choose("split", "grouped", "the data set has groups")
    else:
        resolver.choose("split", "random", "the data set has no groups")


def resolve_images(resolver: Resolver) -> None:
    """Intensity range, input size, mirrored images, and test-time augmentation."""
    extremes = resolver.manifest.extremes
    chosen = resolver.config.intensity_range or resolver.config.window
    if chosen is None and extremes is not None:
        text = f"{extremes.images} images have more than 8 bits per channel; their samples range from "
        text += f"{extremes.low:g} to {extremes.high:g}"
        resolver.choose("intensity_range", format_range(extremes.range), text)
    if resolver.config.image_size is None:
        resolver.choose("image_size", *_image_size(resolver))
    if resolver.config.flips == "auto":
        resolver.set(flips="none" if resolver.config.data == "digits" else "horizontal")
    if resolver.config.tta == "auto":
        mirrored = resolver.config.recipe != "scratch" and resolver.config.flips != "none"
        resolver.set(tta="flip" if mirrored else "none")
    if resolver.config.tta != "none" and resolver.config.flips == "none":
        what = "test-time augmentation mirrors images, which --flips none excludes"
        raise ExciteError(what, where="--tta", hint="omit --tta", exit_code=BAD_USAGE)


def resolve_thumbnails(resolver: Resolver) -> None:
    """Whether pages and figures show images."""
    if resolver.config.thumbnails is None:
        people = may_show_people(resolver.manifest)
        resolver.set(thumbnails=not people)
        if people:
            resolver.add_reason("thumbnails", "false", "groups may be people; --thumbnails shows images")


def resolve_positive(resolver: Resolver) -> None:
    """The positive class, and the order of the classes, by the names of the classes; None stays None."""
    if resolver.config.positive is not None:
        resolver.set(positive=normalize_name(resolver.config.positive))
    if resolver.manifest.task == MULTICLASS and (order := parse_order(resolver.config.ordinal)):
        resolver.set(ordinal=format_order(complete_order(order, resolver.manifest.classes)))


def check_evaluation_options(config: TrainConfig, manifest: Manifest) -> None:
    """Raises: ExciteError for a class or a column that the data set does not have."""
    if manifest.task == MULTILABEL:
        refuse_for_labels(config)
    else:
        refuse_for_classes(config)
        _check_positive(config, manifest)
    for name in column_names(config.subgroups):
        if name not in manifest.table:
            raise unknown_name("column", name, list(manifest.table.columns), where="--subgroups")


def _check_positive(config: TrainConfig, manifest: Manifest) -> None:
    if config.positive is None and (config.sensitivity is not None or config.specificity is not None):
        option = "--sensitivity" if config.sensitivity is not None else "--specificity"
        what, hint = "needs a positive class", "choose one with --positive"
        raise ExciteError(what, where=option, hint=hint, exit_code=BAD_USAGE)
    if config.positive is not None and config.positive not in manifest.classes:
        raise unknown_name("class", config.positive, manifest.classes, where="--positive")
    if order := parse_order(config.ordinal):
        complete_order(order, manifest.classes)


def _image_size(resolver: Resolver) -> tuple[int, str]:
    """The median shorter side, rounded up to a multiple of 16, up to a limit; and the reason."""
    table = resolver.manifest.table
    side = float(np.median(np.minimum(table["width"], table["height"])))
    size = max(16, 16 * math.ceil(side / 16))
    on_device = CPU_SIZE if resolver.device.type == "cpu" else FULL_SIZE
    largest = PRETRAINED_SIZE if resolver.has_weights else on_device
    if size > largest:
        what = (
            "pretrained weights"
            if resolver.has_weights
            else f"training from scratch on {resolver.device.type}"
        )
        return largest, f"the default limit for {what}; the images have {side:.0f} pixels (median)"
    return size, f"the images have {side:.0f} pixels (median)"
