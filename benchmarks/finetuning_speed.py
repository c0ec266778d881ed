"""Images per second of fine-tuning on photos, beside timm's loop, on this machine.

Run by hand: ``python benchmarks/finetuning_speed.py PHOTOS``, with a folder of class folders. excite trains
as ``--recipe finetune`` does, with the default and with other numbers of frozen layers. timm's loop consists
of its dataset, loader, augmentation (that of its training script), optimizer, and loss; one process decodes
for it, as often as images are used. excite decodes once before the first epoch; the seconds of that are
printed, too. All contestants alternate in one process; results are medians of steps.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import timm
import timm.data
import timm.optim
import torch
from torch import Tensor

from excite.config.train_config import TrainConfig
from excite.data.batches import TrainingBatches
from excite.data.file_validation import check_files
from excite.data.pixel_cache import cached_pixels
from excite.data.reading import read_manifest
from excite.data.sources import PixelSubset
from excite.models.catalog import create_model
from excite.pipeline.resolve import resolve
from excite.runs.derive import architecture_of, augmentation_of, preprocessing_of
from excite.system.devices import autocast, choose_precision
from excite.system.progress import Display
from excite.system.world import World
from excite.training.loop import Trainer
from excite.training.validation import Validation

CPU = torch.device("cpu")
BATCH = 32


def our_step(photos: Path, model: str, frozen: int | None, place: Path) -> Callable[[], None]:
    """One turn of excite's loop."""
    manifest, _ = check_files(read_manifest(photos), cache=place)
    options = {"data": str(photos), "model": model, "pretrained": True, "recipe": "finetune", "device": "cpu"}
    config, _ = resolve(TrainConfig().replace(**options, frozen_layers=frozen, batch_size=BATCH), manifest)
    preprocessing = preprocessing_of(config)
    began = time.perf_counter()
    pixels = PixelSubset(cached_pixels(manifest, preprocessing, place))
    if (spent := time.perf_counter() - began) > 0.5:
        print(f"excite decodes {len(manifest)} images once, in {spent:.1f} s")
    batches = TrainingBatches(
        pixels,
        manifest.targets(),
        classes=len(manifest.classes),
        preprocessing=preprocessing,
        batch_size=BATCH,
        augmentation=augmentation_of(config),
        seed=0,
    )
    folder = place / f"frozen-{frozen}"
    folder.mkdir()
    trainer = Trainer(
        create_model(**architecture_of(config, len(manifest.classes)), pretrained=True),
        batches,
        Validation(pixels, manifest.targets(), preprocessing),
        config,
        folder=folder,
        device=CPU,
        world=World(),
        display=Display(),
    )
    trainer.prepare_epoch()
    counters = trainer.state.counters

    def step() -> None:
        trainer.train_step()
        counters.step += 1
        if counters.step == batches.steps:
            counters.epoch, counters.step = counters.epoch + 1, 0

    return step


def timms_step(photos: Path, name: str, precision: str, workers: int) -> Callable[[], None]:
    """One turn of timm's loop with all weights trained."""
    packaged = create_model(name, num_classes=1000, pretrained=True)
    classes = [folder for folder in photos.iterdir() if folder.is_dir()]
    model = timm.create_model(name.removeprefix("timm:"), num_classes=len(classes))
    weights = {key: value for key, value in packaged.state_dict().items() if not key.startswith("classifier")}
    model.load_state_dict(weights, strict=False)
    model = model.to(memory_format=torch.channels_last).train()
    data = timm.data.resolve_data_config({}, model=model)
    loader = timm.data.create_loader(
        timm.data.create_dataset("", root=str(photos), split=""),
        input_size=data["input_size"],
        batch_size=BATCH,
        is_training=True,
        use_prefetcher=False,
        color_jitter=0.4,
        interpolation=data["interpolation"],
        mean=data["mean"],
        std=data["std"],
        num_workers=workers,
        device=CPU,
        persistent_workers=workers > 0,
    )
    optimizer = timm.optim.create_optimizer_v2(model, opt="adamw", lr=2e-4, weight_decay=0.05)
    loss_of = torch.nn.CrossEntropyLoss()
    batches: Iterator[tuple[Tensor, Tensor]] = itertools.chain.from_iterable(itertools.repeat(loader))

    def step() -> None:
        images, targets = next(batches)
        with autocast(CPU, precision):
            loss = loss_of(model(images.to(memory_format=torch.channels_last)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--frozen", default="0,4,6,8", help="numbers of frozen layers beside the default")
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--workers", type=int, default=1, help="processes that decode for timm")
    options = parser.parse_args()
    precision = choose_precision("auto", CPU)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        contestants = {"excite, as by default": our_step(options.photos, options.model, None, place)}
        for count in map(int, filter(None, options.frozen.split(","))):
            name = f"excite, {count} of 12 layers frozen"
            contestants[name] = our_step(options.photos, options.model, count, place)
        for form in dict.fromkeys((precision, "float32")):
            name = f"timm's loop, {form}, channels-last"
            contestants[name] = timms_step(options.photos, options.model, form, options.workers)
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for turn in range(options.steps + 2):
            for name, step in contestants.items():
                began = time.perf_counter()
                step()
                if turn >= 2:  # the first two warm up
                    times[name].append(time.perf_counter() - began)
    print(f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} threads, {precision}")
    print(f"{options.model}, batch {BATCH}, median of {options.steps} steps\n")
    first = statistics.median(next(iter(times.values())))
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{name:40} {BATCH / middle:6.1f} images/s   {middle / first:5.2f} x the time of the first")


if __name__ == "__main__":
    main()
