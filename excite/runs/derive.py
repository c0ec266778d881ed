"""What follows from a resolved configuration: architecture, preprocessing, augmentation, evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from excite.config.imagenet import IMAGENET_MEAN, IMAGENET_STD
from excite.config.overrides import module_paths, stage_numbers
from excite.config.train_config import EITHER, TrainConfig
from excite.data.augmentation import LIMITS, PRESETS, Augmentation
from excite.data.dicom_levels import parse_window
from excite.data.intensity import IntensityRange, parse_range
from excite.data.manifest import normalize_name
from excite.data.preprocessing import Preprocessing
from excite.data.seeded_transform import plugin_transform
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.evaluate import EvaluationSpec
from excite.evaluation.evaluate_labels import LabelSpec
from excite.evaluation.ordinal import parse_order


def architecture_of(config: TrainConfig, classes: int) -> dict[str, Any]:
    """The arguments of ``create_model`` for a resolved configuration."""
    architecture: dict[str, Any] = {
        "name": config.model,
        "num_classes": classes,
        "image_size": config.image_size,
        **config.model_options,
    }
    if config.attention != "none":
        options = dict(config.attention_options)
        architecture |= {
            "attention": config.attention,
            "placement": config.placement,
            "attention_options": options | ({"identity": True} if config.identity else {}),
        }
        if config.where is not None:
            architecture["where"] = module_paths(config.where)
        if config.stages is not None:
            architecture["stages"] = stage_numbers(config.stages)
    if config.truncate_after is not None:
        architecture["truncate_after"] = config.truncate_after
    if config.stem != "auto":
        architecture["stem"] = config.stem
    return architecture


def preprocessing_of(config: TrainConfig) -> Preprocessing:
    """The preprocessing of a resolved configuration."""
    assert config.image_size is not None
    imagenet = config.normalization == "imagenet"
    return Preprocessing(
        config.image_size,
        config.resize_mode,
        IMAGENET_MEAN if imagenet else (0.5,) * 3,
        IMAGENET_STD if imagenet else (0.5,) * 3,
        config.tta,
        intensity_range_of(config),
        "bicubic" if config.interpolation == "bicubic" else "bilinear",
    )


def intensity_range_of(config: TrainConfig) -> IntensityRange | None:
    """How images with more than 8 bits, and DICOM, are read. Raises: ExciteError for an invalid range."""
    if config.window is not None:
        return parse_window(config.window)
    return None if config.intensity_range is None else parse_range(config.intensity_range)


def augmentation_of(config: TrainConfig) -> Augmentation:
    """The preset with flips and ``augment_options``, or flips and the augmentation of a plug-in.

    Raises:
        ExciteError: for an unknown name or option, and an augmentation that cannot be built.
    """
    flips = {"horizontal_flip": 0.5 if config.flips in ("horizontal", "both") else 0.0}
    if config.augment not in PRESETS:
        transform = plugin_transform(config.augment, config.augment_options)
        vertical = 0.5 if config.flips == "both" else 0.0
        return Augmentation(**flips, vertical_flip=vertical, transform=transform)
    for name in config.augment_options:
        if name not in LIMITS:
            raise unknown_name("augmentation", name, LIMITS, where="augment_options")
    if config.flips == "both" and config.augment in ("small", "best"):
        flips |= {"rotation": 180.0}
    flips |= {"vertical_flip": 0.5 if config.flips == "both" else 0.0}
    return dataclasses.replace(PRESETS[config.augment], **(flips | config.augment_options))


def evaluation_spec_of(config: TrainConfig) -> EvaluationSpec:
    """Positive class, thresholds, and subgroups of a configuration."""
    return EvaluationSpec(
        None if config.positive is None else normalize_name(config.positive),
        config.sensitivity,
        config.specificity,
        config.abstain_below,
        config.selective_accuracy,
        column_names(config.subgroups),
        parse_order(config.ordinal),
    )


def label_spec_of(config: TrainConfig) -> LabelSpec:
    """Thresholds of the labels, and subgroups, of a configuration."""
    return LabelSpec(
        config.label_threshold, config.sensitivity, config.specificity, column_names(config.subgroups)
    )


def changed_evaluation_spec(config: TrainConfig, changes: Mapping[str, Any]) -> EvaluationSpec:
    """The spec of a configuration with some options changed; a criterion clears its alternative.

    Raises:
        ExciteError: for invalid options, and a criterion that needs a positive class.
    """
    for one, other, _ in EITHER:
        if one in changes or other in changes:
            config = config.replace(**{one: None, other: None})
    config = config.replace(**changes)
    if config.positive is None:
        for name in ("sensitivity", "specificity"):
            if getattr(config, name) is not None:
                what = f"--{name} needs a positive class"
                raise ExciteError(what, hint="choose one with --positive", exit_code=BAD_USAGE)
    return evaluation_spec_of(config)


def column_names(text: str | None) -> tuple[str, ...]:
    """Names of columns, from text that separates them by commas."""
    return tuple(name.strip() for name in text.split(",")) if text else ()
