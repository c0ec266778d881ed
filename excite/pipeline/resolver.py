"""A configuration while it is being settled, and what was said about each choice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest


@dataclass
class Resolver:
    """What is chosen so far.

    Args:
        config: the options; those that are still open are ``auto`` or None.
        manifest: the images.
        device: the one that is asked for.
        reasons: a line for each choice that a user may want to change.
    """

    config: TrainConfig
    manifest: Manifest
    device: torch.device
    reasons: list[str] = field(default_factory=list)

    @property
    def trained(self) -> bool:
        """Whether there are weights to start from."""
        return bool(self.config.pretrained or self.config.weights)

    @property
    def finetunes(self) -> bool:
        return self.config.recipe == "finetune"

    def set(self, **options: Any) -> None:
        """Choose without a word: what follows from other choices."""
        self.config = self.config.replace(**options)

    def choose(self, name: str, value: Any, reason: str) -> None:
        """Choose, and say why."""
        self.set(**{name: value})
        self.reasons.append(f"{name} {value}: {reason}")
