"""Convolutions and matrix products with fixed weights, packed for oneDNN once.

PyTorch converts weights to oneDNN's layout, and under autocast to 16 bits, at each call. For one image and
small feature maps, this takes as long as the convolution: the last 3x3 convolutions of a ResNet-50 take 0.71
ms on two cores, and 0.39 ms with packed weights (bfloat16: 0.53 and 0.23 ms). Here, weights are packed once
per dtype, for the size of the first input. Inputs of other sizes give correct results, too.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# An activation and its parameters, in oneDNN's names.
Activation = tuple[str, list[float]]
NO_ACTIVATION: Activation = ("none", [])
RELU: Activation = ("relu", [])
_OPERATORS = (
    "_convolution_pointwise",
    "_linear_pointwise",
    "_reorder_convolution_weight",
    "_reorder_linear_weight",
)


def clipped_relu(limit: float) -> Activation:
    """min(max(x, 0), limit), as ReLU6."""
    return "hardtanh", [0.0, limit]


class _Prepacked:
    def __init__(self, weight: Tensor, bias: Tensor | None, after: Activation = NO_ACTIVATION) -> None:
        self.weight, self.bias, self.after = weight, bias, after
        self.reset_cache()

    def reset_cache(self) -> None:
        """Pack the weights again at the next call, because they have changed."""
        self.packed: dict[tuple[torch.dtype, str, bool], tuple[Tensor, Tensor | None]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        return self._apply(x, self.after)

    def _apply(self, x: Tensor, after: Activation) -> Tensor:
        packs, weight, bias = self._weights_for(x)
        if packs:
            return self._onednn(x, weight, bias, after)
        name, numbers = after
        with torch.autocast(x.device.type, enabled=False):  # in the dtype of x
            out = self._plain(x, weight, bias)
        return out if name == "none" else getattr(F, name)(out, *numbers, inplace=True)

    def _weights_for(self, x: Tensor) -> tuple[bool, Tensor, Tensor | None]:
        """Whether weights are packed for x, the weight, and the bias."""
        packs = _packs(x)
        key = x.dtype, x.device.type, packs
        if key not in self.packed:
            weight, bias = (None if one is None else one.detach().to(x) for one in (self.weight, self.bias))
            assert weight is not None
            self.packed[key] = self._pack(weight, x) if packs else weight, bias
        return packs, *self.packed[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "packed": {}}  # packed tensors have no storage that could be copied

    def _pack(self, weight: Tensor, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _onednn(self, x: Tensor, weight: Tensor, bias: Tensor | None, after: Activation) -> Tensor:
        raise NotImplementedError

    def _plain(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError


class PrepackedConv(_Prepacked):
    """activation(conv(x)): (N, C, H, W) -> (N, out, h, w), for zero padding given as integers."""

    def __init__(self, conv: nn.Conv2d, after: Activation = NO_ACTIVATION) -> None:
        super().__init__(conv.weight, conv.bias, after)
        self.options = (conv.padding, conv.stride, conv.dilation, conv.groups)

    def add_relu(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """ReLU(conv(x) + shortcut); both of the same dtype and memory format."""
        packs, weight, bias = self._weights_for(x)
        if packs and self.options[-1] == 1:  # PyTorch's operator for groups does not support bfloat16
            arguments = (x, shortcut, weight, bias, *self.options, "add", 1.0, *RELU, "")
            out: Tensor = torch.ops.mkldnn._convolution_pointwise(*arguments)
            return out
        return F.relu_(self._apply(x, NO_ACTIVATION).add_(shortcut))

    def _pack(self, weight: Tensor, x: Tensor) -> Tensor:
        packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.options, x.shape)
        return packed

    def _onednn(self, x: Tensor, weight: Tensor, bias: Tensor | None, after: Activation) -> Tensor:
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *self.options, *after, "")
        return out

    def _plain(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding, stride, dilation, groups = self.options
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


class PrepackedLinear(_Prepacked):
    """activation(x w^T + bias): (M, C) -> (M, J), with a weight (J, C)."""

    def _pack(self, weight: Tensor, x: Tensor) -> Tensor:
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
        return packed

    def _onednn(self, x: Tensor, weight: Tensor, bias: Tensor | None, after: Activation) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, *after, "")
        return out

    def _plain(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)


def _packs(x: Tensor) -> bool:
    """Whether oneDNN supports x, and PyTorch is not tracing, which requires plain operators."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return x.dtype in _packed_dtypes() and bool(torch.backends.mkldnn.enabled)


@cache
def _packed_dtypes() -> tuple[torch.dtype, ...]:
    """The dtypes that oneDNN supports on this machine."""
    onednn = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not all(hasattr(onednn, name) for name in _OPERATORS):
        return ()
    return (torch.float32, torch.bfloat16) if onednn._is_mkldnn_bf16_supported() else (torch.float32,)
