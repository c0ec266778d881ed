"""excite serve"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from excite.export.exported import exported_file
from tests.bundle.files import write_bundle
from tests.conftest import Command
from tests.export.conftest import train_small

READY = "excite: serving "


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--host", "0.0.0.0"],
            "--host: 0.0.0.0 can be reached from other machines: the service needs API keys",
        ),
        (["--keys", "nowhere"], "nowhere: cannot be read: no such file or directory"),
        (["--rate", "3"], "--rate: limits each API key, and there are none"),
        (["--formats", "jpeg,svg"], "--formats: unknown format 'svg'"),
        (["--queue", "4"], "--queue: must be at least --max-images (16), got 4"),
        (["--port", "70000"], "--port"),
    ],
)
def test_wrong_options(
    excite_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.delenv("EXCITE_SERVE_KEYS", raising=False)
    done = excite_command("serve", write_bundle(tmp_path / "a.onnx"), *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_files_that_cannot_be_served(excite_command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.openvino").mkdir()
    (tmp_path / "a.openvino" / "model.xml").touch()
    assert "an ONNX file is served" in excite_command("serve", tmp_path / "a.openvino").stderr
    assert "there is no such file" in excite_command("serve", tmp_path / "b.onnx").stderr
    assert "is not a run folder" in excite_command("serve", tmp_path).stderr


@pytest.mark.slow
def test_a_run_is_exported_and_served(tmp_path: Path) -> None:
    """From the command line to an answer, as a process of its own; the next start uses the exported file."""
    run = train_small(tmp_path)
    command = [sys.executable, "-m", "excite", "serve", str(run.path), "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith(READY))
        image = next(run.path.parent.glob("pictures/*/*.png"))
        address = line.split(" on ")[1].split()[0]
        found = httpx.post(f"{address}/predict", content=image.read_bytes(), timeout=30).json()
        process.terminate()
        assert process.wait(30) == 0
    [prediction] = found["predictions"]
    assert sum(prediction["probabilities"].values()) == pytest.approx(1)
    written = (run.path / "run.onnx").stat().st_mtime_ns
    assert exported_file(run.path).stat().st_mtime_ns == written
    facts = json.loads((run.path / "classifier.json").read_text())
    facts["sha256"]["model.safetensors"] = "0" * 64
    (run.path / "classifier.json").write_text(json.dumps(facts))
    with pytest.raises(Exception, match="other weights"):
        exported_file(run.path)
