"""Processes: ready, reload, stop, crash; nothing accepted is lost, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.bundle.files import SIZE, expected_probabilities, make_info, write_bundle
from tests.serving.pictures import picture
from tests.serving.services import READY, Process, started
from tests.waiting import wait_until


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Process]:
    with started(tmp_path) as process:
        yield process


def predict(address: str) -> httpx.Response:
    return httpx.post(f"{address}/predict", content=picture(), timeout=30)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
def test_a_real_client_of_the_inference_protocol(service: Process) -> None:
    client_module = pytest.importorskip("tritonclient.http")
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    with client_module.InferenceServerClient(urlsplit(service.address).netloc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("colors")
        assert not client.is_model_ready("others")
        metadata = client.get_model_metadata("colors")
        assert metadata["inputs"][0]["shape"] == [-1, SIZE, SIZE, 3]
        for as_bytes in (True, False):
            tensor = client_module.InferInput("pixels", pixels.shape, "UINT8")
            tensor.set_data_from_numpy(pixels, binary_data=as_bytes)
            wanted = client_module.InferRequestedOutput("probabilities", binary_data=as_bytes)
            found = client.infer("colors", [tensor], outputs=[wanted], request_id="7")
            assert found.get_response()["id"] == "7"
            np.testing.assert_allclose(
                found.as_numpy("probabilities"), expected_probabilities(pixels), atol=1e-6
            )
        everything = client.infer("colors", [tensor])
        assert everything.as_numpy("probabilities").shape == (3, 3)


class Load:
    """Requests over kept connections, until it is told to end; each must be answered with 200."""

    def __init__(self, address: str, clients: int = 3, *, until_refused: bool = False) -> None:
        self.address, self.models, self.enough = address, [], threading.Event()
        self.until_refused = until_refused
        self.moments = threading.Semaphore(0)
        self._pool = ThreadPoolExecutor(clients)
        self._clients = [self._pool.submit(self._run) for _ in range(clients)]

    def _run(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self.enough.is_set():
                try:
                    answered = client.post(f"{self.address}/predict", content=picture())
                except httpx.ConnectError:
                    assert self.until_refused
                    return
                assert answered.status_code == 200, answered.text
                self.models.append(answered.json()["model"])
                self.moments.release()

    def wait_for(self, answers: int) -> None:
        for _ in range(answers):
            assert self.moments.acquire(timeout=60)

    def end(self, *, tell: bool = True) -> None:
        """Wait for all clients, and raise what went wrong; ``tell`` False: they end by themselves."""
        if tell:
            self.enough.set()
        try:
            for each in self._clients:
                each.result()
        finally:
            self._pool.shutdown()


@pytest.mark.slow
def test_a_new_model_takes_over_without_a_lost_request(service: Process, tmp_path: Path) -> None:
    old = service.workers
    load = Load(service.address)
    load.wait_for(20)
    write_bundle(tmp_path / "new.onnx", info=make_info(name="newer"))
    (tmp_path / "new.onnx").replace(tmp_path / "colors.onnx")
    service.process.send_signal(signal.SIGHUP)
    service.wait_for("excite: serving")
    assert wait_until(lambda: all(map(gone, old)))
    while load.models[-1] != "newer":
        load.wait_for(1)
    load.end()
    assert set(load.models) == {"colors", "newer"}
    assert len(service.workers) == 1


@pytest.mark.slow
def test_a_stop_under_load_refuses_what_it_does_not_answer(service: Process) -> None:
    """No connection is accepted and then dropped."""
    load = Load(service.address, until_refused=True)
    load.wait_for(20)
    service.process.send_signal(signal.SIGTERM)
    load.end(tell=False)
    assert service.process.wait(30) == 0


@pytest.mark.slow
def test_a_file_that_cannot_be_loaded_leaves_the_old_model(service: Process, tmp_path: Path) -> None:
    old = service.workers
    content = (tmp_path / "colors.onnx").read_bytes()
    (tmp_path / "colors.onnx").write_bytes(b"junk")
    service.process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: "not an ONNX file" in service.log.read_text())
    assert service.workers == old
    assert predict(service.address).json()["model"] == "colors"
    (tmp_path / "colors.onnx").write_bytes(content)
    service.process.send_signal(signal.SIGHUP)
    service.wait_for("excite: serving")
    assert wait_until(lambda: len(service.workers) == 1 and service.workers != old)
    assert predict(service.address).status_code == 200


@pytest.mark.slow
def test_a_stop_answers_what_was_accepted(service: Process) -> None:
    """The body of one request arrives after the signal."""
    host, port = urlsplit(service.address).hostname, urlsplit(service.address).port
    content, workers = picture(), service.workers
    with closing(socket.create_connection((host, port))) as client:
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
        client.sendall(head.encode() + content[:20])
        assert predict(service.address).status_code == 200  # so the first has been accepted, too
        service.process.send_signal(signal.SIGTERM)
        assert wait_until(lambda: not listens(host, port))
        client.sendall(content[20:])
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer
    assert service.process.wait(30) == 0
    assert all(map(gone, workers))


def listens(host: str | None, port: int | None) -> bool:
    """Whether a connection is accepted."""
    try:
        socket.create_connection((host, port)).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.slow
def test_workers_that_die_are_replaced_and_nobody_outlives_the_supervisor(tmp_path: Path) -> None:
    with started(tmp_path, workers=2) as service:
        first, second = service.workers
        os.kill(first, signal.SIGKILL)
        assert wait_until(lambda: len(service.workers) == 2 and first not in service.workers)
        assert wait_until(lambda: "a worker ended" in service.log.read_text())
        for _ in range(8):
            assert predict(service.address).status_code == 200
        text = httpx.get(f"{service.address}/metrics").text
        found = {
            each.name: each.value
            for family in text_string_to_metric_families(text)
            for each in family.samples
        }
        assert found["excite_predictions_total"] == 8  # of both workers
        assert second in service.workers
        for _ in range(2):
            old = service.workers
            service.process.send_signal(signal.SIGHUP)
            service.wait_for(READY)
            assert wait_until(
                lambda old=old: len(service.workers) == 2 and not set(old) & set(service.workers)
            )
        os.kill(service.workers[0], signal.SIGKILL)
        assert wait_until(lambda: service.log.read_text().count("a worker ended") == 2)
        assert wait_until(lambda: len(service.workers) == 2)
        workers = service.workers
        service.process.kill()
        assert wait_until(lambda: all(map(gone, workers)))


@pytest.mark.slow
def test_a_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    file = tmp_path / "junk.onnx"
    file.write_bytes(b"junk")
    with (
        pytest.raises(AssertionError, match=r"excite: error: .*junk.onnx: is not an ONNX file"),
        started(tmp_path, file),
    ):
        pass
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(AssertionError, match="cannot listen: address already in use"),
            started(tmp_path, port=port),
        ):
            pass
