"""excite summary"""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Command


def test_summary_shows_layers_and_totals(excite_command: Command, trained: Path) -> None:
    done = excite_command("summary", "densenet121", "--attention", "se")
    assert "8,111,016 parameters, 2.83" in done.stdout.splitlines()[-1]  # 7,978,856 + 132,160
    assert any(line.startswith("features.attention4") for line in done.stdout.splitlines())
    document = json.loads(excite_command("summary", "resnet50", "--json").stdout)
    assert document["parameters"] == 25_557_032  # torchvision's documentation
    assert "densenet_bc_40_12" not in excite_command("summary", trained / "run").stderr


def test_summary_counts_inserted_attention(excite_command: Command) -> None:
    # SE-ResNet-50 of the paper: 2/16 sum N C^2, and with biases C + C/16 more a site.
    sites = [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3
    more = sum(2 * width * width // 16 + width + width // 16 for width in sites)
    document = json.loads(excite_command("summary", "resnet50", "--attention", "se", "--json").stdout)
    assert document["parameters"] == 25_557_032 + more == 28_088_024
