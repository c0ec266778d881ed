"""An exported classifier without PyTorch: its answers against NumPy, and what it refuses."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from excite.bundle.decision import Decision
from excite.bundle.predictor import Predictor, is_bundle
from excite.errors import ExciteError
from excite.evaluation.decision_rule import DecisionRule
from excite.evaluation.prediction_sets import PredictionSets
from tests.bundle.files import (
    CLASSES,
    SIZE,
    expected_probabilities,
    make_info,
    make_model,
    onnx,
    write_bundle,
)
from tests.conftest import Command

pytest.importorskip("onnxruntime")


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_probabilities_are_those_of_the_graph(tmp_path: Path, batch_size: int) -> None:
    predictor = Predictor.load(write_bundle(tmp_path / "x.onnx"))
    pixels = noise(33)
    np.testing.assert_allclose(
        predictor.probabilities(pixels, batch_size), expected_probabilities(pixels), atol=1e-6
    )


def test_paths_bytes_and_images_get_the_same_prediction(tmp_path: Path) -> None:
    predictor = Predictor.load(write_bundle(tmp_path / "x.onnx"))
    image = Image.fromarray(noise(1)[0]).resize((30, 20))
    image.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    predictions = predictor.predict([tmp_path / "a.png", content, image])
    assert [each.path for each in predictions] == [str(tmp_path / "a.png"), "", ""]
    assert len({each.probability for each in predictions}) == 1
    pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    row = expected_probabilities(pixels[None])[0]
    assert predictions[0].label == CLASSES[int(row.argmax())]
    assert list(predictions[0].probabilities.values()) == pytest.approx(row.tolist(), abs=1e-6)
    assert predictor.predict([]) == []


def test_an_image_that_cannot_be_decoded_or_is_too_large_is_named(tmp_path: Path) -> None:
    predictor = Predictor.load(write_bundle(tmp_path / "x.onnx"))
    (tmp_path / "bad.jpg").write_text("<html>")
    with pytest.raises(ExciteError, match=r"bad\.jpg: is a web page"):
        predictor.predict(tmp_path / "bad.jpg")
    Image.new("RGB", (101, 100)).save(tmp_path / "large.png")
    with pytest.raises(ExciteError, match=r"large\.png: is too large"):
        predictor.predict(tmp_path / "large.png")
    assert predictor.predict(tmp_path / "large.png", max_pixels=20_000)


def test_thresholds_abstention_and_sets_are_those_of_the_file(tmp_path: Path) -> None:
    sets = PredictionSets(100, (0.1, 0.2, 0.9), (0.0, 1.0, 50.0))
    decision = Decision(0.99, DecisionRule("blue", 0.1), sets)
    predictor = Predictor.load(write_bundle(tmp_path / "x.onnx", info=make_info(decision=decision)))
    red = Image.new("RGB", (20, 20), (128, 0, 0))  # exp(2) : 1 : 1
    total = np.exp(2) + 2
    [prediction] = predictor.predict(red, set_level=0.9)
    assert (prediction.label, prediction.abstained) == ("blue", True)
    assert prediction.probability == pytest.approx(1 / total, abs=1e-6)
    assert prediction.classes_in_set == ("red",)
    with pytest.raises(ExciteError, match="need 999 validation groups"):
        predictor.check_set_level(0.999)
    plain = Predictor.load(write_bundle(tmp_path / "y.onnx"))
    assert plain.predict(red)[0].label == "red"
    with pytest.raises(ExciteError, match="has no prediction sets"):
        plain.predict(red, set_level=0.9)


def test_test_vectors_notice_another_decoder_and_other_weights(tmp_path: Path) -> None:
    info = make_info()
    assert Predictor.load(write_bundle(tmp_path / "x.onnx")).check_vectors().pixels == 0
    vectors = [dict(vector) for vector in info.vectors]
    vectors[0]["probabilities"] = [1.0, 0.0, 0.0]
    changed = Predictor.load(write_bundle(tmp_path / "y.onnx", vectors=vectors)).check_vectors()
    assert changed.probability > 0.1
    vectors = [dict(vector) for vector in info.vectors]
    vectors[0]["pixels"] = vectors[1]["pixels"]
    assert Predictor.load(write_bundle(tmp_path / "z.onnx", vectors=vectors)).check_vectors().pixels > 10


def test_files_that_excite_did_not_write_are_refused_in_one_line(tmp_path: Path) -> None:
    place = tmp_path / "x.onnx"

    def message(match: str) -> None:
        with pytest.raises(ExciteError, match=match) as caught:
            Predictor.load(place)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(str(place))

    message("there is no such file")
    place.write_bytes(b"")
    message("is not an ONNX file")
    place.write_bytes(write_bundle(place).read_bytes()[:300])
    message("is not an ONNX file, or is truncated")
    place.write_bytes(make_model().SerializeToString())
    message("was not exported by excite")
    model = make_model()
    model.metadata_props.add(key="names", value="{0: 'cat'}")
    place.write_bytes(model.SerializeToString())
    message("was not exported by excite")
    write_bundle(place, info="[1, 2]")
    message("its metadata is damaged")
    write_bundle(place, info="[" * 100_000)
    message("its metadata is damaged")
    write_bundle(place, format=2)
    message("is a bundle of format 2; this version of excite reads format 1")
    write_bundle(place, classes=["a", "a", "b"])
    message("its metadata is damaged: classes must be")
    write_bundle(place, preprocessing={"image_size": 100_000})
    message("its metadata is damaged: input size 100000 is above 4096")
    write_bundle(place, preprocessing={"image_size": 8, "resize_mode": "croop"})
    message("its metadata is damaged: .*did you mean 'crop'")
    write_bundle(place, classes=["a", "b"])
    message("its output probabilities is not for 2 classes")
    write_bundle(place, info=make_info(members=3))
    message("its network does not give probabilities, members")
    write_bundle(place, make_model(opset=99))
    message("uses version 99 of the ONNX operators; this version of excite reads up to 20")
    write_bundle(place, make_model(extra_nodes=(onnx.helper.make_node("Nonsense", ["pixels"], ["x"]),)))
    message("ONNX Runtime refuses the file: ")


def test_what_is_a_bundle_and_what_a_run(tmp_path: Path) -> None:
    (tmp_path / "ir").mkdir()
    (tmp_path / "ir" / "model.xml").write_text("")
    assert is_bundle(tmp_path / "ir")
    assert is_bundle(tmp_path / "missing.onnx")
    assert not is_bundle(tmp_path)


def test_the_command_takes_a_file_in_every_format(excite_command: Command, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "x.onnx")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (20, 20), (128, 0, 0)).save(tmp_path / "images" / "red.png")
    done = excite_command("predict", bundle, tmp_path / "images", "--json")
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)
    assert found["label"] == "red"
    assert found["probability"] == pytest.approx(np.exp(2) / (np.exp(2) + 2), abs=1e-6)
    table = excite_command("predict", bundle, tmp_path / "images" / "red.png").stdout
    assert "red" in table.splitlines()[1]
    refused = excite_command("predict", bundle, tmp_path / "images", "--device", "cuda")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


PROBE = """
import io, sys
from excite.cli.app import run
code = run(["predict", *sys.argv[1:], "--json"])
heavy = {"torch", "torchvision", "timm", "pandas", "scipy", "sklearn", "matplotlib", "onnx", "safetensors"}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


TELEMETRY = """
import os, sys
from pathlib import Path
from excite.bundle.predictor import Predictor
Predictor.load(sys.argv[1]).predict(sys.argv[2])
opened = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
print([name for name in opened if "onnxruntime" in name], "ORT_DISABLE_TELEMETRY" in os.environ)
print(list(Path(os.environ["HOME"]).rglob("*")))
"""


def test_the_runtime_records_no_events(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "x.onnx")
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    done = subprocess.run(
        [sys.executable, "-c", TELEMETRY, str(bundle), str(tmp_path / "a.png")],
        capture_output=True,
        text=True,
        env={**environment, "HOME": str(home)},
        check=True,
    )
    assert done.stdout.splitlines() == ["[] False", "[]"]


@pytest.mark.slow
def test_a_prediction_imports_no_library_of_the_training(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "x.onnx")
    image = io.BytesIO()
    Image.new("RGB", (20, 20)).save(image, "PNG")
    (tmp_path / "a.png").write_bytes(image.getvalue())
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(bundle), str(tmp_path / "a.png")],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"
    assert len(json.loads(done.stdout)) == 1
