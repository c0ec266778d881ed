"""What a request waits for: its body, its place in the queue, and its answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request

from excite.bundle.predictor import Predictor
from excite.serving.body import Buffers, Receive
from excite.serving.callers import Callers, Job
from excite.serving.images import ImageClassifier
from excite.serving.keys import ApiKeys, RateLimits
from excite.serving.metrics import Metrics
from excite.serving.refusals import ClientGoneError, RefusedError, late
from excite.serving.settings import Settings

BODIES = 8  # largest bodies that the memory for bodies holds
Result = TypeVar("Result")


class Service:
    """The state of a process.

    Args:
        predictor: with one thread for each call.
        settings: of the service.
        callers: number of threads.
        keys: None: everybody may call.
    """

    def __init__(
        self, predictor: Predictor, settings: Settings, callers: int, keys: ApiKeys | None = None
    ) -> None:
        self.settings, self.keys, self.info = settings, keys, predictor.info
        self.classifier = ImageClassifier(predictor, settings.formats, settings.max_pixels)
        self.callers = Callers(callers, settings.queue)
        self.buffers = Buffers(settings.max_bytes, settings.body_seconds, BODIES * settings.max_bytes)
        self.rates = RateLimits(settings.rate)
        self.metrics = Metrics(predictor.info, self.callers)
        # Bodies are parsed beside the loop, one at a time: a hostile one takes seconds.
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="parser")

    def close(self) -> None:
        """End all threads."""
        self.callers.close()
        self._parser.shutdown()

    def check(self, request: Request) -> int | None:
        """The length of the body, before it is read. Raises: RefusedError if it need not be read."""
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise RefusedError(415, "unsupported", "compressed bodies are not read")
        self.callers.check_room()
        length = request.headers.get("content-length")
        return None if length is None else int(length)

    async def parse(self, parse: Callable[[], Result]) -> Result:
        """The result of a function that reads a body."""
        return await asyncio.get_running_loop().run_in_executor(self._parser, parse)

    def admit(self, request: Request, images: int, size: int) -> None:
        """Count the images of a request. Raises: RefusedError without room, or images left for the key."""
        line = request.scope["state"]["request"]
        line.images, line.bytes = images, size
        self.callers.check_room(images)
        self.rates.take(line.key, images)

    async def answers(
        self, receive: Receive, works: Sequence[Callable[[], Any]], images: int = 1
    ) -> list[Any]:
        """The results of works, or their exceptions.

        Args:
            receive: of ASGI, after the body; it tells when the client goes away, which takes its work out of
                the queue.
            works: run by callers.
            images: of each.

        Raises:
            RefusedError: if the queue has no room, or there is no answer in time.
            ClientGoneError: if the client went away.
        """
        jobs: list[Job] = []
        deadline = time.monotonic() + self.settings.seconds
        gone = asyncio.ensure_future(_wait_until_gone(receive))
        try:
            for work in works:
                jobs.append(self.callers.submit(work, images, deadline))
            futures = (job.future for job in jobs)
            results: asyncio.Future[list[Any]] = asyncio.gather(*futures, return_exceptions=True)
            waited: set[asyncio.Future[Any]] = {results, gone}
            await asyncio.wait(waited, timeout=self.settings.seconds, return_when=asyncio.FIRST_COMPLETED)
            if results.done():
                return results.result()
            results.cancel()
            with suppress(asyncio.CancelledError):
                await results
            raise ClientGoneError if gone.done() else late()
        finally:
            gone.cancel()
            for job in jobs:
                self.callers.withdraw(job)


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
