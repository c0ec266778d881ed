"""A dense block that answers: no statistics to wait for, so a few images go through all layers in cache.

The second norm of a layer is folded into its 1x1 convolution, whose product adds the bias and rectifies.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from excite.kernels.dense_parts import Scratch, flat, norm_numbers


class _Ready(NamedTuple):
    """A layer's numbers in the dtype of the maps: the first norm's a and b, (1, c), weight and bias of the
    1x1 convolution with the second norm in it, and the weight of the 3x3."""

    a: Tensor
    b: Tensor
    weight: Tensor
    bias: Tensor
    spatial: Tensor


Numbers = dict[torch.dtype, list[_Ready]]


def answer(x: Tensor, layers: Sequence[Any], does: ModuleType, numbers: Numbers) -> Tensor:
    """(N, C, H, W) -> (N, C + layers x k, H, W), with running statistics and without gradients.

    ``numbers`` are those of the layers, for each dtype; what is missing is added.
    """
    n, c, h, w = x.shape
    total = c + sum(layer.conv2.out_channels for layer in layers)
    out = torch.empty((n, total, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    out[:, :c] = x
    if x.dtype not in numbers:
        numbers[x.dtype] = [_ready(layer, x.dtype) for layer in layers]
    ready = numbers[x.dtype]
    scratch = Scratch(out)
    for maps in out.split(scratch.images(total)):
        rows, at = flat(maps), c
        for layer, given in zip(layers, ready, strict=True):
            inputs = rows[..., :at]
            normalised = scratch.like(inputs, 1)[0]
            does.scale(inputs, given.a, given.b, None, True, normalised)
            room = scratch.room(1, (rows.shape[1], len(given.weight)))
            z = does.product(normalised[0], given.weight, room, given.bias)
            new = F.conv2d(scratch.image(z[None]), given.spatial, padding=layer.conv2.padding)
            if layer.attention is not None:
                new = layer.attention(new)
            maps[:, at : at + new.shape[1]] = new
            at += new.shape[1]
    return out


def _ready(layer: Any, dtype: torch.dtype) -> _Ready:
    first, second = norm_numbers(layer.norm1, None, 0), norm_numbers(layer.norm2, None, 0)
    weight = layer.conv1.weight.flatten(1) * second.a.t()
    return _Ready(first.a, first.b, weight.to(dtype), second.b[0].to(dtype), layer.conv2.weight.to(dtype))
