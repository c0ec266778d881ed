"""Presets are the paper's ablations."""

from __future__ import annotations

import pytest

from excite.config.train_config import TrainConfig
from excite.errors import ExciteError
from excite.models.catalog import create_model
from excite.models.summary import summarize
from excite.runs.derive import architecture_of
from excite.study.plan import arm_config
from excite.study.presets import PRESETS, get_preset


def test_presets_are_the_papers_ablations() -> None:
    """Names and figures as in arXiv 1709.01507, tables 10 to 16."""
    assert [arm.name for arm in get_preset("reduction").arms("m")] == [
        "plain",
        "r2",
        "r4",
        "r8",
        "r16",
        "r32",
    ]
    for name, preset in PRESETS.items():
        arms = {arm.name: arm for arm in preset.arms("some_model")}
        assert set(preset.reported) <= set(arms), name
        assert all(
            arm.options["attention"] == "se" for arm in arms.values() if arm.name in ("r2", "tanh", "pre")
        )
    assert PRESETS["placement"].reported["identity"].top1 == 22.20
    assert {arm.name: arm.baseline for arm in get_preset("architectures").arms("")}[
        "vgg16_bn+se"
    ] == "vgg16_bn"
    with pytest.raises(ExciteError, match="did you mean 'stages'"):
        get_preset("stage")


def test_the_papers_three_squeezes_differ_only_in_the_squeeze() -> None:
    arms = {arm.name: arm for arm in get_preset("squeeze").arms("cifar_resnet20")}
    assert list(arms) == ["plain", "max", "avg", "none"]
    found = {}
    for name, arm in arms.items():
        config = arm_config(TrainConfig(placement="standard"), arm)
        found[name] = summarize(create_model(**architecture_of(config, 10)), 32)
    assert found["max"].parameters == found["avg"].parameters == found["none"].parameters
    assert found["plain"].parameters < found["avg"].parameters
    assert found["plain"].multiply_adds < found["avg"].multiply_adds == found["max"].multiply_adds
    assert found["avg"].multiply_adds < found["none"].multiply_adds
