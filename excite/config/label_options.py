"""Options that mean nothing if an image may have several labels."""

from __future__ import annotations

from collections.abc import Mapping

from excite.config.train_config import TrainConfig
from excite.errors import BAD_USAGE, ExciteError

# Each with what does it instead.
NOT_FOR_LABELS: Mapping[str, str] = {
    "positive": "every label has its own threshold: --sensitivity and --specificity hold for all",
    "abstain_below": "the probability of each label is in the prediction",
    "selective_accuracy": "the probability of each label is in the prediction",
    "ordinal": "an order is of classes that exclude each other",
    "loss": "binary cross-entropy of each label is the only loss",
    "folds": "train once with each of several --seed",
}
_VALUES = (
    ("balance", "sampling", "choose --balance weights: an image belongs to several labels at once"),
    ("monitor", "accuracy", "choose --monitor loss: of a rare label nearly all values are right at once"),
)


def refuse_for_labels(config: TrainConfig) -> None:
    """Raises: ExciteError for an option of one class per image."""
    plain = TrainConfig()
    for name, instead in NOT_FOR_LABELS.items():
        if getattr(config, name) != getattr(plain, name):
            option = f"--{name.replace('_', '-')}"
            what = "is for one class per image; these images have several labels"
            raise ExciteError(what, where=option, hint=instead, exit_code=BAD_USAGE)
    for name, value, instead in _VALUES:
        if getattr(config, name) == value:
            what = f"{value} is for one class per image"
            raise ExciteError(what, where=f"--{name}", hint=instead, exit_code=BAD_USAGE)


def refuse_for_classes(config: TrainConfig) -> None:
    """Raises: ExciteError for an option of several labels per image."""
    if config.label_threshold != TrainConfig.label_threshold:
        what = "has no effect: an image has one class"
        raise ExciteError(what, where="--label-threshold", hint="omit it", exit_code=BAD_USAGE)
