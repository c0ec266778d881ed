"""The last layer of a classifier: where features become logits."""

from __future__ import annotations

from torch import nn

from excite.errors import ExciteError


def head_path(model: nn.Module) -> str:
    """Path of the last Linear, or 1x1 convolution as in SqueezeNet, in the order of registration."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]


def replace_head(model: nn.Module, num_classes: int) -> None:
    """A fresh last layer, in place, unless it has that many outputs already."""
    name = head_path(model)
    old = model.get_submodule(name)
    fresh: nn.Module
    if isinstance(old, nn.Linear):
        if old.out_features == num_classes:
            return
        fresh = nn.Linear(old.in_features, num_classes)
    else:
        assert isinstance(old, nn.Conv2d)
        if old.out_channels == num_classes:
            return
        fresh = nn.Conv2d(old.in_channels, num_classes, 1)
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, fresh)


def linear_head(model: nn.Module) -> nn.Linear:
    """The last layer of a network whose logits are a linear function of its features, and a constant.

    Raises: ExciteError where that is not so.
    """
    head = model.get_submodule(head_path(model))
    if not isinstance(head, nn.Linear) or head.bias is None:
        layer = "linear layer with a bias"
        what = f"{type(model).__name__} does not end in a {layer}, and gives no features to probe"
        raise ExciteError(what, hint="take another network, or --recipe scratch")
    return head
