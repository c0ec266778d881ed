"""excite serve"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundle.files import write_bundle
from tests.conftest import Command


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
