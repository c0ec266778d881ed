"""Utilization of the cores by a study of small cells, and the overhead of a cell.

    python benchmarks/study_throughput.py [seeds]

Utilization is the sum of the cells' times divided by the number of workers and by the time from the first
cell's start to the last one's end, which other programs on the machine do not change. For the same reason,
the overhead is measured in CPU seconds, in one process with one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from excite.config.train_config import TrainConfig
from excite.study.plan import Plan, parse_arm
from excite.study.running import worker
from excite.study.running.live_table import LiveTable
from excite.study.running.local import choose_pool, run_here
from excite.study.study import begin
from excite.system.progress import Display
from excite.training.loop import Trainer

BASE = TrainConfig(data="digits", epochs=2, device="cpu", precision="float32")
ARMS = [parse_arm("plain:densenet_bc_40_12"), parse_arm("se:densenet_bc_40_12+se")]


def busy(seeds: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        study, cells = begin(Plan(BASE, ARMS, seeds=seeds), Path(place) / "study", None, Display())
        crew = choose_pool("cpu", None, None, cells)
        run_here(study, crew, LiveTable())
        rows = study.store.cells(study.name)
    spent = [row.ended - row.started for row in rows]
    whole = max(row.ended for row in rows) - min(row.started for row in rows)
    share = sum(spent) / (len(crew.devices) * whole)
    print(f"{cells} cells, {crew}; a cell takes {np.median(spent):.1f} s")
    print(f"busy: {share:.1%} of the workers' time from the first start to the last end", flush=True)


def beside_training(cells: int = 6) -> None:
    """Processor seconds of each cell that are not the training loop's."""
    loops: list[float] = []
    whole: list[float] = []
    run, train_cell = Trainer.run, worker.train_cell

    def timed_run(trainer: Trainer) -> Any:
        began = time.process_time()
        counters = run(trainer)
        loops.append(time.process_time() - began)
        return counters

    def timed_cell(*arguments: Any) -> Any:
        began = time.process_time()
        result = train_cell(*arguments)
        whole.append(time.process_time() - began)
        return result

    with (
        tempfile.TemporaryDirectory() as place,
        patch.object(Trainer, "run", timed_run),
        patch.object(worker, "train_cell", timed_cell),
    ):
        base = BASE.replace(epochs=1)
        study, _ = begin(Plan(base, ARMS, seeds=cells // 2), Path(place) / "study", None, Display())
        worker.work(study, device="cpu", threads=1, name="alone")
    beside = np.array(whole) - np.array(loops)
    print(f"beside its training a cell takes {beside[0]:.2f} s of a processor, after the first ", end="")
    print(f"{np.median(beside[1:]):.2f} s (of {np.median(whole):.1f} s)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=10)
    seeds = parser.parse_args().seeds
    beside_training()
    busy(seeds)
