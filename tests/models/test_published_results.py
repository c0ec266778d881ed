from __future__ import annotations

from functools import cache

import pytest
from torch import nn

from excite.attention.squeeze_excitation import SqueezeExcitation
from excite.insertion.insert import insert
from excite.models.published_results import PUBLISHED, MeasuredCost, PublishedResult, measure, se_parameters

ROWS = {row.title: row for row in PUBLISHED}
THE_PAPERS = [row for row in PUBLISHED if not row.difference]

# Channels of the blocks' outputs, from the architecture tables of the papers.
RESNET50 = [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3
MOBILENET = [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]


def bottlenecks(*blocks: int) -> list[int]:
    return [width for width, count in zip((256, 512, 1024, 2048), blocks, strict=True) for _ in range(count)]


def in_three_stages(first: int, blocks: int) -> list[int]:
    return [first * 2**stage for stage in range(3) for _ in range(blocks)]


SITES = {
    "ResNet-50": RESNET50,
    "ResNet-101": bottlenecks(3, 4, 23, 3),
    "ResNet-152": bottlenecks(3, 8, 36, 3),
    "ResNeXt-50 (32x4d)": RESNET50,
    "ResNeXt-101 (32x4d)": bottlenecks(3, 4, 23, 3),
    "VGG-16 (BN)": [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6,
    "BN-Inception": [256, 320, 576, 576, 576, 608, 608, 1056, 1024, 1024],
    "Inception-ResNet-v2": [320] * 10 + [1088] * 20 + [2080] * 10,
    "MobileNet": MOBILENET,
    # Units at stride 2 are concatenated with their 24, 240 and 480 channels of input.
    "ShuffleNet": [240 - 24, *[240] * 3, 480 - 240, *[480] * 7, 960 - 480, *[960] * 3],
    "ResNet-20": in_three_stages(16, 3),
    "ResNet-56": in_three_stages(16, 9),
    "ResNet-110": in_three_stages(16, 18),
    "ResNet-164": in_three_stages(64, 18),
}


@cache
def measured(title: str) -> MeasuredCost:
    """The row of ``excite summary --table``."""
    return measure(ROWS[title], insert)


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in THE_PAPERS if row.gmacs], ids=lambda row: row.title)
def test_multiply_adds_are_the_published_ones(row: PublishedResult) -> None:
    assert measured(row.title).multiply_adds / 1e9 == pytest.approx(row.gmacs, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in THE_PAPERS if row.se_gmacs], ids=lambda row: row.title)
def test_multiply_adds_with_se_are_the_published_ones(row: PublishedResult) -> None:
    assert measured(row.title).se_multiply_adds / 1e9 == pytest.approx(row.se_gmacs, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("title", [row.title for row in PUBLISHED if not row.built_in])
def test_se_adds_what_the_closed_formula_says(title: str) -> None:
    row = measured(title)
    assert row.se_parameters - row.parameters == se_parameters(SITES[title])


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in THE_PAPERS if row.parameters], ids=lambda row: row.title)
def test_parameters_round_to_the_published_ones(row: PublishedResult) -> None:
    digits = len(str(row.parameters).partition(".")[2])
    assert round(measured(row.title).parameters / 1e6, digits) == row.parameters


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "gmacs", "beside"),
    [("Inception-ResNet-v2", 11.75, 13.16), ("ShuffleNet", 0.140, 0.1375)],
)
def test_a_row_with_another_structure_has_a_note(title: str, gmacs: float, beside: float) -> None:
    assert ROWS[title].gmacs == gmacs
    assert measured(title).multiply_adds / 1e9 == pytest.approx(beside, rel=0.001)
    assert ROWS[title].difference


def test_the_re_implementations_gain_from_se_as_published() -> None:
    """The gains in brackets in the paper's table: 1.51 points for ResNet-50, 1.15 for BN-Inception."""
    for title, gain in (("ResNet-50", 1.51), ("BN-Inception", 1.15)):
        assert ROWS[title].plain[0] - ROWS[title].se[0] == pytest.approx(gain)
    for row in PUBLISHED:
        if row.plain[0] is not None:
            assert row.se[0] < row.plain[0], row.title


@pytest.mark.slow
def test_a_network_with_se_of_its_own_has_no_plain_columns() -> None:
    senet = measured("SENet-154")
    assert senet.parameters is None is senet.multiply_adds
    assert senet.se_parameters == 115_088_984  # as pretrained-models.pytorch and timm have it


def put_se_into_timms_blocks(model: nn.Module) -> nn.Module:
    for block in model.modules():
        if hasattr(block, "conv3"):
            block.se = SqueezeExcitation(block.conv3.out_channels)
    return model


@pytest.mark.slow
def test_an_inserted_model_fills_the_se_columns() -> None:
    row = measure(ROWS["ResNet-50"], put_se_into_timms_blocks)
    assert row.parameters == 25_557_032
    assert row.se_parameters == 28_088_024
    assert row.se_multiply_adds / 1e9 == pytest.approx(row.published.se_gmacs, rel=0.01)
    assert row.se_parameters - row.parameters == se_parameters(RESNET50)


def test_without_an_insertion_the_se_columns_stay_empty() -> None:
    row = measure(ROWS["ResNet-20"])
    assert row.se_parameters is None is row.se_multiply_adds


@pytest.mark.parametrize("reduction", [2, 4, 8, 16, 32])
def test_the_closed_formula_gives_the_papers_ablation(reduction: int) -> None:
    published = {2: 45.7, 4: 35.7, 8: 30.7, 16: 28.1, 32: 26.9}[reduction]
    with_se = 25_557_032 + se_parameters(RESNET50, reduction, bias=False)
    assert with_se / 1e6 == pytest.approx(published, rel=0.005)
    assert se_parameters(RESNET50, bias=False) == 2 * sum(c * c for c in RESNET50) // 16


def test_the_closed_formula_gives_mobilenets_published_size() -> None:
    """With SE after each of its 13 pointwise convolutions: 4.2 M -> 4.7 M."""
    row = measured("MobileNet")
    with_se = row.parameters + se_parameters(MOBILENET, bias=False)
    assert round(with_se / 1e6, 1) == row.published.se_parameters


@pytest.mark.parametrize(("channels", "reduction"), [(64, 16), (24, 16), (7, 16), (100, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_closed_formula_counts_the_modules_own_parameters(
    channels: int, reduction: int, bias: bool
) -> None:
    module = SqueezeExcitation(channels, reduction, bias=bias)
    counted = sum(parameter.numel() for parameter in module.parameters())
    assert se_parameters([channels, channels], reduction, bias=bias) == 2 * counted


def test_nothing_is_built_in_memory() -> None:
    seen: list[set[str]] = []

    def insert(model: nn.Module) -> nn.Module:
        seen.append({tensor.device.type for tensor in model.state_dict().values()})
        return model

    measure(ROWS["VGG-16 (BN)"], insert)
    assert seen == [{"meta"}]
