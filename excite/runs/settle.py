"""Options left open (``auto``, None) become what the data and the machine suggest, each with its reason."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from excite.attention.registry import can_be_identity
from excite.data.manifest import Manifest
from excite.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from excite.data.transforms import PRESETS, Augmentation
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.models.catalogue import LARGEST_FOR_CIFAR_STEM, create_model, input_statistics
from excite.models.densenet_plan import VARIANTS
from excite.models.truncate import last_whole_block
from excite.models.weights import built_with, load_weights
from excite.runs.predictions import column_names
from excite.training.config import TrainConfig
from excite.training.optimisation import DEFAULTS
from excite.training.precision import check_compiler, choose_device, choose_precision

# Largest input by default, in pixels. The networks were made for 224, and trained weights were trained at it;
# from scratch on a CPU 96 trains five times as fast, which is minutes instead of an hour.
# A little more than that shows trained weights more (Touvron et al. 2019, arXiv 1906.06423).
FULL_SIZE, TRAINED_SIZE, CPU_SIZE = 224, 288, 96
FINETUNE_FROM = 500  # groups; with 111 and with 245 fine-tuning gained nothing over a probe (docs/mpox.md)
FINETUNE_SHARE, FINETUNE_LAYER_DECAY, FINETUNE_PATIENCE = 0.4, 0.65, 10
SMALL_MODEL, LARGE_MODEL = "densenet_bc_40_12", "densenet121"
PRECISION_REASONS = {
    "bfloat16": "this machine multiplies it faster than float32",
    "float16": "this GPU has no bfloat16",
    "float32": "this machine gains nothing from less",
}


def settle(config: TrainConfig, manifest: Manifest) -> tuple[TrainConfig, list[str]]:
    """The configuration with nothing left open, and a line for each choice that a user may want to change."""
    reasons: list[str] = []

    def choose(name: str, value: Any, reason: str) -> None:
        nonlocal config
        config = config.replace(**{name: value})
        reasons.append(f"{name} {value}: {reason}")

    device = choose_device(config.device)
    if config.device == "auto":
        choose("device", device.type, "the fastest that this machine has")
    if config.precision == "auto":
        precision = choose_precision("auto", device)
        choose("precision", precision, PRECISION_REASONS[precision])
    else:
        choose_precision(config.precision, device)
    if config.compile:
        check_compiler()
    _check_folds(config)
    if config.split == "auto":
        choose("split", *_split(config, manifest))
    _check_recipe(config)
    if config.recipe == "auto":
        choose("recipe", *_recipe(config, manifest, device.type))
    if config.image_size is None:
        choose("image_size", *_image_size(config, manifest, device.type))
    assert config.image_size is not None
    small = config.image_size <= LARGEST_FOR_CIFAR_STEM and not config.pretrained
    if config.model == "auto":
        choose("model", SMALL_MODEL if small else LARGE_MODEL, f"for images of {config.image_size} pixels")
    for name, value in (built_with(config.weights) if config.weights else {}).items():
        if name not in config.model_options:
            config = config.replace(model_options={**config.model_options, name: value})
            reasons.append(f"model_options.{name} {value}: the weights file says so")
    variant = VARIANTS.get(config.model.removeprefix("excite:"))
    if config.attention == "auto":
        reason = "Squeeze-and-Excitation" if variant else "this network is trained as it is; or say which"
        choose("attention", "se" if variant else "none", reason)
    if config.attention == "none":
        _refuse_to_place_nothing(config)
    else:
        if config.placement == "auto":
            config = config.replace(placement="final" if variant else "standard")
        if config.identity is None:
            trained = bool(config.pretrained or config.weights)
            able = can_be_identity(config.attention, config.attention_options)
            config = config.replace(identity=trained and able)
            if trained:
                reason = "the weights keep their worth" if able else f"{config.attention} cannot start so"
                reasons.append(f"identity {str(able).lower()}: {reason}")
    if config.stem == "auto" and variant:
        config = config.replace(stem="cifar" if small else variant.stem)
    if config.flips == "auto":
        config = config.replace(flips="none" if config.data == "digits" else "horizontal")
    if config.augment == "auto":
        config = config.replace(augment="small" if config.recipe == "finetune" else "standard")
    if config.batch_norm == "auto":
        # With statistics of its batches the probe that a network starts from is far off in the first steps.
        config = config.replace(batch_norm="frozen" if config.recipe == "finetune" else "adapted")
    if config.patience is None and config.recipe == "finetune":
        config = config.replace(patience=FINETUNE_PATIENCE)
    if config.best_by == "auto":
        config = config.replace(best_by="loss" if config.recipe == "finetune" else "accuracy")
    if config.views == "auto":
        mirrored = config.recipe != "scratch" and config.flips != "none"
        config = config.replace(views="flip" if mirrored else "one")
    if config.views != "one" and config.flips == "none":
        what = "a mirror image is another class here, and views are mirrored"
        raise ExciteError(what, where="--views", hint="leave it out", exit_code=BAD_USAGE)
    if config.copies == "auto":
        one = manifest.has_copies and config.recipe == "finetune"
        config = config.replace(copies="one" if one else "all")
        if one:
            photos = len(np.unique(manifest.photo_codes()))
            reasons.append(
                f"copies one: {len(manifest)} images are {photos} photos, of which each counts once"
            )
    if config.normalisation == "auto":
        config = config.replace(normalisation=_normalisation(config))
    if config.positive is None and len(manifest.classes) == 2:
        rarer = min(manifest.classes, key=lambda name: manifest.counts()[name])
        choose("positive", rarer, "the rarer of two classes; a threshold is chosen for it")
    _check_questions(config, manifest)
    if config.weights and config.cut_after is None and (block := _last_whole_block(config)) is not None:
        choose("cut_after", block, "the last block that has all its weights")
    if config.lr is None:
        # Trained weights are to be changed, not replaced.
        share = FINETUNE_SHARE if config.recipe == "finetune" else 1.0
        config = config.replace(lr=share * DEFAULTS[config.optimizer].lr)
    if config.layer_decay is None:
        config = config.replace(layer_decay=FINETUNE_LAYER_DECAY if config.recipe == "finetune" else 1.0)
    if config.weight_decay is None:
        config = config.replace(weight_decay=DEFAULTS[config.optimizer].weight_decay)
    return config, reasons


def architecture_of(config: TrainConfig, classes: int) -> dict[str, Any]:
    """The arguments of ``create_model`` for a settled configuration."""
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
    if config.cut_after is not None:
        architecture["cut_after"] = config.cut_after
    if config.stem != "auto":
        architecture["stem"] = config.stem
    return architecture


def module_paths(text: str) -> list[str]:
    """Globs on module paths as given on the command line, separated by commas."""
    return [path.strip() for path in text.split(",")]


def stage_numbers(text: str) -> list[int]:
    """Stages as given on the command line: numbers separated by commas."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        hint = "such as 4,5; excite sites MODEL lists them"
        raise ExciteError(f"not stages: {text!r}", where="stages", hint=hint, exit_code=BAD_USAGE) from None


