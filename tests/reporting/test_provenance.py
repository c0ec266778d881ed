"""The command of a run gives the same options again."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from excite.cli.app import app
from excite.config.train_config import TrainConfig
from excite.reporting.provenance import command


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(data="/data"),
        TrainConfig(data="a 'quoted' $folder", group_pattern=r"^(\d+)_", channels_last=False, identity=True),
        TrainConfig(
            data="x",
            lr=1e-5,
            attention_options={"reduction": 8, "gate": "hard é"},
            seed=3,
            near_duplicates=False,
        ),
        TrainConfig(data="x", pretrained=True, augment_options={"rotation": 30}, patience=4, time_budget=1.5),
    ],
)
def test_the_command_gives_the_same_options_again(config: TrainConfig, tmp_path: Path) -> None:
    words = shlex.split(command(config))
    assert words[:2] == ["excite", "train"]
    done = CliRunner().invoke(app, [*words[1:], "--print-config"])
    assert done.exit_code == 0, done.output
    (tmp_path / "config.yaml").write_text(done.stdout)
    assert TrainConfig.from_yaml(tmp_path / "config.yaml") == config
