"""TrainConfig: every option of a training, its limits and its help, in one place. Imports no torch."""

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
    ("pretrained", "weights", "where to start from"),
    ("sensitivity", "specificity", "what threshold is wished"),
    ("abstain_below", "selective_accuracy", "when to answer not sure"),
)

# Arguments of ``create_model`` and of the libraries' constructors that a training sets itself, or that make a
# network another thing than a classifier of images with three channels.
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
    """Options of one training. ``None`` and ``auto`` are settled from the data and the machine at the start;
    a run's ``config.yaml`` holds what they became."""

    data: str = option("", DATA, "Folder of class folders, folder with train/val/test, CSV, or 'digits'.")
    split: str = option(
        "auto",
        DATA,
        "How images are parted: as the data says (folder), whole groups (grouped), or each for itself "
        "(random). auto takes the first of these that the data allows.",
        choices=("auto", "random", "grouped", "folder"),
    )
    val_fraction: float = option(0.1, DATA, "Share of the images for validation.", low=0.01, high=0.9)
    test_fraction: float = option(0.2, DATA, "Share of the images for the test.", low=0.01, high=0.9)
    group_pattern: str | None = option(
        None, DATA, "Regular expression on the file name; what its first bracket matches is the group."
    )
    near_duplicates: bool | None = option(
        None, DATA, "Look for crops, turns and recolored copies too; by default up to 20,000 images."
    )
    decisions: str | None = option(None, DATA, "A person's decisions.csv of excite audit, obeyed.")
    allow_leaks: bool = option(False, DATA, "Train on a given split that has copies on both sides.")
    path_column: str = option("path", DATA, "CSV column of the image's path.")
    label_column: str = option("label", DATA, "CSV column of the class.")
    group_column: str = option("group", DATA, "CSV column of the group, such as the patient.")
    split_column: str = option("split", DATA, "CSV column that says train, val or test.")
    max_unreadable: float = option(
        0.01, DATA, "Largest share of unreadable files to go on with.", low=0.0, high=1.0
    )
    max_pixels: int = option(MAX_PIXELS, DATA, "Images with more pixels are refused.", low=1)
    intensity_range: str | None = option(
        None,
        DATA,
        "For images with more than 8 bits per channel: the samples that become black and white, such as "
        "0,4095; by default as measured over all images.",
    )

    model: str = option("auto", MODEL, "Network by name: excite's, timm's or torchvision's.")
    attention: str = option("auto", MODEL, "Channel attention, or none; auto: se in excite's own DenseNets.")
    placement: str = option(
        "auto",
        MODEL,
        "Where attention sits: in excite's DenseNets final, layer, block, transition, joined with +; in "
        "other networks standard, pre, post, identity, inner. auto: final, standard.",
    )
    where: str | None = option(
        None, MODEL, "Modules to put attention in, not all: paths with * and **, separated by commas."
    )
    stages: str | None = option(None, MODEL, "Stages to put attention in, not all: numbers such as 4,5.")
    identity: bool | None = option(
        None,
        MODEL,
        "Attention starts with every gate at one, which leaves a trained network as it is; by default so "
        "where training starts from weights.",
    )
    stem: str = option(
        "auto",
        MODEL,
        "First layers of a DenseNet: cifar for small images, imagenet for others; auto: by image size.",
        choices=("auto", "imagenet", "cifar"),
    )
    truncate_after: str | None = option(
        None,
        MODEL,
        "Path of the last module that counts, such as layer3: the head follows it. By default, where weights "
        "are missing, the last block that has all of its own.",
    )
    pretrained: bool = option(False, MODEL, "Start from published weights, downloaded from the hub.")
    weights: str | None = option(None, MODEL, "Start from the weights in this .safetensors file.")
    model_options: dict[str, Any] = option({}, MODEL, "Further options of the network.")
    attention_options: dict[str, Any] = option({}, MODEL, "Options of the attention, such as reduction.")

    image_size: int | None = option(None, IMAGES, "Side of the network's input, in pixels.", low=1, high=4096)
    resize_mode: str = option(
        "crop",
        IMAGES,
        "How a picture becomes a square: cut its middle out, squash it, or pad it.",
        choices=("crop", "stretch", "pad"),
    )
    normalization: str = option(
        "auto",
        IMAGES,
        "Mean and deviation to normalize with: imagenet's, half (0.5 and 0.5), or auto: what the weights to "
        "start from expect.",
        choices=("auto", "imagenet", "symmetric"),
    )
    tta: str = option(
        "auto",
        IMAGES,
        "What the answer is the mean of: the image alone (one), its mirror image too (flip), or also five "
        "crops and theirs (crops), which takes twelve times as long. auto: flip with trained weights.",
        choices=("auto", "none", "flip", "crops"),
    )
    flips: str = option(
        "auto",
        IMAGES,
        "Which mirror images are the same class; auto: horizontal, none for digits. both: the pictures have "
        "no up, and are turned by any angle.",
        choices=("auto", "none", "horizontal", "both"),
    )

    recipe: str = option(
        "auto",
        LEARNING,
        "scratch: all from random weights; finetune: all from trained ones; probe: a linear head on features "
        "of trained weights, in seconds. auto: where there are weights, probe on a CPU or for few groups, "
        "else finetune, as with any option of a training loop.",
        choices=("auto", "scratch", "finetune", "probe"),
    )
    balance: str = option(
        "none",
        LEARNING,
        "For unequal classes: weight the loss, or draw all classes equally often.",
        choices=("none", "weights", "sampling"),
    )

    augment: str = option(
        "auto",
        LOOP,
        "Augmentation: none, quick (crops), standard (and rotation, color), small (stronger, and mixup: for "
        "few images), best (and erasing, CutMix). auto: small to finetune, else standard.",
        choices=("auto", "none", "quick", "standard", "small", "best"),
    )
    augment_options: dict[str, Any] = option({}, LOOP, "Changes to the preset, such as rotation.")
    augmented_copies: str = option(
        "auto",
        LOOP,
        "Of a photo with several copies, such as a set that was augmented before, an epoch draws one, or it "
        "takes all of them. auto: one to finetune.",
        choices=("auto", "one", "all"),
    )
    epochs: int = option(40, LOOP, "Passes over the training images.", low=1)
    time_budget: float | None = option(
        None, LOOP, "Minutes after which training ends, its schedule run down to the end.", low=0.01
    )
    batch_size: int = option(32, LOOP, "Images of one optimizer step, over all processes.", low=2)
    accumulation_steps: int = option(
        1, LOOP, "Pieces that each process cuts its batch into, for memory.", low=1
    )
    optimizer: str = option("adamw", LOOP, "AdamW or SGD with momentum.", choices=("adamw", "sgd"))
    lr: float | None = option(
        None, LOOP, "Peak learning rate; adamw: 0.0005, sgd: 0.05; 0.4 of it to finetune.", low=0.0
    )
    weight_decay: float | None = option(
        None, LOOP, "Weight decay; adamw: 0.05, sgd: 0.0005.", low=0.0, high=1.0
    )
    layer_decay: float | None = option(
        None,
        LOOP,
        "Factor of the rate from each twelfth of the network to the one before; finetune: 0.65, else 1.",
        low=0.01,
        high=1.0,
    )
    batch_norm: str = option(
        "auto",
        LOOP,
        "Whether batch norms take statistics of the training images, or keep those they have. auto: frozen "
        "to finetune, else adapted.",
        choices=("auto", "adapted", "frozen"),
    )
    momentum: float = option(0.9, LOOP, "Momentum of SGD.", low=0.0, high=0.999)
    warmup: float = option(0.1, LOOP, "Share of the training that warms up.", low=0.0, high=0.9)
    label_smoothing: float = option(0.0, LOOP, "Label smoothing.", low=0.0, high=0.9)
    ema: float = option(1.0, LOOP, "Epochs that the averaged weights reach back; 0: no average.", low=0.0)
    grad_clip: float = option(1.0, LOOP, "Largest norm of the gradient; 0: no limit.", low=0.0)
    monitor: str = option(
        "auto",
        LOOP,
        "Which epoch is kept: that of the best validation accuracy, or loss. auto: loss to finetune.",
        choices=("auto", "accuracy", "loss"),
    )
    patience: int | None = option(
        None, LOOP, "Stop after so many epochs without a better one; finetune: 10.", low=1
    )
    compile: bool = option(False, LOOP, "Compile the network with torch.compile first.")

    device: str = option("auto", MACHINE, "cpu, cuda, cuda:1, mps; auto: the fastest that is there.")
    precision: str = option(
        "auto",
        MACHINE,
        "Arithmetic of training; auto: bfloat16 where the machine multiplies it fast, float16 on older GPUs, "
        "float32 elsewhere. A probe's features are in float32.",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    channels_last: bool = option(True, MACHINE, "Keep channels together in memory, which is faster.")
    seed: int = option(0, MACHINE, "Seed of everything random.", low=0, high=2**63 - 1)

    positive: str | None = option(
        None,
        EVALUATION,
        "The class that is to be found, such as the disease; of two classes, by default the rarer one.",
    )
    sensitivity: float | None = option(
        None,
        EVALUATION,
        "Call an image positive from the threshold that finds this share of the positive validation images; "
        "0.95 where there is a positive class and nothing else is said.",
        low=0.01,
        high=1.0,
    )
    specificity: float | None = option(
        None, EVALUATION, "The same, sparing this share of the others instead.", low=0.01, high=1.0
    )
    abstain_below: float | None = option(
        None, EVALUATION, 'Answer "not sure" below this confidence.', low=0.0, high=1.0
    )
    selective_accuracy: float | None = option(
        None,
        EVALUATION,
        'Answer "not sure" below the confidence from which so many validation answers are right.',
        low=0.01,
        high=1.0,
    )
    subgroups: str | None = option(
        None, EVALUATION, "Columns of the data, separated by commas, whose values are measured apart."
    )

    folds: int | None = option(
        None, RUN, "Cross-validate: train so many times, each image tested once.", low=2, high=100
    )
    repeats: int = option(1, RUN, "Draw the folds so many times anew.", low=1, high=100)
    jobs: int = option(1, RUN, "Folds that are trained at once, each with its share of the threads.", low=1)
    thumbnails: bool = option(
        False, RUN, "Show the worst mistakes as pictures in report.html: mind whose they are."
    )
    out: str | None = option(None, RUN, "Run folder; default: runs/NAME of the data.")

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            object.__setattr__(self, each.name, typed(each.name, value, HINTS[each.name]))
            each.metadata["limits"].check(each.name, getattr(self, each.name))
        for name in RESERVED_OPTIONS & self.model_options.keys():
            what, hint = "is not an option of the network: it follows from the data and other options", None
            if name in HINTS:
                hint = f"use --{name.replace('_', '-')}"
            raise ExciteError(what, where=f"model_options.{name}", hint=hint, exit_code=BAD_USAGE)
        if self.val_fraction + self.test_fraction >= 1:
            raise ExciteError("val_fraction and test_fraction leave nothing to train on", exit_code=BAD_USAGE)
        for one, other, both in EITHER:
            first, second = getattr(self, one), getattr(self, other)
            if first is not None and first is not False and second is not None:
                what = f"{one} and {other} both say {both}"
                raise ExciteError(what, hint="give one of them", exit_code=BAD_USAGE)

    def replace(self, **changes: Any) -> TrainConfig:
        """A configuration with some options changed. Raises: ExciteError for a name that is none."""
        for name in changes:
            if name not in HINTS:
                raise unknown_name("option", name, HINTS)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    @classmethod
    def from_yaml(cls, path: Path) -> TrainConfig:
        """The configuration in a YAML file; options that it does not name keep their defaults."""
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(getattr(error, "problem", None) or error).split())
            raise ExciteError(
                f"not a readable YAML file: {reason}", where=path, exit_code=BAD_USAGE
            ) from error
        if not isinstance(values or {}, dict):
            raise ExciteError("does not hold options as 'name: value'", where=path, exit_code=BAD_USAGE)
        try:
            return cls().replace(**{str(name): value for name, value in (values or {}).items()})
        except ExciteError as error:
            where = f"{path}: {error.where}" if error.where else path
            raise ExciteError(error.what, where=where, hint=error.hint, exit_code=BAD_USAGE) from None


HINTS: dict[str, Any] = typing.get_type_hints(TrainConfig)
