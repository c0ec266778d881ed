"""Batch norm, ReLU and a 1x1 convolution as one matrix product: what a layer of a dense block begins with.

The normalised input h = relu(x a + b) is never written: it is made from x on its way into the product,
forward and again backward. x (M, C) are the rows of a feature map, a slice of a wider buffer; coefficients
(C,) are float32; the weights w (J, C) are of x's dtype. Here both are defined in plain PyTorch;
``gpu_product`` has the same functions as Triton kernels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def normalised_product(x: Tensor, a: Tensor, b: Tensor, w: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """z = relu(x a + b) w', with the sums over its rows that the next batch norm needs.

    (M, C), (C,), (C,), (J, C), (J,) -> z (M, J) of x's dtype, and the sums of z - k and of its square, (2, J)
    float32. h is rounded to x's dtype before it is multiplied; the sums are those of z as rounded.
    """
    z = F.linear((x.float() * a + b).relu_().to(x.dtype), w)
    centred = z.float() - k
    return z, torch.stack([centred.sum(0), centred.square().sum(0)])


def product_gradient(
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
