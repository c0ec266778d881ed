"""Measure ``excite serve``: speed beside LitServe and BentoML, overload, abuse, and mutated uploads.

Run by hand: ``python benchmarks/serving.py FILE.onnx IMAGES [--only throughput,...]``. IMAGES is a folder of
JPEGs. The load comes from this process, the service runs in others. ``--others PYTHON`` is the interpreter of
an environment with litserve, bentoml, onnxruntime, and Pillow. The load average is printed before each part,
because figures of a machine that does something else are worth little.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import socket
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

from service_load import Service, load, post, running
from upload_mutations import mutated

SETTLING = 60.0  # seconds
PARTS = ("throughput", "half", "overload", "reload", "stop", "abuse", "fuzz")


def throughput(file: Path, images: list[bytes], options: argparse.Namespace) -> None:
    """Requests per second of eight clients, one service after the other, several times."""
    names = [("excite", sys.executable)]
    if options.others:
        names += [
            (name, options.others)
            for name in ("LitServe", "BentoML", "LitServe, one thread", "BentoML, one thread")
        ]
    found: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, python in names:
            with running(name, file, options.port, images[0], python) as service:
                idle = service.memory()
                result = load(service, images, options.seconds, 8)
                found.setdefault(name, []).append(result.rate)
                print(
                    f"{name:22} ready {service.seconds_to_ready:5.2f} s  memory {idle:4.0f} / "
                    f"{service.memory():4.0f} MB  {result.rate:6.1f} requests/s  "
                    f"median {1e3 * result.quantile(0.5):5.0f} ms  "
                    f"p99 {1e3 * result.quantile(0.99):5.0f} ms  {dict(result.statuses)}",
                    flush=True,
                )
    ours = statistics.median(found["excite"])
    for name, rates in found.items():
        median = statistics.median(rates)
        print(f"{name:22} median {median:6.1f} requests/s; excite has {ours / median:.2f} x")


def half(file: Path, images: list[bytes], options: argparse.Namespace) -> None:
    """p99 at half of the capacity, in units of the time of one answer."""
    with running("excite", file, options.port, images[0]) as service:
        one = load(service, images, options.seconds, 1)
        full = load(service, images, options.seconds, 8)
        at_half = load(service, images, options.seconds, 8, rate=full.rate / 2)
        print(
            f"one answer {1e3 * one.quantile(0.5):.0f} ms; capacity {full.rate:.1f}/s; at half: p50 "
            f"{1e3 * at_half.quantile(0.5):.0f}, p99 {1e3 * at_half.quantile(0.99):.0f} ms = "
            f"{at_half.quantile(0.99) / one.quantile(0.5):.2f} x one answer; {dict(at_half.statuses)}"
        )


def overload(file: Path, images: list[bytes], options: argparse.Namespace) -> None:
    """Five times the capacity; then memory, descriptors, and threads as before."""
    with running("excite", file, options.port, images[0]) as service:
        full = load(service, images, options.seconds, 8)
        load(service, images, SETTLING, 64, rate=5 * full.rate)  # memory grows to its size under load
        time.sleep(2)
        before = service.memory(), service.descriptors(), service.threads()
        result = load(service, images, options.overload_seconds, 64, rate=5 * full.rate)
        time.sleep(2)
        after = service.memory(), service.descriptors(), service.threads()
        asked = sum(result.statuses.values()) / result.seconds
        print(
            f"capacity {full.rate:.1f}/s; asked {asked:.0f}/s for {result.seconds:.0f} s: "
            f"{dict(result.statuses)}; p50 {result.quantile(0.5):.2f}, p99 {result.quantile(0.99):.2f} s of "
            f"accepted ones; queue x time {32 / full.rate:.2f} s; memory {before[0]:.1f} -> "
            f"{after[0]:.1f} MB ({100 * (after[0] / before[0] - 1):+.1f} %); "
            f"descriptors {before[1]} -> {after[1]}; threads {before[2]} -> {after[2]}"
        )


def reload(file: Path, images: list[bytes], options: argparse.Namespace) -> None:
    """SIGHUP under load: no request is lost, and the number of processes stays."""
    with running("excite", file, options.port, images[0]) as service:
        old = {each.pid for each in service.processes}
        result = load(
            service, images, options.seconds, 8, during=lambda: service.process.send_signal(signal.SIGHUP)
        )
        time.sleep(3)
        new = {each.pid for each in service.processes}
        counts = f"processes {len(old)} -> {len(new)}, {len(new - old)} new"
        print(f"SIGHUP in the middle: {dict(result.statuses)}; {counts}")


def stop(file: Path, images: list[bytes], options: argparse.Namespace) -> None:
    """SIGTERM under load: what was sent before it is answered, connections are refused after it."""
    with running("excite", file, options.port, images[0]) as service:
        processes = service.processes
        result = load(service, images, 6, 8, during=lambda: service.process.send_signal(signal.SIGTERM))
        left = [each for each in processes if each.is_running() and each.status() != "zombie"]
        print(f"SIGTERM in the middle: {dict(result.statuses)}; {len(left)} processes left")


def abuse(file: Path, images: list[bytes], options: argparse.Namespace) -> None:
    """A body of 300 MB, one that arrives byte by byte, and 1,000 idle connections."""
    with running("excite", file, options.port, images[0]) as service:
        load(service, images, 3, 8)
        before = service.memory()
        for chunked in (False, True):
            status, peak = _send_large(service, chunked)
            kind = "chunked" if chunked else "with its length"
            print(f"300 MB, {kind}: {status}, {peak - before:+.1f} MB at most")
        start = time.monotonic()
        print(f"1 byte per second: {_send_slowly(service)} after {time.monotonic() - start:.1f} s")
        with contextlib.ExitStack() as stack:
            for _ in range(1000):
                stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            result = load(service, images, options.seconds, 8)
            print(f"beside 1,000 idle connections: {result.rate:.1f} requests/s, {dict(result.statuses)}")


def _send_large(service: Service, chunked: bool) -> tuple[str, float]:
    """Status, and the largest memory meanwhile."""
    head = "Transfer-Encoding: chunked" if chunked else "Content-Length: 300000000"
    block = b"x" * 100_000
    peak = 0.0
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as client:
        client.sendall(f"POST /predict HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            for number in range(3000):
                client.sendall(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
                if number % 30 == 0:
                    peak = max(peak, service.memory())
        with contextlib.suppress(ConnectionError):
            return client.recv(4096).split(b" ", 2)[1].decode(), peak
    return "connection closed", peak


def _send_slowly(service: Service) -> str:
    with socket.create_connection(("127.0.0.1", service.port), timeout=1) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n")
        while True:
            client.sendall(b"x")
            try:
                return client.recv(4096).split(b" ", 2)[1].decode()
            except TimeoutError:
                continue


def fuzz(file: Path, images: list[bytes], options: argparse.Namespace) -> None:
    """Mutated uploads: 200 or 4xx, never 500."""
    source = random.Random(options.seed)
    with running("excite", file, options.port, images[0]) as service:
        load(service, images, 3, 8)
        before, statuses, peak = service.memory(), Counter[str](), 0.0
        for number in range(options.uploads):
            kind, request = mutated(images, source)
            status = _send(service, request, ends=kind in ("lying length", "malformed", "damaged form"))
            statuses[status] += 1
            if status.startswith("5"):
                print(f"upload {number} of seed {options.seed} ({kind}): {status}")
            if number % 100 == 0:
                peak = max(peak, service.memory())
        assert post(service, images[0])[0] == 200
        print(
            f"{options.uploads} uploads: {dict(statuses)}; memory {before:.0f} MB before, "
            f"{peak:.0f} at most, {service.memory():.0f} after"
        )


def _send(service: Service, request: bytes, *, ends: bool) -> str:
    """The status of a request that may be malformed; ``ends``: the client closes its side after it."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as client:
        answer = b""
        with contextlib.suppress(ConnectionError):
            client.sendall(request)
            if ends:
                client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            answer = client.recv(4096)
    return answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/1.1 ") else "closed"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--others", help="interpreter of an environment with litserve and bentoml")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each load")
    parser.add_argument("--overload-seconds", type=float, default=600.0)
    parser.add_argument("--rounds", type=int, default=3, help="of throughput")
    parser.add_argument("--uploads", type=int, default=10_000, help="of fuzz")
    parser.add_argument("--seed", type=int, default=0, help="of fuzz")
    parser.add_argument("--port", type=int, default=8765)
    options = parser.parse_args()
    images = [each.read_bytes() for each in sorted(options.images.rglob("*.jpg"))[:64]]
    for name in options.only.split(","):
        print(f"\n{name} (load average {os.getloadavg()[0]:.2f})", flush=True)
        globals()[name](options.file.absolute(), images, options)


if __name__ == "__main__":
    main()
