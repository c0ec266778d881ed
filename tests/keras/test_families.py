"""Blocks by the names of their layers."""

from __future__ import annotations

import pytest

from excite.insertion.site import PLACEMENTS
from excite.keras.families import FAMILIES, layer_name

pytestmark = pytest.mark.once


def test_a_place_is_a_layer_of_the_block() -> None:
    assert layer_name("{}_3_bn", "conv4_block2") == "conv4_block2_3_bn"
    assert layer_name("conv_dw_{n}", "conv_pw_12") == "conv_dw_12"
    assert layer_name("{}", "mixed") == "mixed"


def test_blocks_are_found_once_each_and_in_order() -> None:
    names = ["conv1_conv", "conv2_block1_1_conv", "conv2_block1_add", "conv2_block2_add", "conv2_block2_out"]
    assert FAMILIES["ResNet"].blocks(names) == ["conv2_block1", "conv2_block2"]
    assert FAMILIES["ResNetV2"].blocks(names) == []


def test_xception_is_not_taken_for_vgg() -> None:
    assert FAMILIES["VGG"].blocks(["block1_conv1", "block1_conv2"]) == ["block1_conv1", "block1_conv2"]
    assert FAMILIES["VGG"].blocks(["block1_conv1", "block1_conv1_bn"]) == []


def test_each_family_has_the_standard_placement_and_known_ones_only() -> None:
    for name, family in FAMILIES.items():
        assert "standard" in family.places, name
        assert set(family.places) <= set(PLACEMENTS), name
