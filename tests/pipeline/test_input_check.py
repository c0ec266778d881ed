"""Input that a network cannot process is an error before anything is written, with a solution."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import excite
from excite.config.train_config import RESERVED_OPTIONS, TrainConfig
from excite.errors import ExciteError
from excite.models.catalog import create_model
from excite.models.weights import load_weights
from excite.pipeline.input_check import check_input

CONFIG = TrainConfig().replace(model="x", image_size=32, recipe="scratch", batch_norm="adapted")


@pytest.mark.parametrize(
    ("name", "size", "smallest"),
    [("torchvision:squeezenet1_1", 16, 17), ("inception_v3", 32, 75)],
)
def test_the_smallest_size_that_works_is_named(name: str, size: int, smallest: int) -> None:
    model = create_model(name, num_classes=2)
    with pytest.raises(ExciteError, match=f"needs at least {smallest} .*--image-size {smallest}"):
        check_input(model, CONFIG.replace(image_size=size), 2)
    check_input(model, CONFIG.replace(image_size=smallest), 2)


def test_the_network_is_left_as_it_was() -> None:
    model = create_model("resnet18", num_classes=2)
    model.layer1.eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check_input(model, CONFIG.replace(image_size=64), 2)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_one_value_per_channel_is_an_error_before_training() -> None:
    model = create_model("resnet18", num_classes=2)
    four = CONFIG.replace(batch_size=4, accumulation_steps=4)
    with pytest.raises(ExciteError, match="a single value per channel"):
        check_input(model, four, 2)
    check_input(model, four.replace(image_size=64), 2)  # 2 x 2 pixels are four values
    check_input(model, four.replace(accumulation_steps=2), 2)
    check_input(model, four.replace(batch_norm="frozen"), 2)
    check_input(create_model("convnext_atto", num_classes=2), four, 2)  # no batch norm
    with pytest.raises(ExciteError, match="4 processes"):
        check_input(model, CONFIG.replace(batch_size=4), 2, processes=4)


def test_a_network_that_is_no_classifier_is_refused() -> None:
    class Features(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x)

    with pytest.raises(ExciteError, match="is not a classifier"):
        check_input(Features(), CONFIG, 2)


@pytest.mark.parametrize("name", sorted(RESERVED_OPTIONS))
def test_options_that_follow_from_the_data_are_refused(name: str) -> None:
    with pytest.raises(ExciteError, match=f"model_options.{name}"):
        TrainConfig().replace(model_options={name: 7})


def test_a_run_is_refused_before_its_folder_is_made(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = {"out": str(out), "quiet": True, "device": "cpu", "image_size": 32, "epochs": 1}
    for wrong in (
        {"model": "torchvision:squeezenet1_1", "image_size": 16},
        {"model": "torchvision:squeezenet1_1", "image_size": 16, "folds": 3},
        {"model": "resnet18", "batch_size": 4, "accumulation_steps": 4},
        {"model": "resnet18", "model_options": {"nonsense": 1}},
        {"model_options": {"growth_rate": "abc"}},
        {"batch_size": 100_000},
    ):
        with pytest.raises(ExciteError):
            excite.train(pictures, **(options | wrong))
        assert not out.exists(), wrong


@pytest.mark.slow
def test_folds_do_not_check_the_input_again(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    def check(model: torch.nn.Module, config: TrainConfig, classes: int, **_: int) -> None:
        checked.append(config.model)

    for module in ("cross_validation", "prepare_run"):
        monkeypatch.setattr(f"excite.pipeline.{module}.check_input", check)
    options = {"model": "cifar_resnet20", "epochs": 1, "folds": 2, "near_duplicates": False}
    excite.train(pictures, out=str(tmp_path / "run"), device="cpu", quiet=True, **options)
    assert checked == ["cifar_resnet20"]


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_the_prefix_of_a_wrapper_is_removed_and_reported(tmp_path: Path, prefix: str) -> None:
    model = create_model("resnet18", num_classes=2)
    tensors = {prefix + name: value.clone() for name, value in model.state_dict().items()}
    save_file(tensors, tmp_path / "w.safetensors")
    report = load_weights(create_model("resnet18", num_classes=2), tmp_path / "w.safetensors")
    assert report.complete
    assert report.unexpected == ()
    assert repr(prefix) in str(report)


def test_weights_that_fit_as_they_are_lose_no_prefix(tmp_path: Path) -> None:
    model = create_model("resnet18", num_classes=2)
    save_file(dict(model.state_dict()), tmp_path / "w.safetensors")
    assert load_weights(model, tmp_path / "w.safetensors").prefix == ""
    save_file({"layer1.0.conv1.weight": torch.zeros(64, 64, 3, 3)}, tmp_path / "one.safetensors")
    assert load_weights(model, tmp_path / "one.safetensors").prefix == ""