def preprocessing_of(config: TrainConfig) -> Preprocessing:
    """The preprocessing of a settled configuration."""
    assert config.image_size is not None
    if config.normalisation == "imagenet":
        return Preprocessing(config.image_size, config.fit, IMAGENET_MEAN, IMAGENET_STD, config.views)
    return Preprocessing(config.image_size, config.fit, (0.5,) * 3, (0.5,) * 3, config.views)


def augmentation_of(config: TrainConfig) -> Augmentation:
    """The preset with flips and the user's changes. Raises: ExciteError for a change that is none."""
    names = [field.name for field in dataclasses.fields(Augmentation)]
    for name in config.augment_options:
        if name not in names:
            raise unknown_name("augmentation", name, names, where="augment_options")
    flips = {"horizontal_flip": 0.5 if config.flips in ("horizontal", "both") else 0.0}
    if config.flips == "both" and config.augment in ("small", "best"):
        flips |= {"rotation": 180.0}
    flips |= {"vertical_flip": 0.5 if config.flips == "both" else 0.0}
    return dataclasses.replace(PRESETS[config.augment], **(flips | config.augment_options))


def class_shares(manifest: Manifest, *, by_photo: bool = False) -> torch.Tensor:
    """(C,) weights that make classes count alike, with mean 1 over the images or over the photos."""
    photos = photo_shares(manifest) if by_photo else None
    counts = np.bincount(manifest.targets(), photos, len(manifest.classes))
    return torch.tensor(counts.sum() / (len(manifest.classes) * counts), dtype=torch.float32)


def photo_shares(manifest: Manifest) -> np.ndarray:
    """(N,) 1 over the number of copies of each image's photo: all photos count alike."""
    codes = manifest.photo_codes()
    return np.asarray(1 / np.bincount(codes)[codes])


