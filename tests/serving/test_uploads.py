"""Mutated uploads, as in benchmarks/serving.py, which sends ten thousand: 200 or 4xx, never 500."""

from __future__ import annotations

import importlib.util
import random
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest

from tests.bundle.files import make_info, write_bundle
from tests.serving.pictures import picture
from tests.serving.services import Process, started

IMAGES = [picture("JPEG", (320, 240), seed) for seed in range(3)]


@pytest.fixture(scope="module")
def mutations() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "upload_mutations.py"
    spec = importlib.util.spec_from_file_location("upload_mutations", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("uploads")
    file = write_bundle(folder / "colors.onnx", info=make_info(max_pixels=10**8))
    with started(folder, file, body_seconds=0.2) as process:
        yield process


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    return 1024 * int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


def send(service: Process, request: bytes) -> str:
    """The status; "closed" if the connection ended without one."""
    parts = urlsplit(service.address)
    answer = b""
    with closing(socket.create_connection((parts.hostname, parts.port), timeout=30)) as client:
        with suppress(ConnectionError):
            client.sendall(request)
        with suppress(ConnectionError):
            answer = client.recv(4096)
    return answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/1.1 ") else "closed"


@pytest.mark.slow
def test_mutated_uploads_are_answered_or_refused(service: Process, mutations: ModuleType) -> None:
    source = random.Random(0)
    statuses: dict[str, Counter[str]] = {kind: Counter() for kind in mutations.MUTATIONS}
    [worker] = service.workers
    before = memory(worker)
    for _ in range(10):
        for kind, mutate in mutations.MUTATIONS.items():
            statuses[kind][send(service, mutate(source.choice(IMAGES), source))] += 1
    wrong = {kind: found for kind, found in statuses.items() if any(each.startswith("5") for each in found)}
    assert not wrong
    assert send(service, mutations.request(IMAGES[0])) == "200"
    assert service.workers == [worker]
    assert memory(worker) < before + 150e6  # two images of 25 megapixels
    assert not [line for line in service.lines() if line["outcome"] == "error"]
