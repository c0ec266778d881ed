"""ShuffleNet (version 1): grouped 1x1 convolutions, and a shuffle that mixes channels of the groups.

In order: shuffle, unit, network, entry point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.errors import refuse_unknown_options, require
from excite.models.network import Network, feature, initialize_convolutions

# Channels of the three stages by number of groups: the paper's table 1, for about the same cost.
CHANNELS: Mapping[int, tuple[int, int, int]] = {
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}
UNITS = (4, 8, 4)  # in each stage


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Shuffle channels between groups, (N, C, H, W): channel j of group i becomes channel i of group j."""
    n, channels, height, width = x.shape
    return x.reshape(n, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


class ShuffleUnit(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1: (N, C, H, W) -> (N, out, H / stride, W / stride).

    With stride 1, the input is added to the branch. With stride 2, the 3x3 average of the input is
    concatenated, and the branch has the remaining channels.
    """

    def __init__(self, channels: int, out_channels: int, stride: int, groups: int, first_groups: int) -> None:
        super().__init__()
        self.stride, self.groups = stride, groups
        width = out_channels // 4
        new_channels = out_channels - channels if stride == 2 else out_channels
        self.conv1 = nn.Conv2d(channels, width, 1, groups=first_groups, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, new_channels, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(new_channels)

    def forward(self, x: Tensor) -> Tensor:
        branch = shuffle(F.relu(self.bn1(self.conv1(x))), self.groups)
        branch = self.bn2(self.conv2(branch))
        branch = self.bn3(self.conv3(branch))
        if self.stride == 1:
            return F.relu(x + branch)
        return F.relu(torch.cat([F.avg_pool2d(x, 3, 2, padding=1), branch], 1))


class ShuffleNetV1(Network):
    """ShuffleNet 1x: images (N, in_chans, H, W) -> logits (N, num_classes).

    Args:
        groups: number of groups of the 1x1 convolutions: 1, 2, 3, 4, or 8. The first one has no groups.
        num_classes: number of classes; 0: no classifier, the output is (N, num_features).
        in_chans: channels of the images.

    Raises:
        ExciteError: if the paper does not have this number of groups, or a number is out of range.

    Paper: ShuffleNet, Zhang et al., https://arxiv.org/abs/1707.01083, table 1 and figure 2.
    """

    stage2: nn.Module
    stage3: nn.Module
    stage4: nn.Module

    def __init__(self, *, groups: int = 3, num_classes: int = 1000, in_chans: int = 3) -> None:
        super().__init__()
        rule = f"groups must be one of {', '.join(map(str, CHANNELS))}, got {groups}"
        require(groups in CHANNELS, rule, where="ShuffleNetV1")
        require(in_chans >= 1, f"in_chans must be at least 1, got {in_chans}", where="ShuffleNetV1")
        channels = 24
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, channels, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        )
        self.feature_info = [feature("stem.2", channels, 2)]
        for number, (width, units) in enumerate(zip(CHANNELS[groups], UNITS, strict=True), start=2):
            stage = nn.Sequential()
            for index in range(units):
                stride = 2 if index == 0 else 1
                stage.append(ShuffleUnit(channels, width, stride, groups, 1 if channels == 24 else groups))
                channels = width
            self.add_module(f"stage{number}", stage)
            self.feature_info.append(feature(f"stage{number}", channels, 2 ** (number + 1)))
        self._add_head(channels, num_classes)
        initialize_convolutions(self)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, num_features, H / 32, W / 32), after the last ReLU."""
        return self.stage4(self.stage3(self.stage2(self.stem(x))))


def shufflenet_v1_x1_0(**options: Any) -> ShuffleNetV1:
    """ShuffleNet 1x with three groups, with options of ``ShuffleNetV1`` changed by name."""
    refuse_unknown_options(ShuffleNetV1, options, where="shufflenet_v1_x1_0")
    return ShuffleNetV1(**options)
