"""``excite summary --table``; tests/models/test_published_results.py tests what each network costs."""

from __future__ import annotations

import json

import pytest

from excite.models import published_results
from tests.conftest import Command


@pytest.fixture
def _two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building all networks takes ten seconds."""
    rows = [row for row in published_results.PUBLISHED if row.title in ("ResNet-50", "ResNet-20")]
    monkeypatch.setattr(published_results, "PUBLISHED", rows)


@pytest.mark.slow
@pytest.mark.usefixtures("_two_rows")
def test_computed_and_published_results_are_side_by_side(excite_command: Command) -> None:
    lines = excite_command("summary", "--table").stdout.splitlines()
    row = next(line for line in lines if line.startswith("ResNet-50"))
    figures = "25,557,032 25.6 M 28,088,024 28.1 M 3.858 3.86 3.872 3.87 24.8 23.29"
    assert row.split()[1:] == figures.split()
    row = next(line for line in lines if line.startswith("ResNet-20"))
    # He et al. 2016, table 6: 0.27 M parameters and 8.75 % error; nothing is published of it with SE.
    assert row.split()[1:3] == ["269,722", "0.27"]
    assert row.split()[-2:] == ["8.75", "-"]


@pytest.mark.slow
@pytest.mark.usefixtures("_two_rows")
def test_json_has_the_same_rows(excite_command: Command) -> None:
    first, second = json.loads(excite_command("summary", "--table", "--json").stdout)
    assert (first["published"]["title"], first["parameters"]) == ("ResNet-50", 25_557_032)
    assert second["published"]["se_parameters"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet50", "--table"], "--table: cannot be combined with options other than --json"),
        (["--table", "--attention", "se"], "--table: cannot be combined with options other than --json"),
        (["resnet50", "--stages", "5"], "--stages: needs --attention"),
        ([], "name a network or a run"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_line(excite_command: Command, arguments: list[str], message: str) -> None:
    refused = excite_command("summary", *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert message in refused.stderr
    assert refused.stderr.count("\n") == 1
