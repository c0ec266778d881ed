"""The last layer of a classifier, which maps features to logits."""

from __future__ import annotations

from torch import nn

from excite.errors import ExciteError


def head_path(model: nn.Module) -> str:
    """Path of the last Linear, or 1x1 convolution as in SqueezeNet, in the order of registration."""
    paths: list[str] = [
        path for path, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    return paths[-1]


def replace_head(model: nn.Module, num_classes: int) -> None:
    """Replace the last layer by a new one, in place, unless it has that many outputs already."""
    name = head_path(model)
    old = model.get_submodule(name)
    new: nn.Module
    if isinstance(old, nn.Linear):
        if old.out_features == num_classes:
            return
        new = nn.Linear(old.in_features, num_classes)
    else:
        assert isinstance(old, nn.Conv2d)
        if old.out_channels == num_classes:
            return
        new = nn.Conv2d(old.in_channels, num_classes, 1)
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, new)


def linear_head(model: nn.Module) -> nn.Linear:
    """The last layer, if it is linear with a bias.

    Raises:
        ExciteError: for another last layer.
    """
    head = model.get_submodule(head_path(model))
    if not isinstance(head, nn.Linear) or head.bias is None:
        what = (
            f"{type(model).__name__} does not end in a linear layer with a bias, which a linear probe needs"
        )
        raise ExciteError(what, hint="choose another network, or --recipe scratch")
    return head
