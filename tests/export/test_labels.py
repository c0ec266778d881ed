"""Exported classifiers of several labels give the probabilities and labels of the run, also as a service."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.special import expit
from torch import nn

import excite
from excite.bundle.format import PROBABILITIES
from excite.bundle.predictor import Predictor
from excite.errors import ExciteError
from excite.evaluation.label_calibration import LabelCalibration
from excite.export.export import export_run
from excite.export.graph import Graph
from excite.export.limits import Limits
from excite.runs.classifier import Classifier
from excite.runs.run import Run
from tests.conftest import LABELS, SMALL, make_labeled_pictures
from tests.serving.services import call, in_process


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    table = make_labeled_pictures(tmp_path_factory.mktemp("labels") / "pictures")
    options: dict[str, Any] = {
        **SMALL,
        "epochs": 6,
        "lr": 0.01,
        "augment": "none",
        "quiet": True,
        "tta": "flip",
    }
    options |= {"label_columns": "red,green,blue", "group_column": "patient"}
    return excite.train(table, out=str(tmp_path_factory.mktemp("labels") / "run"), **options)


@pytest.fixture(scope="module")
def bundle(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    [exported] = export_run(run, ["onnx"], tmp_path_factory.mktemp("onnx") / "labels.onnx")
    assert exported.parity.same_class == exported.parity.images
    return exported.path


def test_an_exported_file_gives_the_labels_of_the_run(run: Run, bundle: Path) -> None:
    predictor, predictions = Predictor.load(bundle), run.predicted_labels()
    found = predictor.predict(list(predictions.paths or ()))
    probabilities = np.array([list(each.probabilities.values()) for each in found])
    np.testing.assert_allclose(probabilities, predictions.probabilities, atol=1e-5)
    chosen = [[name in (each.labels or ()) for name in LABELS] for each in found]
    np.testing.assert_array_equal(chosen, predictions.predicted)
    assert predictor.info.task == "multilabel"
    assert not np.allclose(probabilities.sum(axis=1), 1, atol=0.05)  # not a softmax


def test_the_evidence_adds_up_to_the_logits(run: Run, bundle: Path) -> None:
    predictor = Predictor.load(bundle)
    pixels = np.stack([predictor.pixels(path) for path in (run.predicted_labels().paths or ())[:4]])
    sums = predictor.evidence(pixels).sum(axis=(2, 3)) + predictor.info.evidence_bias
    np.testing.assert_allclose(expit(sums), predictor.probabilities(pixels), atol=1e-5)
    session = onnxruntime.InferenceSession(bundle)
    [raw] = session.run([PROBABILITIES], {"pixels": pixels})
    np.testing.assert_allclose(raw, predictor.probabilities(pixels), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torch", "openvino", "hub"])
def test_other_formats(run: Run, tmp_path: Path, format: str) -> None:
    if format == "openvino":
        pytest.importorskip("openvino")
    suffix = {"torch": ".pt2", "openvino": ".openvino"}.get(format, "")
    [exported] = export_run(run, [format], tmp_path / f"labels{suffix}")
    assert exported.parity.largest < 1e-5
    if format == "hub":
        [one] = Classifier.load(exported.path).predict((run.predicted_labels().paths or ())[0])
        assert one.labels is not None


def test_what_is_not_there_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match="--format keras: is for one class per image"):
        export_run(run, ["keras"], tmp_path / "labels.keras")
    with pytest.raises(ExciteError, match="--int8: is for one class per image"):
        export_run(run, ["onnx"], tmp_path / "labels.onnx", int8=Limits())


def test_the_service_answers_with_labels(run: Run, bundle: Path) -> None:
    path, predictor = (run.predicted_labels().paths or ())[0], Predictor.load(bundle)
    [expected] = predictor.predict(path)
    with in_process(predictor._runtime, info=predictor.info) as (_, gate, _):
        answered = asyncio.run(call(gate, "POST", "/predict?evidence=1", Path(path).read_bytes()))
        card = asyncio.run(call(gate, "GET", "/model")).json
        metrics = asyncio.run(call(gate, "GET", "/metrics"))
    [found] = answered.json["predictions"]
    assert found["labels"] == list(expected.labels or ())
    assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    assert set(found) == {"file", "labels", "probabilities", "thresholds", "evidence", "seconds"}
    assert found["evidence"]["class"] in LABELS
    assert (card["task"], card["classes"]) == ("multilabel", list(LABELS))
    assert card["metrics"]["auroc"]["value"] == run.metrics["test"]["macro"]["auroc"]["value"]
    assert "Largest difference of the fraction of a label" in metrics.content.decode()
    assert json.loads(predictor.info.to_json())["task"] == "multilabel"


def test_small_probabilities_have_a_small_relative_error(tmp_path: Path) -> None:
    """ONNX Runtime's sigmoid is off by 1e-7, which is everything to a label with a probability of 1e-7."""
    logits = torch.linspace(-30, 30, 24).reshape(2, 12)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 12))
    nn.init.zeros_(network[1].weight)
    network[1].bias.data = logits[0]
    graph = Graph(network, (0.5,) * 3, (0.5,) * 3, "none", LabelCalibration.identity(12))
    pixels = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    program = torch.onnx.export(graph, (pixels,), dynamo=True, verbose=False)
    assert program is not None
    program.save(tmp_path / "a.onnx")
    [found] = onnxruntime.InferenceSession(tmp_path / "a.onnx").run(None, {"pixels": pixels.numpy()})
    np.testing.assert_allclose(found[0], expit(logits[0].double().numpy()), rtol=1e-5)
