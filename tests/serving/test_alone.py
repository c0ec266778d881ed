"""A service without a supervisor, as on Windows, where no process inherits a socket."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from excite.serving.settings import Settings
from tests.bundle.files import write_bundle
from tests.serving.pictures import picture
from tests.serving.services import Process

PROGRAM = """
import asyncio, sys
from excite.serving import start
from excite.serving.settings import Settings

def refuse(*_):
    raise NotImplementedError

asyncio.SelectorEventLoop.add_signal_handler = refuse
start.SUPERVISED = False
settings = Settings.from_json(sys.argv[1])
start.check_settings(settings)
start.become_supervisor(settings)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_process_serves_and_stops(tmp_path: Path, number: signal.Signals) -> None:
    settings = Settings(str(write_bundle(tmp_path / "colors.onnx")), port=0)
    log = tmp_path / "service.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, settings.to_json()],
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            text=True,
        )
    try:
        service = Process(process, log)
        answer = httpx.post(f"{service.address}/predict", content=picture(), timeout=30)
        assert answer.status_code == 200
        assert service.workers == []
        process.send_signal(number)
        assert process.wait(timeout=20) == 0, log.read_text()
    finally:
        process.kill()
        process.communicate()
