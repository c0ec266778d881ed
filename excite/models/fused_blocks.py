"""Residual blocks of timm and torchvision that run norm, gate, shortcut and ReLU as one operator.

A block stays where it is and becomes an instance of a subclass of its class with another ``forward``: names,
values, buffers, hooks and repr of what is inside stay. Where the operator does not take what a block holds
(another activation, drop path, a hook that wants to see a norm's output, EXCITE_KERNELS=off), the block runs
as its library wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from excite.kernels.dispatch import has_no_hooks, select_backend
from excite.models.fused_norms import can_fuse_norm, is_batch_norm, norm_add_relu, norm_relu

if TYPE_CHECKING:
    _Module = nn.Module
else:
    _Module = object


@dataclass(frozen=True)
class Layout:
    """What a family calls its parts.

    Args:
        layers: (convolution, norm, activation) of each layer; the last activation follows the addition.
        attention: between the last norm and the addition; empty where the family has none.
        absent: what must be left out or do nothing, for the block to be these layers and no more.
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
_CLASSES: dict[type[nn.Module], type[Any]] = {}


class FusedBlock(_Module):
    """What a fused block has beside its own class: the class that it was made from, and its layout."""

    plain: ClassVar[type[nn.Module]]
    layout: ClassVar[Layout]

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
        return norm_add_relu(getattr(self, norm), branch, shortcut)

    def _fits(self, x: Tensor) -> bool:
        """Whether nothing in the block is other than its layout says, and nobody looks at its norms."""
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
        """Whether the block is its layers and a shortcut and no more."""
        if self.layout.attention and getattr(self, self.layout.attention) is not None:
            return False
        others = [getattr(self, name, None) for name in self.layout.absent]
        return all(other is None or type(other) is nn.Identity for other in others)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # The class is made at run time, so pickles and deep copies name what it is made from.
        return _blank, (type(self).plain,), self.__getstate__()


def fuse(model: nn.Module) -> nn.Module:
    """Lets every block that has a layout run fused, in place; returns the model."""
    for module in model.modules():
        name = f"{type(module).__module__}.{type(module).__qualname__}"
        if name in LAYOUTS and not isinstance(module, FusedBlock):
            module.__class__ = _fused(type(module))
    return model


def _fused(plain: type[nn.Module]) -> type[Any]:
    if plain not in _CLASSES:
        layout = LAYOUTS[f"{plain.__module__}.{plain.__qualname__}"]
        space = {"plain": plain, "layout": layout, "__module__": plain.__module__, "__doc__": plain.__doc__}
        # By the same name: to who reads a printed network or a table of sites it is the block that it was.
        _CLASSES[plain] = type(plain.__name__, (FusedBlock, plain), space)
    return _CLASSES[plain]


def _blank(plain: type[nn.Module]) -> nn.Module:
    return object.__new__(_fused(plain))
