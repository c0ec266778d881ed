"""The effect of reusing freed memory: ``python benchmarks/memory.py [NETWORK ...]``.

Forward pass and training step with and without ``excite.system.malloc.keep_heap``, each in processes of
its own, alternating, since the setting cannot be taken back; medians of several, with page faults and peak.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

ROUNDS, STEPS = 3, 3


def measure(name: str) -> dict[str, float]:
    """Seconds, page faults and peak MiB of this process."""
    from excite.models.catalog import create_model
    from excite.system.malloc import keep_heap

    keep_heap()
    torch.set_num_threads(1)
    model = create_model(name, num_classes=10).to(memory_format=torch.channels_last)
    images = torch.randn(32, 3, 224, 224).contiguous(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.inference_mode():
            model.eval()(images)

    def step() -> None:
        model.train()(images[:16]).square().mean().backward()

    found: dict[str, float] = {}
    for what, work in (("forward", forward), ("step", step)):
        found[what], found[f"{what} faults"] = timed(work)
    found["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def timed(work: Callable[[], None]) -> tuple[float, float]:
    work()
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    for _ in range(STEPS):
        work()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return (time.perf_counter() - began) / STEPS, faults / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = ["mobilenetv1_100", "resnet50", "densenet121"]
    parser.add_argument("networks", nargs="*", default=default)
    names = parser.parse_args().networks
    print(
        "| network | memory | forward, 32 images | page faults | step, 16 images | page faults | peak MiB |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in names:
        rows: dict[str, list[dict[str, float]]] = {"returned": [], "kept": []}
        for _ in range(ROUNDS):
            for how, found in rows.items():
                environment = os.environ | {"EXCITE_KEEP_MEMORY": "off" if how == "returned" else "on"}
                call = [sys.executable, __file__, "--one", name]
                found.append(json.loads(subprocess.check_output(call, env=environment)))
        for how, found in rows.items():
            middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
            print(
                f"| {name} | {how} | {middle['forward']:.2f} s | {middle['forward faults']:,.0f} "
                f"| {middle['step']:.2f} s | {middle['step faults']:,.0f} | {middle['peak MiB']:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main()
