"""What is trained: the rest of a trained network keeps every weight and statistic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

import excite
from excite.config.train_config import TrainConfig
from excite.errors import ExciteError
from excite.pipeline.resolve import resolve
from excite.training.trainable import attention_modules, saving_text, train_only, trained_parameters
from tests.conftest import make_pictures
from tests.pipeline.resolved import TRAINED, manifest


def gated(attention: str = "se") -> nn.Module:
    model = excite.create_model("cifar_resnet20", num_classes=3)
    return excite.insert(model, attention, identity=True)


@pytest.mark.parametrize("attention", ["se", "cbam", "eca"])
def test_attention_is_every_parameter_that_insertion_added(attention: str) -> None:
    before = set(dict(excite.create_model("cifar_resnet20", num_classes=3).named_parameters()))
    added = sum(p.numel() for p in gated(attention).parameters()) - sum(
        p.numel() for p in excite.create_model("cifar_resnet20", num_classes=3).parameters()
    )
    model = gated(attention)
    train_only(model, "attention")
    trained = {path: p for path, p in model.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in trained.values()) == added
    assert not {path for path in trained if path in before}


@pytest.mark.parametrize(
    ("name", "part"),
    [("seresnet18", ".se."), ("mobilenetv3_small_050", ".se."), ("legacy_seresnet18", ".se_module.")],
)
def test_the_attention_of_timms_own_networks_is_found(name: str, part: str) -> None:
    model = timm.create_model(name, num_classes=2)
    expected = {path for path, _ in model.named_parameters() if part in path}
    assert expected
    assert trained_parameters(model, "attention") == expected


def test_parts_are_joined_and_patterns_select_modules_and_parameters() -> None:
    model = gated()
    names = {path for path, _ in model.named_parameters()}
    head = {path for path in names if path.startswith("linear.")}
    third = {path for path in names if path.startswith("layer3.")}
    assert trained_parameters(model, "head") == head
    assert trained_parameters(model, "head, layer3") == head | third
    assert trained_parameters(model, "layer3.*") == third
    assert trained_parameters(model, "*.bias") == {path for path in names if path.endswith(".bias")}
    assert trained_parameters(model, "head,all") == names


@pytest.mark.parametrize(
    ("model", "which", "message"),
    [
        (excite.create_model("cifar_resnet20", num_classes=3), "attention", "the network has no attention"),
        (excite.create_model("cifar_resnet20", num_classes=3), "layr3.*", "'layr3.*' selects no parameter"),
    ],
    ids=["no attention", "a misspelt pattern"],
)
def test_what_selects_nothing_is_refused(model: nn.Module, which: str, message: str) -> None:
    with pytest.raises(ExciteError, match=message.replace("*", r"\*")) as caught:
        train_only(model, which)
    assert caught.value.exit_code == 2


def test_the_text_counts_parameters_and_bytes() -> None:
    model = nn.Sequential(nn.Linear(1023, 1024), nn.Linear(1024, 2))
    # 2**20 parameters without gradient and without the two averages of AdamW.
    assert (
        saving_text(model, "head", "adamw") == "2,050 of 1,050,626 parameters are trained, which saves 12 MiB"
    )
    assert saving_text(model, "head", "sgd").endswith("saves 8 MiB")
    assert saving_text(model, "all", "sgd") == ""


def test_no_layer_is_frozen_beside_what_is_named_and_random_weights_are_refused() -> None:
    options: dict[str, Any] = {"recipe": "finetune", "device": "cpu", "attention": "se", "train": "attention"}
    config, _ = resolve(TrainConfig().replace(**options, **TRAINED), manifest(64, 64))
    assert (config.frozen_layers, config.batch_norm) == (0, "frozen")
    options |= {"recipe": "auto", "model": "cifar_resnet20", "pretrained": False}
    with pytest.raises(ExciteError, match="--train: the other weights would stay random"):
        resolve(TrainConfig().replace(**options), manifest(64, 64))


@pytest.mark.slow
def test_only_the_attention_of_a_trained_network_changes(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures")
    common: dict[str, Any] = {"model": "cifar_resnet20", "image_size": 16, "device": "cpu", "quiet": True}
    first = excite.train(pictures, out=str(tmp_path / "first"), attention="none", epochs=2, **common)
    second = excite.train(
        pictures,
        out=str(tmp_path / "second"),
        attention="se",
        weights=str(first.weights),
        recipe="finetune",
        train="attention",
        keep="tuned",
        epochs=2,
        lr=0.01,
        **common,
    )
    before = excite.Classifier.load(first).model.state_dict()
    model = excite.Classifier.load(second).model
    after = model.state_dict()
    gates = attention_modules(model)
    new = {name for name in after if any(name.startswith(f"{gate}.") for gate in gates)}
    assert set(before) == set(after) - new
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    assert any(bool(after[name].abs().sum() > 0) for name in new)
