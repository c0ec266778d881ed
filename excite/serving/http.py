"""The HTTP server: uvicorn, with limits for idle connections, and a stop that loses no request."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Generator
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from excite.serving.gate import Gate

IDLE_GRACE = 1.0  # seconds that a stopping server waits for one more request on connections that are open
TICK = 0.05


class LimitedProtocol(H11Protocol):
    """A connection that is closed if headers, or the rest of a refused body, do not arrive in time.

    uvicorn limits the time between requests, but not that of the first bytes.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        idle = self.config.limits.idle  # type: ignore[attr-defined]
        if len(self.connections) >= self.config.limits.connections and idle:  # type: ignore[attr-defined]
            next(iter(idle)).transport.close()  # idle for the longest time
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_request:
            self._unwatch()
        elif self._timer is None:
            self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and not self._in_request:
            self._watch()

    def send_400_response(self, msg: str) -> None:
        self._gate.malformed(self.client)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # after the response: what follows it is no request
            self.transport.close()

    @property
    def _gate(self) -> Gate:
        return cast(Gate, self.config.app)

    @property
    def _in_request(self) -> bool:
        """Whether a request is being read or answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        limits = self.config.limits  # type: ignore[attr-defined]
        self._unwatch()
        limits.idle[self] = None
        self._timer = self.loop.call_later(limits.header_seconds, self.transport.close)

    def _unwatch(self) -> None:
        self.config.limits.idle.pop(self, None)  # type: ignore[attr-defined]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class ConnectionLimits:
    """Of a server.

    Args:
        connections: largest number of open ones.
        header_seconds: until the headers of a request must be complete.
    """

    def __init__(self, connections: int, header_seconds: float) -> None:
        self.connections, self.header_seconds = connections, header_seconds
        self.idle: dict[LimitedProtocol, None] = {}  # in the order in which they became idle


class DrainingServer(uvicorn.Server):
    """Stops after it has answered every request that it accepted, and those that were on their way.

    Args:
        gate: the application; its responses ask the client to close the connection as soon as it stops.
        limits: of connections.
        grace: seconds until a stop gives up on answers.
    """

    def __init__(self, gate: Gate, limits: ConnectionLimits, grace: float) -> None:
        config = uvicorn.Config(
            gate,
            interface="asgi3",
            http=LimitedProtocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=int(limits.header_seconds),
            timeout_graceful_shutdown=int(grace),
        )
        config.limits = limits  # type: ignore[attr-defined]
        super().__init__(config)
        self.gate = gate

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """SIGTERM stops the server; uvicorn would raise the signal once more at the end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, self.stop)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.stop))
        yield

    def stop(self) -> None:
        """Begin to stop."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, let those that are open send one more request, and answer all."""
        self.gate.draining = True
        for server in self.servers:
            server.close()
        end = asyncio.get_running_loop().time() + IDLE_GRACE
        while self.server_state.connections and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(TICK)
        await super().shutdown(sockets)


def run_server(server: DrainingServer, listener: socket.socket, ready: Any) -> None:
    """Serve until a signal.

    Args:
        ready: called in the loop as soon as connections are accepted.
    """

    async def main() -> None:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not task.done():
            await asyncio.sleep(TICK / 10)
        if server.started:
            ready()
        await task

    asyncio.run(main())
