"""Read the body of a request: its bytes are counted, and its time is limited, while it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from excite.serving.refusals import ClientGoneError, RefusedError, overloaded

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
BYTES_PER_SECOND = 2**16  # a body that arrives faster is never too slow


class Buffers:
    """The memory for bodies of all requests of a process.

    Args:
        max_bytes: largest body.
        seconds: see ``Settings.body_seconds``.
        total: bytes of all bodies together.
    """

    def __init__(self, max_bytes: int, seconds: float, total: int) -> None:
        self.max_bytes, self.seconds, self.total = max_bytes, seconds, total
        self.used = 0

    @asynccontextmanager
    async def body(self, receive: Receive, length: int | None) -> AsyncIterator[bytes]:
        """The body, for whose memory the block has a reservation.

        Args:
            receive: of ASGI.
            length: what the header says; None: it has none.

        Raises:
            RefusedError: for a body that is too large (413) or slow (408), and without memory for it (503).
            ClientGoneError: if the client closes the connection.
        """
        if length is not None and length > self.max_bytes:
            raise self._too_large()
        chunks: list[bytes] = []
        reserved = 0
        try:
            async for chunk in self._chunks(receive):
                if self.used + len(chunk) > self.total:
                    raise overloaded(1)
                self.used += len(chunk)
                reserved += len(chunk)
                chunks.append(chunk)
            content = b"".join(chunks)
            chunks.clear()
            yield content
        finally:
            self.used -= reserved

    async def _chunks(self, receive: Receive) -> AsyncIterator[bytes]:
        size, more = 0, True
        start = asyncio.get_running_loop().time()
        while more:
            try:
                async with asyncio.timeout_at(start + self.seconds + size / BYTES_PER_SECOND):
                    message = await receive()
            except TimeoutError as error:
                raise RefusedError(408, "slow", "the body did not arrive in time") from error
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self.max_bytes:
                raise self._too_large()
            yield chunk
            more = message.get("more_body", False)

    def _too_large(self) -> RefusedError:
        return RefusedError(413, "too_large", f"the body is larger than {self.max_bytes:,} bytes")
