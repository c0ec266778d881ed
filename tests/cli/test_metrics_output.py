"""Metrics on a terminal: each with its interval and its number of images, and why one is missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from excite.cli.metrics_output import (
    MOST_CLASSES,
    SHOWN,
    accuracy_line,
    labels_line,
    print_figures,
    print_folds,
    print_seen,
    with_interval,
)
from tests.reporting.run_folders import MANY, simulated, write_cross_validation, write_run


@pytest.mark.parametrize(
    ("figure", "digits", "text"),
    [
        ({"value": 0.91234, "low": 0.9, "high": 0.92}, 1, "91.2% (90.0-92.0)"),
        ({"value": 0.91234, "low": 0.9, "high": 0.92}, 2, "91.23% (90.00-92.00)"),
        ({"value": 0.5, "low": None, "high": None}, 1, "50.0%"),
        ({"value": 0.5}, 1, "50.0%"),
        ({"value": 1.0, "low": 0.98765, "high": 1.0}, 1, "100.0% (98.8-100.0)"),
        ({"value": None, "reason": "no images"}, 1, "-"),
    ],
)
def test_a_fraction_is_a_percentage_with_its_interval(figure: dict[str, Any], digits: int, text: str) -> None:
    assert with_interval(figure, digits) == text


@pytest.mark.parametrize(
    ("more", "behind"),
    [
        ({"n": 1, "groups": 1}, "on 1 image,"),
        ({"n": 5, "groups": 5}, "on 5 images,"),
        ({"n": 5, "groups": 1}, "on 5 images of 1 group,"),
        ({"n": 5, "groups": 3}, "on 5 images of 3 groups,"),
        (
            {"n": 5, "groups": 5, "duplicates_in_train": 2},
            "on 5 images (2 with a near-duplicate in the training set),",
        ),
        ({"n": 5, "groups": 5, "seen_in_training": 4}, "on 5 images (4 seen in training),"),
    ],
)
def test_accuracy_is_printed_with_its_number_of_images(more: dict[str, int], behind: str) -> None:
    figures: dict[str, Any] = {
        "accuracy": {"value": 0.8},
        "balanced_accuracy": {"value": 0.7},
        "log_loss": {"value": 0.1234},
    }
    figures["majority_class"] = {"label": "no", "fraction": 0.6}
    text = accuracy_line({**figures, **more})
    assert text == f"accuracy 80.00% {behind} balanced 70.00%, log loss 0.123; always 'no' gives 60.00%"


@pytest.mark.parametrize(
    ("candidates", "text"),
    [
        (0, "none of 9 images looks mislabeled"),
        (1, "1 of 9 images to review: its label may be wrong (label_candidates.csv)"),
        (3, "3 of 9 images to review: their labels may be wrong (label_candidates.csv)"),
    ],
)
def test_label_candidates_are_counted(candidates: int, text: str) -> None:
    assert labels_line({"units": 9, "unit": "images", "candidates": candidates}) == text


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_run(tmp_path_factory.mktemp("metrics") / "run").metrics


def test_every_class_subgroup_and_threshold_has_its_line(
    metrics: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    test = metrics["test"]
    print_figures("test", test)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"test      {accuracy_line(test)}"
    for name, row in test["classes"].items():
        line = next(line for line in lines if line.startswith(name) and with_interval(row["auroc"]) in line)
        assert line.split()[1] == str(row["n"])
        assert with_interval(row["sensitivity"]) in line
    for row in test["subgroups"][0]["rows"]:
        line = next(line for line in lines if line.startswith(row["value"]))
        assert line.split()[1:3] == [str(row["n"]), str(row["groups"])]
        assert line.rstrip().endswith("few groups") == row["small"]
    point = test["operating_point"]
    line = next(line for line in lines if line.startswith("malignant from "))
    assert f"{point['chosen']['threshold']:.3f}" in line
    assert with_interval(point["test"]["sensitivity"]) in line
    assert any(f"on {test['abstention']['answered']} images" in line for line in lines)
    assert any(line.startswith("calibration error ") for line in lines)


def test_an_undefined_metric_is_a_dash_and_its_reason_is_printed_once(
    metrics: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    missing = {"value": None, "reason": "no image of the class"}
    classes = {name: row | {"auroc": missing} for name, row in metrics["test"]["classes"].items()}
    print_figures("test", metrics["test"] | {"classes": classes})
    out = capsys.readouterr().out
    assert len(re.findall("no image of the class", out)) == 1
    assert "not defined (-): no image of the class" in out


@pytest.mark.slow
def test_of_many_classes_those_with_the_lowest_sensitivity_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"class{number:02}" for number in range(MANY)]
    run = write_run(tmp_path / "run", names, test=simulated(names, MANY, 2), resamples=20)
    classes = run.metrics["test"]["classes"]
    print_figures("test", run.metrics["test"])
    out = capsys.readouterr().out
    shown = re.findall(r"^class\d\d", out, re.M)
    assert len(shown) == MOST_CLASSES
    worst = max(classes[name]["sensitivity"]["value"] for name in shown)
    assert all(classes[name]["sensitivity"]["value"] >= worst for name in names if name not in shown)
    assert f"the {MOST_CLASSES} of {MANY} classes with the lowest sensitivity" in out


def test_folds_have_a_row_each_and_their_corrected_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = write_cross_validation(tmp_path / "run", folds=3).metrics
    print_folds(metrics)
    lines = capsys.readouterr().out.splitlines()
    for row, line in zip(metrics["folds"], lines[1:4], strict=True):
        expected = [str(row[name]) for name in ("repeat", "fold", "n", "groups")]
        assert line.split()[:4] == expected
        assert f"{row['accuracy']:.1%}" in line
    mean = metrics["corrected"]["accuracy"]
    assert lines[4].startswith(f"one training's accuracy: mean {mean['mean']:.1%} of 3 folds")


def test_up_to_ten_seen_images_are_listed_and_accuracy_is_printed_without_them(
    metrics: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    pair = {"counterpart": "/train/1.png", "kind": "same photo", "evidence": "41 of 55 features agree"}
    seen = [{"path": f"/new/{number}.png", **pair} for number in range(SHOWN + 2)]
    print_seen({"n": 40, "seen_images": seen, "without_seen": metrics["test"]})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "seen in training: 12 of 40 images"
    assert lines[1] == "  /new/0.png = /train/1.png (same photo: 41 of 55 features agree)"
    assert lines[SHOWN + 1].startswith("  and 2 more")
    assert lines[-1] == f"without   {accuracy_line(metrics['test'])}"
    print_seen({"n": 2, "seen_images": seen[:2], "without_seen": {"n": 0}})
    assert capsys.readouterr().out.splitlines()[-1] == "without   no image is left"
    print_seen({"n": 2, "seen_images": []})
    assert capsys.readouterr().out == ""


def test_an_image_that_is_its_own_counterpart_is_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(tmp_path / "photos" / "1.png")
    row = {"path": path, "counterpart": path, "kind": "identical file", "evidence": "same SHA-256"}
    print_seen({"n": 1, "seen_images": [row], "without_seen": {"n": 0}})
    assert capsys.readouterr().out.splitlines()[1] == "  photos/1.png (the same file)"
