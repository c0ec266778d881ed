"""Evaluation mode restores the mode of every module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.inference.features import extract_features
from excite.inference.optimized import optimize_for_inference
from excite.inference.predict import predict_logits
from excite.insertion.gate_statistics import measure_gates
from excite.models.densenet import DenseNet
from excite.system.evaluation_mode import evaluating


class Failing(nn.Module):
    """Stops the forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no memory left")


def frozen(*further: nn.Module) -> nn.Sequential:
    """A network in training mode whose batch norm keeps its statistics."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), *further, nn.Flatten(), nn.Linear(4 * 36, 2)
    )
    model[1].eval()
    return model


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def test_inside_all_parts_are_in_evaluation_mode_and_after_it_in_their_own() -> None:
    model = frozen()
    before = modes(model)
    with evaluating(model) as same:
        assert same is model
        assert not any(modes(model))
    assert modes(model) == before
    assert model[0].training
    assert not model[1].training


def test_modes_are_restored_also_after_an_error() -> None:
    model = frozen()
    before = modes(model)
    with pytest.raises(RuntimeError, match="half way"), evaluating(model):
        raise RuntimeError("half way")
    assert modes(model) == before


def test_blocks_can_be_nested() -> None:
    model = frozen()
    before = modes(model)
    with evaluating(model):
        with evaluating(model[0]):
            pass
        assert not any(modes(model))
        with evaluating(model):
            pass
        assert not any(modes(model))
    assert modes(model) == before


def test_a_model_in_evaluation_mode_with_a_part_in_training_keeps_both() -> None:
    model = frozen().eval()
    model[2].train()  # Monte-Carlo dropout
    with evaluating(model):
        assert not model[2].training
    assert model[2].training
    assert not model.training


def pixels(images: int = 3) -> PixelSubset:
    return PixelSubset(np.random.default_rng(0).integers(0, 256, (images, 8, 8, 3), dtype=np.uint8))


CPU = torch.device("cpu")
HOW = Preprocessing(image_size=8)
HELPERS: dict[str, Callable[[nn.Module], Any]] = {
    "predict_logits": lambda model: predict_logits(model, pixels(), HOW, device=CPU),
    "extract_features": lambda model: extract_features(model, pixels(), HOW, device=CPU),
    "optimize_for_inference": lambda model: optimize_for_inference(model, torch.zeros(1, 3, 8, 8)),
}


@pytest.mark.parametrize("name", HELPERS)
@pytest.mark.parametrize("fails", [False, True])
def test_helpers_give_every_part_its_mode_back(name: str, fails: bool) -> None:
    model = frozen(*([Failing()] if fails else []))
    before = modes(model)
    if fails:
        with pytest.raises(RuntimeError, match="no memory left"):
            HELPERS[name](model)
    else:
        HELPERS[name](model)
    assert modes(model) == before


@pytest.mark.parametrize("name", ["predict_logits", "extract_features"])
def test_the_mode_comes_back_when_the_copy_for_inference_cannot_be_made(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> nn.Module:
        raise RuntimeError("no memory left")

    monkeypatch.setattr("excite.inference.predict.MIN_IMAGES_FOR_COPY", 1)
    monkeypatch.setattr("excite.inference.predict.optimize_for_inference", fail)
    model = frozen()
    before = modes(model)
    with pytest.raises(RuntimeError, match="no memory left"):
        HELPERS[name](model)
    assert modes(model) == before


def test_measuring_gates_gives_every_part_its_mode_back_after_an_error() -> None:
    model = DenseNet(
        growth_rate=4,
        block_config=(1, 1),
        init_channels=8,
        num_classes=2,
        stem="cifar",
        attention="se",
        placement="final",
    )
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    norm.eval()
    before = modes(model)
    assert before.count(False) == 1
    with pytest.raises(RuntimeError):
        measure_gates(model, [(torch.zeros(2, 5, 16, 16), torch.zeros(2, dtype=torch.long))])
    assert modes(model) == before
