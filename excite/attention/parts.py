"""Shared functions of the attention modules: gates, and arithmetic in float32 or wider.

Functions that depend on dtypes, devices, or sizes are leaves for ``torch.fx``, which keeps each as one call.
It recognizes them only when they are called as ``parts.name(...)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.attention.width import require_positive
from excite.errors import BAD_USAGE, ExciteError
from excite.kernels.dispatch import has_no_hooks

Layer = nn.Linear | nn.Conv1d | nn.Conv2d


class GatedModule(nn.Module):
    """Multiplies a feature map by gates computed from it: (N, C, H, W) -> (N, C, H, W).

    A subclass defines ``gates``, and ``passes``: how many times it pools or scales the whole map, which FLOP
    counters do not see.

    Raises:
        ExciteError: if ``channels`` or a keyword is under 1.
    """

    passes = 2  # one squeeze, one scale
    uses_means_only = False  # whether the gates depend on the channel means (N, C, 1, 1) only

    def __init__(self, channels: int, **at_least_one: int) -> None:
        super().__init__()
        require_positive(type(self).__name__, channels=channels, **at_least_one)
        self.channels = channels

    def gates(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> gates in float32 or wider, in a shape that broadcasts to the input."""
        raise NotImplementedError

    def forward(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W), same dtype and memory format."""
        return u * self.gates(u).to(u.dtype)

    def elementwise_multiply_adds(self, input_shape: Sequence[int]) -> int:
        """Multiply-adds of pooling and scaling for one image of (..., C, H, W).

        One per element for each pass that pools or scales the map. Additions, comparisons, activations, and
        norms are not counted, as usual; FLOP counters see convolutions and linear layers by themselves.
        """
        return self.passes * math.prod(input_shape[-3:])

    def extra_repr(self) -> str:
        return f"{self.channels}{', identity=True' if getattr(self, 'identity', False) else ''}"


class BatchNorm(nn.BatchNorm2d):
    """Batch norm in its own dtype; with one value per channel, it uses the running statistics.

    One value has no variance, so PyTorch raises an error; but the last batch of an epoch may be one image.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        if self.training and x.numel() == x.shape[1]:
            mean, var = self.running_mean, self.running_var
            return F.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def refuse_identity(where: str) -> ExciteError:
    """The error for ``identity=True`` in a module without parameters that could set its gates to one."""
    return ExciteError(
        "there are no parameters to start as the identity",
        where=where,
        hint="use identity=False, or attention with parameters",
        exit_code=BAD_USAGE,
    )


def gate(v: Tensor, identity: bool) -> Tensor:
    """sigmoid(v); with ``identity`` 2 sigmoid(v), which is exactly one at zero."""
    return 2 * torch.sigmoid(v) if identity else torch.sigmoid(v)


def zero(*layers: nn.Module) -> None:
    """Set weights and biases to zero, so that convolutions and norms return zero."""
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)


def squeeze(u: Tensor) -> Tensor:
    """The mean of each channel, in float32 or wider: (N, C, H, W) -> (N, C, 1, 1)."""
    return u.mean(dim=(2, 3), keepdim=True, dtype=wide_dtype(u))


def wide_dtype(u: Tensor) -> torch.dtype:
    """float32, or the dtype of u if that is wider."""
    return torch.promote_types(u.dtype, torch.float32)


def apply(layer: nn.Module, x: Tensor) -> Tensor:
    """layer(x) outside autocast, in the widest of float32 and the dtypes of x and the weights.

    The layer is called, so hooks, parametrizations, adapters, and quantized replacements work. The only
    exception is a plain layer with weights narrower than float32: its weights are widened. Another kind of
    layer with narrow weight matrices is called in their dtype.
    """
    wide = wide_dtype(x)
    with _without_autocast(x.device.type):
        if not is_plain_layer(layer):
            own = _dtype_inside(layer, wide)
            return layer(x.to(own)).to(torch.promote_types(wide, own))
        wide = torch.promote_types(wide, layer.weight.dtype)
        x = x.to(wide)
        if layer.weight.dtype == wide:
            return layer(x)
        weight = layer.weight.to(wide)
        bias = None if layer.bias is None else layer.bias.to(wide)
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, bias)
        convolve = F.conv1d if isinstance(layer, nn.Conv1d) else F.conv2d
        return convolve(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def _dtype_inside(layer: nn.Module, otherwise: torch.dtype) -> torch.dtype:
    """The dtype of its first weight matrix; scales and biases may be wider."""
    floating = [p for p in layer.parameters() if p.is_floating_point()]
    first = next((p for p in floating if p.ndim > 1), next(iter(floating), None))
    return otherwise if first is None else first.dtype


def is_plain_layer(layer: nn.Module) -> TypeGuard[Layer]:
    """Whether it is a layer of torch.nn itself without hooks, so that its weights define its output."""
    return type(layer) in (nn.Linear, nn.Conv1d, nn.Conv2d) and has_no_hooks(layer)


def at_least_one(count: int) -> int:
    """max(1, count)."""
    return max(1, count)


def normalize(norm: nn.Module, x: Tensor) -> Tensor:
    """norm(x), as one call for ``torch.fx``, because a batch norm branches on the size of the batch."""
    y: Tensor = norm(x)
    return y


def _without_autocast(device: str) -> AbstractContextManager[Any]:
    """Disable autocast; no context if it is disabled already, which keeps exported graphs simple."""
    if device == "meta" or not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


for _leaf in ("wide_dtype", "apply", "at_least_one", "normalize"):
    torch.fx.wrap(_leaf)
