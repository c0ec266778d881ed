"""A run says what each part of a given split is used for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import excite
from excite.config.train_config import TrainConfig
from excite.pipeline.split_use import describe_split
from excite.reporting.provenance import setup_rows
from excite.reporting.run_facts import RunFacts
from excite.runs.training_overlap import fitted_splits
from tests.conftest import SMALL, make_pictures


def described(*given: str, **options: object) -> str:
    return describe_split(given, TrainConfig().replace(**{"split": "folder", "recipe": "scratch", **options}))


def test_test_images_that_are_drawn_from_train_are_named() -> None:
    assert described("train", "val") == (
        ", as in the data; the test images are drawn from train (--test-from val tests on the given val); "
        "the validation images select the epoch, the calibration, and the thresholds"
    )


def test_a_probe_is_fitted_to_val_too() -> None:
    text = described("train", "val", recipe="probe")
    assert text.endswith("the probe is fitted to training and validation images")


def test_val_as_test_and_a_complete_split() -> None:
    text = described("train", "val", test_from="val", recipe="probe")
    assert "the test images are the given val, the validation images are drawn from train" in text
    assert "drawn" not in described("train", "val", "test")


@pytest.mark.slow
def test_the_run_and_its_page_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_pictures(tmp_path / "all", classes=2, size=(20, 20))
    for label in "ab":
        for number, file in enumerate(sorted((folder / label).iterdir())):
            place = tmp_path / "photos" / ("val" if number % 4 == 0 else "train") / label
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
    photos = tmp_path / "photos"
    run = excite.train(photos, out=str(tmp_path / "run"), epochs=1, **SMALL)
    printed = " ".join(capsys.readouterr().err.split())
    assert printed.count("as in the data") == 1
    assert "images, as in the data; the test images are drawn from train" in printed
    assert dict(setup_rows(RunFacts.of(run)))["split"] == "folder: given by the data; test drawn from train"
    assert fitted_splits(run) == ("train",)
    run = excite.train(photos, out=str(tmp_path / "on-val"), epochs=1, test_from="val", quiet=True, **SMALL)
    assert {Path(path).parent.parent.name for path in run.predictions["path"]} == {"val"}
    assert "tested on its val" in dict(setup_rows(RunFacts.of(run)))["split"]
