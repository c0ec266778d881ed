"""The studies in docs/ name a command that excite accepts, and state what it would repeat."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from excite.config.overrides import apply_override
from excite.config.train_config import TrainConfig
from excite.study.plan import arm_config, parse_arm

ROOT = Path(__file__).parents[2]
TEXTS = sorted((ROOT / "docs" / "experiments" / "studies").glob("*.md"))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_every_arm_of_its_command_is_accepted(path: Path) -> None:
    block = re.search(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    words = shlex.split(block[1].replace("\\\n", " "))
    assert words[:3] == ["excite", "study", "run"]
    base = TrainConfig()
    for name, value in pairwise(words):
        if name == "--set":
            base = apply_override(base, value)
    names = [value for name, value in pairwise(words) if name == "--arm"]
    assert names or "--plan" in words
    for text in names:
        arm = parse_arm(text)
        assert arm_config(base, arm).model == text.split(":", 1)[1].split(",")[0].split("+")[0]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_its_verdicts_have_intervals(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    quoted = "\n".join(line[1:].strip() for line in text.splitlines() if line.startswith(">"))
    verdicts = [" ".join(one.split()) for one in quoted.split("\n\n")]
    assert len(verdicts) >= 3
    assert all("points against" in verdict and "95 % interval" in verdict for verdict in verdicts)


def test_the_guide_links_to_each() -> None:
    guide = (ROOT / "docs" / "explanation" / "study.md").read_text(encoding="utf-8")
    for path in TEXTS:
        assert f"(../experiments/studies/{path.name})" in guide
