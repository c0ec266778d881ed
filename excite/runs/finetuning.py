"""``--recipe finetune``: where it starts, which is a fitted probe."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from excite.data.loading import PixelSource
from excite.data.manifest import Manifest
from excite.errors import ExciteError
from excite.models.head import head_of
from excite.runs.features import features_of
from excite.runs.settle import image_shares, preprocessing_of
from excite.training.checkpoint import save_tensors
from excite.training.config import TrainConfig
from excite.training.probe import fit_probe
from excite.training.progress import Display

START = "start.safetensors"


def start_from_probe(
    model: nn.Module,
    config: TrainConfig,
    training: Manifest,
    source: PixelSource,
    device: torch.device,
    display: Display,
) -> None:
    """Give a network the head of a probe of its training images (Kumar et al. 2022, arXiv 2202.10054).

    A random head would send random gradients through the trained layers before it has learnt anything. Where
    there is no probe to be had, the head starts at zero, which sends none.

    Args:
        source: the pixels of the training images.
    """
    head = model.get_submodule(head_of(model))
    assert isinstance(head, nn.Linear | nn.Conv2d)
    nn.init.zeros_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    if not isinstance(head, nn.Linear):
        display.note("starts from a head of zeros: it is no linear layer, which a probe would be")
        return
    preprocessing, progress = preprocessing_of(config), display.stage("computing features")
    features = features_of(model, source, preprocessing, device=device, progress=progress)
    targets, groups = training.targets(), training.group_codes()
    try:
        fitted = fit_probe(
            features,
            targets,
            groups,
            classes=len(training.classes),
            shares=image_shares(training, config.balance),
            seed=config.seed,
        )
    except ExciteError as error:
        display.note(f"starts from a head of zeros: {error.what}")
        return
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(fitted.weight))
        if head.bias is not None:
            head.bias.copy_(torch.from_numpy(fitted.bias))
    _, loss, accuracy = min(fitted.tried, key=lambda row: row[1])
    display.note(f"starts from a probe: {accuracy:.1%} of held-out images right, log loss {loss:.3f}")


def keep_start(model: nn.Module, folder: Path) -> None:
    """Write down where a training starts from, to come back towards it."""
    save_tensors(folder / START, model.state_dict())
