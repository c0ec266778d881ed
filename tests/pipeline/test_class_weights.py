"""Weights of classes and photos against counting by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from excite.data.manifest import Manifest
from excite.pipeline.class_weights import class_weights, label_weights, photo_weights

LABELS = ["a"] * 6 + ["b"] * 2
PHOTOS = ["x", "x", "x", "y", "y", "z", "u", "v"]


@pytest.fixture
def manifest() -> Manifest:
    paths = [f"/{number}.png" for number in range(8)]
    return Manifest(pd.DataFrame({"path": paths, "label": LABELS, "photo": PHOTOS}), ("a", "b"))


def test_classes_have_equal_total_weight_and_images_mean_one(manifest: Manifest) -> None:
    each = class_weights(manifest).numpy()[manifest.targets()]
    assert each[:6].sum() == pytest.approx(each[6:].sum())
    assert each.mean() == pytest.approx(1)


def test_classes_of_photos_have_equal_total_weight(manifest: Manifest) -> None:
    each = class_weights(manifest, by_photo=True).numpy()[manifest.targets()] * photo_weights(manifest)
    assert each[:6].sum() == pytest.approx(each[6:].sum())
    assert each.sum() == pytest.approx(5)  # photos


def test_photos_have_weight_one(manifest: Manifest) -> None:
    weights = photo_weights(manifest)
    for photo in set(PHOTOS):
        assert weights[np.array(PHOTOS) == photo].sum() == pytest.approx(1)


def test_values_of_a_label_have_equal_total_weight_and_mean_one() -> None:
    values = np.array([[1, 0], [0, 1], [0, -1], [0, 1]])
    table = {"path": [f"/{n}.png" for n in range(4)], "label:a": values[:, 0], "label:b": values[:, 1]}
    weights = label_weights(Manifest(pd.DataFrame(table), ("a", "b"))).numpy()
    assert weights[0] == pytest.approx([4 / 6, 2])  # three absent, one present
    assert weights[1] == pytest.approx([3 / 2, 3 / 4])  # of the three known values
    ratio = (values == 0).sum(axis=0) / (values == 1).sum(axis=0)
    assert weights[:, 1] / weights[:, 0] == pytest.approx(ratio)  # pos_weight of PyTorch
