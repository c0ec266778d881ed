"""The images on which interpolated weights are compared."""

from __future__ import annotations

import numpy as np
import pandas as pd

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.pipeline.weight_interpolation import MAX_IMAGES, sample_rows


def test_weights_are_chosen_on_one_copy_of_each_photo() -> None:
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
