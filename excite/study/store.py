"""What a study remembers: cells, who is at them, and what came out; in SQLite, or PostgreSQL by URL."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, ProgrammingError

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.study.schema import VERSION, arms, cells, images, metadata, results, schema, studies

T = TypeVar("T")

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
LEASE = 60.0  # seconds; a cell whose worker has not been heard of for so long is anybody's
TRIES = 2  # a cell that fails is tried once more
DEATHS = 5  # workers that may die of one cell before it is taken for the cause
PATIENCE = 300.0  # seconds that a database may be away, as when it is started anew

Key = tuple[str, int, int]
"""Arm, seed and fold of a cell."""


@dataclass(frozen=True)
class Claim:
    """A cell that a worker has taken; ``token`` is of this one taking."""

    arm: str
    seed: int
    fold: int
    token: str

    @property
    def key(self) -> Key:
        return self.arm, self.seed, self.fold


class Store:
    """The tables of a database, for any number of processes and machines at once.

    Args:
        url: SQLAlchemy's, such as ``sqlite:////home/me/study/study.db`` or ``postgresql://host/studies``.
        patience: seconds that the database may be away before an operation is given up.

    Raises:
        ExciteError: for a database that cannot be opened, or that a newer excite has written.
    """

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        self.url, self.patience = url, patience
        try:
            parsed = sa.make_url(url)
            if parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            if parsed.get_backend_name() not in ("sqlite", "postgresql"):
                raise unknown_name("store", parsed.get_backend_name(), ("sqlite", "postgresql"))
            self.engine = sa.create_engine(parsed, pool_pre_ping=True)
        except sa.exc.ArgumentError as error:
            hint = "such as postgresql://user@host/database"
            raise ExciteError(
                "is no database's URL", where="--store", hint=hint, exit_code=BAD_USAGE
            ) from error
        except ModuleNotFoundError as error:
            hint = 'pip install "excite[study]"'
            raise ExciteError(f"{error.name} is not installed", where="--store", hint=hint) from error
        open_parts = (parsed.host, parsed.port, parsed.database, parsed.query)
        self.shown = str(sa.URL.create(parsed.drivername, parsed.username, None, *open_parts))
        self.local = parsed.get_backend_name() == "sqlite"
        if self.local:
            sa.event.listen(self.engine, "connect", _open_sqlite)
            sa.event.listen(
                self.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE")
            )
        self._insert = sqlite.insert if self.local else postgresql.insert
        self._prepare()

    def _prepare(self) -> None:
        """Make the tables where there are none."""
        try:
            for again in (True, False):
                try:
                    with self.engine.begin() as connection:
                        metadata.create_all(connection)
                        connection.execute(
                            self._insert(schema).values(version=VERSION).on_conflict_do_nothing()
                        )
                    break
                except (IntegrityError, ProgrammingError):  # another process made them at the same moment
                    if not again:
                        raise
            with self.engine.begin() as connection:
                version = max(connection.execute(sa.select(schema.c.version)).scalars())
        except DBAPIError as error:
            raise ExciteError(f"cannot be used: {_reason(error)}", where=self.shown) from error
        if version > VERSION:
            what = (
                f"was written by a newer excite: its tables have version {version}, this one knows {VERSION}"
            )
            raise ExciteError(what, where=self.shown, hint="update excite")

    def close(self) -> None:
        self.engine.dispose()

    def do(self, work: Callable[[sa.Connection], T]) -> T:
        """Run a transaction; where the database is away or busy, again until ``patience`` is at its end."""
        until = time.monotonic() + self.patience
        while True:
            try:
                with self.engine.begin() as connection:
                    return work(connection)
            except (OperationalError, InterfaceError) as error:
                reason = _reason(error)
                if "disk is full" in reason or "no space left" in reason.lower():
                    hint = "free some space, then: excite study resume"
                    raise ExciteError(
                        "the disk is full; nothing is lost", where=self.shown, hint=hint
                    ) from error
                if time.monotonic() > until or "readonly" in reason:
                    raise ExciteError(f"cannot be written: {reason}", where=self.shown) from error
                time.sleep(0.5)

    # What is to be done

    def begin(self, study: str, document: Mapping[str, Any], pictures: Sequence[Mapping[str, Any]]) -> None:
        """Write a study down, unless it is there."""

        def work(connection: sa.Connection) -> None:
            new = self._insert(studies).values(study=study, document=dict(document), created=time.time())
            if connection.execute(new.on_conflict_do_nothing()).rowcount and pictures:
                connection.execute(sa.insert(images), [{"study": study, **one} for one in pictures])

        self.do(work)

    def document(self, study: str) -> dict[str, Any]:
        """What ``begin`` wrote. Raises: ExciteError if there is no such study."""
        query = sa.select(studies.c.document).where(studies.c.study == study)
        found = self.do(lambda c: c.execute(query).scalar())
        if found is None:
            raise ExciteError(f"does not hold the study {study[:12]}", where=self.shown)
        return found

    def images(self, study: str) -> list[tuple[str, str, str]]:
        """(path, label, group) of each image, in the order that predictions number them."""
        query = sa.select(images.c.path, images.c.label, images.c.group)
        query = query.where(images.c.study == study).order_by(images.c.number)
        return self.do(lambda c: [(row.path, row.label, row.group) for row in c.execute(query)])

    def extend(self, study: str, new_arms: Mapping[str, Mapping[str, Any]], seeds: int, folds: int) -> int:
        """Add arms and raise the number of seeds; the number of new cells.

        Raises: ExciteError for an arm that is there with other options.
        """

        def work(connection: sa.Connection) -> int:
            rows = connection.execute(sa.select(arms).where(arms.c.study == study))
            there = {row.arm: row.content for row in rows}
            for name, content in new_arms.items():
                if name in there and there[name] != content:
                    old, new = there[name], dict(content)
                    raise changed(name, old.get("options", {}), new.get("options", {}))
                if name not in there:
                    row = {"study": study, "arm": name, "place": len(there), "content": dict(content)}
                    connection.execute(self._insert(arms).values(row))
                    there[name] = dict(content)
            seeded = connection.execute(
                sa.select(sa.func.max(cells.c.seed)).where(cells.c.study == study)
            ).scalar()
            count = max(seeds, 0 if seeded is None else seeded + 1)
            wanted = [
                {"study": study, "arm": name, "seed": seed, "fold": fold, "state": WAITING}
                for name in there
                for seed in range(count)
                for fold in range(folds)
            ]
            if not wanted:
                return 0
            before = connection.execute(_counting(study)).scalar() or 0
            connection.execute(self._insert(cells).on_conflict_do_nothing(), wanted)
            return (connection.execute(_counting(study)).scalar() or 0) - before

        return self.do(work)

    def arms(self, study: str) -> dict[str, dict[str, Any]]:
        """Name -> content of each arm, in order."""
        query = sa.select(arms.c.arm, arms.c.content).where(arms.c.study == study).order_by(arms.c.place)
        return self.do(lambda c: {row.arm: row.content for row in c.execute(query)})

    # Who is at it

    def take(self, study: str, token: str, worker: str, lease: float = LEASE) -> Claim | None:
        """The next cell that nobody is at; None if there is none.

        Args:
            token: unique to this call.
            worker: who asks, for people to read and for ``release_all``.
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

        def work(connection: sa.Connection) -> Claim | None:
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
                values |= {"lease": self._now() + lease, "started": self._now()}
                connection.execute(sa.update(cells).where(here).values(values))
                return Claim(row.arm, row.seed, row.fold, token)
            return None

        return self.do(work)

    def beat(self, study: str, claim: Claim, lease: float = LEASE) -> bool:
        """Say that the worker lives; False if the cell is no longer its own."""
        return self._change(study, claim, {"lease": self._now() + lease})

    def release(self, study: str, claim: Claim) -> bool:
        """Give a cell back, to be gone on with."""
        return self._change(study, claim, {"state": WAITING, "token": "", "lease": 0.0})

    def release_all(self, study: str, worker: str) -> int:
        """Give back what a worker that died was at."""
        mine = sa.and_(cells.c.study == study, cells.c.worker == worker, cells.c.state == RUNNING)
        values = {"state": WAITING, "token": "", "lease": 0.0, "deaths": cells.c.deaths + 1}
        return self.do(lambda c: c.execute(sa.update(cells).where(mine).values(values)).rowcount)

    def fail(self, study: str, claim: Claim, error: str) -> bool:
        """Note what went wrong; the cell waits to be tried again, or has failed."""
        tries = cells.c.tries + 1
        state = sa.case((tries >= TRIES, FAILED), else_=WAITING)
        return self._change(study, claim, {"state": state, "tries": tries, "error": error, "token": ""})

    def retry(self, study: str) -> int:
        """Let failed cells be tried anew; how many."""
        failed = sa.and_(cells.c.study == study, cells.c.state == FAILED)
        values = {"state": WAITING, "tries": 0, "deaths": 0}
        return self.do(lambda c: c.execute(sa.update(cells).where(failed).values(values)).rowcount)

    # What came out

    def finish(
        self, study: str, claim: Claim, result: Mapping[str, Any], numbers: bytes, said: bytes
    ) -> bool:
        """Write a result down, once; False if the cell is no longer the claim's, and another's result counts.

        Args:
            numbers, said: arrays as ``numpy.save`` writes them: (N,) numbers of images and (N, C)
                probabilities.
        """

        def work(connection: sa.Connection) -> bool:
            here = _cell(study, claim.key)
            mine = sa.and_(here, cells.c.state == RUNNING, cells.c.token == claim.token)
            values = {"state": DONE, "error": "", "ended": self._now()}
            if not connection.execute(sa.update(cells).where(mine).values(values)).rowcount:
                row = connection.execute(sa.select(cells.c.state, cells.c.token).where(here)).first()
                # The answer to an earlier attempt may have been lost with the connection.
                return row is not None and row.state == DONE and row.token == claim.token
            new = {"study": study, "arm": claim.arm, "seed": claim.seed, "fold": claim.fold}
            new |= {"result": dict(result), "images": numbers, "probabilities": said}
            connection.execute(sa.insert(results).values(new))
            return True

        return self.do(work)

    def cells(self, study: str) -> list[sa.Row[Any]]:
        """Every cell with its state, in the order in which they are trained."""
        query = sa.select(cells, (cells.c.lease - self._now()).label("left"))
        query = query.join(arms, sa.and_(arms.c.study == cells.c.study, arms.c.arm == cells.c.arm))
        query = query.where(cells.c.study == study).order_by(cells.c.seed, cells.c.fold, arms.c.place)
        return self.do(lambda c: list(c.execute(query)))

    def counts(self, study: str) -> dict[str, int]:
        """How many cells are in which state."""
        query = (
            sa.select(cells.c.state, sa.func.count()).where(cells.c.study == study).group_by(cells.c.state)
        )
        found = self.do(lambda c: {row[0]: row[1] for row in c.execute(query)})
        return {state: found.get(state, 0) for state in (WAITING, RUNNING, DONE, FAILED)}

    def results(self, study: str, *, predictions: bool = True) -> list[sa.Row[Any]]:
        """Every result: arm, seed, fold, result and, unless they are not wanted, images and probabilities."""
        columns = [results.c.arm, results.c.seed, results.c.fold, results.c.result]
        if predictions:
            columns += [results.c.images, results.c.probabilities]
        query = sa.select(*columns).where(results.c.study == study).order_by(results.c.seed, results.c.fold)
        return self.do(lambda c: list(c.execute(query)))

    def _change(self, study: str, claim: Claim, values: Mapping[str, Any]) -> bool:
        mine = sa.and_(_cell(study, claim.key), cells.c.state == RUNNING, cells.c.token == claim.token)
        return bool(self.do(lambda c: c.execute(sa.update(cells).where(mine).values(dict(values))).rowcount))

    def _now(self) -> Any:
        """Seconds since 1970 by the database's clock, which is the same for all machines."""
        if self.local:
            return sa.literal(time.time())
        return sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Float(53))

    def _expired(self) -> Any:
        return sa.and_(cells.c.state == RUNNING, cells.c.lease < self._now())


def changed(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> ExciteError:
    """The error for an arm, or a study, that began with other options."""
    gone = next((key for key in sorted({*old, *new}) if old.get(key) != new.get(key)), "content")
    what = f"{gone} was {old.get(gone)!r} when the study began, and is {new.get(gone)!r} now"
    hint = "give the arm another name, or the study another folder with --out"
    return ExciteError(what, where=name, hint=hint, exit_code=BAD_USAGE)


def _cell(study: str, key: Key) -> Any:
    arm, seed, fold = key
    return sa.and_(cells.c.study == study, cells.c.arm == arm, cells.c.seed == seed, cells.c.fold == fold)


def _counting(study: str) -> Any:
    return sa.select(sa.func.count()).select_from(cells).where(cells.c.study == study)


def _open_sqlite(connection: Any, record: Any) -> None:
    """Writers wait for each other, readers for nobody, and what is committed outlasts a power cut."""
    connection.isolation_level = None  # SQLAlchemy begins transactions, and not at the first write
    for setting in ("busy_timeout=60000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


def _reason(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())
