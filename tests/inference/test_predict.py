"""Logits of many images: those of the network, whatever the batches, processes, and optimized copies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.inference import predict
from excite.inference.predict import optimized_copy, predict_logits, softmax
from excite.models.densenet import DenseNet
from excite.system.world import World

CPU = torch.device("cpu")
HOW = Preprocessing(8, mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3))
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    net = DenseNet(growth_rate=4, block_config=(1, 1), init_channels=4, num_classes=3, stem="cifar")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean)
    return net.eval()


@pytest.fixture(scope="module")
def expected(model: nn.Module) -> np.ndarray:
    """One image at a time, normalized by NumPy."""
    inputs = ((PIXELS / 255 - np.array(HOW.mean)) / np.array(HOW.std)).transpose(0, 3, 1, 2)
    with torch.no_grad():
        return np.concatenate([model(torch.from_numpy(one[None]).float()).numpy() for one in inputs])


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_logits_are_those_of_each_image_alone(
    model: nn.Module, expected: np.ndarray, batch_size: int
) -> None:
    found = predict_logits(model, PixelSubset(PIXELS), HOW, device=CPU, batch_size=batch_size)
    assert (found.dtype, found.shape) == (np.dtype("float32"), (7, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_rows_are_in_the_requested_order(model: nn.Module, expected: np.ndarray) -> None:
    rows = np.array([5, 0, 5, 2])
    found = predict_logits(model, PixelSubset(PIXELS, rows), HOW, device=CPU)
    np.testing.assert_allclose(found, expected[rows], rtol=1e-4, atol=1e-5)


def test_half_precision_gives_float32_logits_near_the_exact_ones(
    model: nn.Module, expected: np.ndarray
) -> None:
    found = predict_logits(model, PixelSubset(PIXELS), HOW, device=CPU, precision="bfloat16")
    assert found.dtype == np.float32
    assert 0 < abs(found - expected).max() < 0.05 * abs(expected).max()


@dataclass(frozen=True)
class Alone(World):
    """One of several processes that run in turn; the last one gets what all of them gave."""

    given: list[Any] = field(default_factory=list)

    def gather(self, value: Any) -> list[Any]:
        self.given.append(value)
        return self.given if self.rank == self.size - 1 else [np.zeros((1, 3), np.float32)]


@pytest.mark.parametrize("size", [2, 3, 10])  # of ten processes three have no image
def test_processes_divide_the_images_and_each_has_all_logits(
    model: nn.Module, expected: np.ndarray, size: int
) -> None:
    given: list[Any] = []
    for rank in range(size):
        world = Alone(rank=rank, size=size, given=given)
        found = predict_logits(model, PixelSubset(PIXELS), HOW, device=CPU, world=world)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    lengths = [0 if part is None else len(part) for part in given]
    assert sum(lengths) == len(PIXELS)
    assert max(lengths) - min(lengths) <= 1


def test_many_images_are_predicted_by_an_optimized_copy_and_few_by_the_model(
    model: nn.Module, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PixelSubset(PIXELS)
    assert optimized_copy(model, source, HOW, CPU) is model
    monkeypatch.setattr(predict, "MIN_IMAGES_FOR_COPY", len(PIXELS))
    assert optimized_copy(model, source, HOW, CPU) is not model
    np.testing.assert_allclose(predict_logits(model, source, HOW, device=CPU), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_are_pytorchs_in_float64_and_do_not_overflow(dtype: type) -> None:
    logits = np.array([[0.5, -2.0, 1.0], [6e4, -6e4, 0.0], [-6e4, -6e4, -6e4]], dtype)
    found = softmax(logits)
    assert found.dtype == np.float64
    expected = torch.softmax(torch.from_numpy(logits.astype(np.float64)), dim=1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
