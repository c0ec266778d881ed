"""Overhead of the training loop beside forward, backward, and optimizer step, and its speed beside a bare
loop.

Run by hand: ``python benchmarks/training_loop.py``. DenseNet-121 at 224 pixels, batch 16, as excite trains
it, beside a plain loop around torchvision's DenseNet-121. All loops alternate in one process; results are
medians.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from excite.config.train_config import TrainConfig
from excite.data.augmentation import PRESETS
from excite.data.batches import TrainingBatches
from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.models.catalog import create_model
from excite.system.devices import autocast, choose_device, choose_precision
from excite.system.progress import Display
from excite.system.world import World
from excite.training.loop import Trainer
from excite.training.validation import Validation

IMAGES, CLASSES = 256, 10


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Stopwatch:
    """Adds up the time spent in the functions that it wraps."""

    device: torch.device
    spent: float = 0.0
    steps: list[tuple[float, float]] = field(default_factory=list)  # (whole step, inside), seconds

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            synchronize(self.device)
            began = time.perf_counter()
            result = function(*args, **kwargs)
            synchronize(self.device)
            self.spent += time.perf_counter() - began
            return result

        return timed


def our_trainer(
    size: int, batch: int, augment: str, precision: str, device: torch.device, folder: Path
) -> Trainer:
    random = np.random.default_rng(0)
    pixels = np.lib.format.open_memmap(
        folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(IMAGES, size, size, 3)
    )
    pixels[:] = random.integers(0, 256, pixels.shape, dtype=np.uint8)
    targets = random.integers(0, CLASSES, IMAGES)
    config = TrainConfig().replace(
        lr=1e-3,
        weight_decay=0.05,
        layer_decay=1.0,
        precision=precision,
        device=device.type,
        batch_size=batch,
        augment=augment,
    )
    preprocessing = Preprocessing(size)
    batches = TrainingBatches(
        PixelSubset(pixels, device=device),
        targets,
        classes=CLASSES,
        preprocessing=preprocessing,
        batch_size=batch,
        augmentation=PRESETS[augment],
        seed=0,
        device=device,
    )
    return Trainer(
        create_model("densenet121", num_classes=CLASSES).to(device),
        batches,
        Validation(PixelSubset(pixels), targets, preprocessing),
        config,
        folder=folder,
        device=device,
        world=World(),
        display=Display(),
    )


def our_step(trainer: Trainer, watch: Stopwatch) -> Callable[[], None]:
    """One turn of the loop, with forward, backward and optimizer step under the watch."""
    counters = trainer.state.counters
    trainer.forward.train()
    trainer.forward.forward = watch.around(trainer.forward.forward)  # type: ignore[method-assign]
    trainer.state.optimizer.step = watch.around(trainer.state.optimizer.step)  # type: ignore[method-assign]

    def step() -> None:
        watch.spent = 0.0
        plain = torch.Tensor.backward
        torch.Tensor.backward = watch.around(plain)  # type: ignore[method-assign]
        synchronize(trainer.device)
        began = time.perf_counter()
        try:
            trainer.train_step()
            counters.step = (counters.step + 1) % trainer.batches.steps
            synchronize(trainer.device)
        finally:
            torch.Tensor.backward = plain  # type: ignore[method-assign]
        watch.steps.append((time.perf_counter() - began, watch.spent))

    return step


def bare_step(
    size: int, batch: int, precision: str, channels_last: bool, device: torch.device
) -> Callable[[], None]:
    """The loop as people write it, its batch ready in memory: no data, augmentation, average or clipping."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = torchvision.models.densenet121(num_classes=CLASSES).to(device, memory_format=layout).train()
    optimizer = torch.optim.AdamW(model.parameters())
    images = torch.randn(batch, 3, size, size, device=device).to(memory_format=layout)
    targets = torch.randint(0, CLASSES, (batch,), device=device)
    loss_of = torch.nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        with autocast(device, precision):
            loss = loss_of(model(images), targets)
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def seconds(step: Callable[[], None], device: torch.device) -> float:
    synchronize(device)
    began = time.perf_counter()
    step()
    synchronize(device)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--augment", default="standard", choices=sorted(PRESETS))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    best = choose_precision("auto", device)
    with tempfile.TemporaryDirectory() as place:
        trainer = our_trainer(options.size, options.batch, options.augment, best, device, Path(place))
        watch = Stopwatch(device)
        contestants = {
            f"excite train, {best}, channels-last, augment {options.augment}": our_step(trainer, watch)
        }
        for precision in dict.fromkeys((best, "float32")):
            for channels_last in (True, False):
                name = f"bare torchvision loop, {precision}{', channels-last' if channels_last else ''}"
                contestants[name] = bare_step(options.size, options.batch, precision, channels_last, device)
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for turn in range(options.steps + 2):
            for name, step in contestants.items():
                spent = seconds(step, device)
                if turn >= 2:  # the first two warm up
                    times[name].append(spent)
    shares = [1 - inside / whole for whole, inside in watch.steps[2:]]
    threads = (
        f"{torch.get_num_threads()} threads" if device.type == "cpu" else torch.cuda.get_device_name(device)
    )
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, {threads}")
    print(f"DenseNet-121, {options.size} px, batch {options.batch}, median of {options.steps} steps\n")
    first = statistics.median(next(iter(times.values())))
    for name, values in times.items():
        middle = statistics.median(values)
        spread = f"({min(values):.3f} to {max(values):.3f})"
        print(
            f"{name:62} {options.batch / middle:7.1f} images/s  {middle:6.3f} s a step {spread}"
            f"  {middle / first:5.2f} x excite"
        )
    print("\nloop overhead (all but forward, backward, optimizer step), as a share of the step:")
    print(f"{statistics.median(shares):.2%} (from {min(shares):.2%} to {max(shares):.2%})")


if __name__ == "__main__":
    main()
