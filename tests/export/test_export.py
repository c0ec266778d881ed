"""excite export: a trained run in another format says what the run says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import excite
from excite.errors import ExciteError
from excite.export.export import export_run
from excite.export.formats import FORMATS
from excite.runs.run import Run
from tests.conftest import Command, make_pictures
from tests.keras.processes import require_installed

QUICK = {"epochs": 2, "batch_size": 8, "quiet": True, "device": "cpu"}


def train(place: Path, **options: object) -> Run:
    return excite.train(make_pictures(place / "pictures"), out=str(place / "run"), **QUICK, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("export"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "keres"}, "did you mean 'keras'"),
        ({"out": "x.h5"}, r"x\.h5: keras files end in \.keras \(use x\.keras\)"),
        ({"images": 0}, "images: must be at least 1, got 0"),
    ],
    ids=str,
)
def test_wrong_options_get_one_clear_line(run: Run, options: dict[str, object], message: str) -> None:
    with pytest.raises(ExciteError, match=message) as caught:
        export_run(run, **{"format": "keras", **options})
    assert caught.value.exit_code == 2


def test_a_file_that_is_there_is_not_written_over(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.keras").write_text("mine")
    with pytest.raises(ExciteError, match="file exists"):
        export_run(run, "keras", tmp_path / "mine.keras")
    assert (tmp_path / "mine.keras").read_text() == "mine"


def test_a_file_that_says_anything_else_than_the_run_is_not_left_behind(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong:
        def write(self, classifier: object, path: Path) -> None:
            path.write_text("weights")

        def read(self, path: Path) -> object:
            return lambda pixels: np.full((len(pixels), 3), 1 / 3)

    monkeypatch.setattr(type(FORMATS["keras"]), "writer", lambda self: Wrong())
    with pytest.raises(ExciteError, match="its probabilities differ from those of the run by up to 0"):
        export_run(run, "keras", tmp_path / "x.keras")
    assert list(tmp_path.iterdir()) == []


def test_the_verb_lists_its_formats_and_names_the_nearest(excite_command: Command, run: Run) -> None:
    assert "keras" in excite_command("export", "--help").stdout
    done = excite_command("export", run.path, "--format", "karas")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'keras'?" in done.stderr


USE = """
import os, sys
from pathlib import Path
import numpy as np
from PIL import Image
import excite
from excite.export.export import export_run
from excite.runs.run import Run
import excite.export.keras, keras

assert (os.environ.get("KERAS_BACKEND"), keras.backend.backend()) == (None, "torch")
mirrored = Path(sys.argv[2])
export_run(Run.open(mirrored), "keras", mirrored / "x.keras")
for path, file in ((Path(sys.argv[1]), Path(sys.argv[3])), (mirrored, mirrored / "x.keras")):
    run, classifier = Run.open(path), excite.Classifier.load(path)
    assert classifier.calibration.temperature != 1
    truth = run.predictions
    pixels = np.stack([classifier.preprocessing.pixels(Image.open(name)) for name in truth["path"]])
    model = keras.saving.load_model(file)
    assert model.input_shape[1:] == pixels.shape[1:], model.input_shape
    assert model.inputs[0].dtype == "uint8"
    assert model.get_layer("probabilities").classes == ["a", "b", "c"]
    recorded = truth[[f"p:{name}" for name in classifier.classes]].to_numpy(dtype=float)
    np.testing.assert_allclose(model.predict(pixels, verbose=0), recorded, atol=1e-5)
"""


@pytest.mark.slow
def test_the_exported_file_predicts_what_the_run_predicted(
    excite_command: Command, run: Run, tmp_path: Path
) -> None:
    """As a user would: the run's own predictions against the file, also of a run with flipped images."""
    require_installed("keras")
    done = excite_command(
        *["export", run.path, "--format", "keras", "--out", tmp_path / "x.keras"], alone=True
    )
    assert done.returncode == 0, done.stderr
    assert "uint8 images 32 x 32" in done.stdout
    assert "probabilities of 3 classes: a, b, c" in done.stdout
    difference = re.search(r"on 12 images of the run: .* is (\S+), the same class for 12$", done.stdout, re.M)
    assert difference is not None
    assert float(difference[1]) < 1e-5
    assert [file.name for file in tmp_path.glob("*.keras")] == ["x.keras"]
    flipped = train(tmp_path / "flipped", tta="flip")
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    call = [sys.executable, "-c", USE, str(run.path), str(flipped.path), str(tmp_path / "x.keras")]
    subprocess.run(call, check=True, env=environment)


@pytest.mark.slow
def test_the_users_backend_of_keras_stays_in_the_environment() -> None:
    require_installed("keras")
    code = "import os, excite.export.keras, keras; "
    code += "print(os.environ['KERAS_BACKEND'], keras.backend.backend())"
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "jax torch"


@pytest.mark.slow
def test_a_network_without_a_form_in_keras_is_refused_and_nothing_is_written(
    excite_command: Command, run: Run, tmp_path: Path
) -> None:
    require_installed("keras")
    other = tmp_path / "run"
    shutil.copytree(run.path, other)
    model = excite.create_model("cifar_resnet20", num_classes=3)
    classifier = excite.Classifier.load(run)
    excite.Classifier(
        model, {"name": "cifar_resnet20", "num_classes": 3}, classifier.classes, classifier.preprocessing
    ).save(Run(other))
    done = excite_command("export", other, "--format", "keras", "--json", alone=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "excite: error: --format keras: cifar_resnet20 cannot be exported to Keras; "
        "only excite's DenseNets can"
    )
    assert not list(other.glob("*.keras"))
    assert json.loads((other / "classifier.json").read_text())["architecture"]["name"] == "cifar_resnet20"
