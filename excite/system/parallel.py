"""Work on many items in threads, in order, with progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Progress = Callable[[int, int], None]

Item = TypeVar("Item")
Result = TypeVar("Result")


def after(start: int, total: int, progress: Progress | None) -> Progress | None:
    """The progress of a part that begins at ``start`` of ``total`` items, as that of the whole.

    >>> after(100, 300, print)(5, 50)
    105 300
    """
    return None if progress is None else lambda done, _: progress(start + done, total)


def in_threads(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    batch: int = 256,
    progress: Progress | None = None,
) -> Generator[Result, None, None]:
    """Apply a function to all items in threads on all cores; results come in order.

    Args:
        batch: largest number of results that are in memory at the same time.
        progress: called with (items done, items)."""
    executor = ThreadPoolExecutor(os.cpu_count())
    done = 0
    try:
        for start in range(0, len(items), batch):
            for result in executor.map(function, items[start : start + batch]):
                yield result
                done += 1
                if progress is not None:
                    progress(done, len(items))
    finally:
        executor.shutdown(cancel_futures=True)
