"""DenseNet-BC with channel attention. Parameters are named as torchvision's, so its weights and timm's load.

Read from top to bottom: dense layer, dense block, transition, network, variants. Where a fused kernel exists
(``fused_densenet``), a block runs through it; the layers here define what it must compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.attention.random_start import random_start
from excite.attention.registry import create_attention
from excite.errors import refuse_unknown_options
from excite.models.densenet_config import (
    VARIANTS,
    attention_sites,
    check_options,
    compressed_channels,
    smallest_image_size,
)
from excite.models.fused_densenet import FusedDenseBlock, run_fused_transition
from excite.models.fused_norms import sequential_relu
from excite.models.network import Network, feature

AttentionFactory = Callable[[int], nn.Module]  # channels -> module


class DenseLayer(nn.Module):
    """The k new features of one layer: (N, C, H, W) -> (N, k, H, W).

    Norm, ReLU, 1x1 to bottleneck_size x k channels, norm, ReLU, 3x3 to k channels; then attention, if any.
    """

    def __init__(
        self,
        channels: int,
        growth_rate: int,
        bottleneck_size: int,
        drop_rate: float,
        make_attention: AttentionFactory | None,
    ) -> None:
        super().__init__()
        width = bottleneck_size * growth_rate
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, growth_rate, 3, padding=1, bias=False)
        self.attention = make_attention(growth_rate) if make_attention else None
        self.drop_rate = drop_rate

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(self.relu1(self.norm1(x)))
        new = self.conv2(self.relu2(self.norm2(new)))
        if self.attention is not None:
            new = self.attention(new)
        return F.dropout(new, self.drop_rate, self.training) if self.drop_rate else new


class DenseBlock(FusedDenseBlock):
    """Layers that each see all features before them: (N, C, H, W) -> (N, C + layers x k, H, W).

    x_l = H_l([x_0, ..., x_{l-1}]) (eq. 2).
    """

    def __init__(
        self,
        num_layers: int,
        channels: int,
        growth_rate: int,
        bottleneck_size: int,
        drop_rate: float,
        make_attention: AttentionFactory | None,
    ) -> None:
        super().__init__()
        for number in range(num_layers):
            width = channels + number * growth_rate
            layer = DenseLayer(width, growth_rate, bottleneck_size, drop_rate, make_attention)
            self[f"denselayer{number + 1}"] = layer

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C + layers x k, H, W)."""
        fused = self.run_fused(x, DenseLayer)  # None where a subclass of DenseLayer computes something else
        if fused is not None:
            return fused
        for layer in self.values():
            x = torch.cat([x, layer(x)], 1)
        return x


