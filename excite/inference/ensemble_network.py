"""Several networks for the same classes as one network: the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EnsembleNetwork(nn.Module):
    """The members of an ensemble: images (B, 3, S, S) -> logits (B, M, C).

    Args:
        networks: each returns the logits of one member, (B, C), or of k members concatenated, (B, k C).
        temperatures: M divisors of the logits, one per member, in the order of the members.
        intercepts: (M, C), added to the logits of each member after the division.

    >>> twins = [nn.Flatten(), nn.Flatten()]  # each returns its input as two logits
    >>> EnsembleNetwork(twins, [1.0, 2.0], [[0.0, 0.0], [0.5, 0.0]])(torch.tensor([[4.0, 8.0]]))
    tensor([[[4.0000, 8.0000],
             [2.5000, 4.0000]]])
    """

    temperatures: Tensor
    intercepts: Tensor

    def __init__(
        self,
        networks: Sequence[nn.Module],
        temperatures: Sequence[float],
        intercepts: Sequence[Sequence[float]],
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.classes = len(intercepts[0])
        self.register_buffer("temperatures", torch.tensor(temperatures, dtype=torch.float32)[:, None])
        self.register_buffer("intercepts", torch.tensor(intercepts, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, M, C): the calibrated logits of each member, in float32."""
        outputs = [network(images).float().unflatten(1, (-1, self.classes)) for network in self.networks]
        return torch.cat(outputs, dim=1) / self.temperatures + self.intercepts


class MeanEnsemble(nn.Module):
    """A network whose softmax is the mean of its members' probabilities: (B, 3, S, S) -> (B, C)."""

    def __init__(self, members: EnsembleNetwork) -> None:
        super().__init__()
        self.members = members

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C): logarithms of the mean probabilities."""
        log_probabilities = F.log_softmax(self.members(images), dim=2)
        return torch.logsumexp(log_probabilities, dim=1) - math.log(log_probabilities.shape[1])
