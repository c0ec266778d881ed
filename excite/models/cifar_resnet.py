"""ResNets for 32-pixel images, with shortcuts without parameters.

In order: shortcut, two kinds of blocks, network, entry points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from excite.errors import refuse_unknown_options, require
from excite.models.fused_norms import norm_add_relu, norm_relu
from excite.models.network import Network, feature, initialize_convolutions


class PaddedShortcut(nn.Module):
    """Option A of the paper: subsample by the stride, and pad the new channels with zeros.

    (N, C, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)); half of the new channels come before the
    others.
    """

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (out_channels - channels) // 2
        self.after = out_channels - channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def _shortcut(channels: int, out_channels: int, stride: int) -> nn.Module:
    if (channels, stride) == (out_channels, 1):
        return nn.Identity()
    return PaddedShortcut(channels, out_channels, stride)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions: (N, C, H, W) -> (N, width, H / stride, W / stride)."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv2(norm_relu(self.bn1, self.conv1(x)))
        return norm_add_relu(self.bn2, branch, self.shortcut(x))


class PreactBottleneck(nn.Module):
    """1x1, 3x3, 1x1, each after its norm and ReLU: (N, C, H, W) -> (N, 4 width, H / stride, W / stride).

    If the shape changes, the shortcut starts after the first ReLU, as in the authors' code.
    """

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = self.expansion * width
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 1, stride, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.shortcut = _shortcut(channels, out_channels, stride)
        self.shape_changes = isinstance(self.shortcut, PaddedShortcut)

    def forward(self, x: Tensor) -> Tensor:
        active = norm_relu(self.bn1, x)
        branch = self.conv1(active)
        branch = self.conv2(norm_relu(self.bn2, branch))
        branch = self.conv3(norm_relu(self.bn3, branch))
        return branch + self.shortcut(active if self.shape_changes else x)


class CifarResNet(Network):
    """A ResNet of three stages: images (N, in_chans, H, W) -> logits (N, num_classes).

    Args:
        depth: number of layers with weights, for n blocks per stage: 6n + 2, or 9n + 2 with preactivation.
        preactivation: whether the blocks are bottlenecks with the norm and ReLU before each convolution.
        num_classes: number of classes; 0: no classifier, the output is (N, num_features).
        in_chans: channels of the images.

    Raises:
        ExciteError: if ``depth`` does not have that form, or a number is out of range.

    Papers: Deep Residual Learning, He et al., https://arxiv.org/abs/1512.03385, section 4.2; for
    pre-activation Identity Mappings in Deep Residual Networks, https://arxiv.org/abs/1603.05027.
    """

    head_name = "linear"
    min_image_size = 4  # in smaller images, the last stage sees mostly padding
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module

    def __init__(
        self, *, depth: int = 20, preactivation: bool = False, num_classes: int = 10, in_chans: int = 3
    ) -> None:
        super().__init__()
        layers = 9 if preactivation else 6  # for one block in each stage
        blocks = (depth - 2) // layers
        rule = f"depth must be {layers}n + 2, for example {layers + 2}, got {depth}"
        require(blocks >= 1 and depth == layers * blocks + 2, rule, where="CifarResNet")
        require(in_chans >= 1, f"in_chans must be at least 1, got {in_chans}", where="CifarResNet")
        block = PreactBottleneck if preactivation else BasicBlock

        self.preactivation = preactivation
        self.conv1 = nn.Conv2d(in_chans, 16, 3, padding=1, bias=False)
        if not preactivation:
            self.bn1 = nn.BatchNorm2d(16)
        self.feature_info = []
        channels = 16
        for number, (width, stride) in enumerate([(16, 1), (32, 2), (64, 2)], start=1):
            stage = nn.Sequential()
            for index in range(blocks):
                stage.append(block(channels, width, stride if index == 0 else 1))
                channels = block.expansion * width
            self.add_module(f"layer{number}", stage)
            self.feature_info.append(feature(f"layer{number}", channels, 2 ** (number - 1)))
        if preactivation:
            self.bn2 = nn.BatchNorm2d(channels)
            self.feature_info[-1]["module"] = "bn2"
        self._add_head(channels, num_classes)
        initialize_convolutions(self)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, num_features, ceil(H / 4), ceil(W / 4)), after the last ReLU."""
        x = self.conv1(x)
        if not self.preactivation:
            x = norm_relu(self.bn1, x)
        x = self.layer3(self.layer2(self.layer1(x)))
        return norm_relu(self.bn2, x) if self.preactivation else x


def _entry_point(depth: int, preactivation: bool = False) -> Callable[..., CifarResNet]:
    name = f"cifar_resnet{depth}"

    def build(**options: Any) -> CifarResNet:
        refuse_unknown_options(CifarResNet, options, except_for=("depth", "preactivation"), where=name)
        return CifarResNet(depth=depth, preactivation=preactivation, **options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{name}, with other options of ``CifarResNet`` changed by name."
    return build


cifar_resnet20 = _entry_point(20)
cifar_resnet56 = _entry_point(56)
cifar_resnet110 = _entry_point(110)
cifar_resnet164 = _entry_point(164, preactivation=True)
