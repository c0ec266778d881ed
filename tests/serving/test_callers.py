"""Threads that compute answers, and the bounded queue in front of them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from excite.serving.callers import Callers
from excite.serving.refusals import RefusedError

FAR = 1e12  # a deadline that never comes


class Gatekeeper:
    """Work that waits until it is let through, and the order in which it began."""

    def __init__(self) -> None:
        self.begun, self.allowed = threading.Semaphore(0), threading.Semaphore(0)
        self.order: list[int] = []

    def work(self, number: int) -> int:
        self.order.append(number)
        self.begun.release()
        self.allowed.acquire()
        return number


@pytest.fixture
def callers() -> Iterator[Callers]:
    made = Callers(1, 3)
    yield made
    made.close()


def test_results_come_in_the_order_of_arrival(callers: Callers) -> None:
    gate = Gatekeeper()

    async def main() -> list[int]:
        jobs = [callers.submit(lambda number=number: gate.work(number), 1, FAR) for number in range(3)]
        for _ in jobs:
            gate.allowed.release()
        return list(await asyncio.gather(*(job.future for job in jobs)))

    assert asyncio.run(main()) == [0, 1, 2] == gate.order


def test_what_finds_no_place_is_refused_at_once_and_a_withdrawn_job_gives_its_place_back(
    callers: Callers,
) -> None:
    gate = Gatekeeper()

    async def main() -> None:
        first = callers.submit(lambda: gate.work(0), 1, FAR)
        await asyncio.to_thread(gate.begun.acquire)  # it computes, and takes no place
        waiting = [callers.submit(lambda number=number: gate.work(number), 1, FAR) for number in (1, 2, 3)]
        with pytest.raises(RefusedError) as refused:
            callers.submit(lambda: gate.work(4), 1, FAR)
        assert refused.value.status == 503
        assert int(refused.value.headers["Retry-After"]) >= 1
        assert callers.withdraw(waiting[1])
        assert not callers.withdraw(waiting[1])
        assert not callers.withdraw(first)
        last = callers.submit(lambda: gate.work(5), 1, FAR)
        for _ in range(4):
            gate.allowed.release()
        assert await asyncio.gather(first.future, waiting[0].future, waiting[2].future, last.future) == [
            0,
            1,
            3,
            5,
        ]

    asyncio.run(main())
    assert gate.order == [0, 1, 3, 5]


def test_a_batch_takes_as_many_places_as_it_has_images(callers: Callers) -> None:
    gate = Gatekeeper()

    async def main() -> None:
        jobs = [callers.submit(lambda: gate.work(0), 1, FAR)]
        await asyncio.to_thread(gate.begun.acquire)
        jobs.append(callers.submit(lambda: gate.work(1), 2, FAR))
        callers.check_room(1)
        with pytest.raises(RefusedError):
            callers.check_room(2)
        for _ in jobs:
            gate.allowed.release()
        await asyncio.gather(*(job.future for job in jobs))

    asyncio.run(main())


def test_a_job_that_begins_after_its_deadline_is_not_computed(callers: Callers) -> None:
    gate = Gatekeeper()

    async def main() -> None:
        job = callers.submit(lambda: gate.work(0), 1, time.monotonic() - 1)
        with pytest.raises(RefusedError) as refused:
            await job.future
        assert (refused.value.status, refused.value.code) == (503, "late")

    asyncio.run(main())
    assert gate.order == []


def test_an_error_goes_to_who_waits_and_the_thread_goes_on(callers: Callers) -> None:
    async def main() -> None:
        failed = callers.submit(lambda: 1 / 0, 1, FAR)
        after = callers.submit(lambda: 7, 1, FAR)
        with pytest.raises(ZeroDivisionError):
            await failed.future
        assert await after.future == 7

    asyncio.run(main())


def test_as_many_jobs_are_computed_at_once_as_there_are_threads() -> None:
    callers = Callers(2, 3)
    gate = Gatekeeper()

    async def main() -> None:
        jobs = [callers.submit(lambda number=number: gate.work(number), 1, FAR) for number in range(3)]
        for _ in range(2):
            await asyncio.to_thread(gate.begun.acquire)
        assert (callers.computing, callers.waiting, sorted(gate.order)) == (2, 1, [0, 1])
        for _ in jobs:
            gate.allowed.release()
        await asyncio.gather(*(job.future for job in jobs))

    asyncio.run(main())
    callers.close()
