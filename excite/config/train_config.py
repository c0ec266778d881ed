"""TrainConfig: every option of a training with its limits and help text. Does not import torch."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from excite.config.option import option, typed
from excite.config.pixel_limit import MAX_PIXELS
from excite.errors import BAD_USAGE, ExciteError, unknown_name

DATA, MODEL, IMAGES, LEARNING = "Data", "Model", "Images", "Learning"
LOOP = "Training loop (scratch, finetune)"
MACHINE, EVALUATION, RUN = "Machine", "Evaluation", "Run"


EITHER = (
    ("pretrained", "weights", "the initial weights"),
    ("sensitivity", "specificity", "the threshold of the positive class"),
    ("abstain_below", "selective_accuracy", "the abstention threshold"),
    ("intensity_range", "window", "the values of black and white"),
)

# Options that name what the columns of a CSV hold; the arguments of ``read_manifest``.
TABLE_OPTIONS = (
    "path_column",
    "label_column",
    "label_columns",
    "label_separator",
    "empty_label",
    "group_column",
    "split_column",
)

# Arguments of ``create_model`` and of the libraries' constructors that training sets itself, or with which
# the network would no longer be a classifier of images with three channels.
RESERVED_OPTIONS = frozenset(
    [
        "name",
        "num_classes",
        "in_chans",
        "image_size",
        "img_size",
        "attention",
        "placement",
        "where",
        "stages",
        "attention_options",
        "truncate_after",
        "pretrained",
        "weights",
        "checkpoint_path",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "features_only",
        "scriptable",
        "exportable",
        "no_jit",
        "aux_logits",
        "cache_dir",
        "progress",
    ]
)


@dataclass(frozen=True)
class TrainConfig:
    """Options of one training. ``None`` and ``auto`` are resolved from the data and the machine at the start;
    the run's ``config.yaml`` holds the resolved values.

    >>> TrainConfig(data="photos").replace(epochs=5, model="resnet18").epochs
    5
    """

    data: str = option(
        "", DATA, "Folder of class folders, folder with train/val/test, zip or tar of one, CSV, or 'digits'."
    )
    split: str = option(
        "auto",
        DATA,
        "How images are split: as in the data (folder), with groups kept together (grouped), or at random "
        "(random). auto: the first of these that the data allows.",
        choices=("auto", "random", "grouped", "folder"),
    )
    val_fraction: float = option(0.1, DATA, "Fraction of the images for validation.", low=0.01, high=0.9)
    test_fraction: float = option(0.2, DATA, "Fraction of the images for testing.", low=0.01, high=0.9)
    test_from: str = option(
        "train",
        DATA,
        "For data with a given split but no test images: draw them from the training images (train), or test "
        "on the validation images and draw others for validation (val).",
        choices=("train", "val"),
    )
    group_pattern: str | None = option(
        None, DATA, "Regular expression for the file name; its first capture group is the group."
    )
    near_duplicates: bool | None = option(
        None, DATA, "Find cropped, rotated, and recolored copies, too. Default: for up to 20,000 images."
    )
    decisions: str | None = option(
        None, DATA, "Apply the review decisions in this decisions.csv (see excite audit)."
    )
    allow_leaks: bool = option(
        False, DATA, "Train on a given split even if it has near-duplicates on both sides."
    )
    path_column: str = option("path", DATA, "CSV column of the image's path.")
    label_column: str = option("label", DATA, "CSV column of the class.")
    label_columns: str = option(
        "", DATA, "CSV columns of several labels per image, separated by commas: 1, 0, or empty if unknown."
    )
    label_separator: str = option(
        "", DATA, "The label column holds several labels per image, separated by this, such as '|'."
    )
    empty_label: str = option(
        "No Finding", DATA, "With --label-separator: the text for an image without any label."
    )
    group_column: str = option("group", DATA, "CSV column of the group, such as the patient.")
    split_column: str = option("split", DATA, "CSV column with train, val, or test.")
    max_unreadable: float = option(
        0.01, DATA, "Maximum fraction of unreadable files; more are an error.", low=0.0, high=1.0
    )
    max_pixels: int = option(
        MAX_PIXELS, DATA, "Maximum number of pixels of an image; a larger one is an unreadable file.", low=1
    )
    intensity_range: str | None = option(
        None,
        DATA,
        "For images with more than 8 bits per channel: the values of black and white, such as 0,4095. "
        "Default: measured over all images; of DICOM, the window of each file.",
    )
    window: str | None = option(
        None,
        DATA,
        "For DICOM: center and width of the window after the modality rescale, such as 40,400. Default: the "
        "window of each file, or else all values that its bits can hold.",
    )

    model: str = option("auto", MODEL, "Name of a network of excite, timm, torchvision, or a plug-in.")
    attention: str = option(
        "auto",
        MODEL,
        "Channel attention: none, or one of docs/reference/attention.md, such as se, eca, cbam. auto: se in "
        "excite's DenseNets, none in other networks.",
    )
    placement: str = option(
        "auto",
        MODEL,
        "Position of the attention. In excite's DenseNets: final, layer, block, or transition, or several "
        "joined with +. In other networks: standard, pre, post, identity, or inner. auto: final or standard.",
    )
    where: str | None = option(
        None, MODEL, "Insert attention into these modules only: paths with * and **, separated by commas."
    )
    stages: str | None = option(None, MODEL, "Insert attention into these stages only, such as 4,5.")
    identity: bool | None = option(
        None,
        MODEL,
        "Initialize every gate to one, which leaves a trained network unchanged. Default: if training "
        "starts from weights.",
    )
    stem: str = option(
        "auto",
        MODEL,
        "First layers of a DenseNet: cifar for small images, imagenet for others. auto: by image size.",
        choices=("auto", "imagenet", "cifar"),
    )
    truncate_after: str | None = option(
        None,
        MODEL,
        "Path of the last module to use, such as layer3; the head follows it. Default: if the weights "
        "file is incomplete, the last block with all of its weights.",
    )
    pretrained: bool | None = option(
        None,
        MODEL,
        "Start from published weights, installed (see excite doctor) or downloaded. Default: for photos, if "
        "no network or weights are named.",
    )
    weights: str | None = option(None, MODEL, "Start from the weights in this .safetensors file.")
    model_options: dict[str, Any] = option({}, MODEL, "Options of the network's constructor.")
    attention_options: dict[str, Any] = option(
        {}, MODEL, "Options of the attention module, such as reduction."
    )

    image_size: int | None = option(
        None,
        IMAGES,
        "Height and width of the network's input, in pixels. Default: by images, weights, and device.",
        low=1,
        high=4096,
    )
    resize_mode: str = option(
        "crop",
        IMAGES,
        "How an image becomes a square: center crop, stretch, or pad.",
        choices=("crop", "stretch", "pad"),
    )
    interpolation: str = option(
        "auto",
        IMAGES,
        "Filter for resizing. auto: the one that the weights of an installed package were trained with; "
        "bilinear otherwise.",
        choices=("auto", "bilinear", "bicubic"),
    )
    normalization: str = option(
        "auto",
        IMAGES,
        "Mean and standard deviation of the input: those of ImageNet, or 0.5 and 0.5 (symmetric). auto: "
        "those that the initial weights were trained with.",
        choices=("auto", "imagenet", "symmetric"),
    )
    tta: str = option(
        "auto",
        IMAGES,
        "Test-time augmentation: the prediction is the mean over the image and its mirror image (flip), or "
        "also over five crops and their mirror images (crops, twelve times the cost). auto: flip "
        "with trained weights.",
        choices=("auto", "none", "flip", "crops"),
    )
    flips: str = option(
        "auto",
        IMAGES,
        "Flips that do not change the class. both: the images have no upright orientation, and are also "
        "rotated by any angle. auto: horizontal; none for digits.",
        choices=("auto", "none", "horizontal", "both"),
    )

    recipe: str = option(
        "auto",
        LEARNING,
        "scratch: train all weights from random ones; finetune: from pretrained ones; probe: fit a linear "
        "classifier on pretrained features, in seconds. auto: scratch without pretrained weights; with them, "
        "probe on a CPU or for few groups, and finetune on a GPU or if a training loop option is set.",
        choices=("auto", "scratch", "finetune", "probe"),
    )
    balance: str = option(
        "none",
        LEARNING,
        "For imbalanced classes: weight the loss, or sample all classes equally often.",
        choices=("none", "weights", "sampling"),
    )

    shuffle: str = option(
        "full",
        LOOP,
        "Order of the training images in an epoch: all at random (full), or blocks of four shards at random "
        "and the images of a block at random (blocks), for shards that are far away.",
        choices=("full", "blocks"),
    )
    augment: str = option(
        "auto",
        LOOP,
        "Augmentation: none, quick (crops), standard (plus rotation and color), small (stronger, plus mixup; "
        "for few images), best (plus erasing and CutMix), or one of a plug-in, which follows the flips. "
        "auto: small for finetune, standard otherwise.",
    )
    augment_options: dict[str, Any] = option(
        {},
        LOOP,
        "Changes to the augmentation preset, such as rotation, or a plug-in's options.",
    )
    loss: str = option(
        "cross_entropy", LOOP, "Loss that training minimizes: cross_entropy, or one of a plug-in."
    )
    loss_options: dict[str, Any] = option({}, LOOP, "Options of a plug-in's loss.")
    augmented_copies: str = option(
        "auto",
        LOOP,
        "For photos with several copies, such as in a data set that was augmented before: use one random "
        "copy per epoch, or all. auto: one for finetune, all otherwise.",
        choices=("auto", "one", "all"),
    )
    epochs: int = option(40, LOOP, "Number of passes over the training images.", low=1)
    time_budget: float | None = option(
        None, LOOP, "Minutes of training; the learning rate schedule is fitted to them.", low=0.01
    )
    batch_size: int = option(32, LOOP, "Images per optimizer step, over all processes.", low=2)
    accumulation_steps: int = option(1, LOOP, "Forward passes per optimizer step, to save memory.", low=1)
    optimizer: str = option("adamw", LOOP, "AdamW or SGD with momentum.", choices=("adamw", "sgd"))
    lr: float | None = option(
        None,
        LOOP,
        "Peak learning rate. Default: 0.0005 for adamw, 0.05 for sgd; 0.4 times that for finetune.",
        low=0.0,
    )
    weight_decay: float | None = option(
        None, LOOP, "Weight decay. Default: 0.05 for adamw, 0.0005 for sgd.", low=0.0, high=1.0
    )
    layer_decay: float | None = option(
        None,
        LOOP,
        "The network is divided into twelve parts by depth; each has this factor times the learning rate of "
        "the next. Default: 0.65 for finetune, 1 otherwise.",
        low=0.01,
        high=1.0,
    )
    frozen_layers: int | None = option(
        None,
        LOOP,
        "How many of these twelve parts, from the input on, keep their initial weights; attention "
        "that excite inserted is trained. Default: 6 for finetune, 0 otherwise.",
        low=0,
        high=12,
    )
    train: str = option(
        "all",
        LOOP,
        "What is trained: all, or attention, head, and patterns of module paths such as 'layer4.*', with "
        "commas between them; the rest keeps its pretrained weights.",
    )
    batch_norm: str = option(
        "auto",
        LOOP,
        "Statistics of batch norms: of the training images (adapted), or those of the initial weights "
        "(frozen). auto: frozen for finetune, adapted otherwise.",
        choices=("auto", "adapted", "frozen"),
    )
    momentum: float = option(0.9, LOOP, "Momentum of SGD.", low=0.0, high=0.999)
    warmup: float = option(
        0.1, LOOP, "Fraction of the training with a rising learning rate.", low=0.0, high=0.9
    )
    label_smoothing: float = option(0.0, LOOP, "Label smoothing.", low=0.0, high=0.9)
    ema: float = option(
        1.0, LOOP, "Epochs over which weights are averaged exponentially; 0: no averaging.", low=0.0
    )
    grad_clip: float = option(1.0, LOOP, "Maximum norm of the gradient; 0: no clipping.", low=0.0)
    monitor: str = option(
        "auto",
        LOOP,
        "Validation metric that selects the best epoch. auto: loss for finetune and for several labels, "
        "accuracy otherwise.",
        choices=("auto", "accuracy", "loss"),
    )
    keep: str = option(
        "interpolated",
        LOOP,
        "Final weights of finetune: between the start and the best epoch, as far from the start as the "
        "validation images favor (interpolated), or those of the best epoch (tuned).",
        choices=("interpolated", "tuned"),
    )
    patience: int | None = option(
        None, LOOP, "Stop after this many epochs without improvement. Default: 10 for finetune.", low=1
    )
    compile: bool = option(False, LOOP, "Compile the network with torch.compile.")

    device: str = option("auto", MACHINE, "cpu, cuda, cuda:1, mps, or auto: the fastest that is available.")
    precision: str = option(
        "auto",
        MACHINE,
        "Floating-point format of training. auto: bfloat16 if the hardware supports it, float16 on older "
        "GPUs, float32 otherwise. Features of a probe are computed in float32.",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    pixel_cache: str = option(
        "auto",
        MACHINE,
        "Decode all images once into the cache folder (on), or each image whenever it is needed (off). auto: "
        "on, unless the decoded images take more than 32 GiB.",
        choices=("auto", "on", "off"),
    )
    channels_last: bool = option(True, MACHINE, "Use the channels-last memory format, which is faster.")
    seed: int = option(0, MACHINE, "Seed of all random draws.", low=0, high=2**63 - 1)

    positive: str | None = option(
        None,
        EVALUATION,
        "The positive class, such as the disease. It is predicted from the threshold of --sensitivity or "
        "--specificity up.",
    )
    sensitivity: float | None = option(
        None,
        EVALUATION,
        "Choose the threshold of the positive class for this expected sensitivity on new images. Default: "
        "0.95 if there is a positive class and no other criterion.",
        low=0.01,
        high=1.0,
    )
    specificity: float | None = option(
        None,
        EVALUATION,
        "Choose the threshold of the positive class for this expected specificity on new images.",
        low=0.01,
        high=1.0,
    )
    label_threshold: str = option(
        "f1",
        EVALUATION,
        "With several labels: the threshold of each label is that of the highest F1 on the validation images "
        "(f1), or 0.5 (half). --sensitivity and --specificity choose it for every label.",
        choices=("f1", "half"),
    )
    abstain_below: float | None = option(
        None, EVALUATION, "Abstain below this confidence.", low=0.0, high=1.0
    )
    selective_accuracy: float | None = option(
        None,
        EVALUATION,
        "Abstain below a confidence for which the validation images show, with an error probability of 10 %, "
        "that this fraction of the accepted images is classified correctly.",
        low=0.01,
        high=1.0,
    )
    subgroups: str | None = option(
        None,
        EVALUATION,
        "Columns of the data, separated by commas; metrics are computed for each of their values.",
    )
    ordinal: str | None = option(
        None,
        EVALUATION,
        "The classes have this order, from the lowest to the highest, such as none,mild,severe; 'classes': "
        "that of their names. Quadratic weighted kappa and errors in ranks are measured, too.",
    )

    robustness: bool = option(
        False,
        EVALUATION,
        "After fine-tuning, also measure the initial, the fine-tuned, and the final weights on corrupted "
        "test images, which takes 33 predictions per test image.",
    )

    folds: int | None = option(None, RUN, "Number of folds of a cross-validation.", low=2, high=100)
    repeats: int = option(
        1, RUN, "Number of repeats of the cross-validation, each with new folds.", low=1, high=100
    )
    jobs: int = option(1, RUN, "Number of folds to train at the same time; they share the threads.", low=1)
    thumbnails: bool | None = option(
        None,
        RUN,
        "Show images in report.html and figures/samples.png. Default: unless the images have groups, or "
        "names that look like groups, which may be people.",
    )
    imports: list[str] = option(
        [],
        RUN,
        "Import this module (my_parts) or file (my_parts.py), which registers attention, networks, "
        "augmentations, losses, or hooks; may be repeated.",
        flag="--import",
    )
    track: list[str] = option(
        [],
        RUN,
        "Also record the training with tensorboard, mlflow, or a hook of a plug-in; may be repeated.",
    )
    out: str | None = option(None, RUN, "Run folder. Default: runs/NAME, with the name of the data.")

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            object.__setattr__(self, each.name, typed(each.name, value, HINTS[each.name]))
            each.metadata["limits"].check(each.name, getattr(self, each.name))
        for name in RESERVED_OPTIONS & self.model_options.keys():
            what, hint = "cannot be set: it follows from the data and other options", None
            if name in HINTS:
                hint = f"use --{name.replace('_', '-')}"
            raise ExciteError(what, where=f"model_options.{name}", hint=hint, exit_code=BAD_USAGE)
        if self.val_fraction + self.test_fraction >= 1:
            raise ExciteError("val_fraction and test_fraction leave no training images", exit_code=BAD_USAGE)
        for one, other, both in EITHER:
            first, second = getattr(self, one), getattr(self, other)
            if first is not None and first is not False and second is not None:
                what = f"{one} and {other} are mutually exclusive: both set {both}"
                raise ExciteError(what, exit_code=BAD_USAGE)

    def replace(self, **changes: Any) -> TrainConfig:
        """A copy with some options changed. Raises: ExciteError for an unknown name or an invalid value."""
        for name in changes:
            if name not in HINTS:
                raise unknown_name("option", name, HINTS)
        return dataclasses.replace(self, **changes)

    def table_options(self) -> dict[str, str]:
        """What the columns of a CSV hold, for ``read_manifest``."""
        return {name: getattr(self, name) for name in TABLE_OPTIONS}

    def to_dict(self) -> dict[str, Any]:
        """All options by name."""
        return dataclasses.asdict(self)

    def to_yaml(self) -> str:
        """All options as YAML, which ``from_yaml`` reads."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    @classmethod
    def from_yaml(cls, *paths: Path) -> TrainConfig:
        """Read YAML files; an option has the value of the last file that contains it, or else its default."""
        config = cls()
        for path in paths:
            config = config._with_yaml(path)
        return config

    def _with_yaml(self, path: Path) -> TrainConfig:
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(getattr(error, "problem", None) or error).split())
            raise ExciteError(
                f"not a readable YAML file: {reason}", where=path, exit_code=BAD_USAGE
            ) from error
        if not isinstance(values or {}, dict):
            raise ExciteError("must contain options as 'name: value'", where=path, exit_code=BAD_USAGE)
        try:
            return self.replace(**{str(name): value for name, value in (values or {}).items()})
        except ExciteError as error:
            where = f"{path}: {error.where}" if error.where else path
            raise ExciteError(error.what, where=where, hint=error.hint, exit_code=BAD_USAGE) from None


HINTS: dict[str, Any] = typing.get_type_hints(TrainConfig)
