"""The interface of excite's own networks, with timm's names."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from excite.errors import require


class Network(nn.Module):
    """Images (N, in_chans, H, W) -> logits (N, num_classes): features, global average pool, one linear layer.

    A subclass builds its layers, fills ``feature_info``, calls ``_add_head``, defines ``forward_features``.
    """

    head_name = "classifier"  # what the linear layer is called in weights files
    num_features: int
    num_classes: int
    feature_info: list[dict[str, Any]]

    def _add_head(self, channels: int, num_classes: int) -> None:
        self.num_features = channels
        self.num_classes = num_classes
        self.add_module(self.head_name, self._head(num_classes))

    def _head(self, num_classes: int) -> nn.Module:
        rule = f"num_classes must be at least 0, got {num_classes}"
        require(num_classes >= 0, rule, where=type(self).__name__)
        if num_classes == 0:
            return nn.Identity()
        linear = nn.Linear(self.num_features, num_classes)
        nn.init.zeros_(linear.bias)
        return linear

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, num_features, h, w), after the last activation."""
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(N, num_features, h, w) -> (N, num_classes); with ``pre_logits`` (N, num_features)."""
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return x if pre_logits else self.get_classifier()(x)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The last layer: a Linear, or an Identity where ``num_classes`` is 0."""
        return getattr(self, self.head_name)

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh last layer for another number of classes, on the same device; 0 leaves it out."""
        parameter = next(self.parameters())
        head = self._head(num_classes).to(parameter.device, parameter.dtype)
        self.num_classes = num_classes
        setattr(self, self.head_name, head)


def feature(module: str, channels: int, reduction: int) -> dict[str, Any]:
    """One entry of ``feature_info``: where a feature map is, its channels, by what it is reduced."""
    return {"num_chs": channels, "reduction": reduction, "module": module}


def initialize_convolutions(network: nn.Module) -> None:
    """Kaiming-normal weights that keep the variance of gradients through ReLUs, as in the ResNet papers."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
