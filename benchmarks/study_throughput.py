"""Does a study of small cells keep the cores busy, and what does a cell cost beside its training?

    python benchmarks/study_throughput.py [seeds]

On a machine that does nothing else. Busy is the sum of the cells' times over workers times the time from the
first cell's start to the last one's end; overhead is a cell's time less its training's.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from excite.study.board import Board
from excite.study.plan import Plan, parse_arm
from excite.study.runner import choose_crew, run_here
from excite.study.study import begin
from excite.training.config import TrainConfig
from excite.training.progress import Display


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    base = TrainConfig(data="digits", epochs=2, device="cpu", precision="float32")
    arms = [parse_arm("plain:densenet_bc_40_12"), parse_arm("se:densenet_bc_40_12+se")]
    with tempfile.TemporaryDirectory() as place:
        study, cells = begin(Plan(base, arms, seeds=seeds), Path(place) / "study", None, Display())
        crew = choose_crew("cpu", None, None, cells)
        run_here(study, crew, Board())
        rows = study.store.cells(study.name)
        spent = [row.ended - row.started for row in rows]
        whole = max(row.ended for row in rows) - min(row.started for row in rows)
        results = study.store.results(study.name, predictions=False)
        firsts: dict[str, tuple[str, int, int]] = {}
        for row in sorted(rows, key=lambda row: row.started):
            firsts.setdefault(row.worker, (row.arm, row.seed, row.fold))
        later = [
            row.result["seconds"] - row.result["training"]
            for row in results
            if (row.arm, row.seed, row.fold) not in firsts.values()
        ]
    busy, beside = sum(spent) / (len(crew.devices) * whole), np.median(later)
    print(f"{cells} cells, {crew}")
    print(f"busy: {busy:.1%} of the workers' time from the first start to the last end")
    print(f"a cell: {np.median(spent):.2f} s; beside its training, after a worker's first: {beside:.2f} s")


if __name__ == "__main__":
    main()
