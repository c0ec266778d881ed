"""Leases: a cell is trained by one worker at a time, and its result counts once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

sa = pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.study.store.database import Database
from excite.study.store.leases import DEATHS
from excite.study.store.store import Store
from tests.study.store.small_store import STUDY, finish, new_store


class Clock:
    """The database's clock, which tests advance instead of waiting."""

    def __init__(self) -> None:
        self.seconds = 1e9

    def forward(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(Database, "now", lambda database: sa.literal(made.seconds))
    return made


def test_cells_are_taken_in_pairs_once_each_and_done(store: Store) -> None:
    taken = []
    while (lease := store.take(STUDY, f"t{len(taken)}", "w")) is not None:
        taken.append(lease.key)
        assert finish(store, lease)
    assert taken == [(f"arm{arm}", seed, 0) for seed in range(3) for arm in range(2)]
    assert store.counts(STUDY) == {"waiting": 0, "running": 0, "done": 6, "failed": 0}
    first = store.results(STUDY)[0]
    assert (first.arm, first.seed, first.images, first.result) == ("arm0", 0, b"numbers", {"value": 0.5})


def test_a_cell_with_an_expired_lease_is_taken_over_and_a_late_result_does_not_count(
    store: Store, clock: Clock
) -> None:
    lost = store.take(STUDY, "lost", "w", lease_seconds=60)
    assert lost is not None
    clock.forward(61)
    again = store.take(STUDY, "again", "v", lease_seconds=60)
    assert again is not None
    assert again.key == lost.key
    assert not store.heartbeat(STUDY, lost)
    assert store.heartbeat(STUDY, again)
    assert not finish(store, lost, 1.0)
    assert finish(store, again, 2.0)
    assert finish(store, again, 3.0)  # the answer was lost on its way; it is there once
    assert [row.result for row in store.results(STUDY)] == [{"value": 2.0}]


def test_a_heartbeat_keeps_a_cell(store: Store, clock: Clock) -> None:
    lease = store.take(STUDY, "t", "w", lease_seconds=60)
    assert lease is not None
    for number in range(4):
        clock.forward(40)
        assert store.heartbeat(STUDY, lease, lease_seconds=60)
        other = store.take(STUDY, f"o{number}", "v", lease_seconds=1000)
        assert other is not None
        assert other.key != lease.key


def test_a_failed_cell_is_tried_once_more_and_then_named(store: Store) -> None:
    for state in ("waiting", "failed"):
        lease = store.take(STUDY, state, "w")
        assert lease is not None
        assert lease.key == ("arm0", 0, 0)
        assert store.fail(STUDY, lease, "loss is not finite")
        assert store.cells(STUDY)[0].state == state
    assert store.cells(STUDY)[0].error == "loss is not finite"
    assert store.retry(STUDY) == 1
    assert store.counts(STUDY)["failed"] == 0


def test_a_cell_during_which_workers_die_fails(store: Store) -> None:
    for number in range(DEATHS):
        assert store.take(STUDY, f"t{number}", f"w{number}@here").key == ("arm0", 0, 0)  # type: ignore[union-attr]
        assert store.release_all(STUDY, "w") == store.release_all(STUDY, f"{number}") == 0  # others' names
        assert store.release_all(STUDY, f"w{number}") == 1
    assert store.take(STUDY, "next", "w").key == ("arm1", 0, 0)  # type: ignore[union-attr]
    assert "workers died while training it" in store.cells(STUDY)[0].error


def test_many_threads_take_every_cell_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    new_store(url, arms=4, seeds=10).close()
    taken: list[tuple[str, int, int]] = []

    def work(name: str) -> None:
        own = Store(url)
        while (lease := own.take(STUDY, f"{name}{len(taken)}{time.monotonic_ns()}", name)) is not None:
            taken.append(lease.key)
            assert finish(own, lease)
        own.close()

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 40
