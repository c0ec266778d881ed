"""Work in threads: results in order, few in memory, errors raised, no thread left."""

from __future__ import annotations

import threading

import pytest

from excite.system.parallel import in_threads


def test_results_come_in_order_whichever_is_ready_first() -> None:
    first_done = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert first_done.wait(60)  # until the second one has been worked on
        else:
            first_done.set()
        return number**2

    assert list(in_threads(work, range(2), batch=2)) == [0, 1]


def test_every_item_is_worked_on_once_and_progress_counts_them() -> None:
    seen: list[tuple[int, int]] = []
    items = list(range(25))
    found = list(in_threads(str, items, batch=7, progress=lambda done, total: seen.append((done, total))))
    assert found == list(map(str, items))
    assert seen == [(number, 25) for number in range(1, 26)]


def test_no_more_than_a_batch_is_in_progress() -> None:
    begun: list[int] = []
    results = in_threads(begun.append, range(20), batch=4)
    next(results)
    assert set(begun) <= {0, 1, 2, 3}
    results.close()
    assert len(begun) <= 4


def test_an_error_is_raised_and_the_rest_is_not_started() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise ValueError("the fourth")
        return number

    results = in_threads(work, range(100), batch=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(results)
    assert max(begun) == 3


def test_without_items_there_are_no_results_and_threads_end() -> None:
    before = set(threading.enumerate())
    assert list(in_threads(str, [])) == []
    assert list(in_threads(str, [1])) == ["1"]
    assert set(threading.enumerate()) == before
