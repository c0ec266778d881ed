"""Speed of training and inference, compared with timm, torchvision, and MONAI.

Run by hand: ``python benchmarks/speed.py [resnet50|densenet121] [--precision bfloat16] [--compiled]``.

Each row is a process of its own for each work, so that none inherits another's memory, and all rows take
turns: one step of each, round after round, so that a busy moment meets all. Times are medians with the
quartiles; ratios are medians of the ratios within a round. Data is random, memory channels-last, precision
the same for all. Rows of other libraries run as their users run them; excite with what ``excite train`` and
``Classifier`` switch on: fused operators, memory that stays in the process, and for inference the copy that
``excite.optimize_for_inference`` makes. ``kernels off`` has none of these; ``kept`` is another library's
network with memory that stays. Peak memory is what a training step takes above what the process holds once
a step of two small images has loaded all libraries. One image is predicted ten times in a row, as is
common. The lower bound is the network's arithmetic at the speed of a large matrix product measured here,
which no real network reaches.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEP, ONE, MANY = 16, 1, 32  # images of a training step, and of the two inferences
IMAGES = {"step": STEP, "infer 1": ONE, "infer 32": MANY}
IN_A_ROW = {"step": 1, "infer 1": 10, "infer 32": 1}
WORKS = tuple(IMAGES)


def excites(name: str, **options: object) -> nn.Module:
    from excite.models.catalog import create_model

    return create_model(name, num_classes=1000, **options)


def torchvisions(name: str, se: bool) -> nn.Module:
    import torchvision

    network = torchvision.models.get_model(name)
    if se:  # where excite's DenseNets have it: on the last block's output
        gate = torchvision.ops.SqueezeExcitation(1024, 64)
        network.features.denseblock4 = nn.Sequential(network.features.denseblock4, gate)
    return network


def timms(name: str) -> nn.Module:
    import timm

    return timm.create_model(name)


def monais() -> nn.Module:
    from monai.networks.nets import SEResNet50

    return SEResNet50(spatial_dims=2, in_channels=3, num_classes=1000)


ROWS: dict[str, dict[str, Callable[[], nn.Module]]] = {
    "resnet50": {
        "excite": lambda: excites("resnet50"),
        "excite + SE": lambda: excites("resnet50", attention="se"),
        "excite + SE, kernels off": lambda: excites("resnet50", attention="se"),
        "torchvision": lambda: torchvisions("resnet50", se=False),
        "timm": lambda: timms("resnet50"),
        "timm + SE": lambda: timms("seresnet50"),
        "timm + SE, kept": lambda: timms("seresnet50"),
        "MONAI + SE": monais,
    },
    "densenet121": {
        "excite": lambda: excites("densenet121"),
        "excite + SE": lambda: excites("densenet121", attention="se"),
        "excite + SE, kernels off": lambda: excites("densenet121", attention="se"),
        "excite + SE in layers": lambda: excites("densenet121", attention="se", placement="layer"),
        "torchvision": lambda: torchvisions("densenet121", se=False),
        "torchvision + SE": lambda: torchvisions("densenet121", se=True),
        "torchvision + SE, kept": lambda: torchvisions("densenet121", se=True),
        "timm": lambda: timms("densenet121"),
        "timm, kept": lambda: timms("densenet121"),
    },
}
COMPILED = {"resnet50": ("timm", "timm + SE"), "densenet121": ("timm",)}
# What a work's rows are compared with.
AGAINST = {
    "resnet50": dict.fromkeys(WORKS, "excite"),
    "densenet121": {"step": "torchvision + SE", "infer 1": "timm", "infer 32": "timm"},
}


def serve(network: str, row: str, work: str, precision: str, threads: int, compiled: bool) -> None:
    """Do what is asked on standard input, a word a line, and print how long it took."""
    torch.set_num_threads(threads)
    own = row.startswith("excite") and not row.endswith("off")
    if own or row.endswith("kept"):
        from excite.system.malloc import keep_heap

        keep_heap()
    model = ROWS[network][row]().to(memory_format=torch.channels_last)
    x = torch.randn(IMAGES[work], 3, 224, 224).contiguous(memory_format=torch.channels_last)
    if own and work != "step":
        from excite import optimize_for_inference

        model = optimize_for_inference(model.eval(), x[:1])
    run = torch.compile(model) if compiled else model

    def forward(x: Tensor) -> Tensor:
        chosen = (
            torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()
        )
        with chosen:
            return run(x)

    def step(x: Tensor) -> None:
        model.train()
        F.cross_entropy(forward(x).float(), torch.arange(len(x))).backward()
        model.zero_grad()

    def infer(x: Tensor) -> None:
        model.eval()
        with torch.no_grad():
            forward(x)

    do = step if work == "step" else infer
    print("ready", flush=True)
    for line in sys.stdin:
        word = line.strip()
        if word == "peak":
            print(peak() / 2**20, flush=True)
            continue
        if word == "mark":
            Path("/proc/self/clear_refs").write_text("5")
            print(peak() / 2**20, flush=True)
            continue
        if word == "small":
            do(x[:2, :, :64, :64].contiguous(memory_format=torch.channels_last))
            print(0, flush=True)
            continue
        began = time.perf_counter()
        for _ in range(IN_A_ROW[work]):
            do(x)
        print((time.perf_counter() - began) / IN_A_ROW[work], flush=True)


def peak() -> float:
    """The most memory that this process has held since it was marked, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


