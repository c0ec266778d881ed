"""The store: a cell is one worker's at a time, counted once, and lost by nobody's death."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sa = pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.errors import ExciteError
from excite.study.store.database import Database
from excite.study.store.leases import DEATHS
from excite.study.store.store import Store

STUDY = "a" * 64


def content(**options: object) -> dict[str, object]:
    return {"options": options, "baseline": None, "parameters": 1, "multiply_adds": 1}


def new_store(url: str, arms: int = 2, seeds: int = 3, folds: int = 1) -> Store:
    store = Store(url, patience=20)
    store.begin(STUDY, {"folds": None}, [{"number": 0, "path": "a.png", "label": "a", "group": ""}])
    store.extend(STUDY, {f"arm{n}": content(epochs=n) for n in range(arms)}, seeds, folds)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(f"sqlite:///{tmp_path / 'study.db'}")


class Clock:
    """The database's clock, which tests put forward instead of waiting."""

    def __init__(self) -> None:
        self.seconds = 1e9

    def forward(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(Database, "now", lambda database: sa.literal(made.seconds))
    return made


def finish(store: Store, lease: object, value: float = 0.5) -> bool:
    return store.finish(STUDY, lease, {"value": value}, b"numbers", b"said")  # type: ignore[arg-type]


def test_cells_are_taken_in_pairs_once_each_and_done(store: Store) -> None:
    taken = []
    while (lease := store.take(STUDY, f"t{len(taken)}", "w")) is not None:
        taken.append(lease.key)
        assert finish(store, lease)
    assert taken == [(f"arm{arm}", seed, 0) for seed in range(3) for arm in range(2)]
    assert store.counts(STUDY) == {"waiting": 0, "running": 0, "done": 6, "failed": 0}
    first = store.results(STUDY)[0]
    assert (first.arm, first.seed, first.images, first.result) == ("arm0", 0, b"numbers", {"value": 0.5})


def test_seeds_and_arms_are_added_and_nothing_is_there_twice(store: Store) -> None:
    assert finish(store, store.take(STUDY, "t", "w"))
    assert store.extend(STUDY, {"arm0": content(epochs=0), "new": content(epochs=9)}, 4, 1) == 2 + 4
    assert store.extend(STUDY, {}, 2, 1) == 0  # fewer seeds take none away
    assert store.counts(STUDY)["done"] == 1
    assert sum(store.counts(STUDY).values()) == 12
    with pytest.raises(ExciteError, match="arm1: epochs was 1 when the study began, and is 5 now"):
        store.extend(STUDY, {"arm1": content(epochs=5)}, 3, 1)


def test_a_silent_workers_cell_is_taken_over_and_its_late_result_does_not_count(
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


def test_a_cell_that_kills_its_workers_is_given_up(store: Store) -> None:
    for number in range(DEATHS):
        assert store.take(STUDY, f"t{number}", f"w{number}@here").key == ("arm0", 0, 0)  # type: ignore[union-attr]
        assert store.release_all(STUDY, "w") == store.release_all(STUDY, f"{number}") == 0  # others' names
        assert store.release_all(STUDY, f"w{number}") == 1
    assert store.take(STUDY, "next", "w").key == ("arm1", 0, 0)  # type: ignore[union-attr]
    assert "workers died while training it" in store.cells(STUDY)[0].error


def test_a_look_is_recorded_once_for_the_same_cells(store: Store) -> None:
    """In whatever order the cells are named; more cells are another look, with the seeds planned by then."""
    keys = [("arm0", 0, 0), ("arm1", 0, 0)]
    assert store.looks(STUDY) == []
    store.record_look(STUDY, keys)
    store.record_look(STUDY, reversed(keys))
    store.extend(STUDY, {}, 5, 1)
    store.record_look(STUDY, [*keys, ("arm0", 1, 0)])
    store.record_look(STUDY, keys)
    first, second = store.looks(STUDY)
    assert first.cells == set(keys)
    assert second.cells == {*keys, ("arm0", 1, 0)}
    assert (first.seeds, second.seeds) == (3, 5)
    assert first.seen <= second.seen


@pytest.mark.parametrize(("version", "message"), [(1, "an older excite"), (99, "a newer excite")])
def test_the_tables_of_another_version_are_refused(tmp_path: Path, version: int, message: str) -> None:
    """An older store has not recorded the looks at its results; it is left as it is."""
    path = tmp_path / "study.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE excite_schema (version INTEGER PRIMARY KEY)")
        connection.execute(f"INSERT INTO excite_schema VALUES ({version})")
        connection.commit()
    with pytest.raises(ExciteError, match=f"{message}: its tables have version {version}, not "):
        Store(f"sqlite:///{path}")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert names == [("excite_schema",)]


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


WORKERS = """
import os, random, signal, sqlite3, sys, time
from excite.study.store.database import Database
from excite.study.store.store import Store
url, study, cells, kills = sys.argv[1], sys.argv[2], int(sys.argv[3]), 15
random.seed(0)

def worker(name):
    store = Store(url)
    while True:
        claim = store.take(study, f"{name}{time.monotonic_ns()}", name, lease_seconds=0.4)
        if claim is None:
            counts = store.counts(study)
            if not counts["waiting"] + counts["running"]:
                os._exit(0)
            time.sleep(0.02)
            continue
        time.sleep(random.uniform(0.005, 0.03))  # short beside the kills: five at one cell would end it
        store.finish(study, claim, {"by": name}, b"", b"")

def spawn():
    pid = os.fork()
    if pid == 0:
        random.seed(os.getpid())
        worker(f"w{os.getpid()}")
    return pid

def done():
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60)
    [count] = connection.execute("SELECT count(*) FROM excite_results").fetchone()
    connection.close()
    return count

alive, seen = [spawn() for _ in range(3)], 0
while kills:
    # Something is finished between two kills: five at one cell, and it would be given up.
    while done() == seen < cells:
        time.sleep(0.01)
    seen = done()
    if seen == cells:
        sys.exit(f"all cells are done, and {kills} kills are left")
    time.sleep(random.uniform(0.02, 0.15))
    victim = random.randrange(3)
    os.kill(alive[victim], signal.SIGKILL)
    _, status = os.waitpid(alive[victim], 0)
    kills -= os.WIFSIGNALED(status)
    alive[victim] = spawn()
for pid in alive:
    os.waitpid(pid, 0)
"""


@pytest.mark.slow
def test_fifteen_kills_at_random_lose_no_cell_and_count_none_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    cells = 300  # they last longer than the kills, on a quick machine, too
    store = new_store(url, arms=5, seeds=cells // 5)
    call = [sys.executable, "-c", WORKERS, url, STUDY, str(cells)]
    subprocess.run(call, check=True, timeout=600, cwd=Path(__file__).parents[2])
    assert store.counts(STUDY) == {"waiting": 0, "running": 0, "done": cells, "failed": 0}
    keys = [(row.arm, row.seed, row.fold) for row in store.results(STUDY)]
    assert len(keys) == len(set(keys)) == cells
    with sqlite3.connect(tmp_path / "study.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
def test_a_newer_excites_store_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    new_store(url).close()
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("INSERT INTO excite_schema VALUES (99)")
    with pytest.raises(
        ExciteError, match=r"written by a newer excite: its tables have version 99.*update excite"
    ):
        Store(url)


def test_a_password_is_not_written_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "_prepare", lambda self: None)
    assert Store("postgresql://me:secret@host/db").display_url == "postgresql+psycopg://me@host/db"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "is not the URL of a database"),
        ("mysql://here/there", "unknown store 'mysql'|not installed"),
        ("sqlite:////nowhere/at/all/study.db", "cannot be used: unable to open database file"),
        ("postgresql://localhost:1/x", "cannot be used: .*refused"),
    ],
)
def test_a_store_that_cannot_be_used_says_why(url: str, message: str) -> None:
    with pytest.raises(ExciteError, match=message):
        Store(url)


@pytest.mark.slow
def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'study.db'}")
    pages = store.do(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar())
    assert isinstance(pages, int)

    @sa.event.listens_for(store.engine, "begin")
    def little_room(connection: sa.Connection) -> None:  # type: ignore[name-defined]
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")

    lease = store.take(STUDY, "t", "w")
    assert lease is not None
    with pytest.raises(ExciteError, match="the disk is full; nothing is lost"):
        store.finish(STUDY, lease, {}, b"0" * 100_000, b"")
    with sqlite3.connect(tmp_path / "study.db") as connection:
        assert connection.execute("SELECT count(*) FROM excite_results").fetchone() == (0,)
        assert connection.execute("SELECT state FROM excite_cells LIMIT 1").fetchone() == ("running",)
