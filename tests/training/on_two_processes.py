"""Trainings on two processes, run by torchrun: each argument is the options of one training, as JSON.

One launch for all of them: starting two processes takes longer than these trainings. The last training is
one that the command line refuses; its exit code is written beside the run's folder.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from excite.cli.app import run
from excite.config.train_config import TrainConfig
from excite.pipeline.experiment import run_experiment
from excite.system.world import process_group

if __name__ == "__main__":
    *trained, refused = map(json.loads, sys.argv[1:])
    with process_group("cpu") as world:
        for options in trained:
            run_experiment(TrainConfig().replace(**options), world=world)
    given = ("--batch-size", refused["batch_size"], "--device", "cpu", "--out", refused["out"])
    code = run(["train", refused["data"], "--no-near-duplicates", *map(str, given)])
    Path(f"{refused['out']}-{os.environ['RANK']}").write_text(str(code))
