"""A dense block that answers: no statistics to wait for, so a few images go through all layers in cache.

The second norm of a layer is folded into its 1x1 convolution, whose product adds the bias and rectifies.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from excite.kernels.dense_block.workspace import Workspace, flat, norm_coefficients
from excite.kernels.prepacked import RELU, PrepackedConv, PrepackedLinear


class _Prepacked(NamedTuple):
    """A layer's first norm as a and b, (1, c), its 1x1 convolution with the second norm and ReLU in it, the
    3x3 convolution, and attention if there is any."""

    a: Tensor
    b: Tensor
    product: PrepackedLinear
    spatial: PrepackedConv
    attention: nn.Module | None


PreparedLayers = list[_Prepacked]


def answer(x: Tensor, layers: Sequence[Any], backend: ModuleType, numbers: PreparedLayers) -> Tensor:
    """(N, C, H, W) -> (N, C + layers x k, H, W), with running statistics and without gradients.

    ``numbers`` are those of the layers; where there are none yet, they are added.
    """
    n, c, h, w = x.shape
    total = c + sum(layer.conv2.out_channels for layer in layers)
    out = torch.empty((n, total, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    out[:, :c] = x
    if not numbers:
        numbers.extend(map(_ready, layers))
    many = Workspace(out).images(total)
    room = x.new_empty(many * h * w * total)
    for maps in out.split(many):
        rows, at = flat(maps), c
        count = rows.shape[1]
        for of in numbers:
            normalized = room.as_strided((1, count, at), (0, at, 1))
            backend.scale(rows.narrow(2, 0, at), of.a, of.b, None, True, normalized)
            z = of.product(normalized[0])
            new = of.spatial(z.view(-1, h, w, z.shape[1]).permute(0, 3, 1, 2))
            if of.attention is not None:
                new = of.attention(new)
            made = new.shape[1]
            maps.narrow(1, at, made).copy_(new)
            at += made
    return out


def _ready(layer: Any) -> _Prepacked:
    first, second = norm_coefficients(layer.norm1, None, 0), norm_coefficients(layer.norm2, None, 0)
    product = PrepackedLinear(layer.conv1.weight.flatten(1) * second.a.t(), second.b[0], RELU)
    return _Prepacked(first.a, first.b, product, PrepackedConv(layer.conv2), layer.attention)
