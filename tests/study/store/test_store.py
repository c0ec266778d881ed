"""The store: seeds and arms are added, looks are recorded, and killed workers lose no cell."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.errors import ExciteError
from excite.study.store.store import Store
from tests.study.store.small_store import STUDY, content, finish, new_store


def test_added_seeds_and_arms_create_no_duplicates(store: Store) -> None:
    assert finish(store, store.take(STUDY, "t", "w"))
    assert store.extend(STUDY, {"arm0": content(epochs=0), "new": content(epochs=9)}, 4, 1) == 2 + 4
    assert store.extend(STUDY, {}, 2, 1) == 0  # fewer seeds take none away
    assert store.counts(STUDY)["done"] == 1
    assert sum(store.counts(STUDY).values()) == 12
    with pytest.raises(ExciteError, match="arm1: epochs was 1 when the study began, and is 5 now"):
        store.extend(STUDY, {"arm1": content(epochs=5)}, 3, 1)


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
