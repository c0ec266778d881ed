"""EfficientNet-Lite: EfficientNet without Squeeze-and-Excitation, and with ReLU6 instead of swish.

In order: the two blocks, network, entry points. Parameters are named as in timm's ``tf_efficientnet_lite*``,
so that its weights load. The modules called ``se`` are where EfficientNet has its SE; ``excite.insert`` puts
attention there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from excite.errors import refuse_unknown_options, require
from excite.models.network import Network, feature
from excite.models.same_padding import SameConv2d

# Expansion, channels, blocks, stride, kernel size of each stage of EfficientNet-B0: table 1 of the paper.
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
STEM, HEAD = 32, 1280  # channels; unlike EfficientNet's, they do not grow with the width
_norm = partial(nn.BatchNorm2d, eps=1e-3)  # as in TensorFlow


class SeparableConv(nn.Module):
    """Depthwise convolution, then 1x1: (N, C, H, W) -> (N, out, H / stride, W / stride)."""

    def __init__(self, channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.has_skip = stride == 1 and channels == out_channels
        self.conv_dw = _depthwise(channels, kernel_size, stride)
        self.bn1, self.act1 = _norm(channels), nn.ReLU6(inplace=True)
        self.se = nn.Identity()
        self.conv_pw = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn2 = _norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.se(self.act1(self.bn1(self.conv_dw(x))))
        branch = self.bn2(self.conv_pw(branch))
        return x + branch if self.has_skip else branch


class InvertedResidual(nn.Module):
    """1x1 to ``expansion`` times the channels, depthwise, 1x1.

    (N, C, H, W) -> (N, out, H / stride, W / stride), without an activation after the last norm, and added to
    the input if the shapes agree: MobileNet v2, Sandler et al., https://arxiv.org/abs/1801.04381, section 3.
    """

    def __init__(
        self, channels: int, out_channels: int, kernel_size: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        width = channels * expansion
        self.has_skip = stride == 1 and channels == out_channels
        self.conv_pw = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1, self.act1 = _norm(width), nn.ReLU6(inplace=True)
        self.conv_dw = _depthwise(width, kernel_size, stride)
        self.bn2, self.act2 = _norm(width), nn.ReLU6(inplace=True)
        self.se = nn.Identity()
        self.conv_pwl = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = _norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.act1(self.bn1(self.conv_pw(x)))
        branch = self.se(self.act2(self.bn2(self.conv_dw(branch))))
        branch = self.bn3(self.conv_pwl(branch))
        return x + branch if self.has_skip else branch


class EfficientNetLite(Network):
    """EfficientNet-Lite: images (N, in_chans, H, W) -> logits (N, num_classes).

    Args:
        width: factor of the channels, which are rounded to multiples of 8.
        depth: factor of the blocks in all stages but the first and the last, rounded up.
        num_classes: number of classes; 0: no classifier, the output is (N, num_features).
        in_chans: channels of the images.
        drop_rate: dropout before the classifier.

    Raises:
        ExciteError: if a number is out of range.

    Paper: EfficientNet, Tan & Le, https://arxiv.org/abs/1905.11946, table 1. What the Lite networks change:
    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.

    >>> import torch
    >>> EfficientNetLite(num_classes=3).eval()(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 3])
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        depth: float = 1.0,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        where = type(self).__name__
        require(width > 0 and depth > 0, "width and depth must be positive", where=where)
        require(in_chans >= 1, f"in_chans must be at least 1, got {in_chans}", where=where)
        require(0 <= drop_rate < 1, f"drop_rate must be in [0, 1), got {drop_rate}", where=where)
        self.drop_rate = drop_rate
        self.conv_stem = SameConv2d(in_chans, STEM, 3, 2, bias=False)
        self.bn1, self.act1 = _norm(STEM), nn.ReLU6(inplace=True)
        self.blocks, self.feature_info = nn.Sequential(), []
        channels, reduction = STEM, 2
        for number, (expansion, base, count, stride, kernel_size) in enumerate(STAGES):
            out_channels, reduction = round_channels(base * width), reduction * stride
            scaled = 0 < number < len(STAGES) - 1
            stage = nn.Sequential()
            for index in range(math.ceil(count * depth) if scaled else count):
                shape = (channels, out_channels, kernel_size, stride if index == 0 else 1)
                stage.append(SeparableConv(*shape) if expansion == 1 else InvertedResidual(*shape, expansion))
                channels = out_channels
            self.blocks.append(stage)
            if number == len(STAGES) - 1 or STAGES[number + 1][3] == 2:  # the last stage of its resolution
                self.feature_info.append(feature(f"blocks.{number}", channels, reduction))
        self.conv_head = nn.Conv2d(channels, HEAD, 1, bias=False)
        self.bn2, self.act2 = _norm(HEAD), nn.ReLU6(inplace=True)
        self._add_head(HEAD, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] ** 2 * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, 1280, ceil(H / 32), ceil(W / 32)), after the last activation."""
        x = self.blocks(self.act1(self.bn1(self.conv_stem(x))))
        return self.act2(self.bn2(self.conv_head(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(N, 1280, h, w) -> (N, num_classes); with ``pre_logits`` (N, 1280)."""
        pooled = super().forward_head(x, pre_logits=True)
        if pre_logits:
            return pooled
        logits: Tensor = self.get_classifier()(F.dropout(pooled, self.drop_rate, self.training))
        return logits


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and at least 90 % of the number.

    >>> round_channels(1.1 * 24), round_channels(1.2 * 24)
    (24, 32)
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _depthwise(channels: int, kernel_size: int, stride: int) -> nn.Conv2d:
    if stride > 1:
        return SameConv2d(channels, channels, kernel_size, stride, groups=channels, bias=False)
    return nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=False)


def _entry_point(name: str, width: float, depth: float) -> Callable[..., EfficientNetLite]:
    def build(**options: Any) -> EfficientNetLite:
        refuse_unknown_options(EfficientNetLite, options, where=name)
        return EfficientNetLite(**{"width": width, "depth": depth, **options})

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{name}, with any option of ``EfficientNetLite`` changed by name."
    return build


SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8))  # width and depth
ENTRY_POINTS: Mapping[str, Callable[..., EfficientNetLite]] = {
    f"tf_efficientnet_lite{number}": _entry_point(f"tf_efficientnet_lite{number}", *scales)
    for number, scales in enumerate(SCALES)
}
