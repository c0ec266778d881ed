"""excite summary"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Command


@pytest.mark.slow
def test_summary_shows_layers_and_totals(excite_command: Command, trained: Path) -> None:
    done = excite_command("summary", "densenet121", "--attention", "se")
    assert "8,111,016 parameters, 2.83" in done.stdout.splitlines()[1]  # 7,978,856 + 132,160
    assert len(done.stdout.splitlines()) < 15
    assert "features.attention4" not in done.stdout
    done = excite_command("summary", "densenet121", "--attention", "se", "--layers")
    assert any(line.startswith("features.attention4") for line in done.stdout.splitlines())
    document = json.loads(excite_command("summary", "resnet50", "--json").stdout)
    assert document["parameters"] == 25_557_032  # torchvision's documentation
    outputs = [stage["output"] for stage in document["stages"]]
    assert outputs == ["112 x 112", "56 x 56", "28 x 28", "14 x 14", "7 x 7", "1 x 1"]  # table 1 of the paper
    for number in ("parameters", "multiply_adds"):
        assert sum(stage[number] for stage in document["stages"]) == document[number]
    assert "densenet_bc_40_12" not in excite_command("summary", trained / "run").stderr


def test_summary_counts_inserted_attention(excite_command: Command) -> None:
    # SE-ResNet-50 of the paper: 2/16 sum N C^2, and with biases C + C/16 more a site.
    sites = [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3
    more = sum(2 * width * width // 16 + width + width // 16 for width in sites)
    document = json.loads(excite_command("summary", "resnet50", "--attention", "se", "--json").stdout)
    assert document["parameters"] == 25_557_032 + more == 28_088_024


def test_what_a_gate_computes_from_pooled_maps_belongs_to_its_stage(excite_command: Command) -> None:
    """Networks of timm compute their gates on 1 x 1 maps between two maps of full resolution."""
    document = json.loads(excite_command("summary", "seresnet50", "--json").stdout)
    outputs = [stage["output"] for stage in document["stages"]]
    assert outputs == ["112 x 112", "56 x 56", "28 x 28", "14 x 14", "7 x 7", "1 x 1"]
    document = json.loads(excite_command("summary", "vit_tiny_patch16_224", "--json").stdout)
    assert [stage["output"] for stage in document["stages"]] == ["197 tokens", "1 x 1"]
