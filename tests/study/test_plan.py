"""Plans: from flags and YAML the same; what is wrong is found by name before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from excite.config.train_config import TrainConfig
from excite.errors import ExciteError
from excite.models.catalog import create_model
from excite.models.summary import summarize
from excite.runs.derive import architecture_of
from excite.study.plan import Arm, Plan, arm_config, parse_arm, plan_from_yaml
from excite.study.presets import PRESETS, get_preset


def test_an_arm_is_a_name_a_network_and_options() -> None:
    assert parse_arm("plain:densenet121") == Arm("plain", {"model": "densenet121", "attention": "none"})
    assert parse_arm("se:timm:resnet50+se").options == {"model": "timm:resnet50", "attention": "se"}
    arm = parse_arm("r8:resnet50+se,reduction=8,gate=tanh,stages=4,5,lr=1e-3,baseline=plain")
    assert arm.baseline == "plain"
    config = arm_config(TrainConfig(epochs=3, attention_options={"bias": False}), arm)
    assert config.attention_options == {"bias": False, "reduction": 8, "gate": "tanh"}
    assert (config.stages, config.lr, config.epochs) == ("4,5", 0.001, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("densenet121", "must have the form NAME:MODEL"),
        ("a:b,reduction", "must have the form name=value"),
        ("a:b,lernrate=1", "unknown option 'lernrate'"),
        ("a:b,epochs=ten", "must be an integer"),
        ("a:b,flips=sideways", "unknown value 'sideways'"),
    ],
)
def test_what_is_wrong_with_an_arm_is_said(text: str, message: str) -> None:
    with pytest.raises(ExciteError, match=message) as found:
        parse_arm(text)
    assert found.value.exit_code == 2
    assert text in str(found.value)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ([], "a study needs at least one arm"),
        ([Arm("a", {}), Arm("A", {})], "name occurs twice"),
        ([Arm("../a", {})], "may contain letters"),
        ([Arm("a", {}), Arm("b", {}, "c")], "unknown arm 'c'"),
        ([Arm("a", {"val_fraction": 0.2})], "val_fraction must be the same for all arms"),
        ([Arm("a", {"seed": 1})], "seed must be the same for all arms"),
        ([Arm("a", {"modell": "x"})], "unknown option 'modell' .*'model'"),
    ],
)
def test_arms_that_cannot_be_compared_are_refused(arms: list[Arm], message: str) -> None:
    with pytest.raises(ExciteError, match=message):
        Plan(TrainConfig(), arms)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "seeds: must be"),
        ({"folds": 1}, "folds: must be"),
        ({"metric": "accurracy"}, "did you mean"),
    ],
)
def test_a_plan_has_seeds_folds_and_a_metric(options: dict[str, object], message: str) -> None:
    with pytest.raises(ExciteError, match=message):
        Plan(TrainConfig(), [Arm("a", {})], **options)  # type: ignore[arg-type]


def test_yaml_says_the_same_as_flags(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        "data: photos\nseeds: 3\nfolds: 4\nmetric: accuracy\noptions: {epochs: 7}\narms:\n"
        "  plain: {model: resnet50, attention: none}\n"
        "  r8: {model: resnet50, attention: se, reduction: 8, placement: post, baseline: plain}\n"
    )
    plan = plan_from_yaml(file)
    assert (plan.base.data, plan.base.epochs, plan.seeds, plan.folds, plan.metric) == (
        "photos",
        7,
        3,
        4,
        "accuracy",
    )
    assert list(plan.arms) == [
        parse_arm("plain:resnet50"),
        parse_arm("r8:resnet50+se,reduction=8,placement=post,baseline=plain"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arms: [a, b]", "arms must map names to options"),
        ("arm: {}", "unknown key 'arm'"),
        ("arms: {a: {model: x}}\nseeds: five", "seeds must be an integer"),
        ("arms: {a: {modle: x}}", "unknown option 'modle'"),
        ("- a", "is not a plan"),
        ("a: [", "invalid YAML"),
    ],
)
def test_a_wrong_yaml_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(ExciteError, match=message) as found:
        plan_from_yaml(file)
    assert str(file) in str(found.value)


def test_ready_plans_are_the_papers_ablations() -> None:
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


def test_the_papers_three_squeezes_differ_in_nothing_but_the_squeeze() -> None:
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


def test_what_is_said_of_attention_is_not_of_a_plain_arm() -> None:
    base = TrainConfig(placement="post", stages="4", attention_options={"reduction": 8})
    plain = arm_config(base, parse_arm("plain:resnet50"))
    assert (plain.placement, plain.stages, plain.attention_options) == ("auto", None, {})
    assert arm_config(base, parse_arm("se:resnet50+se,gate=tanh")).attention_options == {
        "reduction": 8,
        "gate": "tanh",
    }


@pytest.mark.parametrize("option", [{"positive": "a"}, {"positive": "a", "sensitivity": 0.9}])
def test_a_study_compares_most_probable_classes_and_refuses_an_operating_point(
    option: dict[str, object],
) -> None:
    with pytest.raises(ExciteError, match="has no effect in a study") as raised:
        Plan(TrainConfig().replace(**option), [Arm("one", {"model": "resnet18"})])
    assert raised.value.where == "--positive"
