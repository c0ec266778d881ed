"""The context of a run: configuration, images, pixels, network, and processes, in one object."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSource, PixelSubset
from excite.runs.derive import preprocessing_of
from excite.runs.run import Run
from excite.system.progress import Display
from excite.system.world import World
from excite.tracking.hooks import Hooks


@dataclass(frozen=True)
class RunContext:
    """The state that the steps of a run share.

    Args:
        run: the run folder.
        config: resolved options.
        manifest: all N images, checked and split.
        model: the network; steps change its weights in place.
        pixels: (N, S, S, 3) uint8, in the order of the manifest.
        device: where the network computes.
        display: the progress display.
        world: the processes that train the network together.
        hooks: told how the training goes.
    """

    run: Run
    config: TrainConfig
    manifest: Manifest
    model: nn.Module
    pixels: PixelSource
    device: torch.device
    display: Display
    world: World
    hooks: Hooks = field(default_factory=Hooks)

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing of the configuration."""
        return preprocessing_of(self.config)

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split, in order."""
        return np.flatnonzero(self.manifest.table["split"] == split)

    def images(self, split: str, *, device: torch.device | None = None) -> PixelSubset:
        """The images of a split; ``device`` keeps a small split on the accelerator."""
        return PixelSubset(self.pixels, self.rows(split), device=device)

    def with_model(self, model: nn.Module) -> RunContext:
        """The same context with another network."""
        return replace(self, model=model)
