"""Depthwise convolutions that are trained with excite's gradients on a CPU."""

from __future__ import annotations

from torch import Tensor, nn

from excite.kernels.depthwise import can_fuse_depthwise, depthwise_convolution
from excite.models.mixed_classes import Mixin, full_name, mix_in

PADS_ITSELF = "timm.layers.conv2d_same.Conv2dSame"  # so that the output has size / stride, as in TensorFlow


class FusedDepthwise(Mixin):
    """Mixin of the layers that ``is_depthwise`` accepts."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        if not can_fuse_depthwise(x, self.weight):
            return super().forward(x)
        padding = self.padding
        if full_name(self.plain) == PADS_ITSELF:
            from timm.layers.padding import pad_same

            x, padding = (
                pad_same(x, list(self.weight.shape[2:]), list(self.stride), list(self.dilation)),
                (0, 0),
            )
        return depthwise_convolution(x, self.weight, self.bias, stride=self.stride[0], padding=padding)


def is_depthwise(module: nn.Module) -> bool:
    """Whether it is a convolution with one output per channel, a square kernel, and zero padding."""
    return (
        isinstance(module, nn.Conv2d)
        and (type(module) is nn.Conv2d or full_name(type(module)) == PADS_ITSELF)
        and 1 < module.groups == module.in_channels == module.out_channels
        and module.kernel_size[0] == module.kernel_size[1] > 1
        and module.stride[0] == module.stride[1]
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def fuse_depthwise(model: nn.Module) -> nn.Module:
    """Train the depthwise convolutions of a model with excite's gradients, in place; returns the model."""
    for module in model.modules():
        if is_depthwise(module):
            mix_in(module, FusedDepthwise)
    return model
