"""BN-Inception: GoogLeNet with batch norm, and two 3x3 convolutions for each 5x5.

In order: convolution, module, table of modules, network, entry point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from excite.errors import refuse_unknown_options, require
from excite.models.network import Network, feature, initialize_convolutions


class ConvNorm(nn.Sequential):
    """Convolution, norm, ReLU: (N, C, H, W) -> (N, out, H / stride, W / stride)."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)


@dataclass(frozen=True)
class Widths:
    """Output channels of the convolutions of one module, a row of the paper's figure 5.

    Args:
        single: of the 1x1 branch; 0: no such branch, as in modules of stride 2.
        three: of the 1x1 and the 3x3 of the 3x3 branch.
        double: of the 1x1 and of each 3x3 of the double 3x3 branch.
        pool: ``avg`` or ``max``.
        projection: of the 1x1 after the pooling; 0: no convolution after the pooling.
    """

    single: int
    three: tuple[int, int]
    double: tuple[int, int]
    pool: str
    projection: int


class Inception(nn.Module):
    """Four branches side by side, concatenated: (N, C, H, W) -> (N, out_channels, H / stride, W / stride)."""

    def __init__(self, channels: int, widths: Widths) -> None:
        super().__init__()
        stride = 1 if widths.single else 2
        self.branch1x1 = ConvNorm(channels, widths.single, 1) if widths.single else None
        self.branch3x3 = nn.Sequential(
            ConvNorm(channels, widths.three[0], 1),
            ConvNorm(*widths.three, 3, stride),
        )
        self.branch_double3x3 = nn.Sequential(
            ConvNorm(channels, widths.double[0], 1),
            ConvNorm(*widths.double, 3),
            ConvNorm(widths.double[1], widths.double[1], 3, stride),
        )
        pool = nn.AvgPool2d if widths.pool == "avg" else nn.MaxPool2d
        self.branch_pool = nn.Sequential(pool(3, stride, padding=1))
        if widths.projection:
            self.branch_pool.append(ConvNorm(channels, widths.projection, 1))
        pooled = widths.projection or channels
        self.out_channels = widths.single + widths.three[1] + widths.double[1] + pooled

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.branch3x3(x), self.branch_double3x3(x), self.branch_pool(x)]
        if self.branch1x1 is not None:
            branches.insert(0, self.branch1x1(x))
        return torch.cat(branches, 1)


# The paper's rows 4c and 4d are inconsistent: their branches sum to 608 channels, but their outputs are 576.
# The branches are right: with 128 projected channels, the network takes 2.033 G multiply-adds, and with 96
# 2.019 G; published are 2.03 G (arXiv 1709.01507, table 2).
MODULES: Mapping[str, Widths] = {
    "3a": Widths(64, (64, 64), (64, 96), "avg", 32),
    "3b": Widths(64, (64, 96), (64, 96), "avg", 64),
    "3c": Widths(0, (128, 160), (64, 96), "max", 0),
    "4a": Widths(224, (64, 96), (96, 128), "avg", 128),
    "4b": Widths(192, (96, 128), (96, 128), "avg", 128),
    "4c": Widths(160, (128, 160), (128, 160), "avg", 128),
    "4d": Widths(96, (128, 192), (160, 192), "avg", 128),
    "4e": Widths(0, (128, 192), (192, 256), "max", 0),
    "5a": Widths(352, (192, 320), (160, 224), "avg", 128),
    "5b": Widths(352, (192, 320), (192, 224), "max", 128),
}
REDUCTIONS = {"3b": 8, "4d": 16, "5b": 32}  # of the last module at each resolution, relative to the image


class BNInception(Network):
    """BN-Inception: images (N, in_chans, H, W) -> logits (N, num_classes).

    Args:
        num_classes: number of classes; 0: no classifier, the output is (N, num_features).
        in_chans: channels of the images.

    Raises:
        ExciteError: if a number is out of range.

    Paper: Batch Normalization, Ioffe and Szegedy, https://arxiv.org/abs/1502.03167, figure 5.
    """

    def __init__(self, *, num_classes: int = 1000, in_chans: int = 3) -> None:
        super().__init__()
        require(in_chans >= 1, f"in_chans must be at least 1, got {in_chans}", where="BNInception")
        self.stem = nn.Sequential(
            ConvNorm(in_chans, 64, 7, 2),
            nn.MaxPool2d(3, 2, padding=1),
            ConvNorm(64, 64, 1),
            ConvNorm(64, 192, 3),
            nn.MaxPool2d(3, 2, padding=1),
        )
        self.feature_info = [feature("stem.0", 64, 2), feature("stem.3", 192, 4)]
        channels = 192
        for name, widths in MODULES.items():
            module = Inception(channels, widths)
            channels = module.out_channels
            self.add_module(f"inception{name}", module)
            if name in REDUCTIONS:
                self.feature_info.append(feature(f"inception{name}", channels, REDUCTIONS[name]))
        self._add_head(channels, num_classes)
        initialize_convolutions(self)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, 1024, H / 32, W / 32), after the last module."""
        x = self.stem(x)
        for name in MODULES:
            x = self.get_submodule(f"inception{name}")(x)
        return x


def bn_inception(**options: Any) -> BNInception:
    """BN-Inception for 224-pixel images, with options of ``BNInception`` changed by name."""
    refuse_unknown_options(BNInception, options, where="bn_inception")
    return BNInception(**options)
