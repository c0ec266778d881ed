"""excite train"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import SMALL, Command


@pytest.mark.slow
def test_train_prints_metrics_with_their_n_and_the_next_command(
    trained: Path, excite_command: Command, tmp_path: Path
) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(SMALL))
    arguments = ("train", trained / "pictures", "--config", config, "--epochs", 1, "--out", tmp_path / "run")
    done = excite_command(*arguments)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^RESULT    accuracy \d+\.\d% \(\d+\.\d-\d+\.\d\) on 12 images", done.stdout, re.M)
    following = done.stdout.splitlines()[-1].split()
    assert following[:2] == ["next", "excite"]
    assert "png" in excite_command(*following[2:]).stdout
    finished = excite_command("train", "--out", tmp_path / "run", "--resume", "--json")
    assert json.loads(finished.stdout)["test"]["n"] == 12


def test_options_come_from_file_then_flags_then_set(excite_command: Command, tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("epochs: 7\nlr: 1e-2\nseed: 4\nattention_options: {reduction: 8}\n")
    done = excite_command(
        *["train", "digits", "--config", file, "--lr", "0.5", "--seed", "5", "--set", "seed=6"],
        *["--set", "attention_options.squeeze=max", "--no-channels-last", "--print-config"],
    )
    options = yaml.safe_load(done.stdout)
    assert (options["epochs"], options["lr"], options["seed"], options["data"]) == (7, 0.5, 6, "digits")
    assert options["attention_options"] == {"reduction": 8, "squeeze": "max"}
    assert options["channels_last"] is False
    assert excite_command("train", "digits", "--print-config").stdout.count("\n") > 30
