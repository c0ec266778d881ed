"""Networks of keras.applications and the places for attention in their blocks, by layer name.

Keras has no block classes: the layers of a block share the beginning of their names. The placements, and the
choices where the paper gives none, are those of ``excite.insertion.families``.
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
        layer: name of a layer; {} stands for the name of the block, and {n} for the number at its end.
        position: ``after`` the layer, ``before`` it, or ``on the shortcut``, its first input of several.
    """

    layer: str
    position: str


after, before = partial(Place, position="after"), partial(Place, position="before")
on_the_shortcut = partial(Place, position="on the shortcut")

# For each placement, candidates in order of preference: the first whose layer exists in the block.
Places = Mapping[str, Sequence[Place]]


@dataclass(frozen=True)
class Family:
    """Blocks of one kind.

    Args:
        block: pattern of the name of a layer that occurs once in every block; its group is the block's name.
        places: placement -> candidates.
        native: prefix of the layers of attention that the architecture already has.
        unless: name of a layer that only blocks of another kind have.
    """

    block: str
    places: Places
    native: str = "{}_se"
    unless: str = ""

    def blocks(self, names: Sequence[str]) -> list[str]:
        """The names of the blocks among these layers, in order."""
        blocks = [match[1] for name in names if (match := re.fullmatch(self.block, name))]
        return [block for block in blocks if self.unless.format(block) not in names]


def layer_name(template: str, block: str) -> str:
    """The layer of a place in a block."""
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
    # The layer includes its ReLU. Xception, which has no entry here, uses similar names.
    "VGG": Family(r"(block\d+_conv\d+)", {"standard": [after("{}")]}, unless="{}_bn"),
    "Inception-v3": Family(r"(mixed\d+)", {"standard": [after("{}")]}),
    # Before the branch is scaled and added. The last block has no activation after the addition, so that
    # "post" is before conv_7b.
    "Inception-ResNet-v2": Family(
        r"(block(?:35|17|8)_\d+)_conv",
        {"standard": [after("{}_conv")], "post": [after("{}_ac"), before("conv_7b")]},
    ),
    "MobileNet": Family(
        r"(conv_pw_\d+)",
        # After each pointwise convolution, which matches the published 4.2 -> 4.7 M parameters.
        {
            "standard": [after("{}_relu")],
            "pre": [before("conv_pad_{n}"), before("conv_dw_{n}")],
            "post": [after("{}_relu")],
        },
    ),
    # MobileNet v2 and v3, EfficientNet: after the depthwise convolution and before the projection, where v3
    # and EfficientNet have native attention.
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
            # The first blocks of V2 are one convolution with an activation.
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
    # The paper has no SE-DenseNet. Attention acts on each layer's new features before the concatenation.
    "DenseNet": Family(
        r"(conv\d+_block\d+)_concat",
        {"standard": [after("{}_2_conv")], "pre": [before("{}_0_bn")]},
    ),
}
