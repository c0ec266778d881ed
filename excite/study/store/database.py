"""The database of a study: SQLite or PostgreSQL, with retries while it is unavailable or busy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, ProgrammingError

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.study.store.schema import VERSION, metadata, schema

T = TypeVar("T")

PATIENCE = 300.0  # seconds that a database may be unavailable, for example during a restart


class Database:
    """The tables of a database, shared by any number of processes and machines.

    Args:
        url: SQLAlchemy's, such as ``sqlite:////home/me/study/study.db`` or ``postgresql://host/studies``;
            special characters as ``%XX``.
        patience: seconds to retry an operation while the database is unavailable.

    Raises:
        ExciteError: for a database that cannot be opened, or that was written by another version of excite.
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
                "is not the URL of a database", where="--store", hint=hint, exit_code=BAD_USAGE
            ) from error
        except ModuleNotFoundError as error:
            hint = 'pip install "excite[study]"'
            raise ExciteError(f"{error.name} is not installed", where="--store", hint=hint) from error
        open_parts = (parsed.host, parsed.port, parsed.database, parsed.query)
        self.display_url = str(sa.URL.create(parsed.drivername, parsed.username, None, *open_parts))
        self.local = parsed.get_backend_name() == "sqlite"
        if self.local:
            sa.event.listen(self.engine, "connect", _open_sqlite)
            sa.event.listen(
                self.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE")
            )
        self.insert = sqlite.insert if self.local else postgresql.insert
        self._prepare()

    def _prepare(self) -> None:
        """Create missing tables. Raises: ExciteError for tables of another version."""
        try:
            if sa.inspect(self.engine).has_table(schema.name):
                self._refuse_other_version()
            for again in (True, False):
                try:
                    with self.engine.begin() as connection:
                        metadata.create_all(connection)
                        connection.execute(
                            self.insert(schema).values(version=VERSION).on_conflict_do_nothing()
                        )
                    break
                except (IntegrityError, ProgrammingError):  # another process made them at the same moment
                    if not again:
                        raise
            self._refuse_other_version()
        except DBAPIError as error:
            raise ExciteError(f"cannot be used: {_reason(error)}", where=self.display_url) from error

    def _refuse_other_version(self) -> None:
        with self.engine.begin() as connection:
            version = max(connection.execute(sa.select(schema.c.version)).scalars(), default=VERSION)
        if version == VERSION:
            return
        newer = version > VERSION
        what = f"was written by {'a newer' if newer else 'an older'} excite: "
        what += f"its tables have version {version}, not {VERSION}"
        if newer:
            raise ExciteError(what, where=self.display_url, hint="update excite")
        raise ExciteError(
            what, where=self.display_url, hint="begin a new study with another --out or --store"
        )

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def do(self, work: Callable[[sa.Connection], T]) -> T:
        """Run a transaction; retry for ``patience`` seconds while the database is unavailable or busy."""
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
                        "the disk is full; nothing is lost", where=self.display_url, hint=hint
                    ) from error
                if time.monotonic() > until or "readonly" in reason:
                    raise ExciteError(f"cannot be written: {reason}", where=self.display_url) from error
                time.sleep(0.5)

    def now(self) -> Any:
        """Seconds since 1970 by the clock of the database, which all machines share."""
        if self.local:
            return sa.literal(time.time())
        return sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Float(53))


def _open_sqlite(connection: Any, record: Any) -> None:
    """Writers wait for each other, readers never wait, and commits survive a power failure."""
    connection.isolation_level = None  # SQLAlchemy begins transactions, and not at the first write
    for setting in ("busy_timeout=60000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


def _reason(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())
