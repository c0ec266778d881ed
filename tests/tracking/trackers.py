"""A training that is killed without a word in its third epoch, and what its trackers have afterwards."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from tests.conftest import SMALL, Command

EPOCHS = 4
KILLER = """
import os, signal
from pathlib import Path
import excite

@excite.register("hook", "killer")
class Killer(excite.Hook):
    def on_epoch(self, epoch):
        if epoch.epoch == 3 and not Path("killed").exists():
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""


def train_killed_and_resumed(
    command: Command, pictures: Path, place: Path, tracker: str, *, alone: bool
) -> subprocess.CompletedProcess[str]:
    """Train in ``place / "run"``: the third epoch is reported, but not in a checkpoint.

    Args:
        alone: whether the resumed training has a process of its own, as the killed one has.
    """
    (place / "my_killer.py").write_text(KILLER)
    (place / "options.yaml").write_text(yaml.safe_dump({**SMALL, "epochs": EPOCHS}))
    brought = ("--import", str(place / "my_killer.py"))
    options = ("--config", place / "options.yaml", "--out", place / "run")
    watched = ("--track", tracker, "--track", "killer")
    killed = command("train", pictures, *options, *brought, *watched, alone=True)
    assert killed.returncode == -9, killed.stderr
    done = command("train", "--resume", "--out", place / "run", *brought, alone=alone)
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    return done
