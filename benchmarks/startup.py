"""Startup time of a process: help, kernels, attention in a large network.

Run by hand: ``python benchmarks/startup.py``. Medians of alternating rounds, each program in a separate
process. CPU seconds, because other programs affect them less than wall-clock time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict

ROUNDS = 3
TIMED = """
import resource, sys
{before}
began = resource.getrusage(resource.RUSAGE_SELF)
{timed}
ended = resource.getrusage(resource.RUSAGE_SELF)
print(ended.ru_utime - began.ru_utime + ended.ru_stime - began.ru_stime, file=sys.stderr)
"""
KERNELS = TIMED.format(before="import torch, numba", timed="import excite.kernels.cpu.passes")
INSERTION = TIMED.format(
    before="import torchvision, excite\nmodel = torchvision.models.resnet152()\nexcite.insert",
    timed="excite.insert(model)",
)
HELP = "from excite.cli.app import run; run(['--help'])"
PROGRAMS = {
    "a bare interpreter": TIMED.format(before="", timed="pass"),
    "excite --help": TIMED.format(before="", timed=HELP),
    "kernels, compiled": KERNELS,
    "kernels, from the cache": KERNELS,  # of the program before it
    "insert into ResNet-152": INSERTION,
}


def seconds(program: str, cache: str) -> float:
    """Processor time of the timed part of a program."""
    environment = {**os.environ, "EXCITE_CACHE": cache}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stderr.split()[-1])


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    spent: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as cache:
            for name, program in PROGRAMS.items():
                spent[name].append(seconds(program, cache))
    for name, found in spent.items():
        print(f"{name:26} {statistics.median(found):6.3f} s  ({min(found):.3f} to {max(found):.3f})")


if __name__ == "__main__":
    main()
