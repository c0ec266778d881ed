"""excite train"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from excite import api
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
    following = next(line for line in done.stdout.splitlines() if line.startswith("next")).split()
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


@pytest.mark.parametrize("begun", [False, True])
def test_ctrl_c_outside_the_steps_says_how_to_go_on(
    excite_command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, begun: bool
) -> None:
    def stopped(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "train_as_configured", stopped)
    if begun:
        folder = tmp_path / "work" / "runs" / "digits"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("data: digits\n")
    done = excite_command("train", "digits")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (130, "", 1)
    assert "error" not in done.stderr
    if begun:
        assert "continue with: excite train --resume --out runs/digits" in done.stderr
    else:
        assert "stopped before the training began; nothing was written" in done.stderr


def test_the_reasons_and_lists_are_for_verbose(
    excite_command: Command, pictures: Path, tmp_path: Path
) -> None:
    for number in range(3):
        (pictures / "a" / f"broken_{number}.png").write_text("<html>")
    options = ("--max-unreadable", "0.5", "--seed", "1", "--no-near-duplicates")
    for verbose in ((), ("--verbose",)):
        # An error that is found after the images were read.
        arguments = ("train", pictures, "--batch-size", 5000, "--out", tmp_path / "run")
        done = excite_command(*arguments, *options, *verbose)
        left_out = [line for line in done.stderr.splitlines() if "left out: " in line]
        assert len(left_out) == (3 if verbose else 1)
        assert "broken_0.png" in left_out[0]
        assert "and 2 more" in left_out[0]
