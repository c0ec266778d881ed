"""Bodies are counted and timed while they arrive."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from excite.serving.body import Buffers
from excite.serving.refusals import ClientGoneError, RefusedError


class Client:
    """Sends chunks, and remembers how many were asked for."""

    def __init__(self, *chunks: bytes | None) -> None:
        self.chunks, self.sent = list(chunks), 0

    async def receive(self) -> dict[str, Any]:
        if self.sent == len(self.chunks):
            await asyncio.Event().wait()  # sends nothing more
        chunk = self.chunks[self.sent]
        self.sent += 1
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": chunk != b"."}


async def read(buffers: Buffers, client: Client, length: int | None = None) -> bytes:
    async with buffers.body(client.receive, length) as body:
        assert buffers.used >= len(body)
        return body


def test_a_body_is_the_sum_of_its_chunks_and_its_memory_is_free_afterwards() -> None:
    buffers = Buffers(100, 60, 200)
    assert asyncio.run(read(buffers, Client(b"ab", b"", b"c", b"."))) == b"abc."
    assert buffers.used == 0


@pytest.mark.parametrize("length", [None, 5])  # without a header, and with one that lies
def test_nothing_is_read_beyond_the_limit(length: int | None) -> None:
    buffers, client = Buffers(100, 60, 200), Client(*[b"x" * 60] * 50)
    with pytest.raises(RefusedError) as refused:
        asyncio.run(read(buffers, client, length))
    assert (refused.value.status, client.sent, buffers.used) == (413, 2, 0)


def test_a_header_above_the_limit_is_enough() -> None:
    client = Client(b".")
    with pytest.raises(RefusedError) as refused:
        asyncio.run(read(Buffers(100, 60, 200), client, 101))
    assert (refused.value.status, client.sent) == (413, 0)


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    buffers = Buffers(100, 0.01, 200)
    with pytest.raises(RefusedError) as refused:
        asyncio.run(read(buffers, Client(b"a")))
    assert (refused.value.status, buffers.used) == (408, 0)


def test_a_client_that_goes_away_leaves_nothing() -> None:
    buffers = Buffers(100, 60, 200)
    with pytest.raises(ClientGoneError):
        asyncio.run(read(buffers, Client(b"abc", None)))
    assert buffers.used == 0


def test_all_bodies_together_are_limited() -> None:
    buffers = Buffers(100, 60, 150)

    async def main() -> None:
        async with buffers.body(Client(b"x" * 99, b".").receive, None):
            with pytest.raises(RefusedError) as refused:
                await read(buffers, Client(b"y" * 60, b"."))
            assert refused.value.status == 503
            assert await read(buffers, Client(b"y" * 40, b".")) == b"y" * 40 + b"."

    asyncio.run(main())
    assert buffers.used == 0
