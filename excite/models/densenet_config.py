"""DenseNets for any framework: rules of the options, places for attention, and named configurations.

This module does not import torch, so that the Keras networks use it, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from excite.errors import require, unknown_name

STEMS = ("imagenet", "cifar")
PLACEMENTS = ("final", "layer", "block", "transition")

_require = partial(require, where="DenseNet")


@dataclass(frozen=True)
class Variant:
    """A named configuration with declared figures, which tests compare with the model.

    Args:
        parameters, multiply_adds: with ``num_classes`` classes and no attention, for an image of 224 pixels,
            or 32 with the CIFAR stem.
        pretrained: whether timm's hub has ImageNet weights under this name.
    """

    growth_rate: int
    block_config: tuple[int, ...]
    init_channels: int
    parameters: int
    multiply_adds: int
    stem: str = "imagenet"
    num_classes: int = 1000
    pretrained: bool = False


_cifar = partial(Variant, stem="cifar", num_classes=10)

VARIANTS: Mapping[str, Variant] = {
    "densenet121": Variant(32, (6, 12, 24, 16), 64, 7_978_856, 2_834_161_664, pretrained=True),
    "densenet161": Variant(48, (6, 12, 36, 24), 96, 28_681_000, 7_727_907_072, pretrained=True),
    "densenet169": Variant(32, (6, 12, 32, 32), 64, 14_149_480, 3_359_843_328, pretrained=True),
    "densenet201": Variant(32, (6, 12, 48, 32), 64, 20_013_928, 4_291_365_888, pretrained=True),
    "densenet264": Variant(32, (6, 12, 64, 48), 64, 33_337_704, 5_751_653_376),
    "densenet_bc_40_12": _cifar(12, (6,) * 3, 24, 176_122, 72_365_352),
    "densenet_bc_100_12": _cifar(12, (16,) * 3, 24, 769_162, 287_929_692),
    "densenet_bc_190_40": _cifar(40, (31,) * 3, 80, 25_624_430, 9_301_945_740),
    "densenet_bc_250_24": _cifar(24, (41,) * 3, 48, 15_324_406, 5_418_785_724),
}


def check_options(
    *,
    growth_rate: int,
    block_config: Sequence[int],
    init_channels: int,
    bottleneck_size: int,
    compression: float,
    drop_rate: float,
    in_chans: int,
    stem: str,
) -> None:
    """Raises: ExciteError for a value out of range or an unknown stem."""
    counts = (growth_rate, init_channels, bottleneck_size, in_chans, len(block_config), *block_config)
    _require(min(counts) >= 1, "widths, depths, and channels must be at least 1")
    _require(0 < compression <= 1, f"compression must be above 0 and at most 1, got {compression}")
    _require(0 <= drop_rate < 1, f"drop_rate must be at least 0 and below 1, got {drop_rate}")
    if stem not in STEMS:
        raise unknown_name("stem", stem, STEMS)


def attention_sites(placement: str | Sequence[str]) -> frozenset[str]:
    """``"final+layer"`` or a sequence of names, as a set. Raises: ExciteError for an unknown one, or none."""
    names = placement.split("+") if isinstance(placement, str) else list(placement)
    _require(bool(names), "placement is empty; leave attention out instead")
    for name in names:
        if name not in PLACEMENTS:
            raise unknown_name("placement", name, PLACEMENTS)
    return frozenset(names)


def compressed_channels(channels: int, compression: float) -> int:
    """Number of output channels of a transition, at least 1."""
    return max(1, int(channels * compression))


def smallest_image_size(stem: str, blocks: int) -> int:
    """The smallest side, in pixels, that leaves at least one pixel after every transition."""
    # Transitions halve and round down; the two strides of the ImageNet stem halve and round up.
    after_stem = 2 ** (blocks - 1)
    return after_stem if stem == "cifar" else 4 * (after_stem - 1) + 1
