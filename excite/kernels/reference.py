"""The fused passes over feature maps, defined in plain PyTorch.

Batch norm, channel gates, shortcuts, and ReLU need only these passes. A feature map is given as rows of
channels, x (N, P, C) with P = H x W: channels-last memory, or a slice of its channels. Coefficients are
float32, one per channel, (1, C), or one per image and channel, (N, C). ``cpu`` and ``gpu`` have the same
functions, compiled.

    means             mean x                              one read
    sums              sum (x - k), sum (x - k)^2          one read
    scale             y = relu(x a + b + shortcut)        one read (two with a shortcut), one write
    gradient_sums     sum g, sum g (x - k)                two reads
    gradient          dx = g a + p + q x                  two reads, one write
    product           the matrix product of a 1x1 convolution

where g is dy where y > 0, else 0. Sums are per image and channel, so the squeeze of channel attention needs
no pass of its own: the mean of gamma (x - mu) / sigma + beta over an image follows from the image's mean of
x.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Excitation(NamedTuple):
    """Weights of an excitation: w1 (C, hidden), b1 (hidden,), w2 (hidden, C), b2 (C,), float32, contiguous.

    The gates are factor x sigmoid(ReLU(z w1 + b1) w2 + b2).
    """

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    factor: int


def rows(x: Tensor) -> Tensor:
    """(N, C, H, W) in channels-last memory -> (N, H x W, C), the same memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def means(x: Tensor) -> Tensor:
    """The mean of each image and channel: (N, P, C) -> (N, C), float32."""
    return x.mean(1, dtype=torch.float32)


def sums(x: Tensor, k: Tensor) -> Tensor:
    """Sums over an image of x - k and of its square: (N, P, C), (C,) -> (2, N, C), float32.

    k is near the mean, so that the variance computed from the two sums keeps its digits.
    """
    centered = x.float() - k
    return torch.stack([centered.sum(1), centered.square().sum(1)])


def scale(x: Tensor, a: Tensor, b: Tensor, shortcut: Tensor | None, relu: bool, out: Tensor) -> None:
    """Write x a + b, plus the shortcut, then ReLU if requested, to ``out`` (N, P, C)."""
    y = x.float() * a[:, None] + b[:, None]
    if shortcut is not None:
        y += shortcut
    out.copy_(y.relu_() if relu else y)


def squeeze_excite(
    x: Tensor, excitation: Excitation, shortcut: Tensor | None, relu: bool, out: Tensor
) -> None:
    """``scale`` one image, (1, P, C), by its gates."""
    s = excitation_gates(means(x), excitation)
    scale(x, s, torch.zeros_like(s), shortcut, relu, out)


def excitation_gates(z: Tensor, excitation: Excitation) -> Tensor:
    """The gates from the channel means, (N, C) -> (N, C), in float32 also under autocast."""
    with torch.autocast(z.device.type, enabled=False):
        hidden = torch.addmm(excitation.b1, z, excitation.w1).relu_()
        return excitation.factor * torch.addmm(excitation.b2, hidden, excitation.w2).sigmoid_()


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
    """Sums over an image of g and of g (x - k): (2, N, C), float32.

    g is dy where the output is positive, else 0: where ``y`` is, or x a + b if there is no ``y``; without
    ``relu`` g is dy. It is written to ``into``; with ``scaled``, g a is added to ``into`` instead.
    """
    g = dy.float()
    if relu:
        positive = (y > 0) if y is not None else (x.float() * a[:, None] + b[:, None] > 0)
        g = torch.where(positive, g, 0)
    if into is not None and scaled:
        into.add_(g * a[:, None])
    elif into is not None:
        into.copy_(g)
    return torch.stack([g.sum(1), (g * (x.float() - k)).sum(1)])


def gradient(
    dy: Tensor, x: Tensor, a: Tensor, b: Tensor, p: Tensor, q: Tensor, *, relu: bool, out: Tensor
) -> None:
    """Write g a + p + q x to ``out`` (N, P, C); g is dy, with ``relu`` only where x a + b is positive."""
    wide, g = x.float(), dy.float()
    if relu:
        g = torch.where(wide * a[:, None] + b[:, None] > 0, g, 0)
    out.copy_(g * a[:, None] + p[:, None] + q[:, None] * wide)


def product(x: Tensor, w: Tensor, out: Tensor) -> Tensor:
    """x w^T: (M, C), (J, C) -> (M, J), possibly in ``out``."""
    return torch.mm(x, w.t(), out=out)


def normalized_matmul(x: Tensor, a: Tensor, b: Tensor, w: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """z = relu(x a + b) w^T, with the sums over its rows that the next batch norm needs.

    (M, C), (C,), (C,), (J, C), (J,) -> z (M, J) in x's dtype, and the sums of z - k and of its square, (2, J)
    in float32. relu(x a + b) is rounded to x's dtype before the product; the sums are those of the rounded z.
    """
    z = F.linear((x.float() * a + b).relu_().to(x.dtype), w)
    centered = z.float() - k
    return z, torch.stack([centered.sum(0), centered.square().sum(0)])


def matmul_gradient(
    dz: Tensor, x: Tensor, a: Tensor, b: Tensor, w: Tensor, k: Tensor, into: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradient of ``normalized_matmul``: that of w, and ``gradient_sums`` of that of relu(x a + b).

    g = dz w where x a + b is positive, else 0; g a is added to ``into``. dz (M, J), x and ``into`` (M, C),
    w (J, C), k (C,) -> dw (J, C) and the sums over rows of g and of g (x - k), (2, C); both float32.
    """
    wide = x.float()
    y = wide * a + b
    g = torch.where(y > 0, dz.float() @ w.float(), 0)
    into.add_(g * a)
    dw = dz.float().T @ y.relu_().to(x.dtype).float()
    return dw, torch.stack([g.sum(0), (g * (wide - k)).sum(0)])
