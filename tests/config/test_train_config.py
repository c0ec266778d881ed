"""Options: every invalid value is refused by name, every valid one survives the file."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
import types
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from excite.config.overrides import apply_override
from excite.config.train_config import EITHER, HINTS, TrainConfig
from excite.errors import BAD_USAGE, ExciteError

FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}


def limits_of(name: str) -> Any:
    return FIELDS[name].metadata["limits"]


def kind_of(name: str) -> type:
    hint = HINTS[name]
    first = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
    return typing.get_origin(first) or first


def wrong_values() -> list[tuple[str, Any]]:
    """For every option what is of the wrong kind, and for those with limits what is just beyond them."""
    wrong: list[tuple[str, Any]] = []
    for name in FIELDS:
        limits, kind = limits_of(name), kind_of(name)
        step = 1 if kind is int else 1e-6
        wrong += [(name, [1])]
        wrong += [(name, "some text")] if kind is not str or limits.choices else []
        wrong += [(name, 1.5), (name, True)] if kind is int else []
        wrong += [(name, 1), (name, "yes")] if kind is bool else []
        wrong += [(name, True), (name, math.nan), (name, math.inf)] if kind is float else []
        wrong += [(name, 1), (name, True)] if kind is str else []
        wrong += [(name, None)] if type(None) not in typing.get_args(HINTS[name]) else []
        wrong += [(name, limits.low - step)] if limits.low is not None else []
        wrong += [(name, limits.high + step)] if limits.high is not None else []
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), wrong_values())
def test_a_wrong_value_is_refused_by_the_options_name(name: str, value: Any) -> None:
    with pytest.raises(ExciteError) as raised:
        TrainConfig(**{name: value})
    assert raised.value.where == name
    assert raised.value.exit_code == BAD_USAGE
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", FIELDS)
def test_every_option_has_a_panel_help_and_a_default_within_its_limits(name: str) -> None:
    assert FIELDS[name].metadata["help"].endswith(".")
    assert FIELDS[name].metadata["panel"]
    limits_of(name).check(name, getattr(TrainConfig(), name))


@pytest.mark.parametrize("name", [name for name in FIELDS if kind_of(name) in (int, float)])
def test_every_number_has_a_lower_limit_that_is_allowed(name: str) -> None:
    low, high = limits_of(name).low, limits_of(name).high
    # Alone, as both fractions may not fill the whole.
    for value in {low, high} - {None}:
        assert (
            getattr(TrainConfig(**{"test_fraction": 0.05, "val_fraction": 0.05} | {name: value}), name)
            == value
        )


def values_of(name: str) -> st.SearchStrategy[Any]:
    limits, kind = limits_of(name), kind_of(name)
    text = st.text(st.characters(exclude_categories=["C"]), max_size=12)
    values: st.SearchStrategy[Any]
    if limits.choices:
        values = st.sampled_from(limits.choices)
    elif kind is float:
        high = 0.45 if name.endswith("_fraction") else limits.high
        values = st.floats(limits.low, high, allow_infinity=False, allow_nan=False)
    elif kind is int:
        values = st.integers(limits.low, limits.high)
    elif kind is dict:
        values = st.dictionaries(
            text, st.integers() | st.booleans() | text | st.lists(st.integers()), max_size=3
        )
    else:
        values = {bool: st.booleans(), str: text, list: st.lists(text, max_size=3)}[kind]
    return values | st.none() if type(None) in typing.get_args(HINTS[name]) else values


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(options=st.fixed_dictionaries({name: values_of(name) for name in FIELDS}))
def test_every_configuration_survives_its_yaml_file(
    options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    options["pretrained"] = options["pretrained"] and options["weights"] is None
    for one, other, _ in EITHER[1:]:
        options[other] = None if options[one] is not None else options[other]
    config = TrainConfig(**options)
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert TrainConfig.from_yaml(path) == config


def test_the_file_names_every_option_in_order() -> None:
    assert list(yaml.safe_load(TrainConfig().to_yaml())) == list(FIELDS)


def load(tmp_path: Path, text: str) -> TrainConfig:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return TrainConfig.from_yaml(path)


def test_a_file_may_name_some_options_or_none(tmp_path: Path) -> None:
    assert load(tmp_path, "") == TrainConfig()
    assert load(tmp_path, "epochs: 3\n") == TrainConfig(epochs=3)


def test_of_several_files_the_last_one_decides(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("epochs: 3\nmodel: cifar_resnet20\n")
    second.write_text("epochs: 5\n")
    config = TrainConfig.from_yaml(first, second)
    assert (config.epochs, config.model) == (5, "cifar_resnet20")
    assert TrainConfig.from_yaml(second, first).epochs == 3
    assert TrainConfig.from_yaml() == TrainConfig()


def test_numbers_are_numbers_however_yaml_reads_them(tmp_path: Path) -> None:
    config = load(tmp_path, "lr: 1e-3\ngrad_clip: 2\nema: 0.5\n")
    assert (config.lr, config.grad_clip, config.ema) == (0.001, 2.0, 0.5)
    assert type(config.grad_clip) is float


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "just text", "a: [1", "\t x: 1", "5"])
def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ExciteError) as raised:
        load(tmp_path, text)
    assert raised.value.where == str(tmp_path / "config.yaml")
    assert raised.value.exit_code == BAD_USAGE
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ExciteError, match=r"x.yaml: not a readable YAML file"):
        TrainConfig.from_yaml(tmp_path / "x.yaml")


def test_a_wrong_value_in_a_file_is_refused_with_the_file_and_the_option(tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match=r"config.yaml: epochs: must be at least 1, got 0"):
        load(tmp_path, "epochs: 0\n")
    with pytest.raises(ExciteError, match=r"config.yaml: lr: must be a number, got inf"):
        load(tmp_path, "lr: .inf\n")


def test_an_unknown_option_is_refused_with_the_nearest(tmp_path: Path) -> None:
    for attempt in (
        lambda: TrainConfig().replace(epoch=3),
        lambda: load(tmp_path, "epoch: 3"),
        lambda: apply_override(TrainConfig(), "epoch=3"),
    ):
        with pytest.raises(ExciteError, match=r"unknown option 'epoch' .did you mean 'epochs'") as raised:
            attempt()
        assert raised.value.exit_code == BAD_USAGE


def test_an_unknown_choice_is_refused_with_the_nearest() -> None:
    with pytest.raises(ExciteError, match=r"optimizer: unknown value 'adamv' .did you mean 'adamw'"):
        TrainConfig(optimizer="adamv")


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ExciteError, match="val_fraction and test_fraction"):
        TrainConfig(val_fraction=0.5, test_fraction=0.5)
    with pytest.raises(ExciteError, match="pretrained and weights"):
        TrainConfig(pretrained=True, weights="a.safetensors")
    with pytest.raises(ExciteError, match="sensitivity and specificity"):
        TrainConfig(sensitivity=0.9, specificity=0.9)
    with pytest.raises(ExciteError, match="abstain_below and selective_accuracy"):
        TrainConfig(abstain_below=0.0, selective_accuracy=0.9)


def test_a_path_is_text() -> None:
    assert TrainConfig(data=Path("a") / "b").data == str(Path("a") / "b")


def test_importing_it_imports_no_torch() -> None:
    code = "import sys, excite.config.train_config; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
