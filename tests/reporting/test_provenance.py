"""The command of a run gives the same options again; the setup states what was trained and kept."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from excite.cli.app import app
from excite.config.train_config import TrainConfig
from excite.reporting.provenance import command, setup_rows
from excite.reporting.run_facts import RunFacts
from excite.runs.run import Run
from tests.reporting.run_folders import write_run


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


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        ({"recipe": "scratch"}, "scratch: all weights are trained"),
        ({"recipe": "finetune", "frozen_layers": 0}, "finetune: all weights are trained, starting from"),
        ({"recipe": "finetune", "frozen_layers": 6}, "finetune: the last 6 of 12 parts of the network are"),
        (
            {"recipe": "finetune", "frozen_layers": 6, "attention": "se"},
            "finetune: the last 6 of 12 parts of the network, and the attention, are trained",
        ),
        (
            {"recipe": "finetune", "frozen_layers": 0, "train": "attention,head"},
            "finetune: only the weights of attention and head are trained",
        ),
    ],
)
def test_only_the_weights_that_change_are_called_trained(
    options: dict[str, Any], trained: str, tmp_path: Path
) -> None:
    facts = RunFacts.of(write_run(tmp_path / "run"))
    config = facts.config.replace(**{"attention": "none", **options})
    recipe = dict(setup_rows(dataclasses.replace(facts, config=config)))["recipe"]
    assert recipe.startswith(trained)


@pytest.mark.parametrize(
    ("fraction", "kept"),
    [
        (0.5, "; the final weights are 50% fine-tuned and 50% initial"),
        (1.0, "; the final weights are those of the best epoch"),
    ],
)
def test_interpolated_weights_are_stated(fraction: float, kept: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run.path / "config.yaml").write_text(run.config.replace(recipe="finetune").to_yaml())
    run.write_json("robustness.json", {"fraction": fraction, "probe": False})
    assert dict(setup_rows(RunFacts.of(Run.open(run.path))))["recipe"].endswith(kept)
