"""excite sites"""

from __future__ import annotations

import json

import pytest

from tests.conftest import Command


@pytest.mark.slow
def test_sites_lists_the_places_for_attention(excite_command: Command) -> None:
    done = excite_command("sites", "resnet18", "--stages", "4,5", "--placement", "post")
    assert done.stdout.splitlines()[1].split() == ["layer3.0", "after", "BasicBlock", "4", "256", "-"]
    assert done.stdout.splitlines()[-1] == "resnet18: 4 sites, 4 of them without attention"
    document = json.loads(excite_command("sites", "resnet18", "--where", "layer4.*", "--json").stdout)
    assert [site["path"] for site in document] == ["layer4.0.bn2", "layer4.1.bn2"]
    refused = excite_command("sites", "vit_tiny_patch16_224")
    assert refused.returncode == 2
    assert "name modules with where=" in refused.stderr
