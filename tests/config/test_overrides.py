"""A ``name=value`` of the command line, applied to a configuration."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from excite.config.overrides import apply_override, module_paths, stage_numbers
from excite.config.train_config import TrainConfig
from excite.errors import BAD_USAGE, ExciteError


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("epochs=3", "epochs", 3),
        (" epochs = 3", "epochs", 3),
        ("lr=1e-3", "lr", 0.001),
        ("lr=null", "lr", None),
        ("lr=", "lr", None),
        ("compile=true", "compile", True),
        ("data=a=b", "data", "a=b"),
        ("attention_options.reduction=8", "attention_options", {"reduction": 8}),
        ("model_options={a: [1, 2]}", "model_options", {"a": [1, 2]}),
    ],
)
def test_a_setting_is_name_value_or_name_key_value(setting: str, name: str, value: Any) -> None:
    assert getattr(apply_override(TrainConfig(), setting), name) == value


def test_settings_of_one_mapping_add_up_and_leave_the_earlier_configuration_alone() -> None:
    first = apply_override(TrainConfig(), "attention_options.reduction=8")
    second = apply_override(first, "attention_options.gate=tanh")
    assert second.attention_options == {"reduction": 8, "gate": "tanh"}
    assert first.attention_options == {"reduction": 8}
    assert TrainConfig().attention_options == {}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "must have the form name=value"),
        ("epochs=[1", "not valid YAML"),
        ("epochs.a=1", "epochs has no keys"),
        ("attention_options.=1", "needs a key of attention_options"),
        ("=1", "unknown option ''"),
    ],
)
def test_a_malformed_setting_is_refused_and_named(setting: str, message: str) -> None:
    with pytest.raises(ExciteError, match=message) as raised:
        apply_override(TrainConfig(), setting)
    assert raised.value.where == f"--set {setting}"
    assert raised.value.exit_code == BAD_USAGE


def test_a_wrong_value_is_refused_by_the_options_name() -> None:
    with pytest.raises(ExciteError, match="epochs: must be at least 1, got 0"):
        apply_override(TrainConfig(), "epochs=0")
    with pytest.raises(ExciteError, match=r"--set epoch.x=1: unknown option 'epoch' .did you mean 'epochs'"):
        apply_override(TrainConfig(), "epoch.x=1")


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["C"], exclude_characters="="), min_size=1, max_size=12)
    .map(str.strip)
    .filter(bool),
    st.integers() | st.booleans() | st.lists(st.integers(), max_size=3) | st.none(),
)
def test_any_key_of_a_mapping_takes_any_value_of_yaml(key: str, value: object) -> None:
    text = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    config = apply_override(TrainConfig(), f"model_options.{key}={text}")
    assert config.model_options == {key: value}


@pytest.mark.parametrize(
    ("text", "paths"),
    [("features.0", ["features.0"]), ("layer1.*, layer4.2", ["layer1.*", "layer4.2"]), (" a ,b", ["a", "b"])],
)
def test_module_paths_are_separated_by_commas(text: str, paths: list[str]) -> None:
    assert module_paths(text) == paths


@pytest.mark.parametrize(("text", "stages"), [("5", [5]), ("4,5", [4, 5]), (" 2 , 3", [2, 3])])
def test_stages_are_numbers(text: str, stages: list[int]) -> None:
    assert stage_numbers(text) == stages


@pytest.mark.parametrize("text", ["", "4,", "four", "4;5", "4.5"])
def test_a_malformed_list_of_stages_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ExciteError, match="stages: must be numbers separated by commas") as raised:
        stage_numbers(text)
    assert raised.value.exit_code == BAD_USAGE
    assert "excite sites" in str(raised.value)
