"""Variants that weigh positions, alone or beside channels: sSE, scSE, coordinate attention, SimAM.

timm has coordinate attention, with two thirds of the paper's hidden width, rounded to 8; given the width it
computes the same. Why it is written here stands in ``channel_variants``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.attention import parts
from excite.attention.channel_variants import squeeze
from excite.attention.parts import GatedModule
from excite.attention.squeeze_excitation import SqueezeExcitation
from excite.attention.width import hidden_width
from excite.errors import unknown_name

COMBINATIONS = ("max", "add")


class SpatialSE(GatedModule):
    """sSE squeezes channels and excites positions: output_ij = sigmoid(q_ij) u_ij, q a 1x1 convolution of u.

    Args:
        bias: whether the convolution has one; the paper's has none.
        identity: start as the identity: the convolution at zero and the gate doubled.

    Raises:
        ExciteError: for channels under 1.

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
        """The convolution's own weights and a zero bias; with ``identity`` zeros."""
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
        ExciteError: for channels, reduction or divisor under 1, or an unknown combination.

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
        ExciteError: for channels, reduction or divisor under 1.

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


class SimAM(GatedModule):
    """A gate for every element, from how far it stands out of its channel; no parameters.

    output = sigmoid(1 / E) u; 1 / E = (u - mean)^2 / (4 (var + e_lambda)) + 1/2 (eqs. 5 and 6). The variance
    divides by H W - 1, as in the authors' code, though the paper's equation writes H W; a map of one element
    has none, and its gates are sigmoid(1/2).

    Args:
        e_lambda: of eq. 5.
        identity: refused; there is nothing to learn.

    Raises:
        ExciteError: for channels under 1, or ``identity``.

    Paper: SimAM, Yang et al., https://proceedings.mlr.press/v139/yang21o.html.
    """

    passes = 4  # mean, variance, division, scale

    def __init__(self, channels: int, *, e_lambda: float = 1e-4, identity: bool = False) -> None:
        super().__init__(channels)
        if identity:
            raise parts.refuse_identity("SimAM")
        self.e_lambda = e_lambda

    def gates(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        d = (u.to(parts.wide_dtype(u)) - squeeze(u)).square()
        others = parts.at_least_one(u.shape[2] * u.shape[3] - 1)
        variance = d.sum(dim=(2, 3), keepdim=True) / others
        return torch.sigmoid(d / (4 * (variance + self.e_lambda)) + 0.5)