class Transition(nn.Sequential):
    """Compression and pooling between blocks: (N, C, H, W) -> (N, out, H // 2, W // 2)."""

    def __init__(self, channels: int, out_channels: int, make_attention: AttentionFactory | None) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.pool = nn.AvgPool2d(2)
        if make_attention:
            # After the pooling: gates of whole channels commute with it, and here they cost a quarter.
            self.attention = make_attention(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out, H // 2, W // 2)."""
        fused = run_fused_transition(self, x)
        return super().forward(x) if fused is None else fused  # type: ignore[no-untyped-call]


class DenseNet(Network):
    """DenseNet-BC: images (N, in_chans, H, W) -> logits (N, num_classes).

    Args:
        growth_rate: k, the features that each layer adds.
        block_config: layers in each block.
        init_channels: channels after the stem.
        bottleneck_size: width of a layer's 1x1 convolution, in units of k.
        compression: fraction of the channels that a transition keeps (theta).
        drop_rate: dropout on each layer's new features.
        num_classes: number of logits; 0 leaves the classifier out and returns features (N, num_features).
        in_chans: channels of the images.
        stem: ``imagenet`` (7x7 stride 2, norm, ReLU, 3x3 stride 2 max pool) or ``cifar`` (3x3).
        attention: a name in ``excite.attention.registry``, or None.
        attention_options: options of that module, the same at every site.
        placement: one or more sites, as ``"final+layer"`` or a sequence: ``final`` is the output of the last
            block, before the last norm; ``block`` the output of every block; ``layer`` the k new features of
            every layer; ``transition`` the output of every transition.

    Raises:
        ExciteError: if a value is out of range, or a stem, placement, attention, or attention option unknown.

    Paper: Densely Connected Convolutional Networks, Huang et al., https://arxiv.org/abs/1608.06993, eq. 2;
    bottlenecks and compression as in section 3.

    >>> model = DenseNet(block_config=(2, 2), growth_rate=4, init_channels=8, stem="cifar", attention="se")
    >>> model.eval()(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 1000])
    """

    def __init__(  # noqa: PLR0913 - hyperparameters
        self,
        *,
        growth_rate: int = 32,
        block_config: Sequence[int] = (6, 12, 24, 16),
        init_channels: int = 64,
        bottleneck_size: int = 4,
        compression: float = 0.5,
        drop_rate: float = 0.0,
        num_classes: int = 1000,
        in_chans: int = 3,
        stem: str = "imagenet",
        attention: str | None = None,
        attention_options: Mapping[str, Any] | None = None,
        placement: str | Sequence[str] = "final",
    ) -> None:
        super().__init__()
        check_options(
            growth_rate=growth_rate,
            block_config=block_config,
            init_channels=init_channels,
            bottleneck_size=bottleneck_size,
            compression=compression,
            drop_rate=drop_rate,
            in_chans=in_chans,
            stem=stem,
        )
        sites = attention_sites(placement)
        if attention is None:
            sites = frozenset()
        make_attention = partial(_create_attention, attention or "", attention_options or {})

        def at(place: str) -> AttentionFactory | None:
            return make_attention if place in sites else None

        self.stem, self.num_blocks = stem, len(block_config)
        self.features = _stem(stem, in_chans, init_channels)
        tap, stride = ("norm0", 2) if stem == "imagenet" else ("conv0", 1)
        self.feature_info = [feature(f"features.{tap}", init_channels, stride)]
        channels, stride = init_channels, 4 if stem == "imagenet" else 1
        for number, num_layers in enumerate(block_config, start=1):
            block = DenseBlock(num_layers, channels, growth_rate, bottleneck_size, drop_rate, at("layer"))
            channels += num_layers * growth_rate
            tap, last = f"denseblock{number}", number == self.num_blocks
            self.features.add_module(tap, block)
            if "block" in sites or ("final" in sites and last):
                tap = f"attention{number}"
                self.features.add_module(tap, make_attention(channels))
            if not last:
                self.feature_info.append(feature(f"features.{tap}", channels, stride))
                width = compressed_channels(channels, compression)
                self.features.add_module(f"transition{number}", Transition(channels, width, at("transition")))
                channels, stride = width, stride * 2
        # Always norm5, however many blocks there are, as in torchvision's and timm's weights.
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.feature_info.append(feature("features.norm5", channels, stride))

        self._add_head(channels, num_classes)
        for name, module in self.features.named_modules():
            if isinstance(module, nn.Conv2d) and "attention" not in name:
                nn.init.kaiming_normal_(module.weight)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, num_features, h, w), after the last norm and ReLU."""
        return sequential_relu(self.features, x)

    @property
    def min_image_size(self) -> int:
        """The smallest side, in pixels, that leaves at least one pixel after every transition."""
        return smallest_image_size(self.stem, self.num_blocks)


def _create_attention(name: str, options: Mapping[str, Any], channels: int) -> nn.Module:
    with random_start():
        return create_attention(name, channels, **options)


def _stem(stem: str, in_chans: int, channels: int) -> nn.Sequential:
    features = nn.Sequential()
    if stem == "cifar":
        features.add_module("conv0", nn.Conv2d(in_chans, channels, 3, padding=1, bias=False))
        return features
    features.add_module("conv0", nn.Conv2d(in_chans, channels, 7, stride=2, padding=3, bias=False))
    features.add_module("norm0", nn.BatchNorm2d(channels))
    features.add_module("relu0", nn.ReLU(inplace=True))
    features.add_module("pool0", nn.MaxPool2d(3, stride=2, padding=1))
    return features


def _entry_point(name: str) -> Callable[..., DenseNet]:
    variant = VARIANTS[name]

    def build(
        *,
        num_classes: int = variant.num_classes,
        attention: str | None = None,
        placement: str | Sequence[str] = "final",
        **options: Any,
    ) -> DenseNet:
        refuse_unknown_options(DenseNet, options, where=name)
        config = {
            "growth_rate": variant.growth_rate,
            "block_config": variant.block_config,
            "init_channels": variant.init_channels,
            "stem": variant.stem,
        }
        return DenseNet(
            num_classes=num_classes, attention=attention, placement=placement, **{**config, **options}
        )

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{name}, with any option of ``DenseNet`` changed by name."
    return build


densenet121 = _entry_point("densenet121")
densenet161 = _entry_point("densenet161")
densenet169 = _entry_point("densenet169")
densenet201 = _entry_point("densenet201")
densenet264 = _entry_point("densenet264")
densenet_bc_40_12 = _entry_point("densenet_bc_40_12")
densenet_bc_100_12 = _entry_point("densenet_bc_100_12")
densenet_bc_190_40 = _entry_point("densenet_bc_190_40")
densenet_bc_250_24 = _entry_point("densenet_bc_250_24")
