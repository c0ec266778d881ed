"""How far fine-tuned weights move back: one standard error over groups, and the images that decide."""

from __future__ import annotations

import numpy as np
import pandas as pd

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.pipeline.weight_interpolation import MAX_IMAGES, nearest_to_start, sample_rows


def test_it_stays_at_the_start_unless_the_groups_agree_that_going_on_is_better() -> None:
    groups = np.repeat(np.arange(20), 10)
    random = np.random.default_rng(0)
    start = random.uniform(0.4, 0.8, 200)
    better = start - 0.2 + random.normal(0, 0.05, 200)
    assert nearest_to_start(np.stack([start, start - 0.1, better]), groups) == 2
    # One group in two is as much worse as the other is better, but for a little.
    uneven = start + np.repeat(np.where(np.arange(20) % 2, 0.3, -0.31), 10)
    assert uneven.mean() < start.mean()
    assert nearest_to_start(np.stack([start, uneven]), groups) == 0
    # Were the images independent witnesses, the same differences would be enough.
    some = start + np.repeat(np.where(np.arange(20) % 2, 0.3, -0.36), 10)
    assert nearest_to_start(np.stack([start, some]), np.arange(200)) == 1
    assert nearest_to_start(np.stack([start, some]), groups) == 0
    assert nearest_to_start(np.stack([start, start + 0.1]), groups) == 0


def test_one_copy_of_each_photo_is_asked_and_not_more_images_than_that_takes() -> None:
    photos = [f"photo {number // 4}" for number in range(2000)]
    splits = np.where(np.arange(2000) // 4 % 5 == 0, "val", "train")
    labels = np.where(np.arange(2000) % 8 < 4, "a", "b")
    columns = {"path": list(map(str, range(2000))), "label": labels, "photo": photos, "split": splits}
    images = Manifest(pd.DataFrame(columns), ("a", "b"))
    one = sample_rows(images, "val", TrainConfig().replace(augmented_copies="one"))
    assert sorted(np.array(photos)[one]) == sorted(set(np.array(photos)[splits == "val"]))
    assert (splits[one] == "val").all()
    assert len(set(one % 4)) == 4  # not always the first copy
    every = sample_rows(images, "val", TrainConfig().replace(augmented_copies="all"))
    assert len(every) == len(set(every)) == MAX_IMAGES
    assert (np.diff(every) > 0).all()