class Row:
    """A process that serves one row in one work."""

    def __init__(
        self, network: str, name: str, work: str, precision: str, threads: int, compiled: bool
    ) -> None:
        environment = os.environ | ({"EXCITE_KERNELS": "off"} if name.endswith("off") else {})
        asked = json.dumps([network, name, work, precision, threads, compiled])
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert self.process.stdout
        self.process.stdout.readline()
        if work == "step" and not compiled:  # for which another size is another program
            self.ask("small")
        held = self.ask("mark")
        self.ask("do")
        self.first = time.perf_counter() - began
        self.ask("do")
        self.memory = self.ask("peak") - held
        self.times: list[float] = []

    def ask(self, word: str) -> float:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def stop(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def matrix_speed(precision: str) -> float:
    """Operations a second of a large product, on as many threads as PyTorch has."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a = torch.randn(2048, 2048).to(dtype)
    times = []
    for _ in range(12):
        began = time.perf_counter()
        # oneDNN's product: on AMD, MKL's behind torch.mm has half its speed in float32.
        torch.ops.mkldnn._linear_pointwise(a, a, None, "none", [], "")
        times.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(times)


def operations(network: str) -> float:
    """Of one image's forward pass; a step has three times as many."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        excites(network)(torch.empty(1, 3, 224, 224, device="meta"))
    return float(counter.get_total_flops())


def compare(network: str, precision: str, threads: int, rounds: int, compiled: bool) -> None:
    names = [name for name in ROWS[network] if "MONAI" not in name or importlib.util.find_spec("monai")]
    asked = {name: (name, False) for name in names}
    if compiled:
        asked |= {f"{name}, compiled": (name, True) for name in COMPILED[network]}
    cells: dict[str, list[str]] = {name: [] for name in asked}
    for work in WORKS:
        rows = {
            title: Row(network, name, work, precision, threads, compiled)
            for title, (name, compiled) in asked.items()
        }
        for _ in range(rounds * (2 if work == "infer 1" else 1)):
            for row in rows.values():
                row.times.append(row.ask("do"))
        for title, row in rows.items():
            row.stop()
            low, middle, high = statistics.quantiles(row.times, n=4)
            pairs = zip(rows[AGAINST[network][work]].times, row.times, strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            cells[title] += [f"{middle:.3f} s ({low:.3f}-{high:.3f})", f"{ratio:.2f}"]
            if work == "step":
                cells[title] += [f"{row.memory:,.0f} MiB", f"{row.first:.1f} s"]
    torch.set_num_threads(threads)
    speed, cost = matrix_speed(precision), operations(network)
    against = ", ".join(dict.fromkeys(AGAINST[network].values()))
    print(f"\n{network}, {precision}, {threads} threads; ratios: speed relative to {against}\n")
    print(f"| | step, {STEP} images | | peak | first step | inference, 1 | | inference, {MANY} | |")
    print("|---|---|---|---|---|---|---|---|---|")
    for title, row_cells in cells.items():
        print(f"| {title} | {' | '.join(row_cells)} |")
    step, one, many = (f"{times * cost / speed:.3f} s" for times in (3 * STEP, ONE, MANY))
    bound = f"lower bound: arithmetic at {speed / 1e9:.0f} GFLOP/s"
    print(f"| {bound} | {step} | | | | {one} | | {many} | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=list(ROWS), metavar="NETWORK", help=", ".join(ROWS))
    parser.add_argument("--precision", choices=("float32", "bfloat16"), action="append")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--compiled", action="store_true", help="timm's under torch.compile, too: takes minutes"
    )
    given = parser.parse_args()
    for network in given.networks:
        for precision in given.precision or ["float32", "bfloat16"]:
            compare(network, precision, given.threads, given.rounds, given.compiled)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*json.loads(sys.argv[2]))
    else:
        main()
