"""OpenVINO bundles: the same answers, weights in float32, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import excite
from excite.bundle.predictor import Predictor
from excite.errors import ExciteError
from excite.export.export import export_run
from excite.runs.run import Run

openvino = pytest.importorskip("openvino")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    [exported] = export_run(run, ["openvino"], tmp_path_factory.mktemp("ir") / "x.openvino")
    assert any("OpenVINO computes in " in note for note in exported.notes)
    return exported.path


def test_predictions_are_those_of_the_run(run: Run, folder: Path) -> None:
    images = run.manifest.part("test").table["path"].tolist()
    expected = excite.Classifier.load(run).predict(images)
    for found, each in zip(Predictor.load(folder).predict(images, batch_size=5), expected, strict=True):
        assert list(found.probabilities.values()) == pytest.approx(
            list(each.probabilities.values()), abs=1e-6
        )
        assert (found.label, found.abstained) == (each.label, each.abstained)


def test_weights_are_stored_in_float32(folder: Path) -> None:
    model = openvino.Core().read_model(folder / "model.xml")
    kinds = {
        node.get_output_element_type(0).to_string()
        for node in model.get_ops()
        if node.get_type_name() == "Constant" and np.prod(node.get_output_shape(0)) > 16
    }
    assert "f16" not in kinds
    assert "f32" in kinds


def test_links_and_damaged_files_are_refused(folder: Path, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(folder, tmp_path / name))

    linked = copy("linked")
    (linked / "model.bin").unlink()
    (linked / "model.bin").symlink_to(folder / "model.bin")
    with pytest.raises(ExciteError, match=r"model\.bin: is refused: it is a link"):
        Predictor.load(linked)
    missing = copy("missing")
    (missing / "model.bin").unlink()
    with pytest.raises(ExciteError, match=r"model\.bin: cannot be read: no such file"):
        Predictor.load(missing)
    for name in ("model.xml", "model.bin"):
        short = copy(f"short-{name}")
        (short / name).write_bytes((folder / name).read_bytes()[:100])
        with pytest.raises(ExciteError) as caught:
            Predictor.load(short)
        assert "\n" not in str(caught.value)
    foreign = copy("foreign")
    text = (folder / "model.xml").read_text()
    (foreign / "model.xml").write_text(text.replace("<excite ", "<other "))
    with pytest.raises(ExciteError, match="was not exported by excite"):
        Predictor.load(foreign)
