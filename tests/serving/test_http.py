"""Connections: idle ones, slow ones, malformed ones, and bodies that never end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.serving.pictures import picture
from tests.serving.services import Process, started


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    limits = {"header_seconds": 1.0, "body_seconds": 1.0, "connections": 40, "max_bytes": 200_000}
    with started(tmp_path_factory.mktemp("http"), **limits) as process:
        yield process


def connect(service: Process) -> socket.socket:
    parts = urlsplit(service.address)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def talk(service: Process, *messages: bytes) -> bytes:
    """What the service answers until it closes the connection."""
    answer = b""
    with closing(connect(service)) as client:
        try:
            for message in messages:
                client.sendall(message)
            while chunk := client.recv(65536):
                answer += chunk
        except ConnectionError:  # the service has closed while the client was sending
            pass
    return answer


HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.slow
def test_idle_connections_are_closed_and_others_are_served_meanwhile(service: Process) -> None:
    """Twice as many as there may be: the service closes the oldest, and answers all the same."""
    with ExitStack() as stack:
        idle = [stack.enter_context(closing(connect(service))) for _ in range(80)]
        for _ in range(3):
            assert httpx.post(f"{service.address}/predict", content=picture()).status_code == 200
        assert idle[0].recv(1) == b""


@pytest.mark.slow
@pytest.mark.parametrize("beginning", [b"", b"GET /", HEAD + b"X-Slow: "])
def test_headers_that_do_not_arrive_end_the_connection(service: Process, beginning: bytes) -> None:
    assert talk(service, beginning) == b""


@pytest.mark.slow
def test_a_body_that_does_not_arrive_gets_408(service: Process) -> None:
    assert talk(service, HEAD + b"Content-Length: 5000\r\n\r\n", b"x").startswith(b"HTTP/1.1 408")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"\0\1\2\3\r\n\r\n", b"400"),
        (b"GET / HTTP/x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (HEAD + b"X: " + b"x" * 300_000 + b"\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", b"400"),
        (HEAD + b"Content-Length: -1\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", b"413"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n", b"400"),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 300000000\r\n\r\n" + b"x" * 300_000, b"413"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"fff\r\n" + b"x" * 4095 + b"\r\n", b"408"),
    ],
    ids=range(12),
)
def test_malformed_requests_get_4xx(service: Process, message: bytes, status: bytes) -> None:
    answer = talk(service, message)
    assert answer.split(b" ", 2)[1] == status


@pytest.mark.slow
def test_a_large_body_in_chunks_is_counted_and_the_answer_arrives(service: Process) -> None:
    """Most of it is sent after the refusal, which must not be lost by closing the connection too early."""
    answered = httpx.post(f"{service.address}/predict", content=iter([b"x" * 50_000] * 100), timeout=30)
    assert answered.status_code == 413


@pytest.mark.slow
def test_what_is_no_request_is_counted(service: Process, tmp_path: Path) -> None:
    talk(service, b"\0\r\n\r\n")
    assert service.lines()[-1]["outcome"] == "malformed"
