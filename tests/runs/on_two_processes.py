"""Trainings on two processes, run by torchrun: each argument is the options of one training, as JSON.

One launch for all of them: starting two processes takes longer than these trainings.
"""

from __future__ import annotations

import json
import sys

from excite.config.train_config import TrainConfig
from excite.pipeline.experiment import run_experiment
from excite.system.world import process_group

if __name__ == "__main__":
    with process_group("cpu") as world:
        for options in sys.argv[1:]:
            run_experiment(TrainConfig().replace(**json.loads(options)), world=world)
