"""Batch norm, channel gates, shortcut, and ReLU in as many passes as batch norm alone.

In eager PyTorch, BN -> SE -> + -> ReLU reads or writes the map ten times: statistics, normalization, squeeze,
scale, addition, ReLU. Everything that depends on the whole map follows from its sums over each image. So one
pass computes those, arithmetic on (N, C) coefficients follows, and one more pass writes the output:

    u = a0 x + b0          a0 = gamma / sigma, b0 = beta - mu a0       (batch norm)
    z = a0 mean(x) + b0    s = gate(z)                                 (squeeze, excitation)
    y = relu(s a0 x + s b0 + shortcut)                                 (scale, addition, ReLU)

The backward pass mirrors this: one pass for the sums dL/d(s a0) and dL/d(s b0), autograd for the arithmetic
on (N, C) coefficients, and one pass that writes dx = g s a0 + p + q x, where p and q are the gradients
through the statistics and the squeeze.

Papers: Batch Normalization, https://arxiv.org/abs/1502.03167, algorithm 1; Squeeze-and-Excitation Networks,
https://arxiv.org/abs/1709.01507, eq. 2 to 4.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from excite.kernels.dispatch import has_no_hooks, select_backend
from excite.kernels.reference import rows

# Methods that determine the output of attention.
_OVERRIDABLE = ("forward", "gates", "squeeze", "excite", "scale")


def norm_gate(
    x: Tensor,
    norm: nn.BatchNorm2d,
    attention: nn.Module | None = None,
    *,
    shortcut: Tensor | None = None,
    relu: bool = False,
) -> Tensor | None:
    """relu(s . norm(x) + shortcut): (N, C, H, W), same dtype and memory format.

    Args:
        norm: a batch norm; its running statistics are updated as by its own forward pass.
        attention: a module for which ``uses_means_only`` is true, which computes the gates s; None: s = 1.
        shortcut: of x's shape, dtype, and memory format.
        relu: whether ReLU follows.

    Returns:
        None if no kernel takes x: ``select_backend`` has the rules, such as channels-last memory and at least
        ``MIN_SIZES`` elements.
    """
    task = "inference" if not torch.is_grad_enabled() else "norm" if attention is None else "gate"
    backend = select_backend(x, task)
    if backend is None or not supports(norm, x, shortcut):
        return None
    parameters = [*norm.parameters(recurse=False), *(attention.parameters() if attention is not None else ())]
    if not torch.is_grad_enabled():
        return _forward(x, shortcut, norm, attention, relu, backend, needs_gradient=False)[0]
    return _NormGate.apply(x, shortcut, norm, attention, relu, backend, *parameters)


def uses_means_only(attention: nn.Module | None) -> bool:
    """Whether the gates depend on the channel means only, and the output is x times the gates.

    A subclass that overrides ``forward``, ``gates``, or one of their steps must declare ``uses_means_only``
    again.
    """
    if attention is None or not getattr(attention, "uses_means_only", False):
        return False
    classes = type(attention).__mro__
    declaring = next((i for i, cls in enumerate(classes) if "uses_means_only" in vars(cls)), None)
    if declaring is None or any(name in vars(attention) for name in _OVERRIDABLE):
        return False
    return not any(name in vars(cls) for cls in classes[:declaring] for name in _OVERRIDABLE)


def can_fuse_attention(attention: nn.Module | None) -> bool:
    """Whether it depends on channel means only and has no hooks.

    A hook may use parameters of its own, whose gradients would be lost.
    """
    return attention is not None and uses_means_only(attention) and has_no_hooks(*attention.modules())


def supports(norm: nn.BatchNorm2d, x: Tensor, shortcut: Tensor | None = None) -> bool:
    """Whether the operator computes what this norm does with this input."""
    if not has_plain_parameters(norm) or norm.weight.dtype != torch.float32 or x.numel() == x.shape[1]:
        return False  # one value per channel has no variance: batch norm itself raises the error
    if shortcut is None:
        return True
    same = shortcut.shape == x.shape and shortcut.dtype == x.dtype
    return same and shortcut.is_contiguous(memory_format=torch.channels_last)


def has_plain_parameters(norm: nn.Module) -> bool:
    """Whether weight and bias are ordinary parameters: not pruned, parametrized, or left out."""
    return all(norm._parameters.get(name) is not None for name in ("weight", "bias"))


def _forward(
    x: Tensor,
    shortcut: Tensor | None,
    norm: nn.BatchNorm2d,
    gate: nn.Module | None,
    relu: bool,
    backend: ModuleType,
    needs_gradient: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The output, and what the backward pass needs: k, the sums, a, and b."""
    x_rows = rows(x)
    batch = norm.training or norm.running_mean is None
    k = pivot(x_rows, norm, batch)
    needs_sums = batch or gate is not None
    sums = backend.sums(x_rows, k) if needs_sums else k.new_zeros(2, 1, len(k))  # the zeros are not used
    with torch.set_grad_enabled(needs_gradient), torch.autocast(x.device.type, enabled=False):
        sums.requires_grad_(needs_gradient)
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
        needs_gradient = any(ctx.needs_input_grad)
        out, intermediates = _forward(x, shortcut, norm, gate, relu, backend, needs_gradient)
        if needs_gradient:
            y = out if relu and shortcut is not None else None
            ctx.save_for_backward(x, y, *intermediates, *parameters)
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
            g_sums = backend.gradient_sums(rows(dy), x_rows, k, a, b, y=rows(y), into=rows(g))
        else:
            g = dy
            g_sums = backend.gradient_sums(rows(dy), x_rows, k, a, b, relu=relu)
        p, q, d_parameters = gradients(g_sums, k, sums, a, b, parameters)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            # With a shortcut, g is masked already.
            backend.gradient(rows(g), x_rows, a, b, p, q, relu=relu and y is None, out=rows(dx))
        return dx, g if ctx.has_shortcut else None, None, None, None, None, *d_parameters


