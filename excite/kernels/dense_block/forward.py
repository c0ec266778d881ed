"""A dense block in one buffer: no concatenation, and the statistics of each feature map computed once.

A layer of a DenseNet sees all maps before it, so the usual block copies, normalizes, and activates the first
map once per layer, and keeps every copy for the backward pass. Here the maps are side by side in one
channels-last buffer, (N, H, W, C); a layer reads the first c of its channels and writes its k new ones.

- A channel's mean and variance over the batch are the same in every later layer: they are computed once,
  after it is written. Only gamma and beta differ between layers.
- The backward pass needs the buffer and each layer's bottleneck z; it recomputes the normalized inputs for a
  block of rows at a time, so that the block is still in the cache when it is multiplied.
- Let g_i be the gradient at the activated input of layer i, x^ = (x - mu) / sigma. The gradient through the
  shared statistics is applied once per map, in the backward pass of the layer that wrote it:

      dx = sum_i g_i gamma_i / sigma - (mean T + x^ mean(T x^)) / sigma        T = sum_i g_i gamma_i

  The sums over the batch are known: of T, gamma_i dbeta_i; of T x^, gamma_i dgamma_i.

Paper: Densely Connected Convolutional Networks, https://arxiv.org/abs/1608.06993, eq. 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.kernels.dense_block.backward import (
    Layer,
    bottleneck_backward,
    feature_gradients,
    spatial_backward,
    tail_backward,
)
from excite.kernels.dense_block.inference import PreparedLayers, infer
from excite.kernels.dense_block.workspace import (
    ChannelStatistics,
    Norm,
    Workspace,
    flat,
    is_convolution,
    moments,
    norm_coefficients,
)
from excite.kernels.dispatch import has_no_hooks, select_backend, select_matmul_backend
from excite.kernels.norm_gate import has_plain_parameters


def dense_block(x: Tensor, layers: Sequence[Any], prepared: PreparedLayers | None = None) -> Tensor | None:
    """(N, C, H, W) -> (N, C + layers x k, H, W), channels-last; None if no kernel takes it.

    Args:
        layers: each with norm1, relu1, conv1 (1x1), norm2, relu2, conv2 (3x3 with padding), drop_rate, and
            attention on its new features or None.
        prepared: filled at the first call without gradients, and reused while weights do not change.
    """
    if not isinstance(x, Tensor):  # a proxy of torch.fx
        return None
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        x = x.to(torch.get_autocast_dtype(kind))
    new_channels = sum(layer.conv2.out_channels for layer in layers)
    without_gradients = "inference" if prepared is None else "always"
    task = "block" if torch.is_grad_enabled() else without_gradients
    backend = select_backend(
        x, task, x.numel() // x.shape[1] * (x.shape[1] + new_channels) if x.ndim == 4 else 0
    )
    if backend is not None and prepared and not torch.is_grad_enabled():
        return infer(x, layers, backend, prepared)  # the layers were checked when they were prepared
    norms = [norm for layer in layers for norm in (layer.norm1, layer.norm2)]
    same_mode = len({norm.training for norm in norms}) == 1
    if backend is None or not same_mode or not all(map(_supports, layers)) or x.numel() == x.shape[1]:
        return None
    if not torch.is_grad_enabled():
        if norms[0].training:
            return _forward(x, layers, backend)[0]
        return infer(x, layers, backend, [] if prepared is None else prepared)
    return _DenseBlock.apply(x, layers, backend, *(p for layer in layers for p in _parameters(layer)))


def _supports(layer: Any) -> bool:
    """Whether the layer has the standard modules, without hooks that would miss their call."""
    norms, convolutions = (layer.norm1, layer.norm2), (layer.conv1, layer.conv2)
    return (
        all(
            type(norm) is nn.BatchNorm2d and has_plain_parameters(norm) and norm.running_mean is not None
            for norm in norms
        )
        and is_convolution(layer.conv1, 1)
        and is_convolution(layer.conv2, 3)
        and all(conv.bias is None for conv in convolutions)
        and type(layer.relu1) is type(layer.relu2) is nn.ReLU
        and has_no_hooks(layer, *norms, *convolutions, layer.relu1, layer.relu2)
        and (layer.attention is None or has_no_hooks(*layer.attention.modules()))
    )


def _parameters(layer: Any) -> list[Tensor]:
    """Parameters in the order norm1, conv1, norm2, conv2, attention."""
    parameters = [layer.norm1.weight, layer.norm1.bias, layer.conv1.weight]
    parameters += [layer.norm2.weight, layer.norm2.bias, layer.conv2.weight]
    return parameters + ([] if layer.attention is None else list(layer.attention.parameters()))


def _forward(x: Tensor, layers: Sequence[Any], backend: ModuleType) -> tuple[Tensor, list[Layer]]:
    """The output (N, C, H, W) of the block, and what the backward pass needs from each layer."""
    n, c, h, w = x.shape
    total = c + sum(layer.conv2.out_channels for layer in layers)
    out = torch.empty((n, total, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    buffer, training = flat(out), layers[0].norm1.training
    statistics = torch.zeros((2, 1, total), device=x.device)
    workspace = Workspace(out)
    saved = []

    def write(new: Iterable[Tensor], channels: slice) -> None:
        """Write new maps into channels of the buffer, a few images at a time, with their statistics."""
        is_read = channels.stop < total  # no layer of the block reads the last maps
        measure = ChannelStatistics(backend) if training and is_read else None
        first = 0
        for images in new:
            target = out[first : first + len(images), channels]
            target.copy_(images)
            if measure:
                measure(flat(target))
            first += len(images)
        if measure:
            statistics[..., channels] = measure.moments()

    write([x], slice(0, c))
    for layer in layers:
        first = norm_coefficients(layer.norm1, statistics[..., :c], buffer.shape[1])
        z, z_statistics = _bottleneck(buffer[..., :c], first, layer, backend, workspace, measure=training)
        second = norm_coefficients(layer.norm2, z_statistics, z.shape[1])
        new: Iterable[Tensor] = _spatial(layer, z, second, backend, workspace)
        tail = None
        if layer.attention is not None or (layer.drop_rate and layer.training):
            before = torch.cat(list(new)).requires_grad_()
            with torch.enable_grad():
                after = _tail(layer, before)
            new, tail = [after.detach()], (before, after)
        write(new, slice(c, c + layer.conv2.out_channels))
        c += layer.conv2.out_channels
        saved.append(Layer(first, second, z, tail))
    return out, saved


def _spatial(
    layer: Any, z: Tensor, norm: Norm, backend: ModuleType, workspace: Workspace
) -> Iterator[Tensor]:
    """The 3x3 convolution of ReLU(norm(z)), a few images at a time: (n, k, H, W)."""
    weight = layer.conv2.weight.to(z.dtype)
    for rows in z.split(workspace.images(z.shape[2]) * workspace.pixels, 1):
        [active] = workspace.like(rows, 1)
        backend.scale(rows, norm.a, norm.b, None, True, active)
        yield F.conv2d(workspace.image(active), weight, padding=layer.conv2.padding)


def _bottleneck(
    x: Tensor, norm: Norm, layer: Any, backend: ModuleType, workspace: Workspace, measure: bool
) -> tuple[Tensor, Tensor | None]:
    """The 1x1 convolution of ReLU(norm(x)), (1, M, c) -> (1, M, width), and with ``measure`` its mean and
    variance, (2, 1, width)."""
    weight = layer.conv1.weight.flatten(1).to(x.dtype)
    if products := select_matmul_backend(backend):
        k = layer.norm2.running_mean.float()
        z, sums = products.normalized_matmul(x[0], norm.a[0], norm.b[0], weight, k)
        return z[None], moments(sums[:, None], k, len(z)) if measure else None
    z = x.new_empty(1, x.shape[1], len(weight))
    count = workspace.rows_in_cache(x.shape[2])
    statistics = ChannelStatistics(backend) if measure else None
    for x_block, z_block in zip(x.split(count, 1), z.split(count, 1), strict=True):
        [normalized] = workspace.like(x_block, 1)
        backend.scale(x_block, norm.a, norm.b, None, True, normalized)
        product = backend.product(normalized[0], weight, z_block[0])
        if product.data_ptr() != z_block.data_ptr():
            z_block.copy_(product)
        if statistics:
            statistics(z_block)
    return z, statistics.moments() if statistics else None


def _tail(layer: Any, new: Tensor) -> Tensor:
    """Attention and dropout on the new features of a layer."""
    if layer.attention is not None:
        new = layer.attention(new)
    return F.dropout(new, layer.drop_rate, layer.training) if layer.drop_rate else new


class _DenseBlock(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layers: Sequence[Any], backend: ModuleType, *parameters: Tensor
    ) -> Tensor:
        out, saved = _forward(x, layers, backend)
        # Saved as tensors, bottlenecks are freed after this block's backward pass; attributes would keep them
        # until that of the whole network is over.
        ctx.save_for_backward(out, *(layer.z for layer in saved), *parameters)
        ctx.layers, ctx.backend = layers, backend
        ctx.norms_and_tails = [(layer.first, layer.second, layer.tail) for layer in saved]
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        backend, layers = ctx.backend, ctx.layers
        out, *others = ctx.saved_tensors
        bottlenecks, parameters = others[: len(layers)], others[len(layers) :]
        saved = [
            Layer(first, second, z, tail)
            for (first, second, tail), z in zip(ctx.norms_and_tails, bottlenecks, strict=True)
        ]
        buffer, total = flat(out), out.shape[1]
        # The gradient of every map from the layers that read it, and (p, q) of that through its statistics.
        d_maps = torch.empty_like(out).copy_(d_out)
        d_statistics = torch.zeros((2, 1, total), device=out.device)
        workspace = Workspace(out)
        d_parameters: list[Tensor | None] = []
        c = total
        for layer, intermediates in zip(reversed(layers), reversed(saved), strict=True):
            channels = slice(c - layer.conv2.out_channels, c)
            c = channels.start
            d_new = feature_gradients(backend, d_maps, out, d_statistics, channels)
            d_tail: list[Tensor | None] = []
            if intermediates.tail is not None:
                before, after = intermediates.tail
                d_new, d_tail = tail_backward(layer, before, after, d_new)
            d_activations, sums2, d_weight2 = spatial_backward(
                layer, intermediates, d_new, backend, workspace
            )
            below = d_statistics[..., :c] if layer.norm1.training else None
            d_bottleneck = bottleneck_backward(
                layer,
                intermediates,
                buffer[..., :c],
                d_activations,
                sums2,
                flat(d_maps)[..., :c],
                below,
                backend,
                workspace,
            )
            d_parameters = [*d_bottleneck, d_weight2, *d_tail, *d_parameters]
        d_in = (
            feature_gradients(backend, d_maps, out, d_statistics, slice(0, c))
            if ctx.needs_input_grad[0]
            else None
        )
        gradients = [
            None if g is None or not parameter.requires_grad else g.view(parameter.shape).to(parameter.dtype)
            for g, parameter in zip(d_parameters, parameters, strict=True)
        ]
        return d_in, None, None, *gradients
