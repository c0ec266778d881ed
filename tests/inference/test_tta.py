"""Test-time augmentation: the pixels of each version, and the mean of their predictions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import functional as vision

from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.errors import ExciteError
from excite.inference.predict import predict_logits
from excite.inference.tta import apply_tta

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_without_augmentation_there_is_only_the_image() -> None:
    [only] = apply_tta(IMAGES, "none")
    assert only is IMAGES


def test_flip_adds_the_mirror_image() -> None:
    first, second = apply_tta(IMAGES, "flip")
    assert torch.equal(first, IMAGES)
    assert torch.equal(second, vision.hflip(IMAGES))


def test_crops_are_torchvisions_ten_crops_enlarged_and_the_whole() -> None:
    views = apply_tta(IMAGES, "crops")
    ten = [vision.resize(crop, [32, 32], antialias=False) for crop in vision.ten_crop(IMAGES, [28, 28])]
    expected = [IMAGES, vision.hflip(IMAGES), *ten]

    def key(view: torch.Tensor) -> float:
        return float(view[0, 0, 0, 0] + 10 * view[0, 1, 5, 7])

    for one, other in zip(sorted(views, key=key), sorted(expected, key=key), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(("views", "count"), [("flip", 2), ("crops", 12)])
def test_logits_are_the_mean_over_all_versions(views: str, count: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    plain = Preprocessing(32, mean=(0, 0, 0), std=(1, 1, 1))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    model(images)
    several = apply_tta(images, views)
    assert len(several) == count
    expected = np.mean([model(view).detach().numpy() for view in several], axis=0)
    preprocessing = dataclasses.replace(plain, tta=views)
    found = predict_logits(model, PixelSubset(pixels), preprocessing, device=torch.device("cpu"))
    assert found == pytest.approx(expected, abs=1e-5)


def test_unknown_modes_are_refused_with_the_nearest() -> None:
    with pytest.raises(ExciteError, match="flip"):
        Preprocessing(32, tta="flips")
