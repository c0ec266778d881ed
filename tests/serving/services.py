"""Services for the tests: in a process of their own, and in this one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from excite.bundle.format import BundleInfo
from excite.bundle.predictor import Predictor
from excite.serving.app import create_app
from excite.serving.gate import Gate
from excite.serving.keys import ApiKeys
from excite.serving.service import Service
from excite.serving.settings import Settings
from tests.bundle.files import expected_probabilities, make_info, write_bundle

READY = "excite: serving "


class Process:
    """A running service, and the lines that it prints."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log
        self.address = self.wait_for(READY).split(" on ")[1].split()[0]

    def wait_for(self, beginning: str) -> str:
        """The next line on standard output that begins so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(beginning):
                return line.strip()
        raise AssertionError(f"the service ended: {self.log.read_text()}")

    @property
    def workers(self) -> list[int]:
        """Process numbers of the workers."""
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@contextlib.contextmanager
def started(folder: Path, file: Path | None = None, **options: Any) -> Iterator[Process]:
    """A service on a free port; it is stopped at the end, if it still runs."""
    file = file or write_bundle(folder / "colors.onnx")
    settings = Settings(str(file), **{"port": 0, **options})
    log = folder / "service.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "excite.serving", settings.to_json()],
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(
                    [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
                ),
            },
        )
    try:
        yield Process(process, log)
    finally:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


class BlockingRuntime:
    """Computes the mean colors of the test bundle, each time it is allowed to."""

    def __init__(self) -> None:
        self.entered, self.allowed = threading.Semaphore(0), threading.Semaphore(0)
        self.calls = 0

    def run(self, pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        self.calls += 1
        self.entered.release()
        self.allowed.acquire()
        return {"probabilities": expected_probabilities(pixels).astype(np.float32)}


class Runtime:
    """Computes the mean colors at once."""

    def run(self, pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        return {"probabilities": expected_probabilities(pixels).astype(np.float32)}


@contextlib.contextmanager
def in_process(
    runtime: Any = None,
    *,
    info: BundleInfo | None = None,
    keys: str | None = None,
    callers: int = 1,
    **options: Any,
) -> Iterator[tuple[Service, Gate, list[dict[str, Any]]]]:
    """A service in this process, its application, and its log."""
    predictor = Predictor(runtime or Runtime(), info or make_info())
    parsed = None if keys is None else ApiKeys.parse(keys, "keys")
    service = Service(predictor, Settings("colors.onnx", **options), callers, parsed)
    log: list[dict[str, Any]] = []
    gate = create_app(service)
    gate._log = lambda line: log.append(json.loads(line))
    try:
        yield service, gate, log
    finally:
        service.close()


@dataclass
class Answered:
    """A response."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.content)


async def call(
    gate: Gate,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] = b"",
    *,
    gone: asyncio.Event | None = None,
    **headers: str,
) -> Answered:
    """One request to the application. ``gone`` tells that the client closes the connection."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    answered, finished = Answered(), asyncio.Event()
    leaving = gone or asyncio.Event()
    path, _, query = path.partition("?")

    async def receive() -> dict[str, Any]:
        if chunks:
            chunk = chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}
        waiting = [asyncio.ensure_future(event.wait()) for event in (leaving, finished)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answered.status = message["status"]
            answered.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answered.content += message.get("body", b"")
            if not message.get("more_body"):
                finished.set()

    given = {"host": "localhost:8000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
        "client": ("127.0.0.1", 1234),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    await gate(scope, receive, send)
    return answered
