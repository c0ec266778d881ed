"""A training that fails before its first checkpoint leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import excite
from excite.errors import INTERRUPTED, ExciteError
from excite.runs.failed_start import discarding_failed_start
from excite.runs.run import Run
from tests.conftest import SMALL


@pytest.fixture
def begun(tmp_path: Path) -> Run:
    run = Run(tmp_path / "runs" / "photos")
    (run.path / "checkpoints").mkdir(parents=True)
    (run.path / "config.yaml").write_text("data: photos\n")
    return run


def test_a_failure_removes_the_folder_and_the_folder_of_runs_if_it_is_empty(begun: Run) -> None:
    with pytest.raises(ValueError, match="broken"), discarding_failed_start(begun):
        raise ValueError("broken")
    assert not begun.path.parent.exists()


def test_other_runs_stay(begun: Run) -> None:
    (begun.path.parent / "other").mkdir()
    with pytest.raises(ExciteError, match="full"), discarding_failed_start(begun):
        raise ExciteError("the disk is full")
    assert [path.name for path in begun.path.parent.iterdir()] == ["other"]


@pytest.mark.parametrize("kept", ["checkpoints/last.safetensors", "repeat-0/fold-0/metrics.json"])
def test_what_can_be_resumed_stays(begun: Run, kept: str) -> None:
    (begun.path / kept).parent.mkdir(parents=True, exist_ok=True)
    (begun.path / kept).write_text("")
    with pytest.raises(ValueError, match="broken"), discarding_failed_start(begun):
        raise ValueError("broken")
    assert (begun.path / kept).is_file()


def test_an_interrupted_start_stays(begun: Run) -> None:
    with pytest.raises(ExciteError, match="stopped"), discarding_failed_start(begun):
        raise ExciteError("stopped", exit_code=INTERRUPTED)
    with pytest.raises(KeyboardInterrupt), discarding_failed_start(begun):
        raise KeyboardInterrupt
    assert begun.path.is_dir()


@pytest.mark.parametrize("folds", [None, 2])
def test_a_training_whose_images_cannot_be_decoded_leaves_no_folder(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: int | None
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ExciteError("the disk is full")

    monkeypatch.setattr("excite.pipeline.experiment.decoded_pixels", fail)
    with pytest.raises(ExciteError, match="the disk is full"):
        excite.train(pictures, out=str(tmp_path / "out" / "run"), epochs=1, folds=folds, quiet=True, **SMALL)
    assert not (tmp_path / "out").exists()


def test_a_misspelt_network_is_found_before_anything_is_read(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the data was read")

    monkeypatch.setattr("excite.pipeline.prepare_data.read_manifest", fail)
    for options, hint in (
        ({"model": "cifar_resnet200"}, "cifar_resnet20"),
        ({"attention": "cbamm"}, "cbam"),
        ({"weights": "nowhere.safetensors"}, "the weights file does not exist"),
    ):
        with pytest.raises(ExciteError, match=hint):
            excite.train(pictures, out=str(tmp_path / "run"), quiet=True, **(SMALL | options))
    assert not (tmp_path / "run").exists()
