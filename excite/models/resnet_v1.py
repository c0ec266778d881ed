"""ResNet with the stride in the first 1x1 convolution of a stage, as in its paper.

timm and torchvision put the stride into the 3x3 convolution after it, which takes 0.23 G multiply-adds more.
These networks are timm's with the stride moved, and have its parameter names, which are torchvision's too.
There are no pretrained weights, because those trained with one stride lose accuracy with the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from excite.errors import refuse_unknown_options
from excite.models.third_party import library_errors, without_compiler


def stride_in_1x1(network: nn.Module) -> None:
    """Move the stride of timm's bottlenecks from the 3x3 to the 1x1 convolution before it, in place."""
    from timm.models.resnet import Bottleneck

    for block in network.modules():
        if isinstance(block, Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def _entry_point(depth: int) -> Callable[..., nn.Module]:
    name = f"resnet{depth}_v1"

    def build(**options: Any) -> nn.Module:
        with without_compiler():
            import timm
            from timm.models.resnet import ResNet

        # With anti-aliasing, the stride is in a separate layer.
        refuse_unknown_options(ResNet, options, except_for=("block", "layers", "aa_layer"), where=name)
        with library_errors(name):
            network = timm.create_model(f"resnet{depth}", **options)
        stride_in_1x1(network)
        return network

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"""ResNet-{depth} as published, with options of timm's ``ResNet`` changed by name.

    Paper: Deep Residual Learning, He et al., https://arxiv.org/abs/1512.03385, table 1.
    """
    return build


resnet50_v1 = _entry_point(50)
resnet101_v1 = _entry_point(101)
resnet152_v1 = _entry_point(152)
