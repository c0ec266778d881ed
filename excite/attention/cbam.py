"""CBAM: channel attention, then spatial attention.

timm's module always has a batch norm, which the paper's equations do not have, and computes its gates in half
precision under autocast.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from excite.attention import parts
from excite.attention.parts import GatedModule
from excite.attention.width import hidden_width, require_positive
from excite.errors import BAD_USAGE, ExciteError


class CBAMChannel(GatedModule):
    """The first half of CBAM: s = sigmoid(W1 ReLU(W0 avg(u)) + W1 ReLU(W0 max(u))) (eq. 2)."""

    passes = 3  # two squeezes, one scale

    def __init__(self, channels: int, hidden: int, *, bias: bool, identity: bool) -> None:
        super().__init__(channels)
        self.identity = identity
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=bias)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=bias)
        if identity:
            parts.zero(self.fc2)

    def gates(self, u: Tensor) -> Tensor:
        """One gate per channel: (N, C, H, W) -> (N, C, 1, 1)."""
        largest = u.amax(dim=(2, 3), keepdim=True).to(parts.wide_dtype(u))
        return parts.gate(self._mlp(parts.squeeze(u)) + self._mlp(largest), self.identity)

    def _mlp(self, z: Tensor) -> Tensor:
        return parts.apply(self.fc2, torch.relu(parts.apply(self.fc1, z)))


class CBAMSpatial(GatedModule):
    """The second half of CBAM: s = sigmoid(conv_k([avg over channels, max over channels])) (eq. 3)."""

    passes = 3  # two squeezes, one scale

    def __init__(self, channels: int, kernel_size: int, *, norm: bool, identity: bool) -> None:
        super().__init__(channels)
        self.identity = identity
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = parts.BatchNorm(1) if norm else nn.Identity()
        if identity:
            parts.zero(self.norm if norm else self.conv)

    def gates(self, u: Tensor) -> Tensor:
        """One gate per position: (N, C, H, W) -> (N, 1, H, W)."""
        wide = parts.wide_dtype(u)
        z = torch.cat([u.mean(dim=1, keepdim=True, dtype=wide), u.amax(dim=1, keepdim=True).to(wide)], dim=1)
        return parts.gate(parts.normalize(self.norm, parts.apply(self.conv, z)), self.identity)


class CBAM(nn.Module):
    """Convolutional block attention module: channel attention, then spatial attention (eq. 1).

    For a feature map u of shape (N, C, H, W), the output has the same shape::

        v = u * sigmoid(MLP(mean of each channel) + MLP(maximum of each channel))        (eq. 2)
        output = v * sigmoid(conv([mean over channels of v, maximum over channels]))     (eq. 3)

    The first line is the module ``channel``, the second ``spatial``.


    Args:
        channels: C, the number of channels of the input.
        reduction: r; the MLP of the channel attention has max(1, C // r) hidden units.
        kernel_size: size of the spatial convolution's kernel, an odd number.
        norm: whether a batch norm follows the spatial convolution, as in the authors' code and timm; eq. 3
            has none.
        bias: whether the layers of the MLP have biases, as in the authors' code; eq. 2 and timm have none.
        divisor: round the number of hidden units to the nearest multiple of this number.
        identity: initialize every gate to exactly one: the last layer of both halves is initialized to zero,
            and both sigmoids are doubled.

    Raises:
        ExciteError: if a size is less than 1, or ``kernel_size`` is even.

    Paper: CBAM, Woo et al., https://arxiv.org/abs/1807.06521.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        kernel_size: int = 7,
        norm: bool = False,
        bias: bool = False,
        divisor: int = 1,
        identity: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"reduction": reduction, "kernel_size": kernel_size, "divisor": divisor}
        require_positive("CBAM", channels=channels, **sizes)
        if kernel_size % 2 == 0:
            what = f"kernel_size must be odd, got {kernel_size}"
            raise ExciteError(what, where="CBAM", exit_code=BAD_USAGE)
        hidden = hidden_width(channels, reduction, divisor)
        self.channels, self.identity = channels, identity
        self.channel = CBAMChannel(channels, hidden, bias=bias, identity=identity)
        self.spatial = CBAMSpatial(channels, kernel_size, norm=norm, identity=identity)

    def forward(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W), same dtype and memory format."""
        return self.spatial(self.channel(u))

    def gates(self, u: Tensor) -> Tensor:
        """The product of both halves' gates: (N, C, H, W) -> (N, C, H, W)."""
        return self.channel.gates(u) * self.spatial.gates(self.channel(u))

    def elementwise_multiply_adds(self, input_shape: Sequence[int]) -> int:
        """Multiply-adds of both halves for one image: six per element of the feature map (..., C, H, W)."""
        return sum(half.elementwise_multiply_adds(input_shape) for half in (self.channel, self.spatial))
