"""What the OpenAPI description promises, checked by schemathesis."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.services import started


@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """It does not check that valid bodies are accepted: a schema cannot say that bytes are an image."""
    command = shutil.which("schemathesis", path=str(Path(sys.executable).parent)) or shutil.which(
        "schemathesis"
    )
    if command is None:
        pytest.skip("schemathesis is not installed")
    with started(tmp_path) as service:
        options = ["--max-examples", "15", "--seed", "1", "--exclude-checks", "positive_data_acceptance"]
        done = subprocess.run(
            [command, "run", f"{service.address}/openapi.json", *options],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        statuses = {line["status"] for line in service.lines()}
    assert done.returncode == 0, done.stdout[-3000:]
    assert {200, 404, 405, 415} <= statuses
    assert not [status for status in statuses if status >= 500]
