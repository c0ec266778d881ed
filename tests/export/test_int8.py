"""Quantized files: written only if they are as good, and what they record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from excite.bundle.predictor import Predictor
from excite.errors import ExciteError
from excite.export.export import export_run
from excite.export.limits import Limits
from excite.runs.run import Run
from tests.export.conftest import train_small

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow
GENEROUS = Limits(accuracy=1.0, log_loss=10.0)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("int8")
    options = {"model": "cifar_resnet20", "model_options": {}, "attention": "se", "image_size": 32}
    return train_small(place, **options)


@pytest.fixture(scope="module")
def exported(gated: Run, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    [found] = export_run(gated, ["onnx"], tmp_path_factory.mktemp("x") / "x.onnx", int8=GENEROUS)
    return Predictor.load(found.path)


def test_the_table_of_layers_tells_what_stayed_in_float(exported: Predictor) -> None:
    facts = exported.info.quantization
    assert facts is not None
    layers = facts["layers"]
    assert [layer["operator"] for layer in layers].count("Conv") == 19 + 2 * 9 + 1  # gates, evidence
    int8 = [layer["operator"] for layer in layers if layer["precision"] == "int8"]
    gates = 0 if facts["gates"]["precision"] == "float32" else 2 * 9
    assert int8 == ["Conv"] * (19 + gates)
    assert set(facts["gates"]["validation_log_loss"]) == {"float32", "int8"}
    best = min(facts["gates"]["validation_log_loss"].values())
    assert facts["gates"]["validation_log_loss"][facts["gates"]["precision"]] == best


def test_the_recorded_comparison_is_that_of_the_files(
    gated: Run, exported: Predictor, tmp_path: Path
) -> None:
    [plain] = export_run(gated, ["onnx"], tmp_path / "float.onnx")
    test = gated.manifest.part("test")
    pixels = np.stack([exported.pixels(path) for path in test.table["path"]])
    rows = [each.probabilities(pixels) for each in (Predictor.load(plain.path), exported)]
    facts = exported.info.quantization
    assert facts is not None
    own = np.arange(len(pixels)), test.targets()
    losses = [float(-np.log(each[own]).mean()) for each in rows]
    assert facts["test"]["log_loss"]["first"] == pytest.approx(losses[0], abs=1e-4)
    assert facts["test"]["log_loss"]["second"] == pytest.approx(losses[1], abs=1e-4)
    same = (rows[0].argmax(axis=1) == rows[1].argmax(axis=1)).mean()
    assert facts["test"]["same_class"] == pytest.approx(same)


def test_a_file_that_is_worse_than_allowed_is_not_written(gated: Run, tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match=r"int8 is worse than allowed on 12 test images: .*log loss"):
        export_run(gated, ["onnx"], tmp_path / "x.onnx", int8=Limits(accuracy=1.0, log_loss=-1.0))
    assert list(tmp_path.iterdir()) == []


def test_evidence_still_adds_up(exported: Predictor) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    difference = exported.check_evidence(pixels)
    assert difference is not None
    assert difference < 1e-5
