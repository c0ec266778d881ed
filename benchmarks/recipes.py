"""Accuracy and time of each recipe, on the same folds and from the same weights.

Run by hand: ``python benchmarks/recipes.py DATA WEIGHTS.safetensors``. Each recipe trains the first
``--folds-run`` of five folds by group, with an empty cache of features (pixels and audit are there already),
and is measured on their test images, with the copies of a photo averaged. fastai's ``fine_tune`` at its
defaults does the same with the same network, weights and folds where it is installed; timm's training script
is in no package.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import excite
from excite.data.manifest import Manifest
from excite.data.pixel_cache import cached_pixels
from excite.data.preprocessing import Preprocessing
from excite.data.split import repeated_folds
from excite.evaluation.folds import pool
from excite.evaluation.measure import measure
from excite.evaluation.predictions import Predictions
from excite.inference.predict import softmax
from excite.models.catalog import create_model
from excite.models.weights import load_weights
from excite.runs.prediction_table import predictions_of
from excite.system.cache import cache_directory

FOLDS = 5
EPOCHS = 4  # of fastai's fine_tune, after one of the head alone: what its tutorials take


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data")
    options.add_argument("weights")
    options.add_argument("--model", default="mobilenetv1_100")
    options.add_argument("--truncate-after", default="blocks.4.0")
    options.add_argument("--group-pattern")
    options.add_argument("--image-size", type=int, default=160)
    options.add_argument("--folds-run", type=int, default=2)
    options.add_argument("--recipes", default="probe,finetune,scratch,fastai")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["EXCITE_CACHE"] = cache
        compare(asked)


def compare(asked: argparse.Namespace) -> None:
    """The table, row by row."""
    images = excite.audit(asked.data, group_pattern=asked.group_pattern).grouped()
    numbers = repeated_folds(images, FOLDS, 1, seed=0, method="grouped")[:, 0]
    parts = [
        images.with_columns(split=np.where(numbers == fold, "test", "train"))
        for fold in range(asked.folds_run)
    ]
    cached_pixels(images, Preprocessing(asked.image_size), cache_directory())
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {len(images)} images, ", end="")
    print(f"{asked.folds_run} of {FOLDS} folds by group, {asked.image_size} pixels")
    print("| recipe | accuracy, photos | AUROC | seconds a fold |\n|---|---|---|---|")
    for name in asked.recipes.split(","):
        train: Callable[[Manifest, argparse.Namespace], Predictions] = with_fastai
        if name != "fastai":
            train = with_excite(name)
        try:
            began = time.perf_counter()
            told = pool([train(part, asked) for part in parts])
            seconds = (time.perf_counter() - began) / len(parts)
        except ImportError:
            print(f"| {name} | not installed | | |")
            continue
        figures = measure(told.by_photo())
        print(
            f"| {name} | {shown(figures['accuracy'])} | {shown(figures['auroc'])} | {seconds:.0f} |",
            flush=True,
        )


def shown(figure: dict[str, Any]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def with_excite(recipe: str) -> Callable[[Manifest, argparse.Namespace], Predictions]:
    def train(part: Manifest, asked: argparse.Namespace) -> Predictions:
        with tempfile.TemporaryDirectory() as place:
            part.save(Path(place) / "fold.csv")
            options = {"model": asked.model, "image_size": asked.image_size, "recipe": recipe}
            if recipe != "scratch":
                options |= {"weights": asked.weights, "truncate_after": asked.truncate_after}
            shutil.rmtree(cache_directory() / "features", ignore_errors=True)
            run = excite.train(Path(place) / "fold.csv", out=str(Path(place) / "run"), quiet=True, **options)
            return run.predicted()

    return train


def with_fastai(part: Manifest, asked: argparse.Namespace) -> Predictions:
    """fastai's ``Learner.fine_tune`` with its augmentation, schedule and rates."""
    from fastai.vision.all import (  # type: ignore[import-not-found]
        CategoryBlock,
        ColReader,
        ColSplitter,
        DataBlock,
        ImageBlock,
        Learner,
        Normalize,
        Resize,
        aug_transforms,
    )

    table = part.table.assign(held=part.table["split"] == "test")
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=list(part.classes))),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=ColSplitter("held"),
        item_tfms=Resize(asked.image_size),
        batch_tfms=[*aug_transforms(), Normalize.from_stats([0.5] * 3, [0.5] * 3)],
    )
    torch.manual_seed(0)
    model = create_model(asked.model, num_classes=len(part.classes), truncate_after=asked.truncate_after)
    load_weights(model, Path(asked.weights))
    learner = Learner(
        block.dataloaders(table, bs=32), model, loss_func=nn.CrossEntropyLoss(), splitter=head_apart
    )
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(EPOCHS)
        logits = learner.get_preds(act=nn.Identity())[0].numpy()
    return predictions_of(part.part("test"), softmax(logits))


def head_apart(model: nn.Module) -> list[list[nn.Parameter]]:
    """Body and head, the two groups of parameters that fine_tune tells apart."""
    head = {id(parameter) for parameter in model.classifier.parameters()}
    body = [parameter for parameter in model.parameters() if id(parameter) not in head]
    return [body, list(model.classifier.parameters())]


if __name__ == "__main__":
    main()
