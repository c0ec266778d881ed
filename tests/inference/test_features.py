"""Features are the input of the last layer, computed once and cached until something relevant changes."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.errors import ExciteError
from excite.inference import features
from excite.inference.features import cached_features, extract_features
from excite.inference.predict import predict_logits
from excite.models.densenet import DenseNet

CPU = torch.device("cpu")
HOW = Preprocessing(8)
PIXELS = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 3), dtype=np.uint8)  # more than one batch


@pytest.fixture
def model() -> DenseNet:
    torch.manual_seed(0)
    return DenseNet(growth_rate=4, block_config=(1, 1), init_channels=4, num_classes=3, stem="cifar").eval()


def test_features_are_the_networks_before_its_last_layer(model: DenseNet) -> None:
    found = extract_features(model, PixelSubset(PIXELS), HOW, device=CPU)
    inputs = (PIXELS / 255 - np.array(HOW.mean)) / np.array(HOW.std)
    images = torch.from_numpy(inputs.transpose(0, 3, 1, 2)).float()
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(images), pre_logits=True).numpy()
    assert (found.dtype, found.shape) == (np.dtype("float32"), (70, model.num_features))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_the_head_of_the_features_gives_the_logits_also_with_test_time_augmentation(
    model: DenseNet, tta: str
) -> None:
    how = replace(HOW, tta=tta)
    found = extract_features(model, PixelSubset(PIXELS), how, device=CPU)
    head = model.get_classifier()
    logits = found @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    expected = predict_logits(model, PixelSubset(PIXELS), how, device=CPU)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_progress_counts_images_and_hooks_are_removed_also_after_an_error(model: DenseNet) -> None:
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_features(model, PixelSubset(PIXELS), HOW, device=CPU, progress=progress)
    assert seen == [(64, 70), (70, 70)]
    assert not model.get_classifier()._forward_pre_hooks


def test_a_network_without_a_linear_head_is_refused() -> None:
    with pytest.raises(ExciteError, match="does not end in a linear layer"):
        extract_features(nn.Sequential(nn.Conv2d(3, 2, 1)), PixelSubset(PIXELS), HOW, device=CPU)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one each time that features are computed."""
    calls: list[int] = []

    def extract(*arguments: Any, **options: Any) -> np.ndarray:
        calls.append(1)
        return extract_features(*arguments, **options)

    monkeypatch.setattr(features, "extract_features", extract)
    return calls


def cached(model: nn.Module, cache: Path, *, key: str = "pixels", how: Preprocessing = HOW) -> np.ndarray:
    return cached_features(model, PIXELS, key, how, cache, device=CPU)


def test_they_are_computed_once_whatever_the_head(
    model: DenseNet, tmp_path: Path, counted: list[int]
) -> None:
    first = cached(model, tmp_path)
    nn.init.normal_(model.get_classifier().weight)
    assert np.array_equal(cached(model, tmp_path), first)
    assert len(counted) == 1


def test_other_weights_pixels_or_settings_have_features_of_their_own(
    model: DenseNet, tmp_path: Path, counted: list[int]
) -> None:
    cached(model, tmp_path)
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-3
    cached(other, tmp_path)
    statistics = copy.deepcopy(model)
    next(m for m in statistics.modules() if isinstance(m, nn.BatchNorm2d)).running_mean += 1e-3
    cached(statistics, tmp_path)
    cached(model, tmp_path, key="other pixels")
    cached(model, tmp_path, how=replace(HOW, tta="flip"))
    cached(model, tmp_path, how=replace(HOW, mean=(0.5, 0.5, 0.5)))
    assert len(counted) == len(list((tmp_path / "features").iterdir())) == 6


@pytest.mark.parametrize("damage", ["truncated", "of fewer images", "of another type", "a pickle"])
def test_a_damaged_file_is_computed_and_written_again(
    model: DenseNet, tmp_path: Path, counted: list[int], damage: str
) -> None:
    first = cached(model, tmp_path)
    (file,) = (tmp_path / "features").iterdir()
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        wrong = {"of fewer images": first[:5], "of another type": first.astype(np.float64)}
        np.save(file, wrong.get(damage, np.array([{}])), allow_pickle=True)
    assert np.array_equal(cached(model, tmp_path), first)
    assert np.array_equal(cached(model, tmp_path), first)
    assert len(counted) == 2


def test_without_a_writable_cache_they_are_computed_each_time(
    model: DenseNet, tmp_path: Path, counted: list[int]
) -> None:
    (tmp_path / "file").write_text("")
    first = cached(model, tmp_path / "file")
    assert np.array_equal(cached(model, tmp_path / "file"), first)
    assert len(counted) == 2
