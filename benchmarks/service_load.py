"""Services as processes, and clients that load them; for ``benchmarks/serving.py``."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

OTHERS = Path(__file__).parent / "other_services"


@dataclass
class Service:
    """A running service.

    Args:
        name: what it is.
        process: its first process.
        port: where it listens.
        path: of predictions.
        is_form: whether it takes images as a form.
        seconds_to_ready: from the start of its process to its first answer.
    """

    name: str
    process: psutil.Process
    port: int
    path: str
    is_form: bool
    seconds_to_ready: float = 0.0

    @property
    def processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def memory(self) -> float:
        """Megabytes of all processes; pages that they share count once (PSS)."""
        return sum(each.memory_full_info().pss for each in self.processes) / 1e6

    def descriptors(self) -> int:
        return sum(each.num_fds() for each in self.processes)

    def threads(self) -> int:
        return sum(each.num_threads() for each in self.processes)


def body_of(service: Service, image: bytes) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request."""
    if not service.is_form:
        return image, {"Content-Type": "image/jpeg"}
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
    body = head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + image + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def command_of(name: str, file: Path, port: int, python: str) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of a service; "one thread" in its name: as many threads as ours."""
    equal = name.endswith("one thread")
    threads, workers = ("1", "2") if equal else ("0", "1")
    if name.startswith("excite"):
        return [python, "-m", "excite", "serve", str(file), "--port", str(port), "--no-open"], {}
    if name.startswith("LitServe"):
        return [python, str(OTHERS / "litserve_service.py"), str(file), str(port), threads, workers], {}
    command = [
        str(Path(python).parent / "bentoml"),
        "serve",
        "bentoml_service:Classifier",
        "--port",
        str(port),
    ]
    variables = {"SERVICE_FILE": str(file), "SERVICE_THREADS": threads, "SERVICE_WORKERS": workers}
    return command, variables


@contextlib.contextmanager
def running(
    name: str, file: Path, port: int, image: bytes, python: str = sys.executable
) -> Iterator[Service]:
    """A service that has answered once."""
    command, variables = command_of(name, file, port, python)
    with tempfile.TemporaryFile() as log:
        start = time.monotonic()
        process = subprocess.Popen(
            command,
            env={**os.environ, **variables},
            cwd=OTHERS,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        service = Service(name, psutil.Process(process.pid), port, "/predict", not name.startswith("excite"))
        try:
            while not _answers(service, image):
                if process.poll() is not None or time.monotonic() > start + 120:
                    log.seek(0)
                    raise RuntimeError(f"{name} does not start: {log.read()[-2000:].decode()}")
                time.sleep(0.01)
            service.seconds_to_ready = time.monotonic() - start
            yield service
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(40)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(service: Service, image: bytes) -> bool:
    try:
        return post(service, image)[0] == 200
    except OSError:
        return False


def post(service: Service, image: bytes) -> tuple[int, bytes]:
    """Status and body of one request on its own connection."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    with contextlib.closing(connection):
        body, headers = body_of(service, image)
        connection.request("POST", service.path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()


@dataclass
class Result:
    """What clients saw.

    Args:
        seconds: how long they ran.
        times: of each answer with status 200.
        statuses: number of answers; "lost" are connections that ended without one.
    """

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds

    def quantile(self, level: float) -> float:
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(level * len(ordered)))] if ordered else float("nan")


def load(
    service: Service,
    images: Sequence[bytes],
    seconds: float,
    clients: int,
    rate: float | None = None,
    during: Callable[[], None] = lambda: None,
) -> Result:
    """Clients with a connection each, which they keep.

    Args:
        rate: requests per second of all clients together, evenly spaced; None: each sends its next request
            after its answer. A client that is late by more than a second leaves requests out.
        during: called once, in the middle.
    """
    result, lock, start = Result(), threading.Lock(), time.monotonic()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        turn = number
        while (now := time.monotonic()) < start + seconds:
            if rate is not None:
                due = start + turn / rate
                if due > now:
                    time.sleep(due - now)
                elif due < now - 1:
                    turn += clients * int((now - due) * rate / clients)
            turn += clients
            body, headers = body_of(service, images[turn % len(images)])
            begun = time.monotonic()
            try:
                connection.request("POST", service.path, body, headers)
                response = connection.getresponse()
                response.read()
                status = str(response.status)
            except ConnectionRefusedError:
                connection.close()
                status = "refused"
                time.sleep(0.05)
            except OSError:
                connection.close()
                status = "lost"
            except http.client.HTTPException:
                connection.close()
                status = "lost"
            took = time.monotonic() - begun
            with lock:
                result.statuses[status] += 1
                if status == "200":
                    result.times.append(took)
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 2)
    during()
    for thread in threads:
        thread.join()
    result.seconds = time.monotonic() - start
    return result
