"""excite export: what is refused, and that a file has its name only if it answers as the run does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from excite.bundle.predictor import Predictor
from excite.errors import ExciteError
from excite.export.export import export_run
from excite.export.formats import FORMATS, parse_formats
from excite.export.limits import Limits
from excite.export.parity import Reading, Written
from excite.runs.classifier import Classifier
from excite.runs.run import Run
from tests.waiting import wait_until

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "x.h5"}, r"x\.h5: onnx files end in \.onnx \(use x\.onnx\)"),
        ({"images": 0}, "images: must be at least 1, got 0"),
        ({"formats": ["onnx", "keras"], "out": "x.onnx"}, "--out: names one file, for one format"),
        ({"formats": ["onnx", "keras"], "int8": Limits()}, "--int8: is for --format onnx alone"),
    ],
    ids=str,
)
def test_wrong_options_get_one_clear_line(run: Run, options: dict[str, object], message: str) -> None:
    with pytest.raises(ExciteError, match=message) as caught:
        export_run(run, **{"formats": ["onnx"], **options})
    assert caught.value.exit_code == 2


def test_formats_are_a_list_of_known_names() -> None:
    assert parse_formats("onnx, openvino") == ["onnx", "openvino"]
    with pytest.raises(ExciteError, match="did you mean 'keras'"):
        parse_formats("onnx,keres")
    with pytest.raises(ExciteError, match="names a format twice"):
        parse_formats("onnx,onnx")


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_there_is_not_written_over(run: Run, tmp_path: Path, format: str) -> None:
    place = tmp_path / f"mine{FORMATS[format].suffix}"
    place.write_text("mine")
    with pytest.raises(ExciteError, match="exists already") as caught:
        export_run(run, [format], place)
    assert caught.value.exit_code == 2
    assert place.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize("error", [2e-5, np.nan])
def test_a_file_with_other_probabilities_is_not_left_behind(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: float
) -> None:
    class Wrong:
        def write(self, source: object, path: Path) -> Written:
            path.write_text("weights")

            def ask(pixels: np.ndarray, images: object, batch_sizes: tuple[int, ...]) -> Reading:
                rows = Classifier.load(run).probabilities(pixels)  # type: ignore[arg-type]
                rows[0, 0] += error
                return Reading(np.stack([rows] * len(batch_sizes)))

            return Written(ask)

    from excite.data.sources import PixelSubset

    monkeypatch.setattr(type(FORMATS["onnx"]), "writer", lambda self: Wrong())
    original = Classifier.probabilities
    monkeypatch.setattr(
        Classifier,
        "probabilities",
        lambda self, source: original(
            self, PixelSubset(source) if isinstance(source, np.ndarray) else source
        ),
    )
    with pytest.raises(ExciteError, match=r"x\.onnx: its probabilities differ from those of the run"):
        export_run(run, ["onnx"], tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


LIMITED = """
import resource, sys
from excite.errors import ExciteError
from excite.export.export import export_run
from excite.export.formats import get_format
from excite.export.limits import Limits
from excite.runs.run import Run

name, out = sys.argv[2:]
run, _ = Run.open(sys.argv[1]), get_format(name).writer()
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY))
try:
    export_run(run, [name], out)
except ExciteError as error:
    print(error)
"""


@pytest.mark.parametrize("format", ["onnx", "openvino", "torch", "hub"])
def test_a_full_disk_is_one_line_and_leaves_nothing(run: Run, tmp_path: Path, format: str) -> None:
    """A limit on the size of files stands for the disk: writing fails in the middle."""
    if format == "openvino":
        pytest.importorskip("openvino")
    place = tmp_path / f"x{FORMATS[format].suffix}"
    call = [sys.executable, "-c", LIMITED, str(run.path), format, str(place)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert "cannot" in done.stdout
    assert done.stdout.count("\n") == 1
    assert str(place) in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_killed_export_leaves_no_file_and_the_next_one_works(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "x.onnx"
    call = [
        sys.executable,
        "-m",
        "excite",
        "--quiet",
        "export",
        str(run.path),
        "--format",
        "onnx",
        "--out",
        str(place),
    ]
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    hidden = tmp_path.glob(".excite-export-*/x.onnx")
    wait_until(lambda: any(tmp_path.glob(".excite-export-*/x.onnx")), 60)  # written, not yet checked
    process.send_signal(signal.SIGKILL)
    process.wait()
    del hidden
    assert not place.exists()
    [leftover] = tmp_path.iterdir()
    day_ago = time.time() - 2 * 24 * 3600
    os.utime(leftover, (day_ago, day_ago))
    export_run(run, ["onnx"], place)
    assert list(tmp_path.iterdir()) == [place]


def test_of_two_exports_at_once_one_gets_the_name(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "x.onnx"
    call = [
        sys.executable,
        "-m",
        "excite",
        "--quiet",
        "export",
        str(run.path),
        "--format",
        "onnx",
        "--out",
        str(place),
    ]
    processes = [
        subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    results = [(*process.communicate(), process.returncode) for process in processes]
    codes = [code for *_, code in results]
    assert sorted(codes) == [0, 2], results
    refused = results[codes.index(2)][1]
    assert "exists already" in refused
    assert refused.count("\n") == 1
    assert list(tmp_path.iterdir()) == [place]
    assert len(Predictor.load(place).classes) == 3


def test_a_missing_image_of_the_run_is_named(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    table = (copy / "manifest.csv").read_text()
    folder = str(run.data_path)
    assert folder in table
    (copy / "manifest.csv").write_text(table.replace(folder, str(tmp_path / "gone")))
    with pytest.raises(ExciteError, match=r"images are missing, such as .*gone.*--data-root"):
        export_run(Run(copy), ["onnx"], tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_metadata_names_no_path_of_this_machine(run: Run, tmp_path: Path) -> None:
    [onnx] = export_run(run, ["onnx"], tmp_path / "x.onnx")
    [torch_file] = export_run(run, ["torch"], tmp_path / "x.pt2")
    for path in (onnx.path, torch_file.path):
        content = path.read_bytes()
        for place in (run.path.parent, Path(__file__).parents[2], Path(sys.prefix)):
            assert str(place).encode() not in content
    info = Predictor.load(onnx.path).info
    hashes = json.loads((run.path / "classifier.json").read_text())["sha256"]
    assert info.sha256 == hashes
    assert info.metrics["n"] == run.metrics["test"]["n"]
    assert info.metrics["accuracy"]["value"] == run.metrics["test"]["accuracy"]["value"]


def test_the_reference_is_that_of_the_validation_predictions(run: Run, tmp_path: Path) -> None:
    [exported] = export_run(run, ["onnx"], tmp_path / "a.onnx", images=8)
    table = pd.read_csv(run.path / "val_predictions.csv")
    reference = Predictor.load(exported.path).info.reference
    assert reference is not None
    columns = [f"p:{name}" for name in exported.classes]
    assert reference["images"] == len(table)
    assert reference["confidence"] == pytest.approx(table[columns].max(axis=1).mean())
    fractions = [(table["predicted"] == name).mean() for name in exported.classes]
    assert reference["class_fractions"] == pytest.approx(fractions)
