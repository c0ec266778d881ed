"""Export to Keras: the file predicts what the run predicted."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import excite
from excite.runs.run import Run
from tests.export.conftest import train_small
from tests.keras.processes import require_installed

# Processes of their own: Keras keeps the backend that it was imported with.
EXPORT = """
import contextlib, io, json, os, sys
from excite.cli.app import run

results = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["export", *arguments])
    results.append([code, out.getvalue(), err.getvalue()])
print(json.dumps([results, os.environ["KERAS_BACKEND"], sys.modules["keras"].backend.backend()]))
"""

USE = """
import os, sys
from pathlib import Path
import numpy as np
from PIL import Image
import excite
from excite.runs.run import Run
import excite.export.keras, keras

assert (os.environ.get("KERAS_BACKEND"), keras.backend.backend()) == (None, "torch")
for path in map(Path, sys.argv[1:]):
    run, classifier = Run.open(path), excite.Classifier.load(path)
    assert classifier.calibration.temperature != 1
    truth = run.predictions
    pixels = np.stack([classifier.preprocessing.pixels(Image.open(name)) for name in truth["path"]])
    model = keras.saving.load_model(path / "x.keras")
    assert model.input_shape[1:] == pixels.shape[1:], model.input_shape
    assert model.inputs[0].dtype == "uint8"
    assert model.get_layer("probabilities").classes == ["a", "b", "c"]
    recorded = truth[[f"p:{name}" for name in classifier.classes]].to_numpy(dtype=float)
    probabilities = model.predict(pixels, verbose=0)
    np.testing.assert_allclose(probabilities, recorded, atol=1e-5)
    assert model.get_layer("probabilities").decide(probabilities) == truth["predicted"].tolist()
    assert model.get_layer("probabilities").positive == run.config.positive
"""

Result = tuple[int, str, str]


@dataclass(frozen=True)
class Exports:
    """Three runs that were exported as ``x.keras``, with exit code, stdout, and stderr of each.

    The environment names JAX as the backend of Keras.
    """

    plain: Path
    flipped: Path
    other: Path
    results: dict[str, Result]
    backend_named: str
    backend_used: str


@pytest.fixture(scope="module")
def exports(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    require_installed("keras")
    place = tmp_path_factory.mktemp("exports")
    flipped = train_small(place, tta="flip", attention="se", positive="a", specificity=0.9).path
    other = place / "other"
    shutil.copytree(run.path, other)
    classifier = excite.Classifier.load(run)
    model = excite.create_model("cifar_resnet20", num_classes=3)
    excite.Classifier(
        model, {"name": "cifar_resnet20", "num_classes": 3}, classifier.classes, classifier.preprocessing
    ).save(Run(other))
    runs = {"plain": run.path, "flipped": flipped, "other": other}
    calls = [[str(path), "--format", "keras", "--out", str(path / "x.keras")] for path in runs.values()]
    calls[2].append("--json")
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, json.dumps(calls)],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results, named, used = json.loads(done.stdout)
    return Exports(
        **runs, results=dict(zip(runs, results, strict=True)), backend_named=named, backend_used=used
    )


@pytest.mark.slow
def test_the_exported_file_predicts_what_the_run_predicted(exports: Exports) -> None:
    """As a user would: the run's own predictions against the file, also of a run with flipped images."""
    code, out, err = exports.results["plain"]
    assert code == 0, err
    assert exports.results["flipped"][0] == 0, exports.results["flipped"]
    assert "uint8 images 16 x 16" in out
    assert "probabilities of 3 classes: a, b, c" in out
    difference = re.search(
        r"on 12 images of the run, .* of a probability is (\S+), .*; the same class for 12$", out, re.M
    )
    assert difference is not None
    assert float(difference[1]) < 1e-5
    for path in (exports.plain, exports.flipped):
        assert [file.name for file in path.glob("*.keras")] == ["x.keras"]
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    call = [sys.executable, "-c", USE, str(exports.plain), str(exports.flipped)]
    subprocess.run(call, check=True, env=environment)


@pytest.mark.slow
def test_the_users_backend_of_keras_stays_in_the_environment(exports: Exports) -> None:
    assert (exports.backend_named, exports.backend_used) == ("jax", "torch")


@pytest.mark.slow
def test_a_network_without_a_form_in_keras_is_refused_and_nothing_is_written(exports: Exports) -> None:
    code, out, err = exports.results["other"]
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == (
        "excite: error: --format keras: cifar_resnet20 cannot be exported to Keras; "
        "only excite's DenseNets can"
    )
    assert not list(exports.other.glob("*.keras"))
    assert (
        json.loads((exports.other / "classifier.json").read_text())["architecture"]["name"]
        == "cifar_resnet20"
    )
