"""SE without the squeeze, the paper's ablation of its effect."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from excite.attention import parts
from excite.attention.parts import GatedModule
from excite.attention.width import hidden_width


class NoSqueeze(GatedModule):
    """Gates for each position from that position alone: output_ij = sigmoid(W2 ReLU(W1 u_ij)) u_ij.

    W1 and W2 are 1x1 convolutions. It has as many parameters as SE with the same reduction, but no pooling:
    the gates are as large as the map. It costs 2 C (C // r) multiply-adds per position, and is meant for
    comparisons only.

    Args:
        reduction: r; the hidden width is max(1, C // r).
        divisor, bias: as in SqueezeExcitation.
        identity: start as the identity: the second convolution starts at zero, and gates are doubled.

    Raises:
        ExciteError: if channels, reduction or divisor is less than 1.

    Paper: Squeeze-and-Excitation Networks, Hu et al., https://arxiv.org/abs/1709.01507, section 7.1.
    """

    passes = 1  # the scale; FLOP counters see the convolutions

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        divisor: int = 1,
        bias: bool = True,
        identity: bool = False,
    ) -> None:
        super().__init__(channels, reduction=reduction, divisor=divisor)
        self.identity = identity
        hidden = hidden_width(channels, reduction, divisor)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=bias)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize weights as ``nn.Conv2d`` does, biases to zero, and ``fc2`` to zero for the identity."""
        for layer in (self.fc1, self.fc2):
            layer.reset_parameters()
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if self.identity:
            parts.zero(self.fc2)

    def gates(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        v = parts.apply(self.fc2, torch.relu(parts.apply(self.fc1, u)))
        return parts.gate(v, self.identity)
