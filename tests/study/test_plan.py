"""Plans from flags and YAML; errors are found by name before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from excite.config.train_config import TrainConfig
from excite.errors import ExciteError
from excite.study.plan import Arm, Plan, arm_config, parse_arm, plan_from_yaml


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
def test_invalid_arms_are_refused(text: str, message: str) -> None:
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


def test_yaml_and_flags_give_the_same_plan(tmp_path: Path) -> None:
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
def test_an_invalid_yaml_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(ExciteError, match=message) as found:
        plan_from_yaml(file)
    assert str(file) in str(found.value)


def test_options_of_attention_do_not_apply_to_a_plain_arm() -> None:
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
