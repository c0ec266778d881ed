"""The backward pass of one layer of a dense block; the formulas are in ``dense_block.forward``."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from excite.kernels.dense_block.workspace import Norm, Workspace, flat
from excite.kernels.dispatch import select_matmul_backend


class Layer(NamedTuple):
    """What the backward pass needs from the forward pass.

    Args:
        first, second: the coefficients of both norms.
        z: the bottleneck, (1, M, width).
        tail: the input and the output of attention and dropout, if any.
    """

    first: Norm
    second: Norm
    z: Tensor
    tail: tuple[Tensor, Tensor] | None


def spatial_backward(
    layer: Any, saved: Layer, d_new: Tensor, backend: ModuleType, workspace: Workspace
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Backward through the 3x3 convolution, from the gradient of the new maps (N, k, H, W).

    Returns:
        The gradient of its input in blocks of rows (1, M, width), the sums (2, 1, width) that the second norm
        needs, and the gradient of its weight.
    """
    conv, norm = layer.conv2, saved.second
    weight, needed = conv.weight.to(saved.z.dtype), [True, conv.weight.requires_grad, False]
    d_activations = []
    d_weight = torch.zeros_like(conv.weight, dtype=torch.float32)
    sums = torch.zeros((2, 1, saved.z.shape[2]), device=saved.z.device)
    count = workspace.images(saved.z.shape[2])
    for dy, z in zip(d_new.split(count), saved.z.split(count * workspace.pixels, 1), strict=True):
        [activations] = workspace.like(z, 1)
        backend.scale(z, norm.a, norm.b, None, True, activations)
        dx, d_block_weight, _ = torch.ops.aten.convolution_backward(
            dy, workspace.image(activations), weight, None, conv.stride, conv.padding, conv.dilation,
            False, [0, 0], conv.groups, needed,
        )  # fmt: skip
        d_activations.append(flat(dx.contiguous(memory_format=torch.channels_last)))
        sums += backend.gradient_sums(d_activations[-1], z, norm.mean[0], norm.a, norm.b)
        if d_block_weight is not None:
            d_weight += d_block_weight
    return d_activations, sums, d_weight


def bottleneck_backward(
    layer: Any,
    saved: Layer,
    x: Tensor,
    d_activations: list[Tensor],
    sums2: Tensor,
    d_maps: Tensor,
    d_statistics: Tensor | None,
    backend: ModuleType,
    workspace: Workspace,
) -> tuple[Tensor, ...]:
    """Backward through norm2, the 1x1 convolution, and norm1: the gradients of their parameters.

    The gradient of the inputs x, (1, M, c), is added to ``d_maps``; p and q of the gradient through their
    statistics are added to ``d_statistics``.
    """
    first, second, count = saved.first, saved.second, x.shape[1]
    d_gamma2, d_beta2 = second.gradients(sums2)
    p, q = second.through_statistics(d_gamma2, d_beta2, count if layer.norm2.training else 0)
    weight = layer.conv1.weight.flatten(1).to(x.dtype)
    if products := select_matmul_backend(backend):
        dz = torch.empty_like(saved.z)
        backend.gradient(torch.cat(d_activations, 1), saved.z, second.a, second.b, p, q, relu=True, out=dz)
        arguments = (dz[0], x[0], first.a[0], first.b[0], weight, first.mean[0])
        d_weight, sums = products.matmul_gradient(*arguments, d_maps[0])
        sums = sums[:, None]
    else:
        d_weight, sums = _matmul_backward_in_blocks(
            layer, saved, x, d_activations, (p, q), weight, d_maps, backend, workspace
        )
    d_gamma1, d_beta1 = first.gradients(sums)
    if d_statistics is not None:
        d_statistics += first.through_statistics(d_gamma1, d_beta1, count)
    # With the strides of the weight: for 1x1 kernels, several strides describe the same memory.
    d_weight = d_weight.as_strided(layer.conv1.weight.shape, layer.conv1.weight.stride())
    return d_gamma1, d_beta1, d_weight, d_gamma2, d_beta2


def _matmul_backward_in_blocks(
    layer: Any,
    saved: Layer,
    x: Tensor,
    d_activations: list[Tensor],
    through_second: tuple[Tensor, Tensor],
    weight: Tensor,
    d_maps: Tensor,
    backend: ModuleType,
    workspace: Workspace,
) -> tuple[Tensor, Tensor]:
    """The gradient of the 1x1 convolution's weight and the sums (2, 1, c) that norm1 needs, on a CPU.

    For each block of rows, dL/dz, the normalized inputs and their gradients stay in the cache.
    """
    first, second = saved.first, saved.second
    p, q = through_second
    d_weight = torch.zeros_like(weight, dtype=torch.float32)
    d_block_weight = torch.empty_like(weight)
    sums = torch.zeros((2, 1, x.shape[2]), device=x.device)
    blocks: list[Tensor] = []
    for rows in d_activations:
        blocks += rows.split(workspace.rows_in_cache(x.shape[2], rows.shape[1]), 1)
    sizes = [block.shape[1] for block in blocks]
    others = (rows.split(sizes, 1) for rows in (x, d_maps, saved.z))
    for dy, x_block, d_maps_block, z in zip(blocks, *others, strict=True):
        normalized, d_normalized = workspace.like(x_block, 2)
        [dz] = workspace.like(z, 1, after=2)
        backend.gradient(dy, z, second.a, second.b, p, q, relu=True, out=dz)
        if layer.conv1.weight.requires_grad:
            backend.scale(x_block, first.a, first.b, None, True, normalized)
            d_weight += backend.product(dz[0].t(), normalized[0].t(), d_block_weight)
        dx = backend.product(dz[0], weight.t(), d_normalized[0])
        sums += backend.gradient_sums(
            dx[None], x_block, first.mean[0], first.a, first.b, into=d_maps_block, scaled=True
        )
    return d_weight, sums


def tail_backward(
    layer: Any, before: Tensor, after: Tensor, d_after: Tensor
) -> tuple[Tensor, list[Tensor | None]]:
    """Gradients of the input of attention and dropout, and of the attention's parameters."""
    parameters = [] if layer.attention is None else list(layer.attention.parameters())
    inputs = [before, *(parameter for parameter in parameters if parameter.requires_grad)]
    d_before, *rest = torch.autograd.grad(after, inputs, d_after, allow_unused=True, retain_graph=True)
    remaining = iter(rest)
    d_parameters = [next(remaining) if parameter.requires_grad else None for parameter in parameters]
    return d_before, d_parameters


def feature_gradients(
    backend: ModuleType, d_maps: Tensor, maps: Tensor, d_statistics: Tensor, channels: slice
) -> Tensor:
    """The whole gradient of some channels of the maps (N, C, H, W): d_maps + p + q x."""
    out = torch.empty_like(maps[:, channels], memory_format=torch.channels_last)
    p, q = d_statistics[..., channels]
    one = torch.ones_like(p)
    backend.gradient(
        flat(d_maps)[..., channels], flat(maps)[..., channels], one, one, p, q, relu=False, out=flat(out)
    )
    return out
