"""Attention inserted into trained networks: accuracy after insertion, and the gain of fine-tuning with it.

Run by hand: ``python benchmarks/attention_in_trained_networks.py DATA``. DATA holds ``cifar10.tar``,
``hymenoptera/{train,val}`` and ``weights/``. First the CIFAR-10 ResNets are scored on all test images: plain,
with SE from an identity start, and with SE from random weights. Then each network is fine-tuned with and
without SE, with the same seeds and budget, and the differences are paired. Finished runs are not repeated, so
that an interrupted benchmark continues where it stopped.
"""

from __future__ import annotations

import argparse
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn

import excite
from excite.config.imagenet import IMAGENET_MEAN, IMAGENET_STD
from excite.data.decoding import decode
from excite.models.weights import load_weights
from excite.runs.run import Run

SEEDS = (0, 1, 2)
ARMS: dict[str, dict[str, Any]] = {
    "plain": {"attention": "none"},
    "SE": {"attention": "se", "identity": True},
}


@dataclass(frozen=True)
class Task:
    """One network to fine-tune: how, and from which weights."""

    name: str
    data: str
    weights: str
    options: dict[str, Any] = field(default_factory=dict)


SGD = {"optimizer": "sgd", "lr": 0.01, "weight_decay": 5e-4, "batch_size": 128, "image_size": 32}
TASKS = [
    Task(
        "CIFAR-10 ResNet-20",
        "cifar10.csv",
        "cifar10_resnet20",
        {"model": "cifar_resnet20", "epochs": 4, "augment": "quick", **SGD},
    ),
    Task(
        "CIFAR-10 ResNet-56",
        "cifar10.csv",
        "cifar10_resnet56",
        {"model": "cifar_resnet56", "epochs": 2, "augment": "quick", **SGD},
    ),
    Task(
        "hymenoptera MobileNet",
        "hymenoptera.csv",
        "mobilenetv1_100_imagenet_trunk",
        {
            "model": "mobilenetv1_100",
            "model_options": {"pad_type": "same"},
            "epochs": 15,
            "image_size": 224,
            "lr": 2e-4,
            "augment": "standard",
            "normalization": "half",
        },
    ),
]


def tables(data: Path, place: Path, training_images: int) -> None:
    """CSVs of paths, labels and splits; CIFAR-10 is unpacked, and its training images are thinned."""
    if not (place / "train").is_dir():
        with tarfile.open(data / "cifar10.tar") as archive:
            archive.extractall(place, filter="data")
    rows = []
    for split in ("train", "test"):
        for folder in sorted((place / split).iterdir()):
            files = sorted(folder.glob("*.jpg"))
            if split == "train":
                files = files[:: max(1, 10 * len(files) // training_images)]
            for number, file in enumerate(files):
                part = "val" if split == "train" and number % 10 == 0 else split
                rows.append((str(file), folder.name, part))
    pd.DataFrame(rows, columns=["path", "label", "split"]).to_csv(place / "cifar10.csv", index=False)
    rows = []
    for split, part in (("train", "train"), ("val", "test")):
        for folder in sorted((data / "hymenoptera" / split).iterdir()):
            for number, file in enumerate(sorted(folder.glob("*.jpg"))):
                held = "val" if part == "train" and number % 8 == 0 else part
                rows.append((str(file.resolve()), folder.name, held))
    pd.DataFrame(rows, columns=["path", "label", "split"]).to_csv(place / "hymenoptera.csv", index=False)


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    """(N, classes) logits of (N, 3, 32, 32) images."""
    return torch.cat([model.eval()(batch) for batch in images.split(500)])


def scores(data: Path, place: Path) -> None:
    """Identity and random gates in trained networks, on the whole test set."""
    table = pd.read_csv(place / "cifar10.csv").query("split == 'test'")
    pixels = np.stack([np.asarray(decode(path)) for path in table["path"]])
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std
    targets = torch.from_numpy(pd.factorize(table["label"], sort=True)[0])
    print("| network | plain | SE, identity start | same logits | SE, random start (5 seeds) |")
    print("|---|---|---|---|---|")
    for depth in (20, 56):
        plain = excite.create_model(f"cifar_resnet{depth}", num_classes=10)
        load_weights(plain, data / "weights" / f"cifar10_resnet{depth}.safetensors")
        before = logits(plain, images)
        after = logits(excite.insert(plain, "se", identity=True), images)
        same = int((before == after).all(dim=1).sum())
        fresh = []
        for seed in range(5):
            torch.manual_seed(seed)
            fresh.append(accuracy(logits(excite.insert(plain, "se"), images), targets))
        print(
            f"| ResNet-{depth} | {accuracy(before, targets):.2%} | {accuracy(after, targets):.2%} "
            f"| {same:,} of {len(targets):,} | {min(fresh):.2%} to {max(fresh):.2%} |",
            flush=True,
        )


def accuracy(predictions: Tensor, targets: Tensor) -> float:
    return float((predictions.argmax(dim=1) == targets).float().mean())


def fine_tune(task: Task, data: Path, place: Path) -> None:
    """Both arms over all seeds; prints the accuracy of each run and the paired difference."""
    differences = []
    for seed in SEEDS:
        right = {}
        for arm, attention in ARMS.items():
            out = place / "runs" / f"{task.weights}-{arm}-{seed}"
            finished = (out / "metrics.json").is_file()
            run = (
                Run.open(out)
                if finished
                else excite.train(
                    place / task.data,
                    out=str(out),
                    weights=str(data / "weights" / f"{task.weights}.safetensors"),
                    seed=seed,
                    near_duplicates=False,
                    allow_leaks=True,  # CIFAR-10's own: 34 of its 10,000 test images; both arms meet them
                    quiet=True,
                    **task.options,
                    **attention,
                )
            )
            right[arm] = (run.predictions["label"] == run.predictions["predicted"]).to_numpy()
        plain, attended = right["plain"], right["SE"]
        differences.append(attended.mean() - plain.mean())
        won, lost = int((attended & ~plain).sum()), int((plain & ~attended).sum())
        print(
            f"| {task.name} | {seed} | {plain.mean():.2%} | {attended.mean():.2%} "
            f"| {100 * differences[-1]:+.2f} | {won} / {lost} | {len(plain):,} |",
            flush=True,
        )
    mean, spread = np.mean(differences), stats.sem(differences)
    low, high = stats.t.interval(0.95, len(differences) - 1, loc=mean, scale=spread)
    print(
        f"| {task.name} | mean | | | {100 * mean:+.2f} ({100 * low:+.2f} to {100 * high:+.2f}) | | |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("attention-benchmark"), help="folder of the runs")
    parser.add_argument("--training-images", type=int, default=10_000, help="how many of CIFAR-10's 50,000")
    parser.add_argument("--only", help="part of a task's name; 'scores' for only the first table")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tables(options.data, options.out, options.training_images)
    if options.only in (None, "scores"):
        scores(options.data, options.out)
    chosen = [task for task in TASKS if options.only is None or options.only in task.name]
    if chosen:
        print("\n| network | seed | plain | with SE | difference, points | won / lost | test images |")
        print("|---|---|---|---|---|---|---|")
    for task in chosen:
        fine_tune(task, options.data, options.out)


if __name__ == "__main__":
    main()
