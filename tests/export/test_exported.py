"""The exported file of a run, and ``excite serve RUN``, which writes it if there is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from excite.errors import ExciteError
from excite.export.exported import exported_file
from excite.runs.run import Run
from tests.serving.services import READY


@pytest.mark.slow
def test_a_run_is_exported_and_served(run: Run, tmp_path: Path) -> None:
    """From the command line to an answer, as a process of its own; the next start uses the exported file."""
    shutil.copytree(run.path, tmp_path / "run", ignore=shutil.ignore_patterns("*.onnx"))
    command = [sys.executable, "-m", "excite", "serve", str(tmp_path / "run"), "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith(READY))
        image = next(run.path.parent.glob("pictures/*/*.png"))
        address = line.split(" on ")[1].split()[0]
        found = httpx.post(f"{address}/predict", content=image.read_bytes(), timeout=30).json()
        process.terminate()
        assert process.wait(30) == 0
    [prediction] = found["predictions"]
    assert sum(prediction["probabilities"].values()) == pytest.approx(1)
    written = (tmp_path / "run" / "run.onnx").stat().st_mtime_ns
    assert exported_file(tmp_path / "run").stat().st_mtime_ns == written
    file = tmp_path / "run" / "classifier.json"
    facts = json.loads(file.read_text())
    facts["sha256"]["model.safetensors"] = "0" * 64
    file.write_text(json.dumps(facts))
    with pytest.raises(ExciteError, match="other weights"):
        exported_file(tmp_path / "run")
