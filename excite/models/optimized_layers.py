"""Modules of an inference-only network: convolutions with activation, channel attention, residual blocks.

Weights are fixed, norms are folded into the convolutions, and there are no gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.attention.parts import is_plain_layer
from excite.attention.squeeze_excitation import SqueezeExcitation
from excite.kernels.dispatch import select_backend
from excite.kernels.prepacked import NO_ACTIVATION, Activation, PrepackedConv, PrepackedLinear
from excite.kernels.reference import Excitation, excitation_gates, rows


class OptimizedLayer(nn.Module):
    """A module that caches values derived from its weights until ``train()``."""

    def reset_cache(self) -> None:
        """Discard the cached values."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Self:
        if mode:
            self.reset_cache()
        return super().train(mode)


class OptimizedConv(OptimizedLayer):
    """A convolution and the activation after it as one operator: (N, C, H, W) -> (N, out, h, w)."""

    def __init__(self, conv: nn.Conv2d, after: Activation = NO_ACTIVATION) -> None:
        super().__init__()
        self.conv = conv
        self.prepacked = PrepackedConv(conv, after)

    @property
    def has_activation(self) -> bool:
        """Whether an activation follows the convolution."""
        return self.prepacked.after != NO_ACTIVATION

    def forward(self, x: Tensor) -> Tensor:
        return self.prepacked(_autocast_input(x))

    def add_relu(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """ReLU(conv(x) + shortcut), instead of the convolution's own activation."""
        return self.prepacked.add_relu(_autocast_input(x), shortcut)

    def reset_cache(self) -> None:
        self.prepacked.reset_cache()


class OptimizedAttention(OptimizedLayer):
    """Attention that depends on channel means only: s x, (N, C, H, W), same dtype and memory format."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.reset_cache()

    def forward(self, x: Tensor) -> Tensor:
        backend = select_backend(x)
        if backend is None:
            return cast(Tensor, self.attention(x))
        out = torch.empty_like(x)
        if not self.scale_one_image(x, None, backend, out):
            s = self.gates(backend.means(rows(x)))
            backend.scale(rows(x), s, torch.zeros_like(s), None, False, rows(out))
        return out

    def scale_one_image(self, x: Tensor, shortcut: Tensor | None, backend: ModuleType, out: Tensor) -> bool:
        """Compute one image with one operator, with ReLU if there is a shortcut; False if none exists."""
        if len(x) != 1:
            return False
        if (excitation := self._excitation()) is None:
            return False
        added = None if shortcut is None else rows(shortcut)
        backend.squeeze_excite(rows(x), excitation, added, shortcut is not None, rows(out))
        return True

    def gates(self, means: Tensor) -> Tensor:
        """The gates from the channel means, (N, C) -> (N, C), in float32, outside autocast."""
        if (excitation := self._excitation()) is not None:
            return excitation_gates(means, excitation)
        gates: Tensor = self.attention.gates(means[:, :, None, None])  # type: ignore[operator]
        return gates.flatten(1)

    def reset_cache(self) -> None:
        self.excitation: Excitation | None = None

    def _excitation(self) -> Excitation | None:
        attention = self.attention
        if type(attention) is not SqueezeExcitation or attention.gate_name != "sigmoid":
            return None
        layers = (attention.fc1, attention.fc2)
        if not (is_plain_layer(layers[0]) and is_plain_layer(layers[1])):
            return None
        if self.excitation is None:
            w1, w2 = (layer.weight.detach().t().contiguous() for layer in layers)
            b1, b2 = (
                layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias.detach()
                for layer in layers
            )
            self.excitation = Excitation(w1, b1, w2, b2, 2 if attention.identity else 1)
        return self.excitation


class OptimizedBlock(OptimizedLayer):
    """A residual block: ReLU(s u + shortcut), with u the convolutions of x: (N, C, H, W) -> (N, out, h, w).

    A 1x1 convolution commutes with the mean over pixels: the means of its output, from which the gates s are
    computed, follow from those of its input, which in a bottleneck has a quarter of the channels.
    """

    def __init__(
        self,
        convolutions: Sequence[OptimizedConv],
        gate: OptimizedAttention | None,
        downsample: nn.Module | None,
    ) -> None:
        super().__init__()
        *first, self.last = convolutions
        self.first = nn.Sequential(*first)
        self.gate, self.downsample = gate, downsample
        conv = self.last.conv
        pointwise = conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1
        self.mean_layer = PrepackedLinear(conv.weight.flatten(1), conv.bias) if pointwise else None

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.first(x)
        shortcut = x if self.downsample is None else self.downsample(x)
        shortcut = shortcut.to(narrow.dtype, memory_format=torch.channels_last)
        if self.gate is None:
            return self.last.add_relu(narrow, shortcut)
        backend = select_backend(narrow)
        if backend is None:
            return F.relu_(self.gate(self.last(narrow)) + shortcut)
        return self._gated(self.gate, narrow, shortcut, backend)

    def reset_cache(self) -> None:
        if self.mean_layer is not None:
            self.mean_layer.reset_cache()

    def _gated(
        self, gate: OptimizedAttention, narrow: Tensor, shortcut: Tensor, backend: ModuleType
    ) -> Tensor:
        u, out = self.last(narrow), torch.empty_like(shortcut)
        if not gate.scale_one_image(u, shortcut, backend, out):
            s = self._gates(gate, narrow, u, backend)
            backend.scale(rows(u), s, torch.zeros_like(s), rows(shortcut), True, rows(out))
        return out

    def _gates(self, gate: OptimizedAttention, narrow: Tensor, u: Tensor, backend: ModuleType) -> Tensor:
        """The gates (N, C), from u or from the input and weight of the last convolution, by size."""
        if self.mean_layer is not None and narrow.numel() + 2 * self.mean_layer.weight.numel() < u.numel():
            return gate.gates(self.mean_layer(backend.means(rows(narrow))))
        return gate.gates(backend.means(rows(u)))


def _autocast_input(x: Tensor) -> Tensor:
    """x in the dtype of autocast and in channels-last memory."""
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    return x.to(dtype, memory_format=torch.channels_last)
