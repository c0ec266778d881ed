"""excite evaluate: other data, other class names, images seen in training, and tables of predictions."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import excite
from excite.audit.duplicates import fingerprints
from excite.cli.app import run as excite_cli
from excite.data.stored_image import StoredImage
from excite.errors import ExciteError
from excite.evaluation.evaluate import EvaluationSpec
from excite.runs.evaluate import evaluate_run
from excite.runs.evaluation_images import DataOptions
from excite.runs.run import Run
from tests.conftest import SMALL, make_pictures
from tests.pipeline.test_prepare_data import scene

QUICK: dict[str, Any] = {"epochs": 2, "quiet": True, **SMALL}
del QUICK["near_duplicates"]  # they are searched for


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two classes of scenes; a column of the table says which camera took them."""
    place = tmp_path_factory.mktemp("trained")
    rows = []
    for number in range(40):
        pixels = scene(number, 48)
        pixels[:, :, number % 2] //= 3
        path = place / f"{number}.png"
        Image.fromarray(pixels).save(path)
        rows.append((path.name, "ab"[number % 2], ("old", "new")[number // 2 % 2]))
    pd.DataFrame(rows, columns=["path", "label", "camera"]).to_csv(place / "data.csv", index=False)
    return excite.train(place / "data.csv", out=str(place / "run"), subgroups="camera", positive="a", **QUICK)


def test_the_training_evaluates_the_requested_options(trained: Run) -> None:
    test = trained.metrics["test"]
    (cameras,) = test["subgroups"]
    truth = trained.predictions.merge(trained.manifest.table[["path", "camera"]], on="path")
    for row in cameras["rows"]:
        rows = truth[truth["camera"] == row["value"]]
        assert row["n"] == len(rows)
        assert row["accuracy"]["value"] == pytest.approx((rows["label"] == rows["predicted"]).mean())
    point = test["operating_point"]
    assert (point["chosen"]["label"], point["chosen"]["criterion"], point["chosen"]["level"]) == (
        "a",
        "sensitivity",
        0.95,
    )
    held = trained.predicted("val")
    called = held.probabilities[:, 0] >= point["chosen"]["threshold"]
    assert called[held.targets == 0].mean() >= 0.95
    called = trained.predicted("test").probabilities[:, 0] >= point["test"]["threshold"]
    assert called.sum() == point["test"]["tp"] + point["test"]["fp"]


def test_the_text_of_an_evaluation_is_short(trained: Run) -> None:
    found = evaluate_run(trained)
    head, *lines = repr(found).splitlines()
    n, groups = found.metrics["n"], found.metrics["groups"]
    assert head == f"Evaluation of {n} images{'' if n == groups else f' of {groups} groups'} (test)"
    shown = {name: float(value) for name, value, *_ in (line.split() for line in lines)}
    assert shown["accuracy"] == pytest.approx(found.metrics["accuracy"]["value"], abs=0.00051)
    assert set(shown) <= {"accuracy", "balanced_accuracy", "auroc", "log_loss"}
    assert len(repr(found)) < 400


def test_the_saved_calibration_lowers_the_validation_loss(trained: Run) -> None:
    facts = json.loads((trained.path / "classifier.json").read_text())
    calibration = trained.metrics["test"]["calibration"]
    assert facts["calibration"]["temperature"] == calibration["temperature"] != 1
    assert facts["calibration"]["intercept"] == list(calibration["intercept"].values())
    assert trained.metrics["test"]["log_loss"]["value"] == pytest.approx(
        calibration["after"]["log_loss"]["value"]
    )


def test_other_criteria_can_be_evaluated_later(trained: Run) -> None:
    spec = EvaluationSpec(positive="b", specificity=0.9, abstain_below=0.6)
    figures = evaluate_run(trained, spec=spec).metrics
    assert figures["operating_point"]["chosen"]["criterion"] == "specificity"
    confidences = trained.predicted("test").confidences
    assert figures["abstention"]["answered"] == (confidences >= 0.6).sum()
    assert "subgroups" not in figures


@pytest.mark.slow
def test_a_classifier_abstains_below_its_threshold(trained: Run, tmp_path: Path) -> None:
    options = trained.config.to_dict() | {"abstain_below": 0.99, "out": str(tmp_path / "run"), "quiet": True}
    run = excite.train(options.pop("data"), **options)
    said = excite.Classifier.load(run).predict(list(run.predictions["path"]))
    assert {one.abstained for one in said} >= {True}
    for one in said:
        assert one.abstained == (max(one.probabilities.values()) < 0.99)
    assert run.metrics["test"]["abstention"]["answered"] == sum(not one.abstained for one in said)


@pytest.mark.slow
def test_every_place_predicts_by_the_operating_point(trained: Run, tmp_path: Path) -> None:
    """One threshold decides in metrics.json, predictions.csv, ``predict``, and ``evaluate`` on other data."""
    threshold = trained.metrics["test"]["operating_point"]["chosen"]["threshold"]
    options = trained.config.to_dict() | {"out": str(tmp_path / "run"), "quiet": True}
    options |= {"sensitivity": None, "specificity": 0.99}
    run = excite.train(options.pop("data"), **options)
    changed = []
    for one in (trained, run):
        classifier = excite.Classifier.load(one)
        assert classifier.operating_point is not None
        threshold = classifier.operating_point.threshold
        table = one.predictions
        by_rule = np.where(table["p:a"] >= threshold, "a", "b")
        assert list(table["predicted"]) == list(by_rule)
        assert [each.label for each in classifier.predict(list(table["path"]))] == list(by_rule)
        test = one.metrics["test"]
        assert test["accuracy"]["value"] == pytest.approx((table["label"] == by_rule).mean())
        assert (
            test["classes"]["a"]["sensitivity"]["value"]
            == test["operating_point"]["test"]["sensitivity"]["value"]
        )
        place = tmp_path / one.path.parent.name / "other"
        for path, label in zip(table["path"], table["label"], strict=True):
            (place / label).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place / label)
        found = evaluate_run(one, str(place))
        assert found.metrics["operating_point"]["chosen"]["threshold"] == threshold
        assert found.metrics["confusion"] == test["confusion"]
        changed.append(test["confusion"] != _by_argmax(table))
    assert any(changed)


def _by_argmax(table: pd.DataFrame) -> list[list[int]]:
    argmax = np.where(table["p:a"] >= 0.5, "a", "b")
    return [[int(((table["label"] == t) & (argmax == p)).sum()) for p in "ab"] for t in "ab"]


@pytest.mark.slow
def test_no_limit_no_abstention_and_no_positive_class_no_operating_point(
    trained: Run, tmp_path: Path
) -> None:
    options = trained.config.to_dict() | {"out": str(tmp_path / "run"), "quiet": True, "positive": None}
    run = excite.train(options.pop("data"), **options)
    assert "operating_point" not in run.metrics["test"]
    assert run.config.positive is None
    classifier = excite.Classifier.load(run)
    assert classifier.operating_point is None
    (found,) = classifier.predict(run.predictions["path"].iloc[0])
    assert found.abstained is None
    assert found.label == max(found.probabilities, key=lambda name: found.probabilities[name])


@pytest.fixture
def foreign(trained: Run, tmp_path: Path) -> Path:
    """New scenes under other names of classes, and among them three that were trained on: a file, a mirrored
    copy, and a smaller one."""
    place = tmp_path / "foreign"
    for name in ("a", "measles"):
        (place / name).mkdir(parents=True)
    for number in range(100, 110):
        pixels = scene(number, 48)
        Image.fromarray(pixels).save(place / ("a", "measles")[number % 2] / f"{number}.png")
    table = trained.manifest.table
    known = table.loc[(table["split"] == "train") & (table["label"] == "a"), "path"].tolist()[:3]
    shutil.copy(known[0], place / "a" / "same.png")
    with Image.open(known[1]) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(place / "a" / "mirrored.png")
    with Image.open(known[2]) as picture:
        picture.resize((40, 40)).save(place / "a" / "smaller.png")
    return place


def test_classes_are_mapped_and_seen_images_are_counted(
    trained: Run, foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", str(trained.path), str(foreign), "--map-class", "measles=b", "--json"]
    assert excite_cli(arguments) == 0
    said = capsys.readouterr()
    figures = json.loads(said.out)["all"]
    assert figures["n"] == 13
    assert figures["classes"]["b"]["n"] == 5
    assert figures["seen_in_training"] == 3
    assert "duplicates_in_train" not in figures
    assert "3 of 13 images were seen in training" in said.err


def test_seen_images_are_listed_and_metrics_are_given_without_them(
    trained: Run, foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "evaluate",
        str(trained.path),
        str(foreign),
        "--map-class",
        "measles=b",
        "--out",
        str(tmp_path / "o"),
    ]
    assert excite_cli(arguments) == 0
    said = capsys.readouterr().out
    figures = json.loads((tmp_path / "o" / "metrics.json").read_text())["all"]
    seen = {Path(row["path"]).name: row for row in figures["seen_images"]}
    assert set(seen) == {"same.png", "mirrored.png", "smaller.png"}
    assert seen["same.png"]["kind"] == "identical file"
    assert "mirrored" in seen["mirrored.png"]["evidence"]
    table = trained.manifest.table
    known = table.loc[(table["split"] == "train") & (table["label"] == "a"), "path"].tolist()[:3]
    assert [seen[name]["counterpart"] for name in ("same.png", "mirrored.png", "smaller.png")] == known

    rows = pd.read_csv(tmp_path / "o" / "seen_in_training.csv").to_dict("records")
    assert [(row["path"], row["counterpart"], row["kind"]) for row in rows] == [
        (row["path"], row["counterpart"], row["kind"]) for row in figures["seen_images"]
    ]
    predictions = pd.read_csv(tmp_path / "o" / "predictions.csv")
    rest = predictions[~predictions["path"].isin([row["path"] for row in rows])]
    unseen = figures["without_seen"]
    assert (figures["n"], unseen["n"]) == (13, len(rest))
    assert unseen["accuracy"]["value"] == pytest.approx((rest["label"] == rest["predicted"]).mean())
    for name in seen:
        assert name in said
    assert "without   accuracy" in said
    assert f"on {len(rest)} images" in said


def test_images_that_only_selected_are_told_from_those_the_network_was_fitted_to(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = trained.manifest.table
    for split in ("train", "val", "test"):
        for label in "ab":
            place = tmp_path / "data" / label
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(
                table.loc[(table["split"] == split) & (table["label"] == label), "path"].iloc[0], place
            )
    found = evaluate_run(trained, str(tmp_path / "data")).metrics
    assert (found["seen_in_training"], found["seen_in_selection"], found["without_seen"]["n"]) == (4, 2, 2)
    split_of = dict(zip(table["path"], table["split"], strict=True))
    uses = {split_of[image["counterpart"]]: image["use"] for image in found["seen_images"]}
    assert uses == {"train": "fitted", "val": "selected"}
    arguments = ["evaluate", str(trained.path), str(tmp_path / "data"), "--out", str(tmp_path / "o")]
    assert excite_cli(arguments) == 0
    said = capsys.readouterr()
    assert "4 of 6 images were seen in training, as exact or near-duplicates, 2 of them for" in said.err
    assert "4 of 6 images; 2 of them only selected the epoch" in said.out
    page = (tmp_path / "o" / "evaluation.html").read_text()
    assert "The network was not fitted to 2 of them" in page
    assert "used for selection only" in page


def test_a_second_evaluation_reads_only_new_images(
    trained: Run, foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_run(trained, str(foreign), options=DataOptions(mapping={"measles": "b"}))
    Image.fromarray(scene(500, 48)).save(foreign / "a" / "new.png")
    looked: list[str] = []
    decode = fingerprints.decode_and_hash

    def watched(file: StoredImage, **options: object) -> object:
        looked.append(Path(file.path).name)
        return decode(file, **options)

    monkeypatch.setattr(fingerprints, "decode_and_hash", watched)
    figures = evaluate_run(trained, str(foreign), options=DataOptions(mapping={"measles": "b"})).metrics
    assert looked == ["new.png"]
    assert (figures["n"], figures["seen_in_training"]) == (14, 3)
    looked.clear()
    evaluate_run(trained, str(foreign), options=DataOptions(mapping={"measles": "b"}))
    assert looked == []


def test_data_that_was_all_seen_has_no_metrics_without_it(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = trained.manifest.table
    (tmp_path / "known" / "a").mkdir(parents=True)
    known = table.loc[(table["split"] == "train") & (table["label"] == "a"), "path"]
    shutil.copy(known.iloc[0], tmp_path / "known" / "a")
    arguments = ["evaluate", str(trained.path), str(tmp_path / "known"), "--out", str(tmp_path / "o")]
    assert excite_cli(arguments) == 0
    assert "no image is left" in capsys.readouterr().out
    figures = json.loads((tmp_path / "o" / "metrics.json").read_text())["all"]
    assert figures["without_seen"] == {"n": 0, "groups": 0}
    assert "There are no other images to evaluate on" in (tmp_path / "o" / "evaluation.html").read_text()


@pytest.fixture(scope="module")
def patterned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose groups come from its file names."""
    place = make_pictures(tmp_path_factory.mktemp("patterned") / "data")
    out = place.parent / "run"
    return excite.train(place, group_pattern=r"^(p\d+)_", near_duplicates=False, out=str(out), **QUICK)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Pictures whose names have nothing in common with the run's, and tables of them."""
    place = tmp_path / "elsewhere"
    random = np.random.default_rng(7)
    rows = []
    for number in range(12):
        label = "abc"[number % 3]
        path = place / "images" / label / f"img{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(path)
        rows.append((str(path), label, f"g{number // 4}"))
    table = pd.DataFrame(rows, columns=["path", "label", "patient"])
    table.drop(columns="patient").to_csv(place / "plain.csv", index=False)
    table.rename(columns={"patient": "group"}).to_csv(place / "grouped.csv", index=False)
    table.to_csv(place / "patients.csv", index=False)
    return place


@pytest.mark.parametrize(
    ("data", "options", "groups", "grouped_by"),
    [
        ("images", [], 12, "image"),
        ("plain.csv", [], 12, "image"),
        ("grouped.csv", [], 3, "column group"),
        ("patients.csv", [], 12, "image"),
        ("patients.csv", ["--group-column", "patient"], 3, "column patient"),
        ("images", ["--group-pattern", r"^img(\d\d)"], 2, r"pattern ^img(\d\d)"),
        ("images", ["--group-pattern", r"^(img)"], 1, "pattern ^(img)"),
        ("images", ["--group-pattern", r"^(img\d+)"], 12, r"pattern ^(img\d+)"),
        ("grouped.csv", ["--group-pattern", r"^img(\d\d)"], 2, r"pattern ^img(\d\d)"),
    ],
)
def test_other_data_has_groups_of_its_own(
    patterned: Run,
    elsewhere: Path,
    capsys: pytest.CaptureFixture[str],
    data: str,
    options: list[str],
    groups: int,
    grouped_by: str,
) -> None:
    assert excite_cli(["evaluate", str(patterned.path), str(elsewhere / data), *options, "--json"]) == 0
    said = capsys.readouterr()
    figures = json.loads(said.out)["all"]
    assert (figures["n"], figures["groups"], figures["grouped_by"]) == (12, groups, grouped_by)
    lines = [line for line in said.err.splitlines() if "each image counts as a group of its own" in line]
    assert len(lines) == (grouped_by == "image")


def test_a_runs_own_images_keep_the_groups_of_its_manifest(patterned: Run) -> None:
    figures = evaluate_run(patterned).metrics
    test = patterned.manifest.part("test")
    assert (figures["groups"], figures["grouped_by"]) == (test.table["group"].nunique(), "run")
    assert figures["groups"] < figures["n"]
    assert "seen_in_training" not in figures


@pytest.mark.parametrize(
    ("data", "options", "says"),
    [
        ([], ["--group-pattern", "(a)"], "--group-pattern: has no effect without DATA"),
        ([], ["--group-column", "patient"], "--group-column: has no effect without DATA"),
        (["patients.csv"], ["--group-pattern", "(a)", "--group-column", "patient"], "mutually exclusive"),
        (["images"], ["--group-pattern", "^(P)"], "does not match 12 of 12 file names"),
        (["images"], ["--group-pattern", "(("], "is not a regular expression"),
        (["images"], ["--out", "images/a/judged"], "is inside the data, where nothing may be written"),
        (["plain.csv"], ["--out", "../patterned"], "is inside the data, where nothing may be written"),
    ],
)
def test_invalid_groups_and_folders_are_one_line_before_anything_is_computed(
    patterned: Run,
    elsewhere: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    data: list[str],
    options: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(elsewhere)
    if options[-1] == "../patterned":
        options = ["--out", str(Path(patterned.config.data) / "judged")]
    before = sorted(elsewhere.rglob("*"))
    monkeypatch.setattr("excite.runs.evaluate.decoded_pixels", None)  # decoding would fail
    assert excite_cli(["evaluate", str(patterned.path), *data, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert sorted(elsewhere.rglob("*")) == before


def test_all_unknown_classes_are_named_with_the_likely_solution(
    trained: Run, foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (foreign / "a").rename(foreign / "aa")
    assert excite_cli(["evaluate", str(trained.path), str(foreign)]) == 2
    said = capsys.readouterr().err
    assert "classes 'aa', 'measles' are not classes of the run: a, b (map it with --map-class aa=a" in said


def test_copies_of_missing_images_are_recognized_by_hash_or_from_the_cache(
    trained: Run, foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_run(
        trained, str(foreign), options=DataOptions(mapping={"measles": "b"})
    )  # the cache now knows its images
    moved = tmp_path / "moved"
    shutil.copytree(trained.path, moved)
    manifest = moved / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(str(trained.path.parent), str(tmp_path / "gone")))
    figures = evaluate_run(Run(moved), str(foreign), options=DataOptions(mapping={"measles": "b"})).metrics
    assert figures["seen_in_training"] == 3
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / "cache"))
    figures = evaluate_run(Run(moved), str(foreign), options=DataOptions(mapping={"measles": "b"})).metrics
    assert figures["seen_in_training"] == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "class 'measles' is not a class of the run: a, b (map it with --map-class measles=b"),
        (["--map-class", "measels=b"], "did you mean 'measles'?"),
        (["--map-class", "measles=c"], "unknown class 'c'"),
        (["--map-class", "measles"], "must have the form THEIRS=OURS"),
        (["--map-class", "measles=b", "--subgroups", "lens"], "--subgroups: unknown column 'lens'"),
        (["--map-class", "measles=b", "--positive", "c"], "unknown class 'c'"),
        (
            ["--sensitivity", "0.9", "--specificity", "0.9"],
            "sensitivity and specificity are mutually exclusive",
        ),
        (["--validation", "x.csv"], "--validation does not apply to a run"),
    ],
)
def test_inputs_that_cannot_be_evaluated_are_one_line(
    trained: Run, foreign: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    assert excite_cli(["evaluate", str(trained.path), str(foreign), *more]) != 0
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert says in errors[0]


def good_table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 30)
    shares = np.clip(0.5 + (truth - 0.5) * 0.6 + random.normal(0, 0.2, 30), 0, 1)
    return pd.DataFrame(
        {
            "path": [f"{number}.png" for number in range(30)],
            "label": np.array(["no", "yes"])[truth],
            "p:no": 1 - shares,
            "p:yes": shares,
            "site": ["x", "y", "z"] * 10,
        }
    )


def test_predictions_of_any_classifier_are_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = good_table()
    table.to_csv(tmp_path / "said.csv", index=False)
    arguments = [
        "evaluate",
        str(tmp_path / "said.csv"),
        "--subgroups",
        "site",
        "--json",
        "--out",
        str(tmp_path / "o"),
    ]
    more = ["--validation", str(tmp_path / "said.csv"), "--positive", "yes", "--sensitivity", "0.8"]
    assert excite_cli([*arguments, *more]) == 0
    figures = json.loads(capsys.readouterr().out)["table"]
    threshold = figures["operating_point"]["chosen"]["threshold"]
    predicted = np.where(table["p:yes"] >= threshold, "yes", "no")
    assert (predicted != np.where(table["p:yes"] > table["p:no"], "yes", "no")).any()
    assert figures["accuracy"]["value"] == pytest.approx((predicted == table["label"]).mean())
    assert [row["n"] for row in figures["subgroups"][0]["rows"]] == [10, 10, 10]
    assert figures["operating_point"]["test"]["sensitivity"]["value"] >= 0.8
    assert json.loads((tmp_path / "o" / "metrics.json").read_text())["table"] == figures


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda table: table.drop(columns="label"), "missing columns: 'label'"),
        (lambda table: table.assign(**{"p:no": 0.9}), "the probabilities sum to"),
        (lambda table: pd.concat([table, table[:1]]), "0.png occurs twice"),
        (lambda table: table.assign(label="maybe"), "label 'maybe' has no column 'p:maybe'"),
    ],
)
def test_an_invalid_table_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: object, says: str
) -> None:
    harm(good_table()).to_csv(tmp_path / "said.csv", index=False)  # type: ignore[operator]
    assert excite_cli(["evaluate", str(tmp_path / "said.csv")]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_one_image_of_one_class_is_evaluated_with_reasons_for_undefined_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good_table()[:1].to_csv(tmp_path / "one.csv", index=False)
    assert excite_cli(["evaluate", str(tmp_path / "one.csv")]) == 0
    said = capsys.readouterr().out
    (reasons,) = [line for line in said.splitlines() if line.startswith("not defined (-): ")]
    assert "no image belongs to this class" in reasons
    assert "no image is predicted as this class" in reasons
    assert "on 1 image," in said
    assert "no interval: 1 group is too few; at least 10 are needed" in said
    table = good_table()
    table[table["label"] == "yes"].to_csv(tmp_path / "yes.csv", index=False)
    assert excite_cli(["evaluate", str(tmp_path / "yes.csv"), "--subgroups", "site"]) == 0
    said = capsys.readouterr().out
    reasons = [line for line in said.splitlines() if line.startswith("not defined (-): ")]
    assert "every image belongs to this class" in reasons[0]  # of the classes
    assert "all images belong to one class" in reasons[1]  # of the sites
    assert "nan" not in said


@pytest.mark.slow
def test_an_evaluation_does_not_overwrite_a_run(
    trained: Run, foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.path, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    (tmp_path / "link").symlink_to("run")
    other = [str(foreign), "--map-class", "measles=b"]
    for out in (run, tmp_path / "link", run / "figures", run / "checkpoints" / "x", run / "repeat-0/fold-1"):
        for source in ([str(run)], [str(run), *other], [str(run / "predictions.csv")]):
            assert excite_cli(["evaluate", *source, "--out", str(out)]) == 2
            said = capsys.readouterr().err
            assert "whose files are never overwritten" in said
            assert f"--out {os.path.relpath(run / 'evaluation')}" in said
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert excite_cli(["evaluate", str(run), "--out", str(run / "evaluation")]) == 0


def test_a_table_of_predictions_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "predictions.csv"
    good_table().to_csv(table, index=False)
    before = table.read_bytes()
    assert excite_cli(["evaluate", str(table), "--out", str(tmp_path)]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert table.read_bytes() == before


def test_a_table_has_no_splits(tmp_path: Path) -> None:
    good_table().to_csv(tmp_path / "said.csv", index=False)
    assert excite_cli(["evaluate", str(tmp_path / "said.csv"), "--split", "val"]) == 2


def test_the_data_must_be_there(trained: Run) -> None:
    with pytest.raises(ExciteError, match="no such file or folder"):
        evaluate_run(trained, "nowhere")


@pytest.mark.slow
def test_classes_are_aligned_in_both_unicode_forms(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for folder, name in (("train", composed), ("train", "tea"), ("new", decomposed), ("new", "th\u00e9")):
        (tmp_path / folder / name).mkdir(parents=True)
        for number in range(12):
            pixels = scene(number + 100 * (folder == "new"), 32)
            pixels[:, :, int(name.startswith("t"))] //= 3
            Image.fromarray(pixels).save(tmp_path / folder / name / f"{number}.png")
    (tmp_path / "new" / "th\u00e9" / "x.png?width=9").touch()
    run = excite.train(tmp_path / "train", out=str(tmp_path / "run"), positive=decomposed, **QUICK)
    assert run.config.positive == composed
    found = evaluate_run(
        run, str(tmp_path / "new"), options=DataOptions(mapping={"the\u0301": "tea"}), out=tmp_path / "out"
    )
    assert found.predictions.classes == (composed, "tea")
    assert {name: row["n"] for name, row in found.metrics["classes"].items()} == {composed: 12, "tea": 12}
    assert found.metrics["operating_point"]["chosen"]["label"] == composed
    for out in (tmp_path / "new/out", tmp_path / "train/tea/out"):
        with pytest.raises(ExciteError, match="is inside the data"):
            evaluate_run(
                run, str(tmp_path / "new"), options=DataOptions(mapping={"the\u0301": "tea"}), out=out
            )
