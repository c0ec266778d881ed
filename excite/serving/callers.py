"""Threads that compute answers, and the bounded queue in front of them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from excite.serving.refusals import late, overloaded


@dataclass(eq=False)
class Job:
    """Work that waits for a caller.

    Args:
        work: what a caller runs.
        images: number of places that it takes in the queue.
        deadline: time (``time.monotonic``) until which it must have begun.
        loop: of the future.
        future: receives the result, in its loop.
    """

    work: Callable[[], Any]
    images: int
    deadline: float
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    waited: float = field(default_factory=time.monotonic)


class Callers:
    """A fixed number of threads, each of which computes one job at a time, in the order of arrival.

    Two threads that each compute one image with one thread of the runtime answer about twice as many requests
    as one image with two threads, since decoding and layers of small networks do not use a second thread.

    Args:
        count: number of threads.
        places: number of images that may wait; what is being computed takes no place.
    """

    def __init__(self, count: int, places: int) -> None:
        self.count, self.places = count, places
        self.waiting = 0  # images
        self.computing = 0  # jobs
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._seconds_per_image = 0.1  # moving average
        self._threads = [
            threading.Thread(target=self._serve, name=f"caller-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def check_room(self, images: int = 1) -> None:
        """Raises: RefusedError if so many images find no place now."""
        with self._changed:
            self._require_room(images)

    def submit(self, work: Callable[[], Any], images: int, deadline: float) -> Job:
        """Put a job into the queue; its future gets the result of ``work``, or its exception.

        Raises:
            RefusedError: if the queue has no room.
        """
        loop = asyncio.get_running_loop()
        job = Job(work, images, deadline, loop, loop.create_future())
        with self._changed:
            self._require_room(images)
            self.waiting += images
            self._jobs.append(job)
            self._changed.notify()
        return job

    def withdraw(self, job: Job) -> bool:
        """Take a job out of the queue; False if it is being computed, or finished."""
        with self._changed:
            try:
                self._jobs.remove(job)
            except ValueError:
                return False
            self.waiting -= job.images
            return True

    def close(self) -> None:
        """End the threads after the jobs that they compute, and wait for them."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _require_room(self, images: int) -> None:
        idle = self.count - self.computing - len(self._jobs)
        if idle <= 0 and self.waiting + images > self.places:
            raise overloaded(self.waiting * self._seconds_per_image / self.count)

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            start = time.monotonic()
            try:
                if start > job.deadline:
                    raise late()
                result, error = job.work(), None
            except BaseException as raised:  # goes to whoever waits for the job
                result, error = None, raised
            seconds = time.monotonic() - start
            with self._changed:
                self.computing -= 1
                if error is None:
                    self._seconds_per_image += 0.1 * (seconds / job.images - self._seconds_per_image)
            try:
                job.loop.call_soon_threadsafe(_complete, job.future, result, error)
            except RuntimeError:  # the loop is closed: nobody waits
                return
            del job, result, error  # an idle thread holds on to no image

    def _next(self) -> Job | None:
        with self._changed:
            while not self._jobs:
                if self._closed:
                    return None
                self._changed.wait()
            job = self._jobs.popleft()
            self.waiting -= job.images
            self.computing += 1
            return job


def _complete(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # the client went away
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
