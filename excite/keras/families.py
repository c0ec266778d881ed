"""Network of keras.applications -> where attention belongs in its blocks, by the names of its layers.

Keras has no block classes: a block is what layers share in their names. The strategies, and the places where
the paper says nothing, are those of ``excite.insertion.families``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True)
class Place:
    """A tensor of a block.

    Args:
        layer: the layer's name, {} standing for the block's and {n} for the number that this ends in.
        way: ``after`` the layer, ``before`` it, or ``on the shortcut``: on its first input of several.
    """

    layer: str
    position: str


after, before = partial(Place, position="after"), partial(Place, position="before")
on_the_shortcut = partial(Place, position="on the shortcut")

# For a strategy the first of several whose layer the block has.
Places = Mapping[str, Sequence[Place]]


@dataclass(frozen=True)
class Family:
    """Blocks of one kind.

    Args:
        block: pattern of a layer's name that every block has once; its group is the block's name.
        places: strategy -> place.
        native: how the names of layers of its own attention begin.
        unless: a layer that says that this is a block of some other kind.
    """

    block: str
    places: Places
    native: str = "{}_se"
    unless: str = ""

    def blocks(self, names: Sequence[str]) -> list[str]:
        """The blocks in layers of these names, in their order."""
        found = [match[1] for name in names if (match := re.fullmatch(self.block, name))]
        return [block for block in found if self.unless.format(block) not in names]


def layer_name(template: str, block: str) -> str:
    """A place's layer in a block."""
    number = re.search(r"\d*$", block)
    return template.format(block, n=number[0] if number else "")


_DEPTHWISE_PRE = (before("{}_expand"), before("{}_depthwise_pad"), before("{}_depthwise"))

FAMILIES: Mapping[str, Family] = {
    "ResNet": Family(
        r"(conv\d+_block\d+)_add",
        {
            "standard": [after("{}_3_bn")],
            "pre": [before("{}_1_conv")],
            "post": [after("{}_out")],
            "identity": [on_the_shortcut("{}_add")],
            "inner": [after("{}_2_bn")],
        },
    ),
    "ResNetV2": Family(
        r"(conv\d+_block\d+)_preact_relu",
        {
            "standard": [after("{}_3_conv")],
            "pre": [before("{}_1_conv")],
            "post": [after("{}_out")],
            "identity": [on_the_shortcut("{}_out")],
            "inner": [after("{}_2_bn")],
        },
    ),
    # ReLU is part of the layer. Xception, which is not known here, begins with names like these.
    "VGG": Family(r"(block\d+_conv\d+)", {"standard": [after("{}")]}, unless="{}_bn"),
    "Inception-v3": Family(r"(mixed\d+)", {"standard": [after("{}")]}),
    # Before the branch is scaled and added. The last block adds without an activation, right before conv_7b.
    "Inception-ResNet-v2": Family(
        r"(block(?:35|17|8)_\d+)_conv",
        {"standard": [after("{}_conv")], "post": [after("{}_ac"), before("conv_7b")]},
    ),
    "MobileNet": Family(
        r"(conv_pw_\d+)",
        # After each pointwise convolution, which fits the published 4.2 -> 4.7 M parameters.
        {
            "standard": [after("{}_relu")],
            "pre": [before("conv_pad_{n}"), before("conv_dw_{n}")],
            "post": [after("{}_relu")],
        },
    ),
    # MobileNet v2 and v3, EfficientNet: after the depthwise convolution, which is before the projection;
    # v3 and EfficientNet have their own there.
    "MobileNetV2 and V3": Family(
        r"(block_\d+|expanded_conv(?:_\d+)?)_project",
        {
            "standard": [before("{}_project")],
            "pre": _DEPTHWISE_PRE,
            "post": [after("{}_add"), after("{}_project_BN"), after("{}_project_bn")],
        },
        native="{}_squeeze_excite",
    ),
    "EfficientNet": Family(
        r"(block\d+[a-z]+)_project_conv",
        {
            # V2's first blocks are one convolution, with an activation of its own.
            "standard": [after("{}_project_activation"), before("{}_project_conv")],
            "pre": [
                before("{}_expand_conv"),
                before("{}_dwconv_pad"),
                before("{}_dwconv"),
                before("{}_project_conv"),
            ],
            "post": [after("{}_add"), after("{}_project_activation"), after("{}_project_bn")],
        },
    ),
    # The paper has no SE-DenseNet. On each layer's new features, before they join the rest.
    "DenseNet": Family(
        r"(conv\d+_block\d+)_concat",
        {"standard": [after("{}_2_conv")], "pre": [before("{}_0_bn")]},
    ),
}
