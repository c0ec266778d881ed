"""The objective of a run, and the targets of its images: of one class, or of several labels."""

from __future__ import annotations

import numpy as np

from excite.config.task import MULTILABEL
from excite.data.labels import UNKNOWN
from excite.data.manifest import Manifest
from excite.pipeline.class_weights import class_weights, label_weights
from excite.pipeline.context import RunContext
from excite.runs.derive import augmentation_of
from excite.training.losses import build_loss
from excite.training.objective import ClassObjective, LabelObjective, Objective, label_targets


def objective_of(context: RunContext) -> Objective:
    """The loss of the training images, with the weights of ``--balance weights``."""
    config, images = context.config, context.manifest.part("train")
    by_photo = config.augmented_copies == "one"
    is_weighted = config.balance == "weights"
    if images.task == MULTILABEL:
        weights = label_weights(images, by_photo=by_photo).to(context.device) if is_weighted else None
        known = float((images.targets() != UNKNOWN).mean())
        return LabelObjective(known, config.label_smoothing, weights)
    weights = class_weights(images, by_photo=by_photo).to(context.device) if is_weighted else None
    mixed = augmentation_of(config).mixes
    classes = len(context.manifest.classes)
    return ClassObjective(build_loss(config, classes, context.device, weights, mixed=mixed))


def plain_objective(images: Manifest) -> Objective:
    """The objective without smoothing and weights."""
    return LabelObjective() if images.task == MULTILABEL else ClassObjective()


def targets_of(images: Manifest) -> np.ndarray:
    """The targets of images, as the objective takes them."""
    return label_targets(images.targets()) if images.task == MULTILABEL else images.targets()
