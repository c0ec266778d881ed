"""What the attention modules share: gates, arithmetic in float32 or wider.

Functions that look at dtypes, devices or sizes are leaves for ``torch.fx``: it keeps each as one call. It
finds them only as ``parts.name(...)``, so that is how they are called.
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

    A variant defines ``gates``, and ``passes``: how often it reads the map to pool it or multiplies the map
    by something, which is what FLOP counters do not see.

    Raises:
        ExciteError: if ``channels`` or a keyword is under 1.
    """

    passes = 2  # one squeeze, one scale
    uses_means_only = False  # whether the gates of a map are those of its channel means, (N, C, 1, 1)

    def __init__(self, channels: int, **at_least_one: int) -> None:
        super().__init__()
        require_positive(type(self).__name__, channels=channels, **at_least_one)
        self.channels = channels

    def gates(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> float32 or wider, of a shape that broadcasts to it."""
        raise NotImplementedError

    def forward(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W), same dtype and memory format."""
        return u * self.gates(u).to(u.dtype)

    def elementwise_multiply_adds(self, input_shape: Sequence[int]) -> int:
        """Multiply-adds of pooling and scaling for one image of (..., C, H, W).

        The rule: one an element for each pass over the map that pools or scales it, whatever is computed on
        the way. Adding and comparing maps, activations and norms count nothing, as elsewhere; convolutions
        and linear layers are left to FLOP counters.
        """
        return self.passes * math.prod(input_shape[-3:])

    def extra_repr(self) -> str:
        return f"{self.channels}{', identity=True' if getattr(self, 'identity', False) else ''}"


class BatchNorm(nn.BatchNorm2d):
    """Batch norm in its own dtype; where a channel has one value in the batch, with the running statistics.

    One value has no variance, so PyTorch's refuses it; but the last batch of an epoch may be one image.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        if self.training and x.numel() == x.shape[1]:
            mean, var = self.running_mean, self.running_var
            return F.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def refuse_identity(where: str) -> ExciteError:
    """The error for ``identity=True`` where there is no parameter that could hold the gate at one."""
    return ExciteError(
        "there are no parameters to start as the identity",
        where=where,
        hint="leave identity out, or take a variant with parameters",
        exit_code=BAD_USAGE,
    )


def gate(v: Tensor, identity: bool) -> Tensor:
    """sigmoid(v); with ``identity`` 2 sigmoid(v), which is exactly one at zero."""
    return 2 * torch.sigmoid(v) if identity else torch.sigmoid(v)


def zero(*layers: nn.Module) -> None:
    """Weights and biases at zero, so that convolutions and norms answer zero."""
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
    """What the layer computes, outside autocast, in the widest of float32 and the dtypes of x and weights.

    The layer is called, so that hooks, parametrizations, adapters and quantized replacements count. The one
    exception is a plain layer with weights narrower than float32: its weights are widened, not its input
    narrowed. A layer of another kind with narrow weights, a matrix or more, is called in their dtype.
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
    """That of its first weights; a scale or a bias beside them may be wider."""
    floating = [p for p in layer.parameters() if p.is_floating_point()]
    first = next((p for p in floating if p.ndim > 1), next(iter(floating), None))
    return otherwise if first is None else first.dtype


def is_plain_layer(layer: nn.Module) -> TypeGuard[Layer]:
    """Whether the layer is one of torch.nn itself and has no hooks: then its weights say what it does."""
    return type(layer) in (nn.Linear, nn.Conv1d, nn.Conv2d) and has_no_hooks(layer)


def at_least_one(count: int) -> int:
    """max(1, count)."""
    return max(1, count)


def normalize(norm: nn.Module, x: Tensor) -> Tensor:
    """The norm as one call for ``torch.fx``, because a batch norm's path depends on the size of the batch."""
    return norm(x)


def _without_autocast(device: str) -> AbstractContextManager[Any]:
    """Autocast off; nothing at all where it is off already, which keeps exported graphs clean."""
    if device == "meta" or not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


for _leaf in ("wide_dtype", "apply", "at_least_one", "normalize"):
    torch.fx.wrap(_leaf)
