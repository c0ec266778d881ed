"""The network, its attention, and what comes with its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from excite.config.train_config import TrainConfig
from excite.errors import ExciteError
from excite.models.catalog import create_model
from excite.pipeline.resolve import resolve
from excite.runs.derive import architecture_of
from tests.pipeline.resolved import manifest, resolved


@pytest.mark.parametrize(
    ("options", "model", "attention", "stem"),
    [
        ({}, "densenet121", "se", "imagenet"),
        ({"image_size": 64}, "densenet_bc_40_12", "se", "cifar"),
        ({"image_size": 64, "model": "densenet121"}, "densenet121", "se", "cifar"),
        ({"image_size": 64, "model": "densenet121", "stem": "imagenet"}, "densenet121", "se", "imagenet"),
        ({"image_size": 64, "model": "densenet121", "pretrained": True}, "densenet121", "se", "imagenet"),
        ({"attention": "none"}, "densenet121", "none", "imagenet"),
        ({"model": "resnet18"}, "resnet18", "none", "auto"),
    ],
)
def test_network_attention_and_stem(
    options: dict[str, object], model: str, attention: str, stem: str
) -> None:
    config = resolved(**options)
    assert (config.model, config.attention, config.stem) == (model, attention, stem)
    architecture = architecture_of(config, 7)
    assert architecture["num_classes"] == 7
    assert ("attention" in architecture) == (attention != "none")
    assert ("stem" in architecture) == (stem != "auto")


def test_weights_bring_their_normalization() -> None:
    """timm declares 0.5 for this MobileNet and ImageNet's mean for ResNet-18."""
    assert resolved(model="mobilenetv1_100", weights="w.safetensors").normalization == "symmetric"
    assert resolved(model="mobilenetv1_100").normalization == "imagenet"
    assert resolved(model="timm:resnet18", weights="w.safetensors").normalization == "imagenet"


def test_padding_is_that_of_the_weights_file_unless_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    model = create_model("mobilenetv2_035", num_classes=2, pad_type="same")
    save_file(model.state_dict(), path, metadata={"pad_type": "same", "input": "anything"})
    options = {"model": "mobilenetv2_035", "weights": str(path)}
    assert resolved(**options).model_options == {"pad_type": "same"}
    named = {"pad_type": "", "drop_rate": 0.1}
    assert resolved(**options, model_options=named).model_options == named
    save_file(model.state_dict(), path)
    assert resolved(**options).model_options == {}


@pytest.mark.parametrize(
    ("options", "identity", "reason"),
    [
        ({}, False, None),
        (
            {"weights": "w.safetensors"},
            True,
            "identity = true (the pretrained weights stay valid at the start)",
        ),
        (
            {"weights": "w.safetensors", "attention": "simam"},
            False,
            "identity = false (simam with these options cannot start as the identity)",
        ),
        ({"weights": "w.safetensors", "identity": False}, False, None),
    ],
)
def test_attention_starts_as_the_identity_in_trained_weights_if_it_can(
    options: dict[str, object], identity: bool, reason: str | None
) -> None:
    given = {"model": "resnet18", "attention": "se", **options}
    config, reasons = resolve(TrainConfig().replace(device="cpu", **given), manifest(300, 200))
    assert config.identity is identity
    assert [line for line in reasons if line.startswith("identity")] == ([reason] if reason else [])
    assert config.placement == "standard"


@pytest.mark.parametrize(
    ("name", "value"), [("where", "layer4"), ("stages", "4"), ("identity", True), ("placement", "post")]
)
def test_options_of_attention_need_attention(name: str, value: object) -> None:
    with pytest.raises(ExciteError, match=rf"--{name}: has no effect without attention .*--attention se"):
        resolved(model="resnet18", **{name: value})


def test_a_network_is_truncated_after_the_last_block_with_weights(tmp_path: Path) -> None:
    model = create_model("cifar_resnet20", num_classes=2)
    options = {"model": "cifar_resnet20", "image_size": 32, "weights": str(tmp_path / "w.safetensors")}
    state = model.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    assert resolved(**options).truncate_after is None
    partial = {name: value for name, value in state.items() if not name.startswith(("layer3.1", "layer3.2"))}
    save_file(partial, tmp_path / "w.safetensors")
    assert resolved(**options).truncate_after == "layer3.0"
    assert resolved(**options, truncate_after="layer2.1").truncate_after == "layer2.1"
