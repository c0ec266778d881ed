"""Arguments of the network, preprocessing, augmentation, and evaluation from a configuration."""

from __future__ import annotations

from typing import Any

import pytest

from excite.config.train_config import TrainConfig
from excite.data.augmentation import PRESETS
from excite.errors import BAD_USAGE, ExciteError
from excite.models.catalog import create_model
from excite.runs.derive import (
    architecture_of,
    augmentation_of,
    column_names,
    evaluation_spec_of,
    preprocessing_of,
)

RESOLVED = TrainConfig(model="resnet18", attention="none", image_size=64, augment="standard")


def test_without_attention_the_network_gets_its_name_size_and_options() -> None:
    config = RESOLVED.replace(model_options={"drop_rate": 0.1})
    expected = {"name": "resnet18", "num_classes": 3, "image_size": 64, "drop_rate": 0.1}
    assert architecture_of(config, 3) == expected


def test_attention_has_its_options_and_placement() -> None:
    config = RESOLVED.replace(
        attention="se",
        placement="pre",
        attention_options={"reduction": 8},
        identity=True,
        where="layer3.*, fc",
    )
    found = architecture_of(config, 3)
    assert found["attention"] == "se"
    assert found["attention_options"] == {"reduction": 8, "identity": True}
    assert found["where"] == ["layer3.*", "fc"]
    assert "stages" not in found
    assert config.attention_options == {"reduction": 8}  # the configuration stays as it was
    assert architecture_of(config.replace(where=None, stages="4,5"), 3)["stages"] == [4, 5]


def test_the_arguments_build_the_network() -> None:
    config = RESOLVED.replace(model="densenet_bc_40_12", stem="cifar", image_size=32)
    options = {"block_config": [1, 1], "growth_rate": 4, "init_channels": 4}
    config = config.replace(attention="se", placement="block", model_options=options)
    model = create_model(**architecture_of(config, 5))
    assert model.num_classes == 5
    assert any(name.endswith("attention1.fc1.weight") for name in model.state_dict())


def test_stages_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ExciteError, match="stages: must be numbers separated by commas"):
        architecture_of(RESOLVED.replace(attention="se", stages="last"), 3)


@pytest.mark.parametrize(
    ("normalization", "mean"), [("imagenet", (0.485, 0.456, 0.406)), ("symmetric", (0.5, 0.5, 0.5))]
)
def test_preprocessing_follows_from_the_configuration(normalization: str, mean: tuple[float, ...]) -> None:
    config = RESOLVED.replace(normalization=normalization, resize_mode="pad", tta="flip")
    found = preprocessing_of(config.replace(intensity_range="0,4095"))
    assert (found.image_size, found.resize_mode, found.tta, found.mean) == (64, "pad", "flip", mean)
    assert found.intensity_range == (0, 4095)
    assert preprocessing_of(config).intensity_range is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"flips": "none"}, {"horizontal_flip": 0.0, "vertical_flip": 0.0}),
        ({"flips": "horizontal"}, {"horizontal_flip": 0.5, "vertical_flip": 0.0}),
        ({"flips": "both", "augment": "best"}, {"vertical_flip": 0.5, "rotation": 180.0}),
        # Images without an upright direction are turned by any angle, unless the user says otherwise.
        ({"flips": "both", "augment": "best", "augment_options": {"rotation": 5.0}}, {"rotation": 5.0}),
        ({"flips": "both", "augment": "none"}, {"rotation": PRESETS["none"].rotation}),
    ],
)
def test_flips_and_options_change_the_preset(options: dict[str, Any], expected: dict[str, float]) -> None:
    found = augmentation_of(RESOLVED.replace(**options))
    assert {name: getattr(found, name) for name in expected} == expected


def test_an_unknown_amount_is_refused_with_the_nearest() -> None:
    with pytest.raises(ExciteError, match=r"augment_options: .*'rotate' .did you mean 'rotation'") as raised:
        augmentation_of(RESOLVED.replace(augment_options={"rotate": 3}))
    assert raised.value.exit_code == BAD_USAGE


def test_the_evaluation_follows_from_the_configuration() -> None:
    config = RESOLVED.replace(positive="e\u0301l\u00e9phant", sensitivity=0.9, subgroups="site, age group")
    found = evaluation_spec_of(config)
    assert found.positive == "\u00e9l\u00e9phant"  # as class names are read
    assert (found.sensitivity, found.specificity) == (0.9, None)
    assert found.subgroups == ("site", "age group")


@pytest.mark.parametrize(("text", "names"), [(None, ()), ("", ()), ("a", ("a",)), (" a ,b c", ("a", "b c"))])
def test_columns_are_separated_by_commas(text: str | None, names: tuple[str, ...]) -> None:
    assert column_names(text) == names
