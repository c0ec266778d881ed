"""A factor a channel, multiplied into the weights of the layer before it or behind it."""

from __future__ import annotations

from torch import Tensor, nn

from excite.insertion.attach import WithAttention

# Classes by name, so that timm is not imported; BatchNormAct2d is batch norm and an activation in one.
CONVOLUTIONS = frozenset({"Conv2d", "Conv2dSame"})
NORMS = frozenset({"BatchNorm2d", "SyncBatchNorm", "GroupNorm", "BatchNormAct2d"})
# f(s x) = s f(x), for the first only where s >= 0: a factor may be moved from behind them to before them.
HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.MaxPool2d, nn.AdaptiveMaxPool2d)
LINEAR = (nn.Identity, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Dropout2d)


def scale_output(layer: nn.Module, gate: Tensor) -> bool:
    """Makes layer(x) what gate * layer(x) was, in place; False where its weights cannot do that.

    Args:
        gate: (C,) for a layer with output (N, C, H, W).
    """
    kind = _kind(layer)
    if kind not in CONVOLUTIONS | NORMS or layer.weight is None:
        return False
    activation = getattr(layer, "act", None)
    if activation is not None and not _passes(activation, gate):
        return False
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    weight.mul_(gate.to(weight).view(-1, *[1] * (weight.dim() - 1)))
    if isinstance(bias, Tensor):
        bias.mul_(gate.to(bias))
    return True


def scale_output_before(sequence: nn.Sequential, name: str, gate: Tensor) -> bool:
    """The same for the layer that makes the input of the one called ``name``, through activations that let
    a factor pass."""
    layers = list(sequence.named_children())
    place = [own for own, _ in layers].index(name)
    for _, layer in reversed(layers[:place]):
        if not _passes(layer, gate):
            return scale_output(layer, gate)
    return False


def scale_input(layer: nn.Module, gate: Tensor) -> bool:
    """Makes layer(x) what layer(gate * x) was, in place; False where its weights cannot do that.

    Batch norm takes a factor only as it is in evaluation, with its running statistics.

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


def _passes(layer: nn.Module, gate: Tensor) -> bool:
    """Whether a factor behind the layer does the same before it."""
    if isinstance(layer, WithAttention):
        return False
    positive = bool((gate >= 0).all())
    return isinstance(layer, LINEAR) or (isinstance(layer, HOMOGENEOUS) and positive)


def _kind(layer: nn.Module) -> str:
    """The name of a layer's class if it is PyTorch's or timm's own: a subclass may do more."""
    kind = layer.plain if isinstance(layer, WithAttention) else type(layer)
    return kind.__name__ if kind.__module__.partition(".")[0] in ("torch", "timm") else ""
