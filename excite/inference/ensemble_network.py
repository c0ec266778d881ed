"""Several networks of the same classes as one: the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EnsembleNetwork(nn.Module):
    """Networks that answer side by side.

    Args:
        networks: each gives the logits (B, C) of a member, or (B, k C) of k members one after the other.
        temperatures: (M,) one a member, in the same order; its logits are divided by it.
        classes: C.
    """

    temperatures: Tensor

    def __init__(self, networks: Sequence[nn.Module], temperatures: Sequence[float], classes: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.classes = classes
        self.register_buffer("temperatures", torch.tensor(temperatures, dtype=torch.float32)[:, None])

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, M, C) logits of each member at its temperature, in float32."""
        outputs = [network(images).float().unflatten(1, (-1, self.classes)) for network in self.networks]
        return torch.cat(outputs, dim=1) / self.temperatures


class MeanEnsemble(nn.Module):
    """A network whose softmax is the mean of its members' probabilities."""

    def __init__(self, members: EnsembleNetwork) -> None:
        super().__init__()
        self.members = members

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C) logarithms of the mean probabilities."""
        each = F.log_softmax(self.members(images), dim=2)
        return torch.logsumexp(each, dim=1) - math.log(each.shape[1])