def gradients(
    g_sums: Tensor, k: Tensor, sums: Tensor, a: Tensor, b: Tensor, parameters: list[Tensor]
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """Gradients of the arithmetic on (N, C) coefficients: p, q of ``reference.gradient``, and parameters'.

    Args:
        g_sums: sums of g and of g (x - k), (2, N, C).
        k, sums, a, b: of the forward pass, with the graph from the sums to a and b.
    """
    db, da = g_sums[0], g_sums[1] + k * g_sums[0]
    if len(a) == 1:
        da, db = da.sum(0, keepdim=True), db.sum(0, keepdim=True)
    pairs = [(output, g) for output, g in ((a, da), (b, db)) if output.requires_grad]
    inputs = [sums, *(parameter for parameter in parameters if parameter.requires_grad)]
    d_inputs: tuple[Tensor | None, ...] = (None,) * len(inputs)
    if pairs:
        outputs, g = zip(*pairs, strict=True)
        with torch.autocast(a.device.type, enabled=False):
            # The graph is retained: a caller may ask for gradients twice.
            d_inputs = torch.autograd.grad(outputs, inputs, g, allow_unused=True, retain_graph=True)
    d_sums, *rest = d_inputs
    remaining = iter(rest)
    d_parameters: list[Tensor | None] = [
        next(remaining) if parameter.requires_grad else None for parameter in parameters
    ]
    if d_sums is None:
        zero = torch.zeros_like(k)[None]
        return zero, zero, d_parameters
    q = 2 * d_sums[1]
    return d_sums[0] - k * q, q, d_parameters


def pivot(x: Tensor, norm: nn.BatchNorm2d, batch: bool) -> Tensor:
    """A value near each channel's mean, (C,) float32, subtracted before summation to keep digits."""
    return x[0, 0].float() if batch else norm.running_mean.float()  # type: ignore[union-attr]


def coefficients(
    sums: Tensor,
    k: Tensor,
    p: int,
    norm: nn.BatchNorm2d,
    gate: nn.Module | None,
    batch: bool,
) -> tuple[Tensor, Tensor]:
    """a and b of a x + b, (1, C), with a gate (N, C), from the sums (2, N, C) of x - k and of its square."""
    ones, squares = sums
    means = ones / p  # per image, relative to k
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
    """Update running statistics as ``nn.BatchNorm2d`` does in training; count: values per channel."""
    if not (norm.training and norm.track_running_stats) or norm.running_mean is None:
        return
    assert norm.num_batches_tracked is not None
    assert norm.running_var is not None
    norm.num_batches_tracked.add_(1)
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance * (count / (count - 1)), momentum)
