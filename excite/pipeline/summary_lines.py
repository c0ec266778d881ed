"""What a training works on, in one line each: data, split, plan, and weights."""

from __future__ import annotations

from torch import nn

from excite.audit.audit import Audit
from excite.config.task import MULTICLASS
from excite.config.train_config import TrainConfig
from excite.data.labels import UNKNOWN
from excite.data.manifest import Manifest
from excite.models.head import head_path
from excite.models.weights import WeightsReport
from excite.training.trainable import attention_modules, inside, saving_text

_COUNTERS = "num_batches_tracked"


def data_line(audited: Audit) -> str:
    """The numbers of images, classes, and groups, and what is doubtful about them.

    Images with more than 8 bits per channel are named with the samples that become black and white.
    The search for near-duplicates is named unless it was complete.
    """
    images, groups, classes = len(audited), len(audited.members), len(audited.manifest.classes)
    noun = "classes" if audited.manifest.task == MULTICLASS else "labels"
    text = f"{images:,} images of {classes:,} {noun}"
    unknown = int((audited.manifest.targets() == UNKNOWN).sum())
    if unknown:
        text += f" ({unknown / (images * classes):.1%} of their values unknown)"
    if images == groups:
        text += ", without near-duplicates"
    else:
        found = "yours and near-duplicates" if audited.manifest.table["group"].any() else "near-duplicates"
        text += f", {groups:,} groups ({found})"
    if not audited.near_duplicates:
        text += "; crops and rotations were not searched for"
    if audited.grouping.oversized:
        text += f"; {len(audited.grouping.oversized)} oversized, which may be wrong: see excite audit"
    extremes, range_ = audited.manifest.extremes, audited.manifest.intensity_range
    if extremes is not None and range_ is not None:
        low, high = (f"{bound:g}" for bound in range_)
        text += f"; {extremes.images:,} with more than 8 bits per channel, {low} black and {high} white"
    if audited.conflicts:
        photos = "1 photo" if len(audited.conflicts) == 1 else f"{len(audited.conflicts)} photos"
        text += f"; {photos} with conflicting labels"
    return text


def split_line(manifest: Manifest, config: TrainConfig) -> str:
    """The number of images in each split, and how they were drawn unless they were given."""
    train, val, test = (len(manifest.part(split)) for split in ("train", "val", "test"))
    how = {"grouped": ", groups kept together", "random": ", at random", "folder": ""}[config.split]
    return f"{train:,} training, {val:,} validation, and {test:,} test images{how}"


def plan_line(config: TrainConfig) -> str:
    """Recipe, network, attention, input size, epochs, and device."""
    network = config.model
    if config.truncate_after is not None:
        network += f" up to {config.truncate_after}"
    if config.attention != "none":
        network += f" with {config.attention}"
    recipe = {"scratch": "train", "finetune": "fine-tune", "probe": "linear probe on"}[config.recipe]
    parts = [f"{recipe} {network}", f"{config.image_size} x {config.image_size} pixels"]
    if config.recipe != "probe":
        parts.append(f"{config.epochs} epochs" if config.epochs != 1 else "1 epoch")
    if config.time_budget is not None and config.recipe != "probe":
        parts[-1] += f" or {config.time_budget:g} minutes"
    return ", ".join([*parts, config.device])


def weights_line(config: TrainConfig, model: nn.Module, report: WeightsReport | None) -> str:
    """Which initial weights are loaded and which are new.

    Args:
        report: of the weights file; None without one.
    """
    if report is None and not config.pretrained:
        return f"random, {sum(p.numel() for p in model.parameters()):,} parameters"
    gates = attention_modules(model)
    head = head_path(model)
    names = [name for name in model.state_dict() if not name.endswith(_COUNTERS)]
    if report is None:
        new = [name for name in names if inside(name, [head, *gates])]
        loaded = len(names) - len(new)
    else:
        new = [*report.missing, *(name for name, _, _ in report.mismatched)]
        loaded = sum(not name.endswith(_COUNTERS) for name in report.loaded)
    parts = ["the head"] if any(inside(name, [head]) for name in new) else []
    fresh = sum(any(inside(name, [gate]) for name in new) for gate in gates)
    parts += [f"{fresh} gate{'s' if fresh > 1 else ''}"] if fresh else []
    others = sum(not inside(name, [head, *gates]) for name in new)
    parts += [f"{others} other tensor{'s' if others > 1 else ''}"] if others else []
    text = f"{loaded} tensors loaded"
    if parts:
        is_one = len(parts) == 1 and fresh + others <= 1
        text += f"; {' and '.join(parts)} {'is' if is_one else 'are'} new"
    if report is not None and report.unexpected:
        text += f"; {len(report.unexpected)} of the file not used"
    if saving := saving_text(model, config.train, config.optimizer):
        text += f"; {saving}"
    return text
