"""The store of studies: plans, cells, and results."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from excite.errors import BAD_USAGE, ExciteError
from excite.study.store.leases import Key, Leases
from excite.study.store.schema import (
    DONE,
    FAILED,
    RUNNING,
    WAITING,
    arms,
    cells,
    images,
    looks,
    results,
    studies,
)


@dataclass(frozen=True)
class Look:
    """A state of the results for which differences were computed.

    Args:
        seen: when they were first computed, in seconds since 1970.
        seeds: planned number of seeds at that time.
        cells: the finished cells.
    """

    seen: float
    seeds: int
    cells: frozenset[Key]


class Store(Leases):
    """A database of studies: plans, cells, leases and results."""

    def begin(self, study: str, document: Mapping[str, Any], pictures: Sequence[Mapping[str, Any]]) -> None:
        """Insert a study unless it exists."""

        def work(connection: sa.Connection) -> None:
            new = self.insert(studies).values(study=study, document=dict(document), created=time.time())
            if connection.execute(new.on_conflict_do_nothing()).rowcount and pictures:
                connection.execute(sa.insert(images), [{"study": study, **one} for one in pictures])

        self.do(work)

    def document(self, study: str) -> dict[str, Any]:
        """The document of a study. Raises: ExciteError if the study does not exist."""
        query = sa.select(studies.c.document).where(studies.c.study == study)
        content = self.do(lambda c: c.execute(query).scalar())
        if content is None:
            raise ExciteError(f"does not contain the study {study[:12]}", where=self.display_url)
        return content

    def images(self, study: str) -> list[tuple[str, str, str]]:
        """(path, label, group) of each image, in the order of the numbers in predictions."""
        query = sa.select(images.c.path, images.c.label, images.c.group)
        query = query.where(images.c.study == study).order_by(images.c.number)
        return self.do(lambda c: [(row.path, row.label, row.group) for row in c.execute(query)])

    def extend(self, study: str, new_arms: Mapping[str, Mapping[str, Any]], seeds: int, folds: int) -> int:
        """Add arms and raise the number of seeds; the number of new cells.

        Raises: ExciteError for an arm that exists with other options.
        """

        def work(connection: sa.Connection) -> int:
            rows = connection.execute(sa.select(arms).where(arms.c.study == study))
            existing = {row.arm: row.content for row in rows}
            for name, content in new_arms.items():
                if name in existing and _compared(existing[name]) != _compared(content):
                    old, new = existing[name], dict(content)
                    raise changed(name, old.get("options", {}), new.get("options", {}))
                if name not in existing:
                    row = {"study": study, "arm": name, "place": len(existing), "content": dict(content)}
                    connection.execute(self.insert(arms).values(row))
                    existing[name] = dict(content)
            seeded = connection.execute(
                sa.select(sa.func.max(cells.c.seed)).where(cells.c.study == study)
            ).scalar()
            count = max(seeds, 0 if seeded is None else seeded + 1)
            wanted = [
                {"study": study, "arm": name, "seed": seed, "fold": fold, "state": WAITING}
                for name in existing
                for seed in range(count)
                for fold in range(folds)
            ]
            if not wanted:
                return 0
            before = connection.execute(_counting(study)).scalar() or 0
            connection.execute(self.insert(cells).on_conflict_do_nothing(), wanted)
            return (connection.execute(_counting(study)).scalar() or 0) - before

        return self.do(work)

    def arms(self, study: str) -> dict[str, dict[str, Any]]:
        """Name -> content of each arm, in order."""
        query = sa.select(arms.c.arm, arms.c.content).where(arms.c.study == study).order_by(arms.c.place)
        return self.do(lambda c: {row.arm: row.content for row in c.execute(query)})

    def cells(self, study: str) -> list[sa.Row[Any]]:
        """All cells with their states, in the order of training."""
        query = sa.select(cells, (cells.c.lease_until - self.now()).label("left"))
        query = query.join(arms, sa.and_(arms.c.study == cells.c.study, arms.c.arm == cells.c.arm))
        query = query.where(cells.c.study == study).order_by(cells.c.seed, cells.c.fold, arms.c.place)
        return self.do(lambda c: list(c.execute(query)))

    def counts(self, study: str) -> dict[str, int]:
        """The number of cells in each state."""
        query = (
            sa.select(cells.c.state, sa.func.count()).where(cells.c.study == study).group_by(cells.c.state)
        )
        numbers = self.do(lambda c: {row[0]: row[1] for row in c.execute(query)})
        return {state: numbers.get(state, 0) for state in (WAITING, RUNNING, DONE, FAILED)}

    def results(self, study: str, *, predictions: bool = True) -> list[sa.Row[Any]]:
        """All results: arm, seed, fold, result and, with ``predictions``, images and probabilities."""
        columns = [results.c.arm, results.c.seed, results.c.fold, results.c.result]
        if predictions:
            columns += [results.c.images, results.c.probabilities]
        query = sa.select(*columns).where(results.c.study == study).order_by(results.c.seed, results.c.fold)
        return self.do(lambda c: list(c.execute(query)))

    def record_look(self, study: str, finished: Iterable[Key]) -> None:
        """Record a look at the results of these cells; the same cells are recorded once."""
        keys = sorted([arm, seed, fold] for arm, seed, fold in finished)
        digest = hashlib.sha256(json.dumps(keys).encode()).hexdigest()
        seeds = sa.select(sa.func.max(cells.c.seed) + 1).where(cells.c.study == study)

        def work(connection: sa.Connection) -> None:
            row = {
                "study": study,
                "digest": digest,
                "cells": keys,
                "seeds": connection.execute(seeds).scalar(),
            }
            row |= {"seen": connection.execute(sa.select(self.now())).scalar()}
            connection.execute(self.insert(looks).values(row).on_conflict_do_nothing())

        self.do(work)

    def looks(self, study: str) -> list[Look]:
        """All looks, in the order of their number of finished cells."""
        query = sa.select(looks.c.seen, looks.c.seeds, looks.c.cells).where(looks.c.study == study)
        rows = self.do(lambda c: list(c.execute(query)))
        found = [Look(row.seen, row.seeds, frozenset(tuple(key) for key in row.cells)) for row in rows]
        return sorted(found, key=lambda look: len(look.cells))


def changed(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> ExciteError:
    """The error for an arm or a study that was started with other options."""
    gone = next((key for key in sorted({*old, *new}) if old.get(key) != new.get(key)), "content")
    what = f"{gone} was {old.get(gone)!r} when the study began, and is {new.get(gone)!r} now"
    hint = "rename the arm, or choose another folder with --out"
    return ExciteError(what, where=name, hint=hint, exit_code=BAD_USAGE)


def _compared(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of an arm without its plug-ins: their files may be elsewhere, and a change is noted."""
    return {name: value for name, value in content.items() if name != "plugins"}


def _counting(study: str) -> Any:
    return sa.select(sa.func.count()).select_from(cells).where(cells.c.study == study)
