"""Batch norm and what follows it (attention, shortcut, ReLU, pooling) as one operator.

Each function computes the same as the modules that it is given, and calls them where no kernel takes the
input: with another kind of norm, with hooks that would miss their call, with EXCITE_KERNELS=off.
"""

from __future__ import annotations

from typing import TypeGuard, cast

import torch.nn.functional as F
from torch import Tensor, nn

from excite.kernels.dispatch import has_no_hooks, select_backend
from excite.kernels.norm_gate import can_fuse_attention, norm_gate
from excite.kernels.norm_pool import norm_pool


def norm_relu(norm: nn.Module, x: Tensor) -> Tensor:
    """ReLU(norm(x))."""
    fused = norm_gate(x, norm, relu=True) if is_batch_norm(norm) and has_no_hooks(norm) else None
    if fused is not None:
        return fused
    y = norm(x)
    return F.relu(y, inplace=y is not x and has_no_hooks(norm))  # a hook may have kept y


def norm_add_relu(norm: nn.Module, x: Tensor, shortcut: Tensor) -> Tensor:
    """ReLU(norm(x) + shortcut); attention that was inserted after the norm is included."""
    fused = None
    if can_fuse_norm(norm) and has_no_hooks(norm):
        fused = norm_gate(x, cast(nn.BatchNorm2d, norm), attention_of(norm), shortcut=shortcut, relu=True)
    return F.relu(norm(x) + shortcut, inplace=True) if fused is None else fused


def sequential_relu(layers: nn.Sequential, x: Tensor) -> Tensor:
    """ReLU(layers(x)), in which a norm runs together with the ReLU and the pooling after it."""
    if select_backend(x) is None or not has_no_hooks(layers, *layers.children()):
        return F.relu(layers(x))
    remaining = iter(layers)
    for layer in remaining:
        if not is_batch_norm(layer):
            x = layer(x)
            continue
        relu = next(remaining, None)
        if relu is None:  # the last layer is a norm
            return norm_relu(layer, x)
        if type(relu) is not nn.ReLU:
            x = relu(layer(x))
            continue
        pool = next(remaining)
        pooled = norm_pool(x, layer, pool)
        x = pool(norm_relu(layer, x)) if pooled is None else pooled
    return F.relu(x)


def is_batch_norm(norm: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether it is ``nn.BatchNorm2d`` itself; a subclass may compute something else."""
    return type(norm) is nn.BatchNorm2d


def attention_of(norm: nn.Module) -> nn.Module | None:
    """The attention that was inserted after a norm, if any."""
    return getattr(norm, "attention", None)


def can_fuse_norm(norm: nn.Module) -> bool:
    """Whether it is a batch norm, or one with inserted attention whose gates depend on channel means only."""
    attention = attention_of(norm)
    if attention is None:
        return is_batch_norm(norm)
    return getattr(norm, "plain", None) is nn.BatchNorm2d and can_fuse_attention(attention)
