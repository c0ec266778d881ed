"""Residual blocks of timm and torchvision that run norm, gate, shortcut, and ReLU as one operator.

A block becomes an instance of a subclass of its class with another ``forward``; names, values, buffers,
hooks, and repr of its modules stay. If the operator does not support the block (another activation, drop
path, a hook on a norm, EXCITE_KERNELS=off), the block runs as its library wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from excite.kernels.dispatch import has_no_hooks, select_backend
from excite.models.fused_norms import can_fuse_norm, is_batch_norm, norm_add_relu, norm_relu
from excite.models.mixed_classes import Mixin, full_name, mix_in


@dataclass(frozen=True)
class Layout:
    """The names of a block's modules in a library.

    Args:
        layers: (convolution, norm, activation) of each layer; the last activation follows the addition.
        attention: between the last norm and the addition; empty if blocks have none.
        absent: modules that must be missing or identities for the block to be these layers only.
    """

    layers: tuple[tuple[str, str, str], ...]
    attention: str = ""
    absent: tuple[str, ...] = ()


_TIMM = ("drop_block", "aa", "drop_path")
LAYOUTS: Mapping[str, Layout] = {
    "timm.models.resnet.BasicBlock": Layout(
        (("conv1", "bn1", "act1"), ("conv2", "bn2", "act2")), "se", _TIMM
    ),
    "timm.models.resnet.Bottleneck": Layout(
        (("conv1", "bn1", "act1"), ("conv2", "bn2", "act2"), ("conv3", "bn3", "act3")), "se", _TIMM
    ),
    "torchvision.models.resnet.BasicBlock": Layout((("conv1", "bn1", "relu"), ("conv2", "bn2", "relu"))),
    "torchvision.models.resnet.Bottleneck": Layout(
        (("conv1", "bn1", "relu"), ("conv2", "bn2", "relu"), ("conv3", "bn3", "relu"))
    ),
}


class FusedBlock(Mixin):
    """Mixin of fused blocks."""

    @property
    def layout(self) -> Layout:
        """The names of the modules of the original class."""
        return LAYOUTS[full_name(self.plain)]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out, H / stride, W / stride)."""
        if not self._fits(x):
            return super().forward(x)
        *first, (conv, norm, _) = self.layout.layers
        branch = x
        for each in first:
            branch = norm_relu(getattr(self, each[1]), getattr(self, each[0])(branch))
        branch = getattr(self, conv)(branch)
        downsample = getattr(self, "downsample", None)
        shortcut = x if downsample is None else downsample(x)
        # The last norm knows the attention after it (``attention_of``): the gates are computed here.
        return norm_add_relu(getattr(self, norm), branch, shortcut)

    def _fits(self, x: Tensor) -> bool:
        """Whether the block is as in its layout, without hooks on norms and activations."""
        if select_backend(x) is None or not self.is_unmodified():
            return False
        norms = [getattr(self, norm) for _, norm, _ in self.layout.layers]
        activations = [getattr(self, act) for *_, act in self.layout.layers]
        pairs = list(zip(norms[:-1], activations[:-1], strict=True))
        if not all(is_batch_norm(norm) and type(relu) is nn.ReLU for norm, relu in pairs):
            return False
        plain = can_fuse_norm(norms[-1]) and type(activations[-1]) is nn.ReLU
        return plain and has_no_hooks(*norms, *activations)

    def is_unmodified(self) -> bool:
        """Whether the block consists of its layers and a shortcut only."""
        if self.layout.attention and getattr(self, self.layout.attention) is not None:
            return False
        others = [getattr(self, name, None) for name in self.layout.absent]
        return all(other is None or type(other) is nn.Identity for other in others)


def fuse_blocks(model: nn.Module) -> nn.Module:
    """Make every block with a layout a fused block, in place; returns the model."""
    for module in model.modules():
        if full_name(type(module)) in LAYOUTS and not isinstance(module, FusedBlock):
            mix_in(module, FusedBlock)
    return model
