"""Who is at which cell: taken, held by a lease that is renewed, given back, failed or finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from excite.study.store.database import Database
from excite.study.store.schema import DONE, FAILED, RUNNING, WAITING, arms, cells, results

LEASE = 60.0  # seconds; a cell whose worker has not been heard of for so long is anybody's
TRIES = 2  # a cell that fails is tried once more
DEATHS = 5  # workers that may die of one cell before it is taken for the cause

Key = tuple[str, int, int]
"""Arm, seed and fold of a cell."""


@dataclass(frozen=True)
class Lease:
    """A cell that a worker has taken; ``token`` is of this one taking."""

    arm: str
    seed: int
    fold: int
    token: str

    @property
    def key(self) -> Key:
        return self.arm, self.seed, self.fold


class Leases(Database):
    """What workers do with cells; each is one transaction, so that no cell has two owners."""

    def take(self, study: str, token: str, worker: str, lease_seconds: float = LEASE) -> Lease | None:
        """The next cell that nobody is at; None if there is none.

        Args:
            token: unique to this call.
            worker: who asks, ``NAME@PLACE``: the name for ``release_all``, the place for people to read.
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
                here = _cell(study, (row.arm, row.seed, row.fold))
                if deaths >= DEATHS:
                    what = f"{deaths} workers died at it, perhaps for want of memory"
                    connection.execute(
                        sa.update(cells).where(here).values(state=FAILED, deaths=deaths, error=what)
                    )
                    continue
                values = {"state": RUNNING, "token": token, "worker": worker, "deaths": deaths}
                values |= {"lease_until": self.now() + lease_seconds, "started": self.now()}
                connection.execute(sa.update(cells).where(here).values(values))
                return Lease(row.arm, row.seed, row.fold, token)
            return None

        return self.do(work)

    def heartbeat(self, study: str, lease: Lease, lease_seconds: float = LEASE) -> bool:
        """Say that the worker lives; False if the cell is no longer its own."""
        return self._change(study, lease, {"lease_until": self.now() + lease_seconds})

    def release(self, study: str, lease: Lease) -> bool:
        """Give a cell back, to be gone on with."""
        return self._change(study, lease, {"state": WAITING, "token": "", "lease_until": 0.0})

    def release_all(self, study: str, name: str) -> int:
        """Give back what a worker that died was at, by its name."""
        named = cells.c.worker.startswith(f"{name}@", autoescape=True)
        mine = sa.and_(cells.c.study == study, named, cells.c.state == RUNNING)
        values = {"state": WAITING, "token": "", "lease_until": 0.0, "deaths": cells.c.deaths + 1}
        return self.do(lambda c: c.execute(sa.update(cells).where(mine).values(values)).rowcount)

    def fail(self, study: str, lease: Lease, error: str) -> bool:
        """Note what went wrong; the cell waits to be tried again, or has failed."""
        tries = cells.c.tries + 1
        state = sa.case((tries >= TRIES, FAILED), else_=WAITING)
        return self._change(study, lease, {"state": state, "tries": tries, "error": error, "token": ""})

    def retry(self, study: str) -> int:
        """Let failed cells be tried anew; how many."""
        failed = sa.and_(cells.c.study == study, cells.c.state == FAILED)
        values = {"state": WAITING, "tries": 0, "deaths": 0}
        return self.do(lambda c: c.execute(sa.update(cells).where(failed).values(values)).rowcount)

    def finish(
        self, study: str, lease: Lease, result: Mapping[str, Any], numbers: bytes, said: bytes
    ) -> bool:
        """Write a result down, once; False if the cell is no longer the claim's, and another's result counts.

        Args:
            numbers, said: arrays as ``numpy.save`` writes them: (N,) numbers of images and (N, C)
                probabilities.
        """

        def work(connection: sa.Connection) -> bool:
            here = _cell(study, lease.key)
            mine = sa.and_(here, cells.c.state == RUNNING, cells.c.token == lease.token)
            values = {"state": DONE, "error": "", "ended": self.now()}
            if not connection.execute(sa.update(cells).where(mine).values(values)).rowcount:
                row = connection.execute(sa.select(cells.c.state, cells.c.token).where(here)).first()
                # The answer to an earlier attempt may have been lost with the connection.
                return row is not None and row.state == DONE and row.token == lease.token
            new = {"study": study, "arm": lease.arm, "seed": lease.seed, "fold": lease.fold}
            new |= {"result": dict(result), "images": numbers, "probabilities": said}
            connection.execute(sa.insert(results).values(new))
            return True

        return self.do(work)

    def _change(self, study: str, lease: Lease, values: Mapping[str, Any]) -> bool:
        mine = sa.and_(_cell(study, lease.key), cells.c.state == RUNNING, cells.c.token == lease.token)
        return bool(self.do(lambda c: c.execute(sa.update(cells).where(mine).values(dict(values))).rowcount))

    def _expired(self) -> Any:
        return sa.and_(cells.c.state == RUNNING, cells.c.lease_until < self.now())


def location_of(worker: str) -> str:
    """Where a worker is, or was: a machine, perhaps a node of a cluster, and a process."""
    return worker.partition("@")[2]


def _cell(study: str, key: Key) -> Any:
    arm, seed, fold = key
    return sa.and_(cells.c.study == study, cells.c.arm == arm, cells.c.seed == seed, cells.c.fold == fold)
