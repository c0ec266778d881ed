"""``--recipe finetune``: from a fitted probe on, and back towards it as far as validation images ask for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from excite.data.loading import PixelSource
from excite.data.manifest import Manifest
from excite.errors import ExciteError
from excite.models.head import head_of
from excite.runs.features import features_of
from excite.runs.settle import image_shares, preprocessing_of
from excite.training.checkpoint import save_tensors
from excite.training.config import TrainConfig
from excite.training.inference import predict_logits
from excite.training.probe import fit_probe
from excite.training.progress import Display

START = "start.safetensors"
STEPS_BACK = tuple(float(value) for value in np.linspace(0, 1, 11))  # shares of the tuned weights to try


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


def blend(
    model: nn.Module,
    folder: Path,
    config: TrainConfig,
    validation: Manifest,
    source: PixelSource,
    device: torch.device,
    display: Display,
) -> None:
    """Move a tuned network's weights back towards its start, as far as validation images like best.

    Wortsman et al. 2022 (arXiv 2109.01903): the mean of both is often better than either, above all on
    other data. Of equally good shares the one nearer to the start is taken.
    """
    tuned = {name: value.clone() for name, value in model.state_dict().items()}
    start = load_file(folder / START)
    targets = torch.from_numpy(validation.targets())
    found = []
    for share in STEPS_BACK:
        model.load_state_dict(_between(start, tuned, share))
        logits = predict_logits(model, source, preprocessing_of(config), device=device)
        found.append((float(F.cross_entropy(torch.from_numpy(logits), targets)), share))
    loss, share = min(found)
    model.load_state_dict(_between(start, tuned, share))
    display.note(
        f"{share:.0%} of the tuned weights, {1 - share:.0%} of the probe's: validation loss {loss:.3f} "
        f"(probe {found[0][0]:.3f}, tuned {found[-1][0]:.3f})"
    )


def _between(start: dict[str, Tensor], tuned: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    return {
        name: torch.lerp(start[name].to(value), value, share) if value.is_floating_point() else value
        for name, value in tuned.items()
    }
