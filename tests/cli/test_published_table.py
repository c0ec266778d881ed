"""``excite summary --table``."""

from __future__ import annotations

import pytest

from tests.conftest import Command


@pytest.mark.slow
def test_summary_of_all_networks_of_the_papers(excite_command: Command) -> None:
    lines = excite_command("summary", "--table").stdout.splitlines()
    row = next(line for line in lines if line.startswith("ResNet-50"))
    figures = "25,557,032 25.6 M 28,088,024 28.1 M 3.858 3.86 3.872 3.87 24.8 23.29"
    assert row.split()[1:] == figures.split()
    refused = excite_command("summary", "resnet50", "--stages", "5")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--stages: needs --attention" in refused.stderr
