"""Depthwise convolutions that are trained with excite's gradients on a CPU."""

from __future__ import annotations

from torch import Tensor, nn

from excite.kernels.depthwise import can_fuse_depthwise, depthwise_convolution
from excite.models.mixed_classes import Mixin, full_name, mix_in
from excite.models.same_padding import SameConv2d, pad_same

TIMMS_SAME = "timm.layers.conv2d_same.Conv2dSame"


class FusedDepthwise(Mixin):
    """Mixin of the layers that ``is_depthwise`` accepts."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        if not can_fuse_depthwise(x, self.weight):
            return super().forward(x)
        padding = self.padding
        if _pads_itself(self.plain):
            x, padding = pad_same(x, tuple(self.weight.shape[2:]), self.stride), (0, 0)
        return depthwise_convolution(x, self.weight, self.bias, stride=self.stride[0], padding=padding)


def is_depthwise(module: nn.Module) -> bool:
    """Whether it is a convolution with one output per channel, a square kernel, and zero padding."""
    return (
        isinstance(module, nn.Conv2d)
        and (type(module) is nn.Conv2d or _pads_itself(type(module)))
        and 1 < module.groups == module.in_channels == module.out_channels
        and module.kernel_size[0] == module.kernel_size[1] > 1
        and module.stride[0] == module.stride[1]
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _pads_itself(cls: type[nn.Module]) -> bool:
    """Whether its output has size / stride pixels per side, as in TensorFlow."""
    return cls is SameConv2d or full_name(cls) == TIMMS_SAME


def fuse_depthwise(model: nn.Module) -> nn.Module:
    """Train the depthwise convolutions of a model with excite's gradients, in place; returns the model."""
    for module in model.modules():
        if is_depthwise(module):
            mix_in(module, FusedDepthwise)
    return model
