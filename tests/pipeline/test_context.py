"""The context of a run: the rows and images of each split, and the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.pipeline.context import RunContext
from excite.runs.run import Run
from excite.system.progress import Display
from excite.system.world import World

CPU = torch.device("cpu")
SPLITS = ["test", "train", "val", "train", "train", "test"]
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    table = pd.DataFrame({"path": list("uvwxyz"), "label": list("ababab"), "split": SPLITS})
    config = TrainConfig(image_size=4, normalization="symmetric", tta="flip")
    manifest = Manifest(table, ("a", "b"))
    return RunContext(Run(tmp_path), config, manifest, nn.Linear(1, 1), PIXELS, CPU, Display(), World())


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_images_of_a_split_are_its_rows_in_order(context: RunContext, split: str) -> None:
    expected = [row for row, name in enumerate(SPLITS) if name == split]
    assert context.rows(split).tolist() == expected
    images = context.images(split)
    assert len(images) == len(expected)
    assert np.array_equal(images.take(np.arange(len(expected)), CPU).numpy(), PIXELS[expected])
    assert context.manifest.part(split).table["path"].tolist() == [list("uvwxyz")[row] for row in expected]


def test_a_split_without_images_is_empty(context: RunContext) -> None:
    assert len(context.images("holdout")) == 0


def test_preprocessing_is_that_of_the_configuration(context: RunContext) -> None:
    found = context.preprocessing
    assert (found.image_size, found.mean, found.tta) == (4, (0.5,) * 3, "flip")


def test_another_network_leaves_the_first_context_alone(context: RunContext) -> None:
    before, other = context.model, nn.Linear(1, 1)
    changed = context.with_model(other)
    assert changed.model is other
    assert context.model is before
    assert changed.manifest is context.manifest
