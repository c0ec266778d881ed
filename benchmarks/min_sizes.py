"""The sizes from which the fused operators are faster: ``excite.kernels.dispatch.MIN_SIZES``.

Run by hand: ``python benchmarks/min_sizes.py``. Each row is the size of a feature map and the time of the
fused operator relative to PyTorch's, alternating in one process, medians; below 1 the operator is faster. At
the end: the time of the copy made by ``excite.optimize_for_inference`` relative to its network, and the time
to make it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import excite
from excite.attention.registry import create_attention
from excite.insertion.attach import attach
from excite.kernels.dispatch import use_kernels
from excite.models.densenet import DenseBlock
from excite.models.fused_norms import norm_add_relu, norm_relu
from excite.system.malloc import keep_heap

MAPS = ((32, 16, 16), (32, 32, 16), (32, 16, 32), (16, 64, 32), (16, 512, 14), (16, 128, 56), (16, 256, 56))
BLOCKS = (
    (32, 24, 16, 12, 6),
    (32, 96, 8, 12, 6),
    (32, 24, 32, 12, 6),
    (16, 128, 16, 32, 12),
    (16, 256, 14, 32, 12),
    (16, 128, 28, 32, 12),
)  # images, channels, side, growth rate, layers

COPIES = (
    "timm:mobilenetv1_100",
    "torchvision:mobilenet_v2",
    "timm:efficientnet_b0",
    "torchvision:vgg11_bn",
    "resnet50",
    "densenet121",
)


def share(work: Callable[[], object], rounds: int) -> float:
    """The fused time by PyTorch's, median."""
    times: dict[str, list[float]] = {"on": [], "off": []}
    for _ in range(rounds):
        for choice, found in times.items():
            with use_kernels(choice):
                began = time.perf_counter()
                work()
                found.append(time.perf_counter() - began)
    return statistics.median(a / b for a, b in zip(*(found[3:] for found in times.values()), strict=True))


def norms(dtype: torch.dtype, images: int, channels: int, side: int) -> None:
    x = torch.randn(images, channels, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    x, shortcut, dy = x.requires_grad_(), torch.randn_like(x).requires_grad_(), torch.randn_like(x)
    norm, host = nn.BatchNorm2d(channels), nn.Module()
    host.norm = nn.BatchNorm2d(channels)
    attach(host, "norm", create_attention("se", channels, reduction=4), "after")
    answers = nn.BatchNorm2d(channels).eval()

    def answer() -> None:
        with torch.no_grad():
            norm_add_relu(answers, x, shortcut)

    works = {
        "norm": lambda: norm_relu(norm, x).backward(dy),
        "norm, shortcut": lambda: norm_add_relu(norm, x, shortcut).backward(dy),
        "gate, shortcut": lambda: norm_add_relu(host.norm, x, shortcut).backward(dy),
        "answer": answer,
    }
    found = ", ".join(f"{name} {share(work, 25):.2f}" for name, work in works.items())
    print(f"{dtype}, {x.numel() / 1e6:.2f} M: {found}", flush=True)


def block(dtype: torch.dtype, images: int, channels: int, side: int, growth: int, layers: int) -> None:
    made = DenseBlock(layers, channels, growth, 4, 0.0, None).to(memory_format=torch.channels_last)
    x = torch.randn(images, channels, side, side).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = made(x)
        out.float().sum().backward()

    numbers = images * (channels + growth * layers) * side**2
    print(f"{dtype}, {numbers / 1e6:.2f} M: block {share(step, 12):.2f}", flush=True)


def copies(name: str) -> None:
    model = excite.create_model(name, num_classes=1000).eval().to(memory_format=torch.channels_last)
    found = []
    for many, rounds in ((1, 20), (32, 5)):
        x = torch.randn(many, 3, 224, 224).contiguous(memory_format=torch.channels_last)
        began = time.perf_counter()
        made = excite.optimize_for_inference(model, x[:1])
        cost = time.perf_counter() - began
        times: dict[str, list[float]] = {"copy": [], "network": []}
        with torch.no_grad():
            for _ in range(rounds):
                for which, network in (("copy", made), ("network", model)):
                    began = time.perf_counter()
                    network(x)
                    times[which].append(time.perf_counter() - began)
        ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
        found.append(f"{many} images {ratio:.2f}, made in {cost:.2f} s")
    print(f"{name}: {'; '.join(found)}", flush=True)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    keep_heap()
    for dtype in (torch.float32, torch.bfloat16):
        for shape in MAPS:
            norms(dtype, *shape)
        for shape in BLOCKS:
            block(dtype, *shape)
    for name in COPIES:
        copies(name)


if __name__ == "__main__":
    main()
