"""Kills workers and drivers of a study at random: no cell is lost or counted twice, and no result changes.

    python benchmarks/study_kills.py [kills] [seeds]

The same study is trained twice, once without interruption and once with two drivers on one store. Drivers and
workers are killed with SIGKILL and started again. The predictions of both studies must be equal bit for bit.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from excite.config.train_config import TrainConfig
from excite.study.plan import Plan, parse_arm
from excite.study.running.worker import work
from excite.study.store.schema import DONE, RUNNING, WAITING
from excite.study.study import Study, begin
from excite.system.progress import Display

NET = "densenet_bc_40_12"
BASE = TrainConfig(
    data="digits",
    epochs=1,
    batch_size=64,
    device="cpu",
    precision="float32",
    image_size=16,
    model_options={"block_config": [2, 2], "growth_rate": 4, "init_channels": 8},
)


def begun(folder: Path, seeds: int) -> Study:
    arms = [parse_arm(f"plain:{NET}"), parse_arm(f"se:{NET}+se,reduction=4,placement=block")]
    return begin(Plan(BASE, arms, seeds=seeds), folder, None, Display())[0]


def drive(study: Study, number: int) -> subprocess.Popen[bytes]:
    """A driver with one worker of one thread, each driver on a core of its own."""
    call = [
        sys.executable,
        "-m",
        "excite",
        "study",
        "resume",
        str(study.folder),
        "--jobs",
        "1",
        "--lease",
        "5",
    ]
    cores = sorted(os.sched_getaffinity(0))
    call = ["taskset", "-c", str(cores[number % len(cores)]), *call]  # which becomes the driver
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def children_of(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def results(study: Study) -> dict[tuple[str, int, int], bytes]:
    rows = study.store.results(study.name)
    found = {(row.arm, row.seed, row.fold): bytes(row.probabilities) for row in rows}
    assert len(found) == len(rows), "a cell was counted twice"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=30)
    parser.add_argument("seeds", type=int, nargs="?", default=20)
    arguments = parser.parse_args()
    kills, seeds = arguments.kills, arguments.seeds
    dice = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        calm = begun(Path(place) / "calm", seeds)
        began = time.perf_counter()
        work(calm, device="cpu", threads=1, name="calm")
        cells = len(calm.store.results(calm.name))
        print(f"undisturbed: {cells} cells in {time.perf_counter() - began:.0f} s", flush=True)
        study = begun(Path(place) / "killed", seeds)
        drivers = [drive(study, 0), drive(study, 1)]
        done = {"workers": 0, "drivers": 0}
        began = time.perf_counter()
        while True:
            counts = study.store.counts(study.name)
            if not counts[WAITING] + counts[RUNNING]:
                break
            for number, driver in enumerate(drivers):
                if driver.poll() is not None:
                    drivers[number] = drive(study, number)
            time.sleep(dice.uniform(0.05, 1.0))
            victims = [("drivers", driver.pid) for driver in drivers if driver.poll() is None]
            victims += [("workers", child) for _, driver in list(victims) for child in children_of(driver)]
            # One after the other over the whole study, so that no cell meets five by chance and is given up.
            due = counts[DONE] >= sum(done.values()) * (cells - 4) // kills
            if sum(done.values()) < kills and due and counts[RUNNING] and victims:
                kind, victim = dice.choice(victims)
                try:
                    os.kill(victim, signal.SIGKILL)
                    done[kind] += 1
                except ProcessLookupError:  # it ended by itself
                    continue
        for driver in drivers:
            driver.wait()
        spent = time.perf_counter() - began
        print(f"killed: {done['workers']} workers, {done['drivers']} drivers; {spent:.0f} s")
        print(f"cells: {study.store.counts(study.name)}")
        same = results(study) == results(calm)
        print(f"results equal, cell by cell and bit for bit: {same}")
        return 0 if same and sum(done.values()) >= kills else 1


if __name__ == "__main__":
    sys.exit(main())
