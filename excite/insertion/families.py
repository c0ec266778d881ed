"""The places of attention in each family of blocks, following the SE paper.

Classes are listed by name, so that neither timm nor torchvision is imported; a subclass counts as its base.
The placements are those of the paper's ablation (arXiv 1709.01507, tables 14 and 15):

- ``standard``: on the branch after its last convolution and norm, before the addition;
- ``pre``: on the branch before its first layer; the shortcut does not change;
- ``post``: after the addition and its activation;
- ``identity``: on the shortcut only;
- ``inner``: inside the branch, after the 3x3 convolution and its norm.

For networks that the paper does not cover, a comment gives the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from excite.attention.registry import is_own_attention


@dataclass(frozen=True)
class Place:
    """A place inside a block.

    Args:
        position: a key of ``excite.insertion.attach.POSITIONS``.
        module: name of the module inside the block; a negative number counts from the end, "" is the block.
        width: the convolution or norm that declares the number of channels; "" if ``module`` does.
    """

    position: str
    module: str
    width: str = ""


after, before = partial(Place, "after"), partial(Place, "before")
# A shortcut that is None if the block adds its input itself.
on_shortcut = partial(Place, "on the shortcut")

Chosen = Place | Callable[[nn.Module], Sequence[Place]]
Family = Mapping[str, Chosen]


def _residual(
    last: str, middle: str, shortcut: Place | None = None, first: str = "conv1", width: str = ""
) -> Family:
    """The places of a residual block, by the names of its modules."""
    width = width or last
    places = {"standard": after(last, width), "pre": before(first), "post": after("", width)}
    if shortcut:
        places["identity"] = shortcut
    if middle:
        places["inner"] = after(middle)
    return places


def _after_each_activation(vgg: nn.Module) -> list[Place]:
    """VGG: after the activation of each convolution."""
    layers = list(vgg.get_submodule("features").named_children())
    width, places = "", []
    for name, layer in layers:
        if isinstance(layer, nn.Conv2d):
            width = name
        elif width and not isinstance(layer, nn.BatchNorm2d):
            places.append(after(f"features.{name}", f"features.{width}"))
            width = ""
    return places


def _separable(block: nn.Module) -> list[Place]:
    """MobileNet v1 (an activation after the pointwise convolution): after each pointwise convolution, which
    fits the published 4.2 -> 4.7 M parameters. In later networks after the depthwise one, as their own SE."""
    return [after("bn2") if block.has_pw_act else after("se", "bn1")]


def _convnext(block: nn.Module) -> list[Place]:
    position = "after" if block.use_conv_mlp else "after, channels last"
    return [Place(position, "mlp", "conv_dw")]


def _mobile_standard(block: nn.Module) -> list[Place]:
    """After the depthwise convolution; if the block has its own SE, that is the site."""
    own = is_attention(block.get_submodule("block")[-2])  # type: ignore[index]
    return [after("block.-2", "block.-3.0" if own else "block.-2.0")]


def _fused(block: nn.Module) -> list[Place]:
    """After the spatial convolution, the first of at most two layers."""
    layers = block.get_submodule("block")
    assert isinstance(layers, nn.Sequential)
    return [after(f"block.{-min(2, len(layers))}", f"block.{-min(2, len(layers))}.0")]


_basic = _residual("bn2", "bn1", on_shortcut("downsample", "bn2"))
_bottleneck = _residual("bn3", "bn2", on_shortcut("downsample", "bn3"))
_concatenated: Family = {"standard": after("")}
_scaled: Family = {"standard": after("conv2d"), "post": after("", "conv2d")}
# The paper has no SE-DenseNet. On the new features of each layer, before they are concatenated.
_dense_layer: Family = {"standard": after("conv2"), "pre": before("norm1")}
# MobileNet v2 and v3, EfficientNet are not in the paper: after the depthwise convolution, before the
# projection, where v3 and EfficientNet have their own SE.
_depthwise: Family = {
    "standard": after("se", "bn2"),
    "pre": before("conv_pw"),
    "post": after("", "bn3"),
}
_mobile: Family = {
    "standard": _mobile_standard,
    "pre": before("block"),
    "post": after("", "block.-1.0"),
}
_shufflenet_v2: Family = {
    # Its branch ends in an activation and is concatenated, not added.
    "standard": after("branch2", "branch2.-3"),
    "pre": before("branch2"),
    "post": after(""),
}

FAMILIES: Mapping[str, Family] = {
    "torchvision.models.resnet.BasicBlock": _basic,
    "torchvision.models.resnet.Bottleneck": _bottleneck,
    "timm.models.resnet.BasicBlock": _basic,
    "timm.models.resnet.Bottleneck": _bottleneck,
    "timm.models.res2net.Bottle2neck": _residual("bn3", "", on_shortcut("downsample", "bn3")),
    "timm.models.senet.SEResNetBlock": _basic,
    "timm.models.senet.Bottleneck": _bottleneck,
    "excite.models.cifar_resnet.BasicBlock": _residual("bn2", "bn1", after("shortcut", "bn2")),
    "excite.models.cifar_resnet.PreactBottleneck": _residual("conv3", "conv2", after("shortcut", "conv3")),
    "torchvision.models.regnet.ResBottleneckBlock": _residual(
        "f", "f.b.1", on_shortcut("proj", "f.c.0"), first="f", width="f.c.0"
    ),
    "timm.models.regnet.Bottleneck": {
        **_residual("conv3", "", first="conv1", width="conv3.conv"),
        "identity": after("downsample", "conv3.conv"),
        "inner": after("conv2.bn"),
    },
    "timm.models.regnet.PreBottleneck": {
        **_residual("conv3", "conv2"),
        "identity": after("downsample", "conv3"),
    },
    # At the end of the branch, whether it is added or concatenated.
    "excite.models.shufflenet_v1.ShuffleUnit": {
        **_residual("bn3", "bn2"),
        "post": after(""),
    },
    "torchvision.models.shufflenetv2.InvertedResidual": _shufflenet_v2,
    "excite.models.bn_inception.Inception": _concatenated,
    "torchvision.models.googlenet.Inception": _concatenated,
    **{f"torchvision.models.inception.Inception{letter}": _concatenated for letter in "ABCDE"},
    **{f"timm.models.inception_v3.Inception{letter}": _concatenated for letter in "ABCDE"},
    **{f"timm.models.inception_v4.Inception{letter}": _concatenated for letter in "ABC"},
    **{f"timm.models.inception_v4.Reduction{letter}": _concatenated for letter in "AB"},
    # Residual modules only: before the branch is scaled and added.
    **{f"timm.models.inception_resnet_v2.Block{size}": _scaled for size in (35, 17, 8)},
    "torchvision.models.vgg.VGG": {"standard": _after_each_activation},
    "timm.models.vgg.VGG": {"standard": _after_each_activation},
    "excite.models.efficientnet_lite.SeparableConv": {
        "standard": after("se", "bn1"),
        "pre": before("conv_dw"),
        "post": after("", "bn2"),
    },
    "excite.models.efficientnet_lite.InvertedResidual": _depthwise,
    "timm.models._efficientnet_blocks.DepthwiseSeparableConv": {
        "standard": _separable,
        "pre": before("conv_dw"),
        "post": after("", "bn2"),
    },
    "timm.models._efficientnet_blocks.InvertedResidual": _depthwise,
    "timm.models._efficientnet_blocks.EdgeResidual": {
        "standard": after("se", "bn1"),
        "pre": before("conv_exp"),
        "post": after("", "bn2"),
    },
    "timm.models._efficientnet_blocks.UniversalInvertedResidual": {
        "standard": after("se", "pw_exp.conv"),
        "post": after("", "pw_proj.conv"),
    },
    "torchvision.models.mobilenetv2.InvertedResidual": {
        "standard": after("conv.-3", "conv.-3.0"),
        "pre": before("conv"),
        "post": after("", "conv.-1"),
    },
    "torchvision.models.mnasnet._InvertedResidual": {
        "standard": after("layers.-3", "layers.-4"),
        "pre": before("layers"),
        "post": after("", "layers.-1"),
    },
    "torchvision.models.mobilenetv3.InvertedResidual": _mobile,
    "torchvision.models.efficientnet.MBConv": _mobile,
    "torchvision.models.efficientnet.FusedMBConv": {**_mobile, "standard": _fused},
    "excite.models.densenet.DenseLayer": _dense_layer,
    "timm.models.densenet.DenseLayer": _dense_layer,
    "torchvision.models.densenet._DenseLayer": _dense_layer,
    # At the end of the branch, before layer scale, drop path and addition.
    "timm.models.convnext.ConvNeXtBlock": {
        "standard": _convnext,
        "pre": before("conv_dw"),
        "post": after("", "conv_dw"),
        "identity": after("shortcut", "conv_dw"),
    },
    "torchvision.models.convnext.CNBlock": {
        "standard": after("block", "block.0"),
        "pre": before("block"),
        "post": after("", "block.0"),
    },
}

# Attention that is part of architectures, by the beginning of its full class name.
NATIVE = (
    "timm.layers.cbam.",
    "timm.layers.coord_attn.",
    "timm.layers.eca.",
    "timm.layers.gather_excite.",
    "timm.layers.global_context.",
    "timm.layers.selective_kernel.",
    "timm.layers.split_attn.",
    "timm.layers.squeeze_excite.",
    "timm.models._efficientnet_blocks.SqueezeExcite",
    "timm.models.senet.SEModule",
    "torchvision.ops.misc.SqueezeExcitation",
)


def full_name(cls: type) -> str:
    """Module and qualified name of a class, as in ``FAMILIES``."""
    return f"{cls.__module__}.{cls.__qualname__}"


def family_of(block: nn.Module) -> Family | None:
    """The family of the block's class, or of its nearest base class that has one."""
    for cls in type(block).__mro__:
        if family := FAMILIES.get(full_name(cls)):
            return family
    return None


def places(block: nn.Module, family: Family, placement: str) -> Sequence[Place]:
    """The places for ``placement`` in this block; none if the family does not have it."""
    chosen = family.get(placement, ())
    if isinstance(chosen, Place):
        return [chosen]
    return chosen(block) if callable(chosen) else chosen


def is_attention(module: nn.Module) -> bool:
    """Whether the module is attention of excite or of a plug-in, or of a known class or base class."""
    return is_own_attention(module) or any(full_name(cls).startswith(NATIVE) for cls in type(module).__mro__)