def _check_recipe(config: TrainConfig) -> None:
    """Raises: ExciteError for a recipe that lacks what it begins with, or has what it does without."""
    trained = bool(config.pretrained or config.weights)
    if config.recipe in ("probe", "finetune") and not trained:
        what, hint = f"{config.recipe} begins with trained weights", "add --pretrained or --weights FILE"
    elif config.recipe == "scratch" and trained:
        what, hint = "scratch begins with random weights", "leave out --recipe, or the weights"
    else:
        return
    raise ExciteError(what, where="--recipe", hint=hint, exit_code=BAD_USAGE)


def _recipe(config: TrainConfig, manifest: Manifest, device: str) -> tuple[str, str]:
    if not (config.pretrained or config.weights):
        return "scratch", "there are no weights to start from"
    groups = manifest.group_count()
    if config.attention not in ("auto", "none"):
        return "finetune", f"{config.attention} is to be learnt"
    if device == "cpu":
        return "probe", "there are weights to start from and no GPU; --recipe finetune changes them, too"
    if groups < FINETUNE_FROM:
        return "probe", f"there are weights to start from, and {groups} groups are few to change them with"
    return "finetune", f"there are weights to start from, a GPU and {groups} groups"


def _last_whole_block(config: TrainConfig) -> str | None:
    """Where a network is cut whose weights lack some: behind the last block that has all of its own."""
    assert config.weights is not None
    if not Path(config.weights).is_file():  # told when it is loaded
        return None
    options = {"image_size": config.image_size, **config.model_options}
    if config.stem != "auto":
        options["stem"] = config.stem
    model = create_model(config.model, num_classes=2, **options)
    report = load_weights(model, Path(config.weights))
    return last_whole_block(model, report.missing)


def _check_folds(config: TrainConfig) -> None:
    """Raises: ExciteError for options of a cross-validation where there is none, and the other way round."""
    if config.folds is not None and config.split == "folder":
        what = "folds are drawn, and not what the data says"
        raise ExciteError(what, where="--split", hint="grouped, random or auto", exit_code=BAD_USAGE)
    for name in ("repeats", "jobs"):
        if config.folds is None and getattr(config, name) > 1:
            what = "belongs to a cross-validation"
            raise ExciteError(what, where=f"--{name}", hint="add --folds 5", exit_code=BAD_USAGE)


def _check_questions(config: TrainConfig, manifest: Manifest) -> None:
    """Raises: ExciteError for a class or a column that the data does not have, before anything is trained."""
    if config.positive is None and (config.sensitivity is not None or config.specificity is not None):
        what = f"which of {len(manifest.classes)} classes is to be found?"
        raise ExciteError(what, where="--positive", hint="name it", exit_code=BAD_USAGE)
    if config.positive is not None and config.positive not in manifest.classes:
        raise unknown_name("class", config.positive, manifest.classes, where="--positive")
    for name in column_names(config.by):
        if name not in manifest.table:
            raise unknown_name("column", name, list(manifest.table.columns), where="--by")


def _refuse_to_place_nothing(config: TrainConfig) -> None:
    """Raises: ExciteError for options of attention where there is none."""
    for name, default in (("where", None), ("stages", None), ("identity", None), ("placement", "auto")):
        if getattr(config, name) != default:
            raise ExciteError(
                "there is no attention to place",
                where=f"--{name}",
                hint=f"{config.model} is trained as it is unless you say which, such as --attention se",
                exit_code=BAD_USAGE,
            )


def _split(config: TrainConfig, manifest: Manifest) -> tuple[str, str]:
    if manifest.table["split"].ne("").any() and config.folds is None:
        return "folder", "the data says which image belongs where"
    if config.group_pattern is not None:
        return "grouped", "the file names hold groups"
    if manifest.table["group"].ne("").any():
        return "grouped", "some images belong together"
    return "random", "no images are known to belong together"


def _image_size(config: TrainConfig, manifest: Manifest, device: str) -> tuple[int, str]:
    side = float(np.median(np.minimum(manifest.table["width"], manifest.table["height"])))
    size = max(16, 16 * math.ceil(side / 16))
    from_scratch = not (config.pretrained or config.weights)
    largest = (CPU_SIZE if device == "cpu" else FULL_SIZE) if from_scratch else TRAINED_SIZE
    if size > largest:
        what = f"from scratch on {device}" if from_scratch else "for trained weights"
        return largest, f"the largest by default {what}; the pictures have {side:.0f}"
    return size, f"the pictures have {side:.0f}"


def _normalisation(config: TrainConfig) -> str:
    if not (config.pretrained or config.weights):
        return "imagenet"
    mean, _ = input_statistics(config.model)
    return "half" if mean == (0.5, 0.5, 0.5) else "imagenet"
