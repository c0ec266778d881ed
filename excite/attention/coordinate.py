"""Coordinate attention: one gate per row and one per column.

timm's has two thirds of the paper's hidden width, rounded to a multiple of 8; given the same width, the two
compute the same in float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.attention import parts
from excite.attention.parts import GatedModule
from excite.attention.width import hidden_width


class CoordinateAttention(GatedModule):
    """One gate for the row and one for the column: output_ij = u_ij g^h_i g^w_j (eq. 9).

    z^h, z^w are means along width and height (eqs. 4, 5); f = hardswish(BN(F1 [z^h, z^w])) (eq. 6);
    g^h = sigmoid(F_h f^h) (eq. 7); g^w = sigmoid(F_w f^w) (eq. 8). F1 has no bias: the norm would
    take it away.

    Args:
        reduction: r; the hidden width is max(1, C // r). The paper takes 32; its code keeps at least 8.
        bias: whether F_h and F_w have biases, as in the authors' code; timm's have none.
        divisor: as in SqueezeExcitation.
        identity: start as the identity: F_h and F_w at zero and both gates doubled.

    Raises:
        ExciteError: if channels, reduction or divisor is less than 1.

    Paper: Coordinate Attention, Hou et al., https://arxiv.org/abs/2103.02907.
    """

    passes = 4  # two squeezes, two scales

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        bias: bool = True,
        divisor: int = 1,
        identity: bool = False,
    ) -> None:
        super().__init__(channels, reduction=reduction, divisor=divisor)
        hidden = hidden_width(channels, reduction, divisor)
        self.identity = identity
        self.conv1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.bn1 = parts.BatchNorm(hidden)
        self.conv_h = nn.Conv2d(hidden, channels, 1, bias=bias)
        self.conv_w = nn.Conv2d(hidden, channels, 1, bias=bias)
        if identity:
            parts.zero(self.conv_h, self.conv_w)

    def gates(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        wide, height = parts.wide_dtype(u), u.shape[2]
        z_h = u.mean(dim=3, keepdim=True, dtype=wide)
        z_w = u.mean(dim=2, keepdim=True, dtype=wide).transpose(2, 3)
        f = parts.normalize(self.bn1, parts.apply(self.conv1, torch.cat([z_h, z_w], dim=2)))
        f = F.hardswish(f)
        g_h = parts.gate(parts.apply(self.conv_h, f[:, :, :height]), self.identity)
        g_w = parts.gate(parts.apply(self.conv_w, f[:, :, height:]), self.identity)
        return g_h * g_w.transpose(2, 3)
