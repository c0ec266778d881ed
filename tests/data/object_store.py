"""An S3 server in a process of its own, and a proxy before it that answers some requests with a fault."""

from __future__ import annotations

import http.client
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FAULTS = ("503", "slow", "cut", "wrong")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a moto server."""
    port = _free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


class Faulty(ThreadingHTTPServer):
    """Forwards requests; a fraction of those that read an object gets one of ``FAULTS``."""

    daemon_threads = True

    def __init__(self, behind: str, fraction: float, kinds: tuple[str, ...] = FAULTS) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = behind.removeprefix("http://")
        self.fraction, self.kinds = fraction, kinds
        self.random, self.mutex = random.Random(0), threading.Lock()
        self.seen: Counter[str] = Counter()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def draw(self) -> str:
        with self.mutex:
            kind = self.random.choice(self.kinds) if self.random.random() < self.fraction else "none"
            self.seen[kind] += 1
            return kind

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # connections are cut on purpose


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Faulty

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection(self.server.behind)
        connection.request(self.command, self.path, body, dict(self.headers.items()))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        is_read = self.command == "GET" and "list-type" not in self.path
        kind = self.server.draw() if is_read else "none"
        if kind == "503":
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if kind == "slow":
            time.sleep(0.3)
        if kind == "wrong" and content:
            place = len(content) // 2
            content = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        size = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", size or "0")
        self.end_headers()
        if kind == "cut":
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815 (named by the base class)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def faulty(behind: str, fraction: float, kinds: tuple[str, ...] = FAULTS) -> Iterator[Faulty]:
    """A proxy with faults, which runs in a thread."""
    server = Faulty(behind, fraction, kinds)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def upload(endpoint: str, folder: Path, bucket: str) -> None:
    """Put the files of a folder into a new bucket, below ``shards/``."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1"
    )
    client.create_bucket(Bucket=bucket)
    for file in folder.iterdir():
        client.put_object(Bucket=bucket, Key=f"shards/{file.name}", Body=file.read_bytes())
