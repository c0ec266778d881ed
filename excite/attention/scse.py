"""Concurrent spatial and channel Squeeze-and-Excitation (scSE), and its spatial half (sSE)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from excite.attention import parts
from excite.attention.parts import GatedModule
from excite.attention.squeeze_excitation import SqueezeExcitation
from excite.errors import unknown_name

COMBINATIONS = ("max", "add")


class SpatialSE(GatedModule):
    """sSE squeezes channels and excites positions: output_ij = sigmoid(q_ij) u_ij, q a 1x1 convolution of u.

    Args:
        bias: whether the convolution has one; the paper's has none.
        identity: start as the identity: the convolution at zero and the gate doubled.

    Raises:
        ExciteError: if channels is less than 1.

    Paper: Concurrent Spatial and Channel Squeeze & Excitation, Roy et al.,
    https://arxiv.org/abs/1803.02579, section 2.2.
    """

    passes = 1  # the scale; FLOP counters see the convolution

    def __init__(self, channels: int, *, bias: bool = False, identity: bool = False) -> None:
        super().__init__(channels)
        self.identity = identity
        self.conv = nn.Conv2d(channels, 1, 1, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize weights as the layer does, biases to zero; with ``identity``, all to zero."""
        self.conv.reset_parameters()
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)
        if self.identity:
            parts.zero(self.conv)

    def gates(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 1, H, W)."""
        return parts.gate(parts.apply(self.conv, u), self.identity)


class ConcurrentSE(GatedModule):
    """scSE: cSE, which is SE, and sSE side by side on the same map; the larger of their outputs, or the sum.

    Args:
        reduction: r of the channel branch. The paper takes 2.
        combine: ``max`` takes the larger of the two outputs, an element at a time, as in the second paper;
            ``add`` their sum, as in the first.
        divisor: as in SqueezeExcitation.
        identity: start as the identity: both branches start as it. ``add`` then halves the sum of the doubled
            gates, which is the paper's sum again.

    Raises:
        ExciteError: if channels, reduction or divisor is less than 1, or an unknown combination.

    Papers: Roy et al., https://arxiv.org/abs/1803.02579 and https://arxiv.org/abs/1808.08127.
    """

    passes = 3  # one squeeze, two scales

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        combine: str = "max",
        divisor: int = 1,
        identity: bool = False,
    ) -> None:
        super().__init__(channels, reduction=reduction, divisor=divisor)
        if combine not in COMBINATIONS:
            raise unknown_name("combination", combine, COMBINATIONS)
        self.combine, self.identity = combine, identity
        self.cse = SqueezeExcitation(channels, reduction, divisor=divisor, identity=identity)
        self.sse = SpatialSE(channels, identity=identity)

    def forward(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W), same dtype and memory format."""
        if self.combine == "max":
            return torch.maximum(self.cse(u), self.sse(u))
        return super().forward(u)

    def gates(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W); of the larger output where u is negative it is the smaller gate."""
        c, s = self.cse.gates(u), self.sse.gates(u)
        if self.combine == "max":
            return torch.where(u >= 0, torch.maximum(c, s), torch.minimum(c, s))
        return (c + s) / 2 if self.identity else c + s

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, combine={self.combine}"
