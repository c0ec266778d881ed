"""A run says what each part of a given split is used for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

import excite
from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.data.split import split_manifest
from excite.pipeline.split_use import describe_split
from excite.reporting.provenance import setup_rows
from excite.reporting.run_facts import RunFacts
from excite.runs.training_overlap import fitted_splits
from tests.conftest import SMALL, make_pictures


def described(splits: dict[str, int], **options: object) -> str:
    names = [name for name, count in splits.items() for _ in range(count)]
    table = pd.DataFrame(
        {
            "path": [f"/{k}.png" for k in range(len(names))],
            "label": ["a", "b"] * (len(names) // 2),
            "split": names,
        }
    )
    data = Manifest(table, ("a", "b"))
    config = TrainConfig().replace(**{"split": "folder", "recipe": "scratch", **options})
    made = split_manifest(data, method="folder", seed=0, test_from=config.test_from)
    return describe_split(data.splits, made, config)


def test_test_images_that_are_drawn_from_train_are_said() -> None:
    assert described({"train": 180, "val": 20}) == (
        "given split (train, val): 140 training images fit the network, 20 validation images select the "
        "epoch, the calibration, and the thresholds, 40 test images measure it; the test images are drawn "
        "from train (--test-from val tests on the given val)"
    )


def test_a_probe_is_fitted_to_val_too() -> None:
    text = described({"train": 180, "val": 20}, recipe="probe")
    assert "160 training and validation images fit the probe and its calibration, 40 test images" in text


def test_val_as_test_and_a_complete_split() -> None:
    text = described({"train": 160, "val": 40}, test_from="val")
    assert text.endswith("the test images are the given val, the validation images are drawn from train")
    assert described({"train": 140, "val": 20, "test": 40}).endswith("40 test images measure it")


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
    assert "given split (train, val):" in capsys.readouterr().err.replace("\n", " ")
    assert dict(setup_rows(RunFacts.of(run)))["split"] == "folder: given by the data; test drawn from train"
    assert fitted_splits(run) == ("train",)
    run = excite.train(photos, out=str(tmp_path / "on-val"), epochs=1, test_from="val", quiet=True, **SMALL)
    assert {Path(path).parent.parent.name for path in run.predictions["path"]} == {"val"}
    assert "tested on its val" in dict(setup_rows(RunFacts.of(run)))["split"]
