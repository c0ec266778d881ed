"""The contents of a run folder: classes, splits, groups, and folds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from excite.data.manifest import DUPLICATES
from excite.errors import ExciteError
from excite.evaluation.measure import measure
from excite.reporting.run_facts import RunFacts
from tests.reporting.run_folders import simulated, write_cross_validation, write_run


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> RunFacts:
    return RunFacts.of(write_run(tmp_path_factory.mktemp("runs") / "one"))


def test_the_files_of_the_run_are_read(facts: RunFacts) -> None:
    run = facts.run
    assert facts.name == "one"
    assert facts.test == run.metrics["test"]
    assert facts.val == run.metrics["val"]
    assert (facts.folds, facts.duplicates_in_train, facts.leaks_allowed) == ((), 0, False)
    assert len(facts.predictions) == facts.test["n"] == 120
    assert facts.history is not None
    assert len(facts.history) == 5


def test_optional_files_may_be_missing_and_required_ones_may_not(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for name in ("audit.json", "environment.json", "classifier.json"):
        (run.path / name).unlink()
    facts = RunFacts.of(run)
    assert facts.audit == facts.environment == facts.classifier == facts.robustness == {}
    (run.path / "metrics.json").unlink()
    with pytest.raises(ExciteError, match=r"metrics\.json.*has not finished"):
        RunFacts.of(run)


def test_images_and_groups_of_each_class_are_counted_by_split(facts: RunFacts) -> None:
    splits, rows = facts.counts
    assert splits == ["train", "val", "test"]
    table = facts.manifest.table
    for label, cells in rows[: len(facts.predictions.classes)]:
        for split, cell in zip(splits, cells, strict=True):
            part = table[(table["label"] == label) & (table["split"] == split)]
            assert cell == f"{len(part)} ({part['group'].nunique()} groups)"


def test_groups_in_several_splits_are_counted(facts: RunFacts) -> None:
    assert facts.groups_in_several_splits == 0
    table = facts.manifest.table
    splits = table["split"].copy()
    names = table.loc[splits == "test", "group"].unique()[:3]
    for name in names:
        splits[table.index[table["group"] == name][0]] = "val"
    moved = dataclasses.replace(facts, manifest=facts.manifest.with_columns(split=splits))
    assert moved.groups_in_several_splits == 3


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (["", ""], (False, False)),
        (["p", ""], (True, False)),
        ([f"{DUPLICATES}1", ""], (False, True)),
        ([f"{DUPLICATES}1", "p"], (True, True)),
    ],
)
def test_groups_are_those_of_the_user_or_of_the_audit(
    facts: RunFacts, names: list[str], kinds: tuple[bool, bool]
) -> None:
    column = [names[row % 2] for row in range(len(facts.manifest))]
    assert dataclasses.replace(facts, manifest=facts.manifest.with_columns(group=column)).group_kinds == kinds


def test_the_positive_class_is_the_chosen_one_or_the_rarer_of_two(facts: RunFacts, tmp_path: Path) -> None:
    assert facts.positive_class == "malignant"  # of the operating point
    without = {key: value for key, value in facts.metrics["test"].items() if key != "operating_point"}
    table = facts.manifest.table
    fewer = table[(table["label"] != "benign") | (np.arange(len(table)) % 4 == 0)]
    rarer = dataclasses.replace(
        facts,
        metrics={**facts.metrics, "test": without},
        manifest=dataclasses.replace(facts.manifest, table=fewer),
    )
    assert rarer.positive_class == "benign"
    three = RunFacts.of(write_run(tmp_path / "run", ("a", "b", "c")))
    assert (three.positive_class, three.positive) == (None, None)


def test_repeats_have_the_classes_of_the_first_one(tmp_path: Path) -> None:
    pooled = simulated(("benign", "malignant"), 60, 3)
    facts = RunFacts.of(write_cross_validation(tmp_path / "folds", repeats=2, pooled=pooled))
    assert len(facts.folds) == 10
    expected = measure(pooled, intervals=False)
    for name in pooled.classes:
        found = facts.by_class["classes"][name]["sensitivity"]["value"]
        assert found == pytest.approx(expected["classes"][name]["sensitivity"]["value"])
