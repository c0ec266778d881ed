"""int8 against float32 of trained runs: the same class, log loss, size, and time in ONNX Runtime.

    python benchmarks/export_int8.py RUN ... [--rounds 30] [--threads 1]

Exports each run twice with ``excite export``, and alternates the two files image by image. Processor time is
measured, which other processes change less than the time on the clock. Prints the table of
docs/experiments/exported_files.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from excite.bundle.predictor import Predictor
from excite.errors import ExciteError
from excite.export.export import export_run
from excite.export.limits import Limits
from excite.runs.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    print("| run | test images | same class | log loss | int8 | gates | size | time, batch 1 | batch 8 |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for path in asked.runs:
        with tempfile.TemporaryDirectory() as place:
            try:
                print(
                    f"| {path.name} | {row(Run.open(path), Path(place), asked.rounds, asked.threads)} |",
                    flush=True,
                )
            except ExciteError as error:
                print(f"| {path.name} | {error} |", flush=True)


def row(run: Run, place: Path, rounds: int, threads: int) -> str:
    [plain] = export_run(run, ["onnx"], place / "float32.onnx")
    limits = Limits(accuracy=1.0, log_loss=100.0)  # measure it, however much worse it is
    [small] = export_run(run, ["onnx"], place / "int8.onnx", int8=limits)
    predictors = [Predictor.load(each.path, threads=threads) for each in (plain, small)]
    facts = predictors[1].info.quantization
    assert facts is not None
    test = facts["test"]
    ratios = [speed(predictors, batch, rounds) for batch in (1, 8)]
    cells = [
        test["n"],
        f"{test['same_class']:.1%}",
        f"{test['log_loss']['first']:.4f}",
        f"{test['log_loss']['second']:.4f}",
        facts["gates"]["precision"] if facts["gates"]["nodes"] else "none",
        f"{small.size / plain.size:.2f}",
        *(f"{ratio:.2f}" for ratio in ratios),
    ]
    return " | ".join(map(str, cells))


def speed(predictors: list[Predictor], batch: int, rounds: int) -> float:
    """The median of the ratios of the times, float32 over int8."""
    size = predictors[0].info.preprocessing.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    seconds = []
    for _ in range(rounds + 2):
        row = []
        for predictor in predictors:
            start = time.process_time()
            predictor.probabilities(pixels, batch)
            row.append(time.process_time() - start)
        seconds.append(row)
    one, two = np.array(seconds[2:]).T
    return float(np.median(one / two))


if __name__ == "__main__":
    main()
