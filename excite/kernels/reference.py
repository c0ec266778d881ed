"""The passes over a feature map that batch norm, a channel's gate, a shortcut and ReLU come down to.

A feature map is taken as rows of channels, x (N, P, C) with P = H x W: what channels-last memory is, or a
slice of its channels. Coefficients are one a channel, (1, C), or one an image and channel, (N, C), in
float32. Here each pass is defined in plain PyTorch; ``cpu`` and ``gpu`` have the same functions, compiled.

    means             mean x                              one read
    sums              sum (x - k), sum (x - k)^2          one read
    scale             y = relu(x a + b + shortcut)        one read (two with a shortcut), one write
    gradient_sums     sum g, sum g (x - k)                two reads
    gradient          dx = g a + p + q x                  two reads, one write
    product           the matrix product between them

where g = dy where y > 0. The sums are one an image and channel, so that the squeeze of an attention comes out
of the pass that batch norm makes anyway: the mean of gamma (x - mu) / sigma + beta over an image follows from
the image's own mean of x.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Excitation(NamedTuple):
    """Two products: w1 (C, hidden), b1 (hidden,), w2 (hidden, C) and b2 (C,), float32 and contiguous; gates
    are ``factor`` times a sigmoid."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    factor: int


def rows(x: Tensor) -> Tensor:
    """(N, C, H, W) in channels-last memory -> (N, H x W, C), the same memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def means(x: Tensor) -> Tensor:
    """Of each image and channel: (N, P, C) -> (N, C) float32."""
    return x.mean(1, dtype=torch.float32)


def sums(x: Tensor, k: Tensor) -> Tensor:
    """Sums over an image of x - k and of its square: (N, P, C), (C,) -> (2, N, C), float32.

    k is near the mean, so that no digits are lost when the variance is made of the two sums.
    """
    centered = x.float() - k
    return torch.stack([centered.sum(1), centered.square().sum(1)])


def scale(x: Tensor, a: Tensor, b: Tensor, shortcut: Tensor | None, relu: bool, out: Tensor) -> None:
    """x a + b, plus the shortcut, rectified where asked for: into ``out`` (N, P, C)."""
    y = x.float() * a[:, None] + b[:, None]
    if shortcut is not None:
        y += shortcut
    out.copy_(y.relu_() if relu else y)


def squeeze_excite(x: Tensor, of: Excitation, shortcut: Tensor | None, relu: bool, out: Tensor) -> None:
    """``scale`` by the gates of one image, (1, P, C): s = factor sigmoid(relu(mean(x) w1 + b1) w2 + b2)."""
    s = excitation_gates(means(x), of)
    scale(x, s, torch.zeros_like(s), shortcut, relu, out)


def excitation_gates(z: Tensor, of: Excitation) -> Tensor:
    """The gates of the means (N, C): (N, C) float32, also under autocast."""
    with torch.autocast(z.device.type, enabled=False):
        hidden = torch.addmm(of.b1, z, of.w1).relu_()
        return of.factor * torch.addmm(of.b2, hidden, of.w2).sigmoid_()


def gradient_sums(
    dy: Tensor,
    x: Tensor,
    k: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    y: Tensor | None = None,
    relu: bool = True,
    into: Tensor | None = None,
    scaled: bool = False,
) -> Tensor:
    """Sums over an image of g and of g (x - k): -> (2, N, C), float32.

    g is dy where the output was above zero: where ``y`` is, or without it where x a + b is; or everywhere
    without ``relu``. It is written to ``into`` or, with ``scaled``, g a is added to what is there.
    """
    g = dy.float()
    if relu:
        kept = (y > 0) if y is not None else (x.float() * a[:, None] + b[:, None] > 0)
        g = torch.where(kept, g, 0)
    if into is not None and scaled:
        into.add_(g * a[:, None])
    elif into is not None:
        into.copy_(g)
    return torch.stack([g.sum(1), (g * (x.float() - k)).sum(1)])


def gradient(
    dy: Tensor, x: Tensor, a: Tensor, b: Tensor, p: Tensor, q: Tensor, *, relu: bool, out: Tensor
) -> None:
    """g a + p + q x into ``out`` (N, P, C); with ``relu`` g is dy where x a + b is above zero, else dy."""
    wide, g = x.float(), dy.float()
    if relu:
        g = torch.where(wide * a[:, None] + b[:, None] > 0, g, 0)
    out.copy_(g * a[:, None] + p[:, None] + q[:, None] * wide)


def product(x: Tensor, w: Tensor, out: Tensor) -> Tensor:
    """x w^T: (M, C), (J, C) -> (M, J); ``out`` is room for it."""
    return torch.mm(x, w.t(), out=out)


def normalized_matmul(x: Tensor, a: Tensor, b: Tensor, w: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """z = relu(x a + b) w', with the sums over its rows that the next batch norm needs.

    (M, C), (C,), (C,), (J, C), (J,) -> z (M, J) of x's dtype, and the sums of z - k and of its square, (2, J)
    float32. h is rounded to x's dtype before it is multiplied; the sums are those of z as rounded.
    """
    z = F.linear((x.float() * a + b).relu_().to(x.dtype), w)
    centered = z.float() - k
    return z, torch.stack([centered.sum(0), centered.square().sum(0)])


def matmul_gradient(
    dz: Tensor, x: Tensor, a: Tensor, b: Tensor, w: Tensor, k: Tensor, into: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradient of z by w, and by x as far as ``gradient_sums`` goes: g a is added to ``into``.

    g = dz w where x a + b is above zero: dz (M, J), x and ``into`` (M, C), w (J, C), k (C,) -> dw (J, C) and
    the sums over rows of g and of g (x - k), (2, C); both float32.
    """
    wide = x.float()
    y = wide * a + b
    g = torch.where(y > 0, dz.float() @ w.float(), 0)
    into.add_(g * a)
    dw = dz.float().T @ y.relu_().to(x.dtype).float()
    return dw, torch.stack([g.sum(0), (g * (wide - k)).sum(0)])
