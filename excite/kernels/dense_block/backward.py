"""The backward pass of a layer of a dense block; ``dense_block`` has the formulas."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from excite.kernels.dense_block.workspace import Norm, Workspace, flat
from excite.kernels.dispatch import select_matmul_backend


class Layer(NamedTuple):
    """What the backward pass needs: both norms, the bottleneck (1, M, width), and the 3x3 convolution's
    output and what attention and dropout made of it, where there are any."""

    first: Norm
    second: Norm
    z: Tensor
    tail: tuple[Tensor, Tensor] | None


def spatial_backward(
    layer: Any, of: Layer, d_new: Tensor, backend: ModuleType, workspace: Workspace
) -> tuple[list[Tensor], Tensor, Tensor]:
    """From the gradient of the new maps (N, k, H, W): that of the 3x3 convolution's input, pieces of rows
    (1, M, width), the sums (2, 1, width) that the second norm makes of it, and the gradient of the
    convolution's weight."""
    conv, norm = layer.conv2, of.second
    weight, wanted = conv.weight.to(of.z.dtype), [True, conv.weight.requires_grad, False]
    d_active = []
    d_weight = torch.zeros_like(conv.weight, dtype=torch.float32)
    sums = torch.zeros((2, 1, of.z.shape[2]), device=of.z.device)
    many = workspace.images(of.z.shape[2])
    for dy, z in zip(d_new.split(many), of.z.split(many * workspace.pixels, 1), strict=True):
        [active] = workspace.like(z, 1)
        backend.scale(z, norm.a, norm.b, None, True, active)
        dx, d_piece, _ = torch.ops.aten.convolution_backward(
            dy, workspace.image(active), weight, None, conv.stride, conv.padding, conv.dilation,
            False, [0, 0], conv.groups, wanted,
        )  # fmt: skip
        d_active.append(flat(dx.contiguous(memory_format=torch.channels_last)))
        sums += backend.gradient_sums(d_active[-1], z, norm.mean[0], norm.a, norm.b)
        if d_piece is not None:
            d_weight += d_piece
    return d_active, sums, d_weight


def bottleneck_backward(
    layer: Any,
    of: Layer,
    x: Tensor,
    d_active: list[Tensor],
    sums2: Tensor,
    asked: Tensor,
    through: Tensor | None,
    backend: ModuleType,
    workspace: Workspace,
) -> tuple[Tensor, ...]:
    """Gradients of norm1, conv1 and norm2; what the inputs x (1, M, c) are asked is added to ``asked``, and
    what comes through their statistics to ``through``."""
    first, second, count = of.first, of.second, x.shape[1]
    d_gamma2, d_beta2 = second.gradients(sums2)
    p, q = second.through_statistics(d_gamma2, d_beta2, count if layer.norm2.training else 0)
    weight = layer.conv1.weight.flatten(1).to(x.dtype)
    if products := select_matmul_backend(backend):
        dz = torch.empty_like(of.z)
        backend.gradient(torch.cat(d_active, 1), of.z, second.a, second.b, p, q, relu=True, out=dz)
        given = (dz[0], x[0], first.a[0], first.b[0], weight, first.mean[0])
        d_weight, sums = products.matmul_gradient(*given, asked[0])
        sums = sums[:, None]
    else:
        d_weight, learns = torch.zeros_like(weight, dtype=torch.float32), layer.conv1.weight.requires_grad
        a_piece_of_it = torch.empty_like(weight)
        sums = torch.zeros((2, 1, x.shape[2]), device=x.device)
        pieces = [
            dy
            for rows in d_active
            for dy in rows.split(workspace.rows_in_cache(x.shape[2], rows.shape[1]), 1)
        ]
        sizes = [dy.shape[1] for dy in pieces]
        others = (rows.split(sizes, 1) for rows in (x, asked, of.z))
        for dy, x_piece, asked_piece, z in zip(pieces, *others, strict=True):
            # One piece of dL/dz, of the normalized inputs again and of their gradients, all in cache.
            normalized, d_normalized = workspace.like(x_piece, 2)
            [dz] = workspace.like(z, 1, after=2)
            backend.gradient(dy, z, second.a, second.b, p, q, relu=True, out=dz)
            if learns:
                backend.scale(x_piece, first.a, first.b, None, True, normalized)
                d_weight += backend.product(dz[0].t(), normalized[0].t(), a_piece_of_it)
            dx = backend.product(dz[0], weight.t(), d_normalized[0])
            sums += backend.gradient_sums(
                dx[None], x_piece, first.mean[0], first.a, first.b, into=asked_piece, scaled=True
            )
    d_gamma1, d_beta1 = first.gradients(sums)
    if through is not None:
        through += first.through_statistics(d_gamma1, d_beta1, count)
    # In the weight's own strides, which for a 1x1 convolution are a matter of how they are written.
    d_weight = d_weight.as_strided(layer.conv1.weight.shape, layer.conv1.weight.stride())
    return d_gamma1, d_beta1, d_weight, d_gamma2, d_beta2


def tail_backward(
    layer: Any, before: Tensor, after: Tensor, d_after: Tensor
) -> tuple[Tensor, list[Tensor | None]]:
    """Gradients of what stood before attention and dropout, and of the attention's parameters."""
    parameters = [] if layer.attention is None else list(layer.attention.parameters())
    wanted = [before, *(one for one in parameters if one.requires_grad)]
    d_before, *rest = torch.autograd.grad(after, wanted, d_after, allow_unused=True, retain_graph=True)
    found = iter(rest)
    return d_before, [next(found) if one.requires_grad else None for one in parameters]


def feature_gradients(
    backend: ModuleType, asked: Tensor, maps: Tensor, through: Tensor, place: slice
) -> Tensor:
    """The gradient of the maps (N, C, H, W) in ``place``: asked + p + q x."""
    out = torch.empty_like(maps[:, place], memory_format=torch.channels_last)
    p, q = through[..., place]
    one = torch.ones_like(p)
    backend.gradient(
        flat(asked)[..., place], flat(maps)[..., place], one, one, p, q, relu=False, out=flat(out)
    )
    return out
