"""Batch norm, a gate for each channel, a shortcut and ReLU in the passes that batch norm makes by itself.

In eager PyTorch, BN -> SE -> + -> ReLU reads or writes the map ten times: statistics, normalize, squeeze,
scale, add, rectify. All that depends on the map as a whole are its sums over each image. So: one pass for
those, then arithmetic on (N, C) numbers, then one pass that writes the output,

    u = a0 x + b0          a0 = gamma / sigma, b0 = beta - mu a0       (batch norm)
    z = a0 mean(x) + b0    s = gate(z)                                 (squeeze, excitation)
    y = relu(s a0 x + s b0 + shortcut)                                 (scale, addition, rectifier)

The backward pass is the mirror: one pass for the sums of dL/d(s a0) and dL/d(s b0), the arithmetic on (N, C)
numbers backwards, by autograd, and one pass that writes dx = g s a0 + p + q x, where p and q carry what came
through the statistics and the squeeze.

Papers: Batch Normalization, https://arxiv.org/abs/1502.03167, algorithm 1; Squeeze-and-Excitation Networks,
https://arxiv.org/abs/1709.01507, eq. 2 to 4.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from excite.kernels.dispatch import has_no_hooks, select_backend
from excite.kernels.reference import rows

Gate = Callable[[Tensor], Tensor]
_OVERRIDABLE = ("forward", "gates", "squeeze", "excite", "scale")  # what an attention's output is made by


def norm_gate(
    x: Tensor,
    norm: nn.BatchNorm2d,
    gate: nn.Module | None = None,
    *,
    shortcut: Tensor | None = None,
    relu: bool = False,
) -> Tensor | None:
    """relu(s . norm(x) + shortcut): (N, C, H, W), same dtype and memory; None where no kernel takes it.

    Args:
        norm: a batch norm; its running statistics are updated as it would itself.
        gate: attention that has ``gates`` and sees a map's channel means alone; None: s = 1.
        shortcut: of x's shape, dtype and memory.
        relu: whether the result is rectified.
    """
    task = "answer" if not torch.is_grad_enabled() else "norm" if gate is None else "gate"
    found = select_backend(x, task)
    if found is None or not supports(norm, x, shortcut):
        return None
    parameters = [*norm.parameters(recurse=False), *(gate.parameters() if gate is not None else ())]
    if not torch.is_grad_enabled():
        return _forward(x, shortcut, norm, gate, relu, found, learns=False)[0]
    return _NormGate.apply(x, shortcut, norm, gate, relu, found, *parameters)


def uses_means_only(attention: nn.Module | None) -> bool:
    """Whether attention's gates can be had from a map's channel means, and its output is x times the gates.

    A subclass with a ``forward``, ``gates`` or part of them of its own may do anything: who overrides one
    says so anew.
    """
    if attention is None or not getattr(attention, "uses_means_only", False):
        return False
    classes = type(attention).__mro__
    says = next((place for place, kind in enumerate(classes) if "uses_means_only" in vars(kind)), None)
    if says is None or any(name in vars(attention) for name in _OVERRIDABLE):
        return False
    return not any(name in vars(kind) for kind in classes[:says] for name in _OVERRIDABLE)


def can_fuse_attention(attention: nn.Module | None) -> bool:
    """Whether it sees means alone, and nobody waits for a call of it or of a layer in it: what a hook makes
    of a layer's output may hold tensors that learn, and their gradients would be lost."""
    return attention is not None and uses_means_only(attention) and has_no_hooks(*attention.modules())


def supports(norm: nn.BatchNorm2d, x: Tensor, shortcut: Tensor | None = None) -> bool:
    """Whether the operator has what this norm does with this input."""
    if not has_plain_parameters(norm) or norm.weight.dtype != torch.float32 or x.numel() == x.shape[1]:
        return False  # the last: one number a channel has no variance, which batch norm itself says best
    if shortcut is None:
        return True
    alike = shortcut.shape == x.shape and shortcut.dtype == x.dtype
    return alike and shortcut.is_contiguous(memory_format=torch.channels_last)


def has_plain_parameters(norm: nn.Module) -> bool:
    """Whether weight and bias are the norm's own, and not pruned, parametrized or left out."""
    return all(norm._parameters.get(name) is not None for name in ("weight", "bias"))


