"""``--recipe finetune``: where it starts, which is a fitted probe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import safe_open
from torch import nn

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.errors import ExciteError
from excite.models.head import head_path, linear_head
from excite.models.weights import save_tensors
from excite.pipeline.linear_probe import describe_score, fit_head
from excite.system.progress import Display

START = "start.safetensors"


def start_from_probe(
    model: nn.Module,
    config: TrainConfig,
    manifest: Manifest,
    features: Callable[[], np.ndarray],
    display: Display,
) -> bool:
    """Give a network the head of a probe of its training images (Kumar et al. 2022, arXiv 2202.10054).

    A random head would send random gradients through the trained layers before it has learned anything. Where
    there is no probe to be had, the head starts at zero, which sends none.

    Args:
        manifest: all images.
        features: computes (N, F) of them.

    Returns:
        whether it starts from a probe.
    """
    head = model.get_submodule(head_path(model))
    assert isinstance(head, nn.Linear | nn.Conv2d)
    nn.init.zeros_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    training = (manifest.table["split"] == "train").to_numpy()
    try:
        linear_head(model)  # told before features are computed
        fitted = fit_head(model, features()[training], manifest.part("train"), config)
    except ExciteError as error:
        display.note(f"starts from a head of zeros: {error.what}")
        return False
    display.note(f"starts from a probe: {describe_score(fitted)}")
    return True


def keep_start(model: nn.Module, folder: Path, *, probe: bool) -> None:
    """Write down where a training starts from, to come back toward it, and whether that is a probe."""
    save_tensors(folder / START, model.state_dict(), {"head": "probe"} if probe else None)


def started_from_probe(folder: Path) -> bool:
    """Whether the start that was written down is a probe."""
    with safe_open(folder / START, framework="pt") as file:
        return (file.metadata() or {}).get("head") == "probe"
