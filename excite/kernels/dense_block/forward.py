"""A dense block in one buffer: no concatenation, each feature map's statistics computed once.

A layer of a DenseNet sees all maps before it, so the usual block copies, normalizes and rectifies the first
map once for each layer, and keeps every copy for the backward pass. Here the maps live side by side in one
channels-last buffer, (N, H, W, C); a layer reads the first c of its channels and writes its k new ones.

- A channel's mean and variance over the batch are the same in every later layer: they are computed once, when
  it is made. Only gamma and beta differ from layer to layer.
- Kept for the backward pass are the buffer and each layer's bottleneck z; the normalized inputs are computed
  again, a piece of rows at a time, so that a piece is still in cache when it is multiplied.
- With layer i's g_i at its rectified input, and x^ = (x - mu) / sigma, the gradient through the shared
  statistics is applied once for each map, when it is its layer's turn:

      dx = sum_i g_i gamma_i / sigma - (mean T + x^ mean(T x^)) / sigma        T = sum_i g_i gamma_i

  where the sums over the batch come free: of T, gamma_i dbeta_i, and of T x^, gamma_i dgamma_i.

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
from excite.kernels.dense_block.inference import PreparedLayers, answer
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


def dense_block(x: Tensor, layers: Sequence[Any], numbers: PreparedLayers | None = None) -> Tensor | None:
    """(N, C, H, W) -> (N, C + layers x k, H, W), channels-last; None where no kernel takes it.

    Args:
        layers: each with norm1, conv1 (1x1), norm2, conv2 (3x3 with padding), drop_rate, and attention on its
            new features or None.
        numbers: where what an answer derives of the weights is kept, if they do not change.
    """
    if not isinstance(x, Tensor):  # torch.fx traces with something else
        return None
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        x = x.to(torch.get_autocast_dtype(kind))
    made = sum(layer.conv2.out_channels for layer in layers)
    without_gradients = "answer" if numbers is None else "always"
    task = "block" if torch.is_grad_enabled() else without_gradients
    backend = select_backend(x, task, x.numel() // x.shape[1] * (x.shape[1] + made) if x.ndim == 4 else 0)
    if backend is not None and numbers and not torch.is_grad_enabled():
        return answer(x, layers, backend, numbers)  # it was looked at before
    norms = [norm for layer in layers for norm in (layer.norm1, layer.norm2)]
    one_mode = len({norm.training for norm in norms}) == 1
    if backend is None or not one_mode or not all(map(_supports, layers)) or x.numel() == x.shape[1]:
        return None
    if not torch.is_grad_enabled():
        if norms[0].training:
            return _forward(x, layers, backend)[0]
        return answer(x, layers, backend, [] if numbers is None else numbers)
    return _DenseBlock.apply(x, layers, backend, *(p for layer in layers for p in _parameters(layer)))


def _supports(layer: Any) -> bool:
    """Whether the layer is the plain one, and nobody waits for the calls that are left out."""
    norms, convolutions = (layer.norm1, layer.norm2), (layer.conv1, layer.conv2)
    return (
        all(
            type(norm) is nn.BatchNorm2d and has_plain_parameters(norm) and norm.running_mean is not None
            for norm in norms
        )
        and is_convolution(layer.conv1, 1)
        and is_convolution(layer.conv2, 3)
        and all(one.bias is None for one in convolutions)
        and type(layer.relu1) is type(layer.relu2) is nn.ReLU
        and has_no_hooks(layer, *norms, *convolutions, layer.relu1, layer.relu2)
        and (layer.attention is None or has_no_hooks(*layer.attention.modules()))
    )


def _parameters(layer: Any) -> list[Tensor]:
    """Norm, convolution, norm, convolution; then those of the attention."""
    own = [layer.norm1.weight, layer.norm1.bias, layer.conv1.weight]
    own += [layer.norm2.weight, layer.norm2.bias, layer.conv2.weight]
    return own + ([] if layer.attention is None else list(layer.attention.parameters()))


def _forward(x: Tensor, layers: Sequence[Any], backend: ModuleType) -> tuple[Tensor, list[Layer]]:
    """The block's output (N, C, H, W), and what the backward pass needs of each layer."""
    n, c, h, w = x.shape
    total = c + sum(layer.conv2.out_channels for layer in layers)
    out = torch.empty((n, total, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    buffer, training = flat(out), layers[0].norm1.training
    statistics = torch.zeros((2, 1, total), device=x.device)
    workspace = Workspace(out)
    kept = []

    def put(new: Iterable[Tensor], place: slice) -> None:
        """Write new maps into some channels of the buffer, a few images at a time, and measure them."""
        measure = (
            ChannelStatistics(backend) if training and place.stop < total else None
        )  # the last are seen by no layer
        first = 0
        for images in new:
            there = out[first : first + len(images), place]
            there.copy_(images)
            if measure:
                measure(flat(there))
            first += len(images)
        if measure:
            statistics[..., place] = measure.moments()

    put([x], slice(0, c))
    for layer in layers:
        first = norm_coefficients(layer.norm1, statistics[..., :c], buffer.shape[1])
        z, measured = _bottleneck(buffer[..., :c], first, layer, backend, workspace, measure=training)
        second = norm_coefficients(layer.norm2, measured, z.shape[1])
        new: Iterable[Tensor] = _spatial(layer, z, second, backend, workspace)
        tail = None
        if layer.attention is not None or (layer.drop_rate and layer.training):
            before = torch.cat(list(new)).requires_grad_()
            with torch.enable_grad():
                after = _tail(layer, before)
            new, tail = [after.detach()], (before, after)
        put(new, slice(c, c + layer.conv2.out_channels))
        c += layer.conv2.out_channels
        kept.append(Layer(first, second, z, tail))
    return out, kept


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
    """The 1x1 convolution of ReLU(norm(x)), rows (1, M, c) -> (1, M, width); and where asked for its mean and
    variance, (2, 1, width)."""
    weight = layer.conv1.weight.flatten(1).to(x.dtype)
    if products := select_matmul_backend(backend):
        k = layer.norm2.running_mean.float()
        z, sums = products.normalized_matmul(x[0], norm.a[0], norm.b[0], weight, k)
        return z[None], moments(sums[:, None], k, len(z)) if measure else None
    z = x.new_empty(1, x.shape[1], len(weight))
    many = workspace.rows_in_cache(x.shape[2])
    measured = ChannelStatistics(backend) if measure else None
    for x_piece, z_piece in zip(x.split(many, 1), z.split(many, 1), strict=True):
        [normalized] = workspace.like(x_piece, 1)
        backend.scale(x_piece, norm.a, norm.b, None, True, normalized)
        product = backend.product(normalized[0], weight, z_piece[0])
        if product.data_ptr() != z_piece.data_ptr():
            z_piece.copy_(product)
        if measured:
            measured(z_piece)
    return z, measured.moments() if measured else None


def _tail(layer: Any, new: Tensor) -> Tensor:
    """What a layer does with its new features: attention, dropout."""
    if layer.attention is not None:
        new = layer.attention(new)
    return F.dropout(new, layer.drop_rate, layer.training) if layer.drop_rate else new


class _DenseBlock(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layers: Sequence[Any], backend: ModuleType, *parameters: Tensor
    ) -> Tensor:
        out, kept = _forward(x, layers, backend)
        # Bottlenecks are saved as tensors are, so that they are gone once this backward pass is over; what an
        # attribute holds lives until that of the whole network is.
        ctx.save_for_backward(out, *(of.z for of in kept), *parameters)
        ctx.layers, ctx.backend = layers, backend
        ctx.kept = [(of.first, of.second, of.tail) for of in kept]
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        backend, layers = ctx.backend, ctx.layers
        out, *others = ctx.saved_tensors
        bottlenecks, parameters = others[: len(layers)], others[len(layers) :]
        kept = [
            Layer(first, second, z, tail)
            for (first, second, tail), z in zip(ctx.kept, bottlenecks, strict=True)
        ]
        buffer, total = flat(out), out.shape[1]
        # What every map's consumers ask of it, and (p, q) of what comes through its statistics.
        asked = torch.empty_like(out).copy_(d_out)
        through = torch.zeros((2, 1, total), device=out.device)
        workspace = Workspace(out)
        found: list[Tensor | None] = []
        c = total
        for layer, of in zip(reversed(layers), reversed(kept), strict=True):
            place = slice(c - layer.conv2.out_channels, c)
            c = place.start
            d_new = feature_gradients(backend, asked, out, through, place)
            d_tail: list[Tensor | None] = []
            if of.tail is not None:
                before, after = of.tail
                d_new, d_tail = tail_backward(layer, before, after, d_new)
            d_active, sums2, d_weight2 = spatial_backward(layer, of, d_new, backend, workspace)
            below = through[..., :c] if layer.norm1.training else None
            d_bottleneck = bottleneck_backward(
                layer, of, buffer[..., :c], d_active, sums2, flat(asked)[..., :c], below, backend, workspace
            )
            found = [*d_bottleneck, d_weight2, *d_tail, *found]
        d_in = (
            feature_gradients(backend, asked, out, through, slice(0, c)) if ctx.needs_input_grad[0] else None
        )
        given = [
            None if g is None or not one.requires_grad else g.view(one.shape).to(one.dtype)
            for g, one in zip(found, parameters, strict=True)
        ]
        return d_in, None, None, *given
