"""A dense block in one buffer: no concatenation, each feature map's statistics computed once.

A layer of a DenseNet sees all maps before it, so the usual block copies, normalises and rectifies the first
map once for each layer, and keeps every copy for the backward pass. Here the maps live side by side in one
channels-last buffer, (N, H, W, C); a layer reads the first c of its channels and writes its k new ones.

- A channel's mean and variance over the batch are the same in every later layer: they are computed once, when
  it is made. Only gamma and beta differ from layer to layer.
- Kept for the backward pass are the buffer and each layer's bottleneck z; the normalised inputs are computed
  again, a piece of rows at a time, so that a piece is still in cache when it is multiplied.
- With layer i's g_i at its rectified input, and x^ = (x - mu) / sigma, the gradient through the shared
  statistics is applied once for each map, when it is its layer's turn:

      dx = sum_i g_i gamma_i / sigma - (mean T + x^ mean(T x^)) / sigma        T = sum_i g_i gamma_i

  where the sums over the batch come free: of T, gamma_i dbeta_i, and of T x^, gamma_i dgamma_i.

Paper: Densely Connected Convolutional Networks, https://arxiv.org/abs/1608.06993, eq. 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.kernels.norm_gate import update_running
from excite.kernels.switch import passes_for, unseen

# Bytes of normalised rows between the pass that writes and the product that reads them: they stay in cache.
IN_CACHE = 1 << 21


def dense_block(x: Tensor, layers: Sequence[Any]) -> Tensor | None:
    """(N, C, H, W) -> (N, C + layers x k, H, W), channels-last; None where no kernel takes it.

    Args:
        layers: each with norm1, conv1 (1x1), norm2, conv2 (3x3 with padding), drop_rate, and attention on its
            new features or None.
    """
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        x = x.to(torch.get_autocast_dtype(kind))
    does = passes_for(x)
    norms = [norm for layer in layers for norm in (layer.norm1, layer.norm2)]
    one_mode = len({norm.training for norm in norms}) == 1
    if does is None or not one_mode or not all(map(_takes, layers)) or x.numel() == x.shape[1]:
        return None
    if not torch.is_grad_enabled():
        return _forward(x, layers, does, learns=False)[0]
    return _DenseBlock.apply(x, layers, does, *(p for layer in layers for p in _parameters(layer)))


def _takes(layer: Any) -> bool:
    """Whether the layer is the plain one, and nobody waits for the calls that are left out."""
    norms, convolutions = (layer.norm1, layer.norm2), (layer.conv1, layer.conv2)
    return (
        all(type(norm) is nn.BatchNorm2d and norm.affine and norm.running_mean is not None for norm in norms)
        and all(type(one) is nn.Conv2d and one.bias is None for one in convolutions)
        and unseen(layer, *norms, *convolutions, layer.relu1, layer.relu2)
    )


def _parameters(layer: Any) -> list[Tensor]:
    """Norm, convolution, norm, convolution; then those of the attention."""
    own = [layer.norm1.weight, layer.norm1.bias, layer.conv1.weight]
    own += [layer.norm2.weight, layer.norm2.bias, layer.conv2.weight]
    return own + ([] if layer.attention is None else list(layer.attention.parameters()))


class _Norm(NamedTuple):
    """A norm's numbers, (1, C): x^ = (x - mean) scale, and gamma x^ + beta = a x + b."""

    mean: Tensor
    scale: Tensor
    a: Tensor
    b: Tensor

    def gradients(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """(dgamma, dbeta), (1, C), from the sums of g and of g (x - mean), (2, 1, C)."""
        return sums[1] * self.scale, sums[0]

    def through_statistics(self, gamma: Tensor, beta: Tensor, count: int) -> Tensor:
        """(p, q), (2, 1, C), of the part p + q x of dx that comes through mean and variance of ``count``
        rows; zeros for 0 rows: the statistics are given. From dgamma and dbeta."""
        if not count:
            return gamma.new_zeros(2, *gamma.shape)
        by = self.a * (-1 / count)
        q = by * self.scale * gamma
        return torch.stack([torch.addcmul(by * beta, q, self.mean, value=-1), q])


class _Layer(NamedTuple):
    """What the backward pass needs: both norms, the bottleneck (1, M, width), and the 3x3 convolution's output
    and what attention and dropout made of it, where there are any."""

    first: _Norm
    second: _Norm
    z: Tensor
    tail: tuple[Tensor, Tensor] | None


def _forward(
    x: Tensor, layers: Sequence[Any], does: ModuleType, learns: bool
) -> tuple[Tensor, list[_Layer]]:
    """The block's output (N, C, H, W), and what the backward pass needs of each layer."""
    n, c, h, w = x.shape
    total = c + sum(layer.conv2.out_channels for layer in layers)
    out = torch.empty((n, total, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    buffer, image = _rows(out), partial(_image, size=(n, h, w))
    training = layers[0].norm1.training
    statistics = torch.zeros((2, 1, total), device=x.device)
    scratch = _Scratch(buffer)
    kept = []

    def put(new: Tensor, at: int) -> None:
        """Write new maps into the buffer from channel ``at``, and measure them."""
        place = slice(at, at + new.shape[1])
        out[:, place] = new
        if training and place.stop < total:  # the last layer's maps have no later layer here
            maps = buffer[..., place]
            k = maps[0, 0].float()
            statistics[..., place] = _moments(does.sums(maps, k), k, maps.shape[1])

    put(x, 0)
    for layer in layers:
        first = _norm(layer.norm1, statistics[..., :c], buffer.shape[1])
        weight, bias = layer.conv1.weight.flatten(1), None
        fold = not (learns or training)
        if fold:  # the second norm into the first convolution
            folded = _norm(layer.norm2, None, 0)
            weight, bias = weight * folded.a.t(), folded.b.to(x.dtype)
        z, measured = _bottleneck(buffer[..., :c], first, weight.to(x.dtype), does, scratch, training)
        if bias is not None:
            active = z.add_(bias).relu_()
        else:
            second = _norm(layer.norm2, measured, z.shape[1])
            active = torch.empty_like(z)
            does.scale(z, second.a, second.b, None, True, active)
        new = F.conv2d(image(active), layer.conv2.weight.to(x.dtype), padding=layer.conv2.padding)
        tail = None
        if layer.attention is not None or (layer.drop_rate and layer.training):
            before = new.requires_grad_(learns)
            with torch.set_grad_enabled(learns):
                after = _tail(layer, before)
            new, tail = after.detach(), (before, after)
        put(new, c)
        c += new.shape[1]
        if learns:
            kept.append(_Layer(first, second, z, tail))
    return out, kept


def _bottleneck(
    x: Tensor, norm: _Norm, weight: Tensor, does: ModuleType, scratch: _Scratch, measure: bool
) -> tuple[Tensor, Tensor | None]:
    """The product of ReLU(norm(x)) with a weight, rows (1, M, c), (width, c) -> (1, M, width); and where asked
    for its mean and variance, (2, 1, width)."""
    z = x.new_empty(1, x.shape[1], len(weight))
    many = scratch.fitting(x.shape[2])
    k, sums = None, []
    for x_piece, z_piece in zip(x.split(many, 1), z.split(many, 1), strict=True):
        [normalised] = scratch.like(x_piece, 1)
        does.scale(x_piece, norm.a, norm.b, None, True, normalised)
        product = does.product(normalised[0], weight, z_piece[0])
        if product.data_ptr() != z_piece.data_ptr():
            z_piece.copy_(product)
        if measure:
            k = z_piece[0, 0].float() if k is None else k
            sums.append(does.sums(z_piece, k))
    return z, None if k is None else _moments(torch.stack(sums).sum(0), k, z.shape[1])


def _tail(layer: Any, new: Tensor) -> Tensor:
    """What a layer does with its new features: attention, dropout."""
    if layer.attention is not None:
        new = layer.attention(new)
    return F.dropout(new, layer.drop_rate, layer.training) if layer.drop_rate else new


class _DenseBlock(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: Sequence[Any], does: ModuleType, *parameters: Tensor) -> Tensor:
        out, ctx.kept = _forward(x, layers, does, learns=True)
        ctx.layers, ctx.does = layers, does
        ctx.save_for_backward(out, *parameters)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        out, *parameters = ctx.saved_tensors
        does, layers, kept = ctx.does, ctx.layers, ctx.kept
        n, total, h, w = out.shape
        buffer, image = _rows(out), partial(_image, size=(n, h, w))
        # What every map's consumers ask of it, and (p, q) of what comes through its statistics.
        asked = buffer.new_empty(buffer.shape)
        image(asked).copy_(d_out)
        through = torch.zeros((2, 1, total), device=out.device)
        scratch = _Scratch(buffer)
        found: list[Tensor | None] = []
        c = total
        for layer, of in zip(reversed(layers), reversed(kept), strict=True):
            place = slice(c - layer.conv2.out_channels, c)
            c = place.start
            d_new, d_tail = image(_gathered(does, asked, buffer, through, place)), []
            if of.tail is not None:
                d_new, *d_tail = _tail_backward(layer, *of.tail, d_new)
            active = torch.empty_like(of.z)
            does.scale(of.z, of.second.a, of.second.b, None, True, active)
            d_active, d_weight2 = _convolution_backward(layer.conv2, d_new, image(active))
            through_below = through[..., :c] if layer.norm1.training else None
            found = [
                *_bottleneck_backward(
                    layer, of, buffer[..., :c], _rows(d_active), active, asked[..., :c], through_below, does, scratch
                ),
                d_weight2,
                *d_tail,
                *found,
            ]
        d_in = image(_gathered(does, asked, buffer, through, slice(0, c))) if ctx.needs_input_grad[0] else None
        given = [
            None if g is None or not one.requires_grad else g.view(one.shape).to(one.dtype)
            for g, one in zip(found, parameters, strict=True)
        ]
        return d_in, None, None, *given


def _bottleneck_backward(
    layer: Any,
    of: _Layer,
    x: Tensor,
    d_active: Tensor,
    room: Tensor,
    asked: Tensor,
    through: Tensor | None,
    does: ModuleType,
    scratch: _Scratch,
) -> tuple[Tensor | None, ...]:
    """Gradients of norm1, conv1 and norm2; what the inputs x (1, M, c) are asked is added to ``asked``, and
    what comes through their statistics to ``through``. ``room`` (1, M, width) is overwritten."""
    first, second, count = of.first, of.second, x.shape[1]
    d_gamma2, d_beta2 = second.gradients(
        does.gradient_sums(d_active, of.z, second.mean[0], second.a, second.b)
    )
    p, q = second.through_statistics(d_gamma2, d_beta2, count if layer.norm2.training else 0)
    weight = layer.conv1.weight.flatten(1).to(x.dtype)
    d_weight, learns = torch.zeros_like(weight, dtype=torch.float32), layer.conv1.weight.requires_grad
    a_piece_of_it = torch.empty_like(weight)
    sums = torch.zeros((2, 1, x.shape[2]), device=x.device)
    many = scratch.fitting(x.shape[2])
    pieces = zip(*(rows.split(many, 1) for rows in (x, asked, of.z, d_active, room)), strict=True)
    for x_piece, asked_piece, z, dy, dz in pieces:
        # One piece of dL/dz, of the normalised inputs again and of their gradients, all in cache.
        normalised, d_normalised = scratch.like(x_piece, 2)
        does.gradient(dy, z, second.a, second.b, p, q, relu=True, out=dz)
        if learns:
            does.scale(x_piece, first.a, first.b, None, True, normalised)
            d_weight += does.product(dz[0].t(), normalised[0].t(), a_piece_of_it)
        dx = does.product(dz[0], weight.t(), d_normalised[0])
        sums += does.gradient_sums(
            dx[None], x_piece, first.mean[0], first.a, first.b, into=asked_piece, scaled=True
        )
    d_gamma1, d_beta1 = first.gradients(sums)
    if through is not None:
        through += first.through_statistics(d_gamma1, d_beta1, count)
    return d_gamma1, d_beta1, d_weight, d_gamma2, d_beta2


def _convolution_backward(conv: nn.Conv2d, d_new: Tensor, active: Tensor) -> tuple[Tensor, Tensor | None]:
    """Gradients of a convolution's input, channels-last, and of its weight."""
    wanted = [True, conv.weight.requires_grad, False]
    d_active, d_weight, _ = torch.ops.aten.convolution_backward(
        d_new, active, conv.weight.to(active.dtype), None,
        conv.stride, conv.padding, conv.dilation, False, [0, 0], conv.groups, wanted,
    )  # fmt: skip
    return d_active.contiguous(memory_format=torch.channels_last), d_weight


def _tail_backward(layer: Any, before: Tensor, after: Tensor, d_new: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of what stood before attention and dropout, and of the attention's parameters."""
    parameters = [] if layer.attention is None else list(layer.attention.parameters())
    wanted = [before, *(one for one in parameters if one.requires_grad)]
    found = iter(torch.autograd.grad(after, wanted, d_new, allow_unused=True, retain_graph=True))
    return next(found), *(next(found) if one.requires_grad else None for one in parameters)


def _gathered(does: ModuleType, asked: Tensor, buffer: Tensor, through: Tensor, place: slice) -> Tensor:
    """The gradient of the maps in ``place``, (1, M, k): asked + p + q x."""
    x = buffer[..., place]
    out = x.new_empty(x.shape)
    p, q = through[..., place]
    one = torch.ones_like(p)
    does.gradient(asked[..., place], x, one, one, p, q, relu=False, out=out)
    return out


def _moments(sums: Tensor, k: Tensor, count: int) -> Tensor:
    """Mean and variance, (2, 1, C), from the sums (2, 1, C) about k (C,) over ``count`` rows."""
    mean, square = sums / count
    return torch.stack([mean + k, (square - mean.square()).clamp_(min=0)])


def _norm(norm: nn.BatchNorm2d, statistics: Tensor | None, count: int) -> _Norm:
    """A norm's numbers for these statistics (2, 1, C), which its running ones learn of; or for those."""
    if norm.training and statistics is not None:
        mean, variance = statistics
        update_running(norm, mean[0], variance[0], count)
    else:
        mean, variance = norm.running_mean[None], norm.running_var[None]  # type: ignore[index]
    scale = torch.rsqrt(variance + norm.eps)
    a = norm.weight * scale
    return _Norm(mean, scale, a, norm.bias - mean * a)


def _rows(x: Tensor) -> Tensor:
    """(N, C, H, W) in channels-last memory -> (1, N x H x W, C), the same memory."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)[None]


def _image(x: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Rows (1, N x H x W, C) -> (N, C, H, W), the same memory."""
    return x[0].unflatten(0, size).permute(0, 3, 1, 2)


class _Scratch:
    """Room for some rows of normalised inputs, and of their gradients, at a time; on a GPU for all rows."""

    def __init__(self, buffer: Tensor) -> None:
        self.rows, self.buffer = buffer.shape[1], buffer
        self.bytes = IN_CACHE if buffer.device.type == "cpu" else buffer.nbytes
        self.memory: list[Tensor] = []

    def fitting(self, c: int) -> int:
        """How many rows of c channels fit, in even pieces."""
        many = max(1, self.bytes // (c * self.buffer.itemsize))
        return -(-self.rows // -(-self.rows // many))

    def like(self, x: Tensor, count: int) -> list[Tensor]:
        """``count`` matrices in one piece of memory each, of the shape of some rows (1, P, c)."""
        while len(self.memory) < count or self.memory[0].numel() < x.numel():
            self.memory = [self.buffer.new_empty(max(x.numel(), self.bytes // x.itemsize)) for _ in range(count)]
        return [room[: x.numel()].view(x.shape) for room in self.memory[:count]]
