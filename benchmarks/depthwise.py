"""Gradients of depthwise convolutions beside PyTorch's, for the layers of an EfficientNet, in milliseconds.

Run by hand: ``python benchmarks/depthwise.py``. Both alternate in one process; results are medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from excite.kernels.depthwise import depthwise_convolution

# Channels, kernel, stride, side of the (padded) input, padding of tf_efficientnet_lite0 at 224 pixels.
LAYERS = [
    (32, 3, 1, 112, 1),
    (96, 3, 2, 113, 0),
    (144, 3, 1, 56, 1),
    (144, 5, 2, 59, 0),
    (240, 5, 1, 28, 2),
    (240, 3, 2, 29, 0),
    (480, 3, 1, 14, 1),
    (480, 5, 1, 14, 2),
    (672, 5, 1, 14, 2),
    (672, 5, 2, 17, 0),
    (1152, 5, 1, 7, 2),
]
BATCH, TURNS = 32, 7


def backward(
    function: Callable[..., torch.Tensor], x: torch.Tensor, weight: torch.Tensor
) -> Callable[[], None]:
    y = function(x, weight)
    dy = torch.randn_like(y)
    return lambda: torch.autograd.backward(y, dy, retain_graph=True, inputs=[x, weight])


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, batch {BATCH}\n")
    print("| channels, kernel, stride, input | format | PyTorch, ms | excite, ms | ratio |")
    print("|---|---|---|---|---|")
    for dtype in (torch.bfloat16, torch.float32):
        for c, k, stride, side, pad in LAYERS:
            x = torch.randn(BATCH, c, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
            x.requires_grad_()
            weight = torch.randn(c, 1, k, k, dtype=dtype, requires_grad=True)
            steps = (
                backward(lambda x, w, s=stride, p=pad: F.conv2d(x, w, None, s, p, groups=len(w)), x, weight),
                backward(
                    lambda x, w, s=stride, p=pad: depthwise_convolution(x, w, None, stride=s, padding=(p, p)),
                    x,
                    weight,
                ),
            )
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(TURNS):
                for step, spent in zip(steps, times, strict=True):
                    began = time.perf_counter()
                    step()
                    spent.append(1000 * (time.perf_counter() - began))
            theirs, ours = (statistics.median(each[1:]) for each in times)
            name = str(dtype).removeprefix("torch.")
            print(
                f"| {c}, {k}, {stride}, {side} | {name} | {theirs:.1f} | {ours:.1f} | {theirs / ours:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
