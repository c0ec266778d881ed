"""The plan that the options of excite study run stand for, and bad usage in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.errors import ExciteError
from excite.study.plan import METRIC, Arm, Plan
from excite.study.running import orchestrate
from excite.study.running.orchestrate import Resources
from tests.conftest import Command


class StopError(ExciteError):
    """Ends a command where a study would begin."""


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments that begin a study: plan, folder, store, resources, display, and deviation."""
    found: list[Any] = []

    def start(*arguments: Any) -> None:
        found.extend(arguments)
        raise StopError("stopped")

    monkeypatch.setattr(orchestrate, "start", start)
    return found


def test_options_become_a_plan(excite_command: Command, begun: list[Any]) -> None:
    excite_command(
        "study", "run", "photos", "--arm", "plain:resnet18", "--arm", "se8:resnet18+se,reduction=8,lr=1e-3",
        "--seeds", 7, "--folds", 3, "--metric", "auroc", "--epochs", 9, "--set", "augment_options.rotation=5",
        "--jobs", 2, "--lease", 30, "--std", 0.02, "--device", "cpu", "--store", "sqlite:///x.db",
    )  # fmt: skip
    plan, folder, store, resources, _, std = begun
    assert isinstance(plan, Plan)
    assert [arm.name for arm in plan.arms] == ["plain", "se8"]
    assert plan.arms[0] == Arm("plain", {"model": "resnet18", "attention": "none"})
    expected = {"model": "resnet18", "attention": "se", "attention_options": {"reduction": 8}, "lr": 1e-3}
    assert plan.arms[1] == Arm("se8", expected)
    assert (plan.seeds, plan.folds, plan.metric) == (7, 3, "auroc")
    assert (plan.base.data, plan.base.epochs, plan.base.augment_options) == ("photos", 9, {"rotation": 5})
    assert (folder, store, std) == (Path("studies/photos"), "sqlite:///x.db", 0.02)
    assert resources == Resources("cpu", 2, None, 30.0)


def test_without_options_there_are_five_seeds_of_balanced_accuracy(
    excite_command: Command, begun: list[Any]
) -> None:
    excite_command("study", "run", "digits", "--arm", "plain:resnet18")
    plan, folder, store, resources, _, std = begun
    assert (plan.seeds, plan.folds, plan.metric) == (5, None, METRIC)
    assert (folder, store, std) == (Path("studies/digits"), None, None)
    assert resources == Resources("auto", None, None, 60.0)


def test_options_override_a_plan_in_a_file(excite_command: Command, begun: list[Any], tmp_path: Path) -> None:
    written = "data: photos\nseeds: 3\nfolds: 4\nmetric: mcc\noptions: {epochs: 60, image_size: 96}\n"
    written += "arms: {plain: {model: resnet18}, se: {model: resnet18, attention: se, reduction: 4}}\n"
    (tmp_path / "plan.yaml").write_text(written)
    excite_command("study", "run", "--config", tmp_path / "plan.yaml")
    [plan, *_] = begun
    assert (plan.seeds, plan.folds, plan.metric, plan.base.epochs) == (3, 4, "mcc", 60)
    assert [arm.name for arm in plan.arms] == ["plain", "se"]
    begun.clear()
    options = ("--seeds", 8, "--metric", "accuracy", "--epochs", 5, "--out", "elsewhere")
    excite_command("study", "run", "other", "--config", tmp_path / "plan.yaml", *options)
    plan, folder, *_ = begun
    assert (plan.seeds, plan.folds, plan.metric) == (8, 4, "accuracy")
    assert (plan.base.data, plan.base.epochs, plan.base.image_size) == ("other", 5, 96)
    assert folder == Path("elsewhere")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run",), "no data given"),
        (("run", "digits"), "a study needs at least one arm"),
        (("run", "digits", "--plan", "gates"), "did you mean 'gate'"),
        (("run", "digits", "--plan", "gate", "--arm", "a:b"), "are mutually exclusive"),
        (("run", "digits", "--arm", "a:b", "--metric", "acuracy"), "did you mean 'accuracy'"),
        (("status", "nowhere"), "folder does not exist"),
        (("add", "nowhere"), "nothing to add"),
        (("run", "digits", "--arm", "a:b", "--store", "nonsense"), "unknown model 'b'"),
    ],
)
def test_bad_usage_is_one_line(excite_command: Command, arguments: tuple[str, ...], message: str) -> None:
    found = excite_command("study", *arguments)
    assert found.returncode == 2
    assert message in found.stderr
    assert found.stderr.strip().splitlines()[-1].startswith("excite: error: ")
