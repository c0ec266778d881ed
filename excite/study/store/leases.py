"""Leases of cells: taken, renewed by heartbeats, released, failed, or finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from excite.study.store.database import Database
from excite.study.store.schema import DONE, FAILED, RUNNING, WAITING, arms, cells, results

LEASE = 60.0  # seconds without a heartbeat until another worker may take the cell
TRIES = 2  # attempts before a cell has failed
DEATHS = 5  # deaths of workers before their cell has failed

Key = tuple[str, int, int]
"""Arm, seed and fold of a cell."""


@dataclass(frozen=True)
class Lease:
    """The right of a worker to train a cell; ``token`` is unique to the lease."""

    arm: str
    seed: int
    fold: int
    token: str

    @property
    def key(self) -> Key:
        """Arm, seed, and fold of the cell."""
        return self.arm, self.seed, self.fold


class Leases(Database):
    """Operations on leases; each is one transaction, so that no cell has two owners."""

    def take(self, study: str, token: str, worker: str, lease_seconds: float = LEASE) -> Lease | None:
        """Take the next free cell; None if there is none.

        Args:
            study: name of the study.
            token: unique to this call.
            worker: ``NAME@LOCATION``: the name for ``release_all``, the location to display.
            lease_seconds: seconds after which the lease expires without a heartbeat.
        """
        free = sa.and_(cells.c.study == study, sa.or_(cells.c.state == WAITING, self._expired()))
        query = (
            sa.select(cells.c.arm, cells.c.seed, cells.c.fold, cells.c.state, cells.c.deaths)
            .join(arms, sa.and_(arms.c.study == cells.c.study, arms.c.arm == cells.c.arm))
            .where(free)
            .order_by(cells.c.seed, cells.c.fold, arms.c.place)
            .limit(1)
            .with_for_update(skip_locked=True, of=cells)
        )

        def work(connection: sa.Connection) -> Lease | None:
            while (row := connection.execute(query).first()) is not None:
                deaths = row.deaths + (row.state == RUNNING)
                this_cell = _cell(study, (row.arm, row.seed, row.fold))
                if deaths >= DEATHS:
                    what = f"{deaths} workers died while training it, perhaps out of memory"
                    connection.execute(
                        sa.update(cells).where(this_cell).values(state=FAILED, deaths=deaths, error=what)
                    )
                    continue
                values = {"state": RUNNING, "token": token, "worker": worker, "deaths": deaths}
                values |= {"lease_until": self.now() + lease_seconds, "started": self.now()}
                connection.execute(sa.update(cells).where(this_cell).values(values))
                return Lease(row.arm, row.seed, row.fold, token)
            return None

        return self.do(work)

    def heartbeat(self, study: str, lease: Lease, lease_seconds: float = LEASE) -> bool:
        """Renew a lease; False if another worker has taken the cell."""
        return self._change(study, lease, {"lease_until": self.now() + lease_seconds})

    def release(self, study: str, lease: Lease) -> bool:
        """Release a cell, so that its training can be resumed."""
        return self._change(study, lease, {"state": WAITING, "token": "", "lease_until": 0.0})

    def release_all(self, study: str, name: str) -> int:
        """Release the cells of a dead worker, by its name."""
        named = cells.c.worker.startswith(f"{name}@", autoescape=True)
        mine = sa.and_(cells.c.study == study, named, cells.c.state == RUNNING)
        values = {"state": WAITING, "token": "", "lease_until": 0.0, "deaths": cells.c.deaths + 1}
        return self.do(lambda c: c.execute(sa.update(cells).where(mine).values(values)).rowcount)

    def fail(self, study: str, lease: Lease, error: str) -> bool:
        """Record an error; the cell waits for another attempt, or has failed."""
        tries = cells.c.tries + 1
        state = sa.case((tries >= TRIES, FAILED), else_=WAITING)
        return self._change(study, lease, {"state": state, "tries": tries, "error": error, "token": ""})

    def retry(self, study: str) -> int:
        """Reset failed cells to waiting; their number."""
        failed = sa.and_(cells.c.study == study, cells.c.state == FAILED)
        values = {"state": WAITING, "tries": 0, "deaths": 0}
        return self.do(lambda c: c.execute(sa.update(cells).where(failed).values(values)).rowcount)

    def finish(
        self, study: str, lease: Lease, result: Mapping[str, Any], numbers: bytes, probabilities: bytes
    ) -> bool:
        """Store a result once; False if another worker has taken the cell, whose result counts.

        Args:
            study: name of the study.
            lease: the lease of the cell.
            result: the result.
            numbers, probabilities: arrays written by ``numpy.save``: (N,) numbers of images and (N, C)
                probabilities.
        """

        def work(connection: sa.Connection) -> bool:
            this_cell = _cell(study, lease.key)
            mine = sa.and_(this_cell, cells.c.state == RUNNING, cells.c.token == lease.token)
            values = {"state": DONE, "error": "", "ended": self.now()}
            if not connection.execute(sa.update(cells).where(mine).values(values)).rowcount:
                row = connection.execute(sa.select(cells.c.state, cells.c.token).where(this_cell)).first()
                # An earlier attempt may have succeeded before the connection was lost.
                return row is not None and row.state == DONE and row.token == lease.token
            new = {"study": study, "arm": lease.arm, "seed": lease.seed, "fold": lease.fold}
            new |= {"result": dict(result), "images": numbers, "probabilities": probabilities}
            connection.execute(sa.insert(results).values(new))
            return True

        return self.do(work)

    def _change(self, study: str, lease: Lease, values: Mapping[str, Any]) -> bool:
        mine = sa.and_(_cell(study, lease.key), cells.c.state == RUNNING, cells.c.token == lease.token)
        return bool(self.do(lambda c: c.execute(sa.update(cells).where(mine).values(dict(values))).rowcount))

    def _expired(self) -> Any:
        return sa.and_(cells.c.state == RUNNING, cells.c.lease_until < self.now())


def location_of(worker: str) -> str:
    """The location of a worker: machine, node of a cluster if any, and process."""
    return worker.partition("@")[2]


def _cell(study: str, key: Key) -> Any:
    arm, seed, fold = key
    return sa.and_(cells.c.study == study, cells.c.arm == arm, cells.c.seed == seed, cells.c.fold == fold)
