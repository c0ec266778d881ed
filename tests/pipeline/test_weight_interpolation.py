"""The images on which interpolated weights are compared, and what is said of the choice."""

from __future__ import annotations

import numpy as np
import pandas as pd

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.pipeline.weight_interpolation import MAX_IMAGES, _kept_text, sample_rows


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


def test_weights_with_a_higher_loss_than_others_are_kept_with_the_reason() -> None:
    means = np.array([0.328, 0.3, 0.25, 0.22, 0.215])
    assert _kept_text(0, means) == (
        "0% fine-tuned and 100% initial weights; log loss on clean and corrupted validation images 0.328 "
        "(initial 0.328, fine-tuned 0.215); the lowest, 0.215, is within one standard error of it"
    )
    assert _kept_text(4, means).endswith("0.215 (initial 0.328, fine-tuned 0.215)")
