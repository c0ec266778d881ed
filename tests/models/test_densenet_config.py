"""The named configurations and the rules of their options."""

from __future__ import annotations

from typing import Any

import pytest

from excite.errors import ExciteError
from excite.models.densenet_config import (
    VARIANTS,
    attention_sites,
    check_options,
    compressed_channels,
    smallest_image_size,
)

OPTIONS: dict[str, Any] = {
    "growth_rate": 32,
    "block_config": (6, 12),
    "init_channels": 64,
    "bottleneck_size": 4,
    "compression": 0.5,
    "drop_rate": 0.0,
    "in_chans": 3,
    "stem": "imagenet",
}


def parameters(name: str) -> int:
    """The number of parameters by the paper's description, counted layer by layer."""
    variant = VARIANTS[name]
    side = 7 if variant.stem == "imagenet" else 3
    channels = variant.init_channels
    total = 3 * channels * side**2 + (2 * channels if variant.stem == "imagenet" else 0)
    for block, layers in enumerate(variant.block_config):
        for _ in range(layers):
            width = 4 * variant.growth_rate
            total += 2 * channels + channels * width + 2 * width + width * variant.growth_rate * 9
            channels += variant.growth_rate
        if block < len(variant.block_config) - 1:
            total += 2 * channels + channels * (channels // 2)
            channels //= 2
    return total + 2 * channels + (channels + 1) * variant.num_classes


@pytest.mark.parametrize("name", VARIANTS)
def test_declared_parameters_are_those_of_the_paper(name: str) -> None:
    assert VARIANTS[name].parameters == parameters(name)


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 5])
def test_the_smallest_image_is_the_first_that_leaves_a_pixel(stem: str, blocks: int) -> None:
    def pixels(side: int) -> int:
        """Strides of the stem round up, since they are padded; poolings of transitions round down."""
        if stem == "imagenet":
            side = (side + 1) // 2
            side = (side + 1) // 2
        for _ in range(blocks - 1):
            side //= 2
        return side

    smallest = smallest_image_size(stem, blocks)
    assert pixels(smallest) == 1
    assert smallest == 1 or pixels(smallest - 1) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"growth_rate": 0}, "widths, depths, and channels must be at least 1"),
        ({"block_config": (6, 0)}, "widths, depths, and channels must be at least 1"),
        ({"block_config": ()}, "must be at least 1"),
        ({"compression": 0}, "compression must be above 0 and at most 1, got 0"),
        ({"compression": 1.5}, "got 1.5"),
        ({"drop_rate": 1}, "drop_rate must be at least 0 and below 1, got 1"),
        ({"stem": "imagnet"}, "unknown stem 'imagnet' .did you mean 'imagenet'"),
    ],
)
def test_options_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    check_options(**OPTIONS)
    with pytest.raises(ExciteError, match=message):
        check_options(**OPTIONS | change)


def test_placements_are_joined_with_a_plus_or_listed() -> None:
    assert attention_sites("final") == {"final"}
    assert attention_sites("final+layer") == attention_sites(["layer", "final"]) == {"final", "layer"}
    with pytest.raises(ExciteError, match=r"unknown placement 'finale' .did you mean 'final'"):
        attention_sites("finale+layer")
    with pytest.raises(ExciteError, match="placement is empty"):
        attention_sites([])


def test_a_transition_keeps_at_least_one_channel() -> None:
    assert [compressed_channels(channels, 0.5) for channels in (256, 7, 1)] == [128, 3, 1]
