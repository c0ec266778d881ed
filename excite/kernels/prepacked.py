"""Convolutions and products whose weights no longer change, ready for oneDNN.

PyTorch brings weights into the form that oneDNN multiplies with, and under autocast into 16 bits, at each
call. For one image that takes as long as the convolution itself where maps are small: the last 3x3 ones of a
ResNet-50 take 0.71 ms on two cores, and 0.39 with weights that are ready (bfloat16: 0.53 and 0.23). Here it
happens once for each dtype, at its first use and for the size that comes first; other sizes are right, too.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# An activation and its numbers, by oneDNN's names.
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
        """Make weights ready again at the next call: they have changed."""
        self.ready: dict[tuple[torch.dtype, str, bool], tuple[Tensor, Tensor | None]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        return self._apply(x, self.after)

    def _apply(self, x: Tensor, after: Activation) -> Tensor:
        packs, weight, bias = self._numbers(x)
        if packs:
            return self._onednn(x, weight, bias, after)
        name, numbers = after
        with torch.autocast(x.device.type, enabled=False):  # x says in what
            found = self._plain(x, weight, bias)
        return found if name == "none" else getattr(F, name)(found, *numbers, inplace=True)

    def _numbers(self, x: Tensor) -> tuple[bool, Tensor, Tensor | None]:
        """Whether they are packed, and the weight and bias for x."""
        packs = _packs(x)
        key = x.dtype, x.device.type, packs
        if key not in self.ready:
            weight, bias = (None if one is None else one.detach().to(x) for one in (self.weight, self.bias))
            assert weight is not None
            self.ready[key] = self._packed(weight, x) if packs else weight, bias
        return packs, *self.ready[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "ready": {}}  # what is packed has no storage to be copied

    def _packed(self, weight: Tensor, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _onednn(self, x: Tensor, weight: Tensor, bias: Tensor | None, after: Activation) -> Tensor:
        raise NotImplementedError

    def _plain(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError


class PrepackedConv(_Prepacked):
    """after(conv(x)): (N, C, H, W) -> (N, out, h, w). The convolution pads with zeros, by numbers."""

    def __init__(self, conv: nn.Conv2d, after: Activation = NO_ACTIVATION) -> None:
        super().__init__(conv.weight, conv.bias, after)
        self.how = (conv.padding, conv.stride, conv.dilation, conv.groups)

    def plus(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """ReLU(conv(x) + shortcut); of one dtype and memory format."""
        packs, weight, bias = self._numbers(x)
        if packs and self.how[-1] == 1:  # PyTorch adds to groups by an operator that has no bfloat16
            given = (x, shortcut, weight, bias, *self.how, "add", 1.0, *RELU, "")
            found: Tensor = torch.ops.mkldnn._convolution_pointwise(*given)
            return found
        return F.relu_(self._apply(x, NO_ACTIVATION).add_(shortcut))

    def _packed(self, weight: Tensor, x: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.how, x.shape)
        return found

    def _onednn(self, x: Tensor, weight: Tensor, bias: Tensor | None, after: Activation) -> Tensor:
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *self.how, *after, "")
        return found

    def _plain(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding, stride, dilation, groups = self.how
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


class PrepackedLinear(_Prepacked):
    """after(x w^T + bias): (M, C) -> (M, J), with a weight (J, C)."""

    def _packed(self, weight: Tensor, x: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
        return found

    def _onednn(self, x: Tensor, weight: Tensor, bias: Tensor | None, after: Activation) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, *after, "")
        return found

    def _plain(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)


def _packs(x: Tensor) -> bool:
    """Whether oneDNN takes this, and nobody has to see plain operators."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return x.dtype in _packed_dtypes() and bool(torch.backends.mkldnn.enabled)


@cache
def _packed_dtypes() -> tuple[torch.dtype, ...]:
    """What oneDNN multiplies on this machine."""
    onednn = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not all(hasattr(onednn, name) for name in _OPERATORS):
        return ()
    return (torch.float32, torch.bfloat16) if onednn._is_mkldnn_bf16_supported() else (torch.float32,)