def _forward(
    x: Tensor,
    shortcut: Tensor | None,
    norm: nn.BatchNorm2d,
    gate: nn.Module | None,
    relu: bool,
    backend: ModuleType,
    learns: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The output, and the numbers that the backward pass starts from: k, the sums, a and b."""
    x_rows = rows(x)
    batch = norm.training or norm.running_mean is None
    k = pivot(x_rows, norm, batch)
    measures = batch or gate is not None
    sums = backend.sums(x_rows, k) if measures else k.new_zeros(2, 1, len(k))  # nothing hangs on the zeros
    with torch.set_grad_enabled(learns), torch.autocast(x.device.type, enabled=False):
        sums.requires_grad_(learns)
        a, b = coefficients(sums, k, x_rows.shape[1], norm, gate, batch)
    out = torch.empty_like(x)
    backend.scale(x_rows, a, b, None if shortcut is None else rows(shortcut), relu, rows(out))
    return out, (k, sums, a, b)


class _NormGate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shortcut: Tensor | None,
        norm: nn.BatchNorm2d,
        gate: nn.Module | None,
        relu: bool,
        backend: ModuleType,
        *parameters: Tensor,
    ) -> Tensor:
        learns = any(ctx.needs_input_grad)
        out, numbers = _forward(x, shortcut, norm, gate, relu, backend, learns)
        if learns:
            kept = out if relu and shortcut is not None else None
            ctx.save_for_backward(x, kept, *numbers, *parameters)
            ctx.relu, ctx.backend, ctx.has_shortcut = relu, backend, shortcut is not None
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, y, k, sums, a, b, *parameters = ctx.saved_tensors
        backend, relu = ctx.backend, ctx.relu
        x_rows, dy = rows(x), dy.contiguous(memory_format=torch.channels_last)
        if y is not None:
            g = torch.empty_like(dy)
            both = backend.gradient_sums(rows(dy), x_rows, k, a, b, y=rows(y), into=rows(g))
        else:
            g = dy
            both = backend.gradient_sums(rows(dy), x_rows, k, a, b, relu=relu)
        p, q, d_parameters = gradients(both, k, sums, a, b, parameters)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            # The shortcut's gradient is masked already.
            backend.gradient(rows(g), x_rows, a, b, p, q, relu=relu and y is None, out=rows(dx))
        return dx, g if ctx.has_shortcut else None, None, None, None, None, *d_parameters


def gradients(
    both: Tensor, k: Tensor, sums: Tensor, a: Tensor, b: Tensor, parameters: list[Tensor]
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """The arithmetic on (N, C) numbers backwards: p and q of ``reference.gradient``, and the parameters' own.

    Args:
        both: sums of g and of g (x - k), (2, N, C).
        k, sums, a, b: of the forward pass, with the graph from the sums to a and b.
    """
    db, da = both[0], both[1] + k * both[0]
    if len(a) == 1:
        da, db = da.sum(0, keepdim=True), db.sum(0, keepdim=True)
    pairs = [(of, g) for of, g in ((a, da), (b, db)) if of.requires_grad]
    wanted = [sums, *(one for one in parameters if one.requires_grad)]
    d_all: tuple[Tensor | None, ...] = (None,) * len(wanted)
    if pairs:
        of, g = zip(*pairs, strict=True)
        with torch.autocast(a.device.type, enabled=False):
            # The graph stays, should a caller want the gradients twice.
            d_all = torch.autograd.grad(of, wanted, g, allow_unused=True, retain_graph=True)
    d_sums, *rest = d_all
    found = iter(rest)
    d_parameters: list[Tensor | None] = [next(found) if one.requires_grad else None for one in parameters]
    if d_sums is None:
        zero = torch.zeros_like(k)[None]
        return zero, zero, d_parameters
    q = 2 * d_sums[1]
    return d_sums[0] - k * q, q, d_parameters


def pivot(x: Tensor, norm: nn.BatchNorm2d, batch: bool) -> Tensor:
    """A number near each channel's mean, (C,) float32: what the sums are taken about."""
    return x[0, 0].float() if batch else norm.running_mean.float()  # type: ignore[union-attr]


def coefficients(
    sums: Tensor,
    k: Tensor,
    p: int,
    norm: nn.BatchNorm2d,
    gate: nn.Module | None,
    batch: bool,
) -> tuple[Tensor, Tensor]:
    """The output's coefficients a and b, (1, C), with a gate (N, C), from the sums (2, N, C) about k (C,)."""
    ones, squares = sums
    means = ones / p  # of each image, about k
    if batch:
        mean = means.mean(0)
        variance = (squares.sum(0) / (len(ones) * p) - mean.square()).clamp(min=0)
        mean = mean + k
        update_running(norm, mean.detach(), variance.detach(), len(ones) * p)
    else:
        mean, variance = norm.running_mean, norm.running_var
    a = norm.weight * torch.rsqrt(variance + norm.eps)
    b = norm.bias - mean * a
    if gate is None:
        return a[None], b[None]
    z = (means + k) * a + b
    s = gate.gates(z[:, :, None, None]).flatten(1)  # type: ignore[operator]
    return s * a, s * b


@torch.no_grad()
def update_running(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Running statistics as ``nn.BatchNorm2d`` updates them in training; count: numbers in a channel."""
    if not (norm.training and norm.track_running_stats) or norm.running_mean is None:
        return
    assert norm.num_batches_tracked is not None
    assert norm.running_var is not None
    norm.num_batches_tracked.add_(1)
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance * (count / (count - 1)), share)
