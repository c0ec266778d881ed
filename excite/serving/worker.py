"""A process of the service: ``python -m excite.serving.worker SETTINGS``, started by the supervisor."""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from excite.errors import FAILED, ExciteError
from excite.serving.settings import Inherited, Settings
from excite.system.processors import available_processors

if TYPE_CHECKING:
    from excite.bundle.predictor import Predictor
    from excite.serving.http import DrainingServer


def main(text: str) -> int:
    """Serve until the supervisor says stop, or ends; returns the exit code."""
    inherited = Inherited(**json.loads(text))
    gc.disable()  # imports make many objects, and no garbage: 45 ms
    try:
        serve(inherited)
    except ExciteError as error:
        _report(inherited.report, {"error": error.what, "where": error.where, "hint": error.hint})
        return FAILED
    return 0


def serve(inherited: Inherited) -> None:
    """Load the classifier and serve. Raises: ExciteError if it cannot be loaded."""
    import asyncio

    from excite.serving.http import run_server

    with prepared(Settings.from_json(inherited.settings)) as (server, name):
        listener = socket.socket(fileno=inherited.listener)

        def ready() -> None:
            asyncio.get_running_loop().add_reader(inherited.lifeline, server.stop)
            _report(inherited.report, {"ready": name})

        run_server(server, listener, ready)


@contextmanager
def prepared(settings: Settings) -> Iterator[tuple[DrainingServer, str]]:
    """The server of a loaded classifier, and its name. Raises: ExciteError if it cannot be loaded."""
    from excite.bundle.predictor import Predictor
    from excite.serving.app import create_app
    from excite.serving.http import ConnectionLimits, DrainingServer
    from excite.serving.keys import load_keys
    from excite.serving.service import Service

    keys = load_keys(settings.keys)
    callers = settings.callers or max(1, available_processors() // settings.workers)
    predictor = Predictor.load(settings.file, threads=1)
    service = Service(predictor, settings, callers, keys)
    try:
        _warm_up(predictor, callers)
        _allow_descriptors(settings.connections)
        gate = create_app(service)
        limits = ConnectionLimits(settings.connections, settings.header_seconds)
        server = DrainingServer(gate, limits, settings.grace)
        gc.freeze()  # what is loaded stays; the collector need not look at it again
        gc.enable()
        yield server, service.info.name
    finally:
        service.close()


def _warm_up(predictor: Predictor, callers: int) -> None:
    """Compute on all threads at once, so that the memory of the runtime has the size that it needs."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    size = predictor.info.preprocessing.image_size
    pixels = [np.zeros((1, size, size, 3), dtype=np.uint8)] * (2 * callers)
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(predictor.outputs, pixels))


def _allow_descriptors(connections: int) -> None:
    """Raise the soft limit of open files to what the connections take, if the hard limit allows it."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))


def _report(descriptor: int, document: dict[str, object]) -> None:
    os.write(descriptor, json.dumps(document).encode() + b"\n")
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
