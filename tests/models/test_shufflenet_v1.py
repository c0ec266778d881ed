from __future__ import annotations

from typing import Any

import pytest
import torch

from excite.errors import ExciteError
from excite.models.shufflenet_v1 import CHANNELS, ShuffleUnit, shuffle, shufflenet_v1_x1_0
from excite.models.summary import summarize


@pytest.mark.slow
@pytest.mark.parametrize(
    ("groups", "complexity", "parameters"),
    [
        (1, 143, 1_531_936),
        (2, 140, 1_733_848),
        (3, 137, 1_865_728),
        (4, 133, 1_968_344),
        (8, 137, 2_434_768),
    ],
)
def test_cost_is_the_papers_and_parameters_another_implementations(
    groups: int, complexity: int, parameters: int
) -> None:
    """Complexity in millions from the paper's table 1, parameters from osmr/imgclsmob's table."""
    with torch.device("meta"):
        cost = summarize(shufflenet_v1_x1_0(groups=groups), 224)
    assert cost.multiply_adds / 1e6 == pytest.approx(complexity, rel=0.011)
    assert cost.parameters == parameters
    assert groups in CHANNELS


def test_the_shuffle_sends_each_groups_channels_to_all_groups() -> None:
    channels = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert shuffle(channels, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert shuffle(channels, 1).flatten().tolist() == [0, 1, 2, 3, 4, 5]
    theirs = torch.nn.ChannelShuffle(3)(torch.arange(24.0).reshape(1, 12, 2, 1))
    assert torch.equal(shuffle(torch.arange(24.0).reshape(1, 12, 2, 1), 3), theirs)


def test_a_unit_adds_its_input_and_a_strided_unit_appends_its_branch() -> None:
    x = torch.rand(1, 240, 7, 7)
    with torch.no_grad():
        for stride, kept in ((1, x), (2, torch.nn.functional.avg_pool2d(x, 3, 2, padding=1))):
            unit = ShuffleUnit(240, 480 if stride == 2 else 240, stride, 3, 3).eval()
            unit.bn3.weight.zero_()
            torch.testing.assert_close(unit(x)[:, :240], kept)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"groups": 5}, "ShuffleNetV1: groups must be one of 1, 2, 3, 4, 8, got 5"),
        ({"group": 3}, "shufflenet_v1_x1_0: unknown option 'group' .did you mean 'groups'"),
        ({"in_chans": 0}, "ShuffleNetV1: in_chans must be at least 1"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ExciteError, match=match) as caught:
        shufflenet_v1_x1_0(**options)
    assert caught.value.exit_code == 2
