"""A configuration whose options are being resolved, and the reasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest


@dataclass
class Resolver:
    """The state of resolving a configuration.

    Args:
        config: the options; those not yet resolved are ``auto`` or None.
        manifest: the images.
        device: the device of ``config``.
        reasons: a line for each value that users may want to change.
    """

    config: TrainConfig
    manifest: Manifest
    device: torch.device
    reasons: list[str] = field(default_factory=list)

    @property
    def has_weights(self) -> bool:
        """Whether training starts from pretrained weights."""
        return bool(self.config.pretrained or self.config.weights)

    @property
    def finetunes(self) -> bool:
        """Whether the recipe is fine-tuning."""
        return self.config.recipe == "finetune"

    def set(self, **options: Any) -> None:
        """Set options that follow from others, without a reason."""
        self.config = self.config.replace(**options)

    def choose(self, name: str, value: Any, reason: str) -> None:
        """Set an option and record the reason."""
        self.set(**{name: value})
        self.add_reason(name, value, reason)

    def add_reason(self, name: str, value: Any, reason: str) -> None:
        """Record the reason for an option's value."""
        self.reasons.append(f"{name} = {value} ({reason})")
