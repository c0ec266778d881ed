"""Multiply one factor per channel into the weights of the layer before or after it."""

from __future__ import annotations

from torch import Tensor, nn

from excite.insertion.attach import WithAttention

# Classes by name, so that timm is not imported; BatchNormAct2d is batch norm and an activation in one.
CONVOLUTIONS = frozenset({"Conv2d", "Conv2dSame"})
NORMS = frozenset({"BatchNorm2d", "SyncBatchNorm", "GroupNorm", "BatchNormAct2d"})
# f(s x) = s f(x), for HOMOGENEOUS only if s >= 0: a factor may move from their output to their input.
HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.MaxPool2d, nn.AdaptiveMaxPool2d)
LINEAR = (nn.Identity, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Dropout2d)


def scale_output(layer: nn.Module, gate: Tensor) -> bool:
    """Replace layer(x) by gate * layer(x), in place; False if the layer has no such weights.

    Args:
        gate: (C,) for a layer with output (N, C, H, W).
    """
    kind = _kind(layer)
    if kind not in CONVOLUTIONS | NORMS or layer.weight is None:
        return False
    activation = getattr(layer, "act", None)
    if activation is not None and not _commutes(activation, gate):
        return False
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    weight.mul_(gate.to(weight).view(-1, *[1] * (weight.dim() - 1)))
    if isinstance(bias, Tensor):
        bias.mul_(gate.to(bias))
    return True


def scale_output_before(sequence: nn.Sequential, name: str, gate: Tensor) -> bool:
    """As ``scale_output``, for the nearest layer before ``name`` that does not commute with a factor."""
    names = [child for child, _ in sequence.named_children()]
    for layer in reversed(list(sequence)[: names.index(name)]):
        if not _commutes(layer, gate):
            return scale_output(layer, gate)
    return False


def scale_input(layer: nn.Module, gate: Tensor) -> bool:
    """Replace layer(x) by layer(gate * x), in place; False if the layer has no such weights.

    For batch norm, this is exact in evaluation mode only, with its running statistics.

    Args:
        gate: (C,) for a layer with input (N, C, H, W).
    """
    kind = _kind(layer)
    if kind in CONVOLUTIONS:
        assert isinstance(layer, nn.Conv2d)
        per_group = gate.to(layer.weight).view(layer.groups, 1, -1)
        each = per_group.expand(-1, layer.out_channels // layer.groups, -1)
        layer.weight.mul_(each.reshape(layer.out_channels, -1, 1, 1))
        return True
    if kind not in NORMS - {"GroupNorm"} or layer.weight is None or layer.running_mean is None:
        return False
    assert isinstance(layer, nn.BatchNorm2d | nn.SyncBatchNorm)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    # w (s x - m) / d + b = (w s) (x - m) / d + b + w (s - 1) m / d
    scale = gate.to(layer.weight)
    deviation = (layer.running_var + layer.eps).sqrt()
    layer.bias.add_(layer.weight * (scale - 1) * layer.running_mean / deviation)
    layer.weight.mul_(scale)
    return True


def _commutes(layer: nn.Module, gate: Tensor) -> bool:
    """Whether layer(gate * x) = gate * layer(x)."""
    if isinstance(layer, WithAttention):
        return False
    positive = bool((gate >= 0).all())
    return isinstance(layer, LINEAR) or (isinstance(layer, HOMOGENEOUS) and positive)


def _kind(layer: nn.Module) -> str:
    """The name of a layer's class in PyTorch or timm, else "": a subclass may do more."""
    kind = layer.plain if isinstance(layer, WithAttention) else type(layer)
    return kind.__name__ if kind.__module__.partition(".")[0] in ("torch", "timm") else ""
