"""Studies in PostgreSQL, whose server is restarted while cells are trained."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.errors import ExciteError
from excite.study.store.store import Store
from tests.study.store.small_store import STUDY, content, finish, new_store


def programs() -> Path | None:
    """Where initdb and pg_ctl are: on the path, or where Debian puts them."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return next(
        (path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None
    )


class Cluster:
    """A PostgreSQL server in a temporary folder, reached by a socket in it alone."""

    def __init__(self, place: Path, bin: Path) -> None:
        self.place, self.bin = place, bin
        # The server refuses to be root's.
        self.user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.user:
            shutil.chown(place, "postgres")
        self.run("initdb", "-D", str(place / "data"), "-A", "trust", "-U", "postgres", "--no-sync")

    def run(self, program: str, *arguments: str) -> None:
        call = [*self.user, str(self.bin / program), *arguments]
        done = subprocess.run(call, capture_output=True, text=True, cwd=self.place, check=False)
        assert done.returncode == 0, done.stderr

    def control(self, verb: str, *more: str) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self.place} -c fsync=off"
        data, log = str(self.place / "data"), str(self.place / "log")
        start = ("-o", options, "-l", log) if verb != "stop" else ()
        self.run("pg_ctl", "-D", data, "-w", *start, *more, verb)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.place}"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is no runuser")
    place = Path(tempfile.mkdtemp(prefix="excite-pg-"))  # pytest's own folders are closed to other users
    try:
        made = Cluster(place, found)
        made.control("start")
        yield made
        made.control("stop", "-m", "immediate")
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.slow
def test_a_restart_in_the_middle_loses_no_cell_and_counts_none_twice(cluster: Cluster) -> None:
    """Four workers on two stores; the server is stopped hard, and started again a second later."""
    store = new_store(cluster.url, arms=4, seeds=15)
    errors: list[BaseException] = []

    def work(name: str) -> None:
        own = Store(cluster.url, patience=30)
        try:
            while True:
                lease = own.take(STUDY, f"{name} {time.monotonic_ns()}", name, lease_seconds=3.0)
                if lease is None:
                    counts = own.counts(STUDY)
                    if not counts["waiting"] + counts["running"]:
                        return
                    time.sleep(0.05)
                    continue
                time.sleep(0.03)
                own.heartbeat(STUDY, lease, lease_seconds=3.0)
                finish(own, lease)
        except BaseException as error:
            errors.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    while store.counts(STUDY)["done"] < 10:
        time.sleep(0.02)
    cluster.control("stop", "-m", "immediate")
    time.sleep(1.0)
    cluster.control("start")
    for thread in threads:
        thread.join()
    assert not errors
    assert store.counts(STUDY) == {"waiting": 0, "running": 0, "done": 60, "failed": 0}
    keys = [(row.arm, row.seed, row.fold) for row in store.results(STUDY)]
    assert len(keys) == len(set(keys)) == 60
    store.close()


def test_the_store_is_the_same_as_in_a_file(cluster: Cluster) -> None:
    other = "b" * 64
    store = Store(cluster.url)
    store.begin(
        other, {"folds": 2}, [{"number": n, "path": f"{n}", "label": "a", "group": "g"} for n in range(3)]
    )
    assert store.extend(other, {"x": content(epochs=1)}, 2, 2) == 4
    assert store.extend(other, {"x": content(epochs=1)}, 2, 2) == 0
    assert store.images(other) == [("0", "a", "g"), ("1", "a", "g"), ("2", "a", "g")]
    lost = store.take(other, "a", "w", lease_seconds=0.01)
    time.sleep(0.1)
    again = store.take(other, "b", "v@here")
    assert lost is not None
    assert again is not None
    assert (lost.key, store.heartbeat(other, lost), store.release_all(other, "v")) == (again.key, False, 1)
    assert store.document(other) == {"folds": 2}
    for keys in ([("x", 0, 0)], [("x", 0, 1), ("x", 0, 0)], [("x", 0, 0), ("x", 0, 1)]):
        store.record_look(other, keys)
    assert [(len(look.cells), look.seeds) for look in store.looks(other)] == [(1, 2), (2, 2)]
    with pytest.raises(ExciteError, match="does not contain the study cccc"):
        store.document("c" * 64)
    store.close()
