"""report.html agrees with the files of the run, whatever the names of the classes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from excite.errors import ExciteError
from excite.evaluation.measure import measure
from excite.evaluation.predictions import Predictions
from excite.reporting.html import SIDE
from excite.reporting.report import report_page, write_report
from excite.reporting.svg import TOP
from excite.runs.run import Run
from tests.reporting.pages import Page
from tests.reporting.run_folders import AUDIT, simulated, write_cross_validation, write_run

AWKWARD = ("<script>alert(1)</script>", "a\"b'c&d", "{{ 7*7 }}", "two\nlines", "</svg>", "=1+2,3")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_run(tmp_path_factory.mktemp("runs") / "two")


@pytest.fixture(scope="module")
def page(two: Run) -> Page:
    return Page(report_page(two))


def test_the_verdict_is_the_accuracy_with_its_interval(two: Run, page: Page) -> None:
    figure = two.metrics["test"]["accuracy"]
    right = round(figure["value"] * 120)
    assert f"{100 * figure['value']:.1f} % 95 % interval" in page.text
    assert f"{100 * figure['low']:.1f} to {100 * figure['high']:.1f} %" in page.text
    assert f"{right} of 120 images of 40 groups" in page.text
    assert "Always predicting 'benign' would reach 50.0 % accuracy" in page.text


def test_every_metric_is_shown_with_its_interval(two: Run, page: Page) -> None:
    test = two.metrics["test"]
    for name in ("balanced_accuracy", "auroc", "log_loss", "brier", "kappa", "mcc"):
        percent = 100 if name == "balanced_accuracy" else 1
        digits = 1 if percent == 100 else 3
        low, high = (percent * test[name][bound] for bound in ("low", "high"))
        assert f"{low:.{digits}f} to {high:.{digits}f}" in page.text, name
    for row in test["classes"].values():
        assert (
            f"{100 * row['sensitivity']['low']:.1f} to {100 * row['sensitivity']['high']:.1f} %" in page.text
        )
    bounds = test["ece"]["calibrated"]
    assert f"{bounds['low']:.3f} to {bounds['high']:.3f} is expected of a calibrated classifier" in page.text


def test_the_page_loads_nothing_and_has_no_scripts(page: Page) -> None:
    assert all(address.startswith(("#", "data:image/")) for address in page.addresses)
    assert not {"script", "link", "iframe", "object", "form", "base"} & set(page.tags)
    assert "img" not in page.tags  # pictures only where they are asked for


def test_charts_contain_their_data(two: Run, page: Page) -> None:
    """The area under the downloaded points is the AUROC, and so on for every chart."""
    test = two.metrics["test"]
    assert set(page.downloads) == {
        "roc.csv", "precision-recall.csv", "reliability-before.csv", "reliability-after.csv", "coverage.csv",
        "decision-curve.csv", "confusion.csv", "learning-loss.csv", "learning-accuracy.csv",
    }  # fmt: skip
    roc = np.array([row[1:] for row in page.downloads["roc.csv"][1:]], dtype=float)
    area = np.trapezoid(roc[:, 1], roc[:, 0])
    assert area == pytest.approx(test["classes"]["malignant"]["auroc"]["value"], abs=0.003)
    recall, precision = np.array(
        [row[1:] for row in page.downloads["precision-recall.csv"][1:]], dtype=float
    ).T
    area = np.trapezoid(precision, recall)
    assert area == pytest.approx(test["classes"]["malignant"]["average_precision"]["value"], abs=0.005)
    counts = [[int(value) for value in row[1:]] for row in page.downloads["confusion.csv"][1:]]
    assert counts == test["confusion"]
    for name in ("before", "after"):
        rows = page.downloads[f"reliability-{name}.csv"]
        wanted = test["calibration"][name]["reliability"]
        assert [int(row[2]) for row in rows[1:]] == [one["n"] for one in wanted]
        assert [float(row[5]) for row in rows[1:]] == pytest.approx([one["accuracy"] for one in wanted], 1e-5)
    everyone = page.downloads["coverage.csv"][1]
    assert float(everyone[1]) == 1
    assert float(everyone[3]) == pytest.approx(test["accuracy"]["value"], abs=1e-5)
    losses = [float(row[2]) for row in page.downloads["learning-loss.csv"][1:]]
    assert losses == pytest.approx(two.history["val_loss"].tolist(), rel=1e-5)


def test_the_operating_point_is_shown_with_its_counts(two: Run, page: Page) -> None:
    point = two.metrics["test"]["operating_point"]["test"]
    assert (
        f"{point['tp']} true positives, {point['fn']} false negatives, {point['fp']} false positives"
        in page.text
    )
    assert "for a sensitivity of 95 %" in page.text
    assert "Decision curve of malignant" in page.text


def test_findings_of_the_audit_and_subgroups_are_shown(page: Page) -> None:
    assert "The audit found 1 photo with conflicting labels." in page.text
    assert "predicted from size alone (balanced accuracy 81.0 %, with shuffled labels 50.0 %)" in page.text
    assert "Lagos small: under 20 groups" in page.text
    assert "Essen small" not in page.text


def test_the_provenance_is_shown(page: Page) -> None:
    for text in (
        "se, placement auto, at 2 sites: a.se to b.se, reduction 8",
        "96 x 96 pixels",
        "epochs 5 of 5",
    ):
        assert text in page.text
    assert "commit 0123456789ab with local changes" in page.text
    assert "--set attention_options.reduction=8" in page.text
    assert "--no-channels-last" in page.text
    assert r"excite train /data --group-pattern '^(\d+)_' --lr 0.001" in page.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extras", "told"),
    [
        ({}, "No group is in two splits: groups defined by the user were kept together."),
        ({"duplicates_in_train": 7}, "7 of 120 test images have a near-duplicate in the training set"),
        ({"duplicates_in_train": 7, "leaks_allowed": True}, "Leaks were allowed: 7 of 120"),
    ],
)
def test_the_level_of_disjointness_is_stated(tmp_path: Path, extras: dict, told: str) -> None:
    text = Page(report_page(write_run(tmp_path / "run", extras=extras))).text
    assert told in text
    assert ("metrics are optimistic" in text.split("balanced accuracy")[0]) == bool(extras)


def test_a_divided_group_is_found_in_the_manifest(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    table = (run.path / "manifest.csv").read_text()
    (run.path / "manifest.csv").write_text(table.replace("val-0,,val", "train-0,,val"))
    assert "1 group is in more than one split" in Page(report_page(run)).text


@pytest.mark.slow
def test_images_alone_are_disjoint_by_image(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", alone=True, size=1, audit=False)
    text = Page(report_page(run)).text
    assert "The splits are disjoint by image" in text
    assert "crops and rotations of the same photo were not searched for" in text
    assert "The run folder contains no audit.json" in text
    (run.path / "audit.json").write_text(json.dumps(AUDIT))
    assert "were not searched for" not in Page(report_page(run)).text


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    text = report_page(write_run(tmp_path / "run", AWKWARD, groups=72, size=1))
    shown = Page(text)
    assert "script" not in shown.tags
    assert "<script" not in text
    assert text.count("<svg") == text.count("</svg>")
    for name in AWKWARD:
        assert " ".join(name.split()) in shown.text
    assert shown.downloads["confusion.csv"][0] == ["label", *AWKWARD]
    assert {row[0] for row in shown.downloads["roc.csv"][1:]} == set(AWKWARD)


def test_metrics_of_a_class_without_images_are_not_defined(tmp_path: Path) -> None:
    test = simulated(("a", "b", "c"), 30, 1)
    run = write_run(tmp_path / "run", ("a", "b", "c"), test=test.take(test.targets != 1))
    text = Page(report_page(run)).text
    assert "not defined: no image belongs to this class" in text
    assert "nan" not in text.lower().split()
    assert "1 class has no curve: no positive or no negative images." in text


def test_a_test_of_one_image_has_a_report(tmp_path: Path) -> None:
    one = Predictions(
        np.array([0]), np.array([[0.3, 0.7]]), ("a", "b"), np.array([""], dtype=object), ("/data/x.png",)
    )
    run = write_run(tmp_path / "run", ("a", "b"), test=one)
    write_report(run)
    text = Page((run.path / "report.html").read_text()).text
    assert "0.0 %" in text
    assert "Undefined: all images belong to one class" in text  # the curves
    assert "b not defined: all images belong to one class" in text  # the figures, by their letter
    assert "Decision curve" not in text


def test_thumbnails_are_the_pictures_and_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    names = [tmp_path / "data" / f"{row}.png" for row in range(3)]
    for name in names[:2]:
        Image.new("RGB", (900, 600), "red").save(name)
    wrong = np.array([[0.9, 0.1]] * 3)
    test = Predictions(np.ones(3, int), wrong, ("a", "b"), None, tuple(map(str, names)))
    test = Predictions(test.targets, wrong, ("a", "b"), np.array(["", "", ""], dtype=object), test.paths)
    run = write_run(tmp_path / "run", ("a", "b"), test=test)
    assert "img" not in Page(report_page(run)).tags
    before = [(name.read_bytes(), name.stat().st_mtime_ns) for name in names[:2]]
    write_report(run, thumbnails=True)
    shown = Page((run.path / "report.html").read_text())
    assert sum(address.startswith("data:image/jpeg;base64,") for address in shown.addresses) == 2
    assert "file not found" in shown.text
    assert before == [(name.read_bytes(), name.stat().st_mtime_ns) for name in names[:2]]
    assert SIDE < 900


@pytest.mark.slow
def test_a_large_test_set_has_a_page_that_a_phone_opens(tmp_path: Path) -> None:
    classes = [f"class {number}" for number in range(100)]
    run = write_run(tmp_path / "run", classes, groups=1000, size=10, resamples=20)
    write_report(run)
    assert (run.path / "report.html").stat().st_size < 3e6
    assert (run.path / "model_card.md").stat().st_size < 1e5
    shown = Page((run.path / "report.html").read_text())
    assert "The legend lists the 6 classes with the lowest AUROC; the CSV file contains all." in shown.text
    assert "less frequent confusions are in the CSV file" in shown.text
    assert {row[0] for row in shown.downloads["roc.csv"][1:]} == set(classes)
    counts = np.array([row[1:] for row in shown.downloads["confusion.csv"][1:]], dtype=int)
    assert counts.tolist() == run.metrics["test"]["confusion"]


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_cross_validation_has_folds_and_their_corrected_mean(tmp_path: Path, repeats: int) -> None:
    run = write_cross_validation(tmp_path / "run", repeats=repeats)
    write_report(run)
    shown = Page((run.path / "report.html").read_text())
    mean = run.metrics["corrected"]["accuracy"]
    assert (
        f"mean {100 * mean['mean']:.1f} % {100 * mean['low']:.1f} to {100 * mean['high']:.1f} %" in shown.text
    )
    assert "repeat-0/fold-4" in shown.text
    assert f"The mean of the AUROCs of {5 * repeats - 1} folds is 76.5 %." in shown.text
    assert "No group is in two folds" in shown.text
    assert "learning-loss.csv" not in shown.downloads
    assert "reliability.csv" in shown.downloads
    assert ("and averaged over 2 repeats" in shown.text) == (repeats == 2)
    pooled = measure(run_predictions(run), intervals=False)["confusion"]
    assert [[int(value) for value in row[1:]] for row in shown.downloads["confusion.csv"][1:]] == pooled


def run_predictions(run: Run) -> Predictions:
    from excite.evaluation.predictions import read_predictions

    return read_predictions(run.path / "predictions.csv")


def test_a_training_that_has_not_finished_has_no_report(two: Run, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run.path / "metrics.json").unlink()
    with pytest.raises(ExciteError, match=r"has no metrics\.json"):
        write_report(run)
    assert not (run.path / "report.html").exists()


def test_a_single_training_has_no_label_candidates(page: Page) -> None:
    assert "Label candidates" not in page.text
    assert "the mean of all" not in page.text


def test_the_report_of_a_probe_has_no_training_loop(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run.path / "config.yaml").write_text(run.config.replace(recipe="probe").to_yaml())
    (run.path / "metrics.csv").write_text("C,val_loss,val_accuracy\n0.1,0.5,0.8\n0.316,0.3,0.9\n1,0.4,0.9\n")
    text = Page(report_page(Run.open(run.path))).text
    assert "probe: a linear probe (C = 0.316) on the features of the frozen network" in text
    assert f"all {run.metrics['val']['n']} images outside the test set" in text
    for word in ("optimizer", "augmentation", "kept epoch"):
        assert word not in text


def test_fine_tuning_that_returned_to_the_probe_is_reported_as_such(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run.path / "config.yaml").write_text(run.config.replace(recipe="finetune").to_yaml())
    (run.path / "probe.csv").write_text("C,val_loss,val_accuracy\n0.1,0.5,0.8\n0.316,0.3,0.9\n")
    figures = {kind: {"accuracy": 0.9, "log_loss": 0.3} for kind in ("start", "tuned", "final")}
    rows = [{"corruption": name, **figures} for name in ("clean", "darker")]
    run.write_json("robustness.json", {"fraction": 0.0, "probe": True, "n": 40, "rows": rows})
    text = Page(report_page(Run.open(run.path))).text
    assert "fine-tuning did not improve on the probe" in text
    assert "the final model is a linear probe (C = 0.316) on the features of the frozen network" in text
    assert f"all {run.metrics['val']['n']} images outside the test set" in text
    assert "The best epoch was selected" not in text


def test_the_axes_of_the_decision_curve_contain_the_whole_interval(two: Run) -> None:
    page = report_page(two)
    curve = page[page.index('id="decision-curve"') :]
    points = re.search(r'<polygon class="band f0" points="([^"]*)"', curve)
    assert points
    assert min(float(point.split(",")[1]) for point in points[1].split()) >= TOP
