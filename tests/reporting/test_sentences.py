"""Sentences of a report agree with the run: accuracy, disjointness, warnings, and limitations."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from excite.reporting.run_facts import RunFacts
from excite.reporting.sentences import (
    BAD,
    FINE,
    WARN,
    disjointness,
    folds_text,
    headline,
    intended_use,
    limitations,
    warnings,
)
from tests.reporting.run_folders import write_cross_validation, write_run


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> RunFacts:
    return RunFacts.of(write_run(tmp_path_factory.mktemp("runs") / "one"))


def changed(facts: RunFacts, **test: Any) -> RunFacts:
    """The facts with other entries of the test metrics."""
    return dataclasses.replace(facts, metrics={**facts.metrics, "test": {**facts.metrics["test"], **test}})


def regrouped(facts: RunFacts, groups: list[str]) -> RunFacts:
    return dataclasses.replace(facts, manifest=facts.manifest.with_columns(group=groups))


def test_the_headline_counts_the_correct_predictions(facts: RunFacts) -> None:
    found, predictions = headline(facts), facts.predictions
    threshold = facts.test["operating_point"]["chosen"]["threshold"]
    correct = sum((predictions.probabilities[:, 1] >= threshold) == predictions.targets)  # 1 is malignant
    assert found["value"] == f"{100 * correct / len(predictions):.1f} %"
    assert f"{correct} of {len(predictions)} images of 40 groups" in found["what"]
    low, high = (100 * facts.metrics["test"]["accuracy"][name] for name in ("low", "high"))
    assert found["interval"] == f"95 % interval {low:.1f} to {high:.1f} %"


@pytest.mark.parametrize(
    ("entries", "severity", "text"),
    [
        ({"duplicates_in_train": 1}, BAD, "1 of 120 test images has a near-duplicate in the training set"),
        ({"duplicates_in_train": 7}, BAD, "7 of 120 test images have a near-duplicate in the training set"),
        ({"duplicates_in_train": 7, "leaks_allowed": True}, BAD, "Leaks were allowed: 7 of 120 test images"),
        ({"leaks_allowed": True}, BAD, "Leaks were allowed; the metrics are optimistic."),
        ({}, FINE, "No group is in two splits: groups defined by the user"),
    ],
)
def test_near_duplicates_and_leaks_make_the_metrics_optimistic(
    facts: RunFacts, entries: dict[str, Any], severity: str, text: str
) -> None:
    found = disjointness(changed(facts, **entries))
    assert found.severity == severity
    assert text in found.text


def test_a_group_in_two_splits_is_found_in_the_manifest(facts: RunFacts) -> None:
    groups = facts.manifest.table["group"].tolist()
    splits = facts.manifest.table["split"].tolist()
    groups[splits.index("val")] = groups[splits.index("test")]
    found = disjointness(regrouped(facts, groups))
    assert found.severity == WARN
    assert found.text.startswith("1 group is in more than one split")


def test_a_search_for_near_duplicates_is_part_of_disjointness(facts: RunFacts) -> None:
    alone = regrouped(facts, [""] * len(facts.manifest))
    assert disjointness(alone).severity == FINE
    unsearched = dataclasses.replace(alone, audit={"passes": ["files", "same picture"]})
    found = disjointness(unsearched)
    assert found.severity == WARN
    assert found.text.endswith("crops and rotations of the same photo were not searched for.")


def test_findings_of_the_audit_are_warnings(facts: RunFacts) -> None:
    texts = [statement.text for statement in warnings(facts)]
    assert "There are only 40 test groups: intervals are wide and may be too narrow." in texts
    assert "The audit found 1 photo with conflicting labels." in texts
    assert any("from size alone (balanced accuracy 81.0 %," in text for text in texts)
    few = [statement.text for statement in warnings(changed(facts, low_group_count=list("abcdefg")))]
    assert any("Fewer than ten test groups of a, b, c, d, e and 2 more." in text for text in few)
    without_findings = warnings(dataclasses.replace(changed(facts, groups=500), audit={}))
    assert all(statement.severity == FINE for statement in without_findings)


def test_groups_of_one_image_are_called_images(facts: RunFacts) -> None:
    texts = [statement.text for statement in warnings(changed(facts, groups=49, n=49))]
    assert "There are only 49 test images: intervals are wide and may be too narrow." in texts
    few = changed(facts, groups=9, n=9, low_group_count=["ants"])
    named = "Fewer than ten test images of ants. Averages over classes depend on few images."
    assert named in [statement.text for statement in warnings(few)]
    assert "1 class has fewer than ten test images: ants." in limitations(few)


@pytest.mark.parametrize(("fraction", "warned"), [(0.24, True), (0.05, False)])
def test_a_calibration_that_decides_much_of_the_result_is_a_warning(
    fraction: float, warned: bool, facts: RunFacts
) -> None:
    images = facts.test["n"]
    accuracies = {"before": {"accuracy": {"value": 0.44}}, "after": {"accuracy": {"value": 0.682}}}
    found = warnings(changed(facts, calibration={"changed": fraction * images, **accuracies}))
    text = "of 24% of the test images, and the accuracy from 44.0% to 68.2%"
    assert any(text in each.text for each in found) == warned


def test_all_shortcuts_are_one_warning(facts: RunFacts) -> None:
    shortcuts = [{"feature": name, "score": 0.81, "chance": 0.5} for name in ("size", "file bytes")]
    found = warnings(dataclasses.replace(facts, audit={"shortcuts": shortcuts}))
    texts = [statement.text for statement in found if "can be predicted" in statement.text]
    assert texts == [
        "The label can be predicted from size alone (balanced accuracy 81.0 %, with shuffled labels 50.0 %), "
        "and from file bytes alone (balanced accuracy 81.0 %, with shuffled labels 50.0 %): the network may "
        "use these shortcuts."
    ]


def test_limitations_name_what_was_not_measured(facts: RunFacts) -> None:
    text = " ".join(limitations(facts))
    assert "There is no external validation" in text
    assert "No groups were defined" not in text
    assert "No groups were defined" in " ".join(limitations(regrouped(facts, [""] * len(facts.manifest))))
    assert "No subgroups" not in text  # this run has one
    without = {key: value for key, value in facts.metrics["test"].items() if key != "subgroups"}
    unmeasured = dataclasses.replace(facts, metrics={**facts.metrics, "test": without})
    assert "No subgroups, such as skin tone" in " ".join(limitations(unmeasured))


def test_the_intended_use_lists_the_classes(facts: RunFacts) -> None:
    assert intended_use(facts)[0] == "Assigns one of 2 classes to an image: benign, malignant."


def test_folds_and_repeats_are_counted(tmp_path: Path) -> None:
    one = RunFacts.of(write_cross_validation(tmp_path / "one", folds=4))
    assert folds_text(one) == "4 folds"
    two = RunFacts.of(write_cross_validation(tmp_path / "two", folds=3, repeats=2))
    assert folds_text(two) == "3 folds, 2 repeats"
    assert "out of fold" in headline(one)["what"]
