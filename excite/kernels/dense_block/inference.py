"""A dense block for inference: with fixed statistics, a few images pass through all layers in the cache.

The second norm of a layer is folded into its 1x1 convolution, whose product adds the bias and applies ReLU.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from excite.kernels.dense_block.workspace import Workspace, flat, norm_coefficients
from excite.kernels.prepacked import RELU, PrepackedConv, PrepackedLinear


class PreparedLayer(NamedTuple):
    """What a layer computes with fixed weights.

    Args:
        a, b: the first norm as a x + b, (1, c).
        product: the 1x1 convolution with the second norm and ReLU.
        spatial: the 3x3 convolution.
        attention: on the new features, if any.
    """

    a: Tensor
    b: Tensor
    product: PrepackedLinear
    spatial: PrepackedConv
    attention: nn.Module | None


PreparedLayers = list[PreparedLayer]


def infer(x: Tensor, layers: Sequence[Any], backend: ModuleType, prepared: PreparedLayers) -> Tensor:
    """(N, C, H, W) -> (N, C + layers x k, H, W), with running statistics and without gradients.

    An empty ``prepared`` is filled.
    """
    n, c, h, w = x.shape
    total = c + sum(layer.conv2.out_channels for layer in layers)
    out = torch.empty((n, total, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    out[:, :c] = x
    if not prepared:
        prepared.extend(map(_prepare, layers))
    count = Workspace(out).images(total)
    buffer = x.new_empty(count * h * w * total)
    for maps in out.split(count):
        rows, width = flat(maps), c
        for layer in prepared:
            normalized = buffer.as_strided((1, rows.shape[1], width), (0, width, 1))
            backend.scale(rows.narrow(2, 0, width), layer.a, layer.b, None, True, normalized)
            z = layer.product(normalized[0])
            new = layer.spatial(z.view(-1, h, w, z.shape[1]).permute(0, 3, 1, 2))
            if layer.attention is not None:
                new = layer.attention(new)
            maps.narrow(1, width, new.shape[1]).copy_(new)
            width += new.shape[1]
    return out


def _prepare(layer: Any) -> PreparedLayer:
    first, second = norm_coefficients(layer.norm1, None, 0), norm_coefficients(layer.norm2, None, 0)
    product = PrepackedLinear(layer.conv1.weight.flatten(1) * second.a.t(), second.b[0], RELU)
    return PreparedLayer(first.a, first.b, product, PrepackedConv(layer.conv2), layer.attention)
