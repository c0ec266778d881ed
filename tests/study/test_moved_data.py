"""A study whose images have moved is continued with the same results."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.errors import ExciteError
from excite.runs.run import Run
from excite.study.moved_data import adopt_paths, locate_images
from excite.study.plan import Plan
from excite.study.running.orchestrate import Resources, start
from excite.study.store.schema import DONE
from excite.study.study import Study, cell_folder
from excite.system.progress import Display
from tests.conftest import make_pictures
from tests.study.small_study import ARMS, BASE, begun, runs_of, trained


class Notes(Display):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with pictures and a study that has begun, at its old place."""
    place = tmp_path / "old"
    data = make_pictures(place / "pictures", classes=2)
    begun(data, place / "study", seeds=1)
    return place


def test_a_study_that_did_not_move_is_left_alone(project: Path) -> None:
    before = (project / "study" / "manifest.csv").stat().st_mtime_ns
    study = Study.open(project / "study")
    assert locate_images(study, None, Display()) is study
    assert (project / "study" / "manifest.csv").stat().st_mtime_ns == before


def test_a_project_that_moved_as_a_whole_is_found(project: Path, tmp_path: Path) -> None:
    place = project.rename(tmp_path / "new")
    notes = Notes()
    study = locate_images(Study.open(place / "study"), None, notes)
    assert all(Path(path).is_relative_to(place / "pictures") for path in study.images.table["path"])
    assert notes.texts == [f"the images have moved from {project / 'pictures'} to {place / 'pictures'}"]
    assert Study.open(place / "study").images.table["path"].tolist() == study.images.table["path"].tolist()


def test_data_elsewhere_is_one_line_and_found_by_its_root(project: Path, tmp_path: Path) -> None:
    study = Study.open(project / "study")
    before = (project / "study" / "manifest.csv").read_bytes()
    archive = (project / "pictures").rename(tmp_path / "archive")
    with pytest.raises(ExciteError, match=r"40 of 40 images are missing, such as .*--data-root FOLDER"):
        locate_images(study, None, Display())
    with pytest.raises(ExciteError, match="does not contain the images of the study"):
        locate_images(study, project / "study", Display())
    assert (project / "study" / "manifest.csv").read_bytes() == before
    found = locate_images(study, archive, Display())
    assert all(Path(path).is_relative_to(archive) for path in found.images.table["path"])


def test_other_images_at_the_new_place_are_refused(project: Path, tmp_path: Path) -> None:
    study = Study.open(project / "study")
    before = (project / "study" / "manifest.csv").read_bytes()
    archive = (project / "pictures").rename(tmp_path / "archive")
    first, second = sorted((archive / "a").iterdir())[:2]
    shutil.copyfile(second, first)
    with pytest.raises(ExciteError, match="the image has changed since the study began") as error:
        locate_images(study, archive, Display())
    assert error.value.where == str(first)
    assert (project / "study" / "manifest.csv").read_bytes() == before


@pytest.mark.slow
def test_begun_cells_continue_at_the_new_place_to_the_same_results(project: Path, tmp_path: Path) -> None:
    expected = {key: run.predicted() for key, run in runs_of(trained(Study.open(project / "study"))).items()}
    shutil.rmtree(project / "study")
    study = begun(project / "pictures", project / "study", seeds=1)
    trained(study)
    place = cell_folder(study.folder, "se", 0, 0)
    # One cell ended, but its process died before the result was stored.
    copy = Study.open(shutil.copytree(study.folder, tmp_path / "copy"))
    shutil.rmtree(study.folder)
    again = begun(project / "pictures", study.folder, seeds=1)
    shutil.copytree(cell_folder(copy.folder, "se", 0, 0), place)
    archive = (project / "pictures").rename(tmp_path / "archive")
    found = trained(locate_images(again, archive, Display()))
    assert all(cell.state == DONE for cell in found.store.cells(found.name))
    for key, run in runs_of(found).items():
        np.testing.assert_array_equal(run.predicted().probabilities, expected[key].probabilities)
        assert all(Path(path).is_relative_to(archive) for path in run.predictions["path"])


@pytest.mark.slow
def test_the_same_command_with_the_new_folder_continues_the_study(project: Path, tmp_path: Path) -> None:
    archive = Path(shutil.copytree(project / "pictures", tmp_path / "archive"))
    old = Study.open(project / "study").images
    place = cell_folder(project / "study", "se", 0, 0)
    place.mkdir(parents=True)
    old.save(place / "manifest.csv")
    (place / "config.yaml").write_text(BASE.to_yaml())
    plan = Plan(BASE.replace(data=str(archive)), ARMS, seeds=1)
    study, _, _ = start(plan, project / "study", None, Resources("cpu", 1), Display())
    assert all(Path(path).is_relative_to(archive) for path in study.images.table["path"])
    assert all(Path(path).is_relative_to(archive) for path in Run(place).manifest.table["path"])
    adopt_paths(study, study.images, study.images)  # nothing to do
