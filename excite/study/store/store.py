"""What a study remembers: its plan, its cells, and what came out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from excite.errors import BAD_USAGE, ExciteError
from excite.study.store.leases import Leases
from excite.study.store.schema import DONE, FAILED, RUNNING, WAITING, arms, cells, images, results, studies


class Store(Leases):
    """A database with studies in it: what is to be done, who is at it, and what came out."""

    def begin(self, study: str, document: Mapping[str, Any], pictures: Sequence[Mapping[str, Any]]) -> None:
        """Write a study down, unless it is there."""

        def work(connection: sa.Connection) -> None:
            new = self.insert(studies).values(study=study, document=dict(document), created=time.time())
            if connection.execute(new.on_conflict_do_nothing()).rowcount and pictures:
                connection.execute(sa.insert(images), [{"study": study, **one} for one in pictures])

        self.do(work)

    def document(self, study: str) -> dict[str, Any]:
        """What ``begin`` wrote. Raises: ExciteError if there is no such study."""
        query = sa.select(studies.c.document).where(studies.c.study == study)
        found = self.do(lambda c: c.execute(query).scalar())
        if found is None:
            raise ExciteError(f"does not hold the study {study[:12]}", where=self.display_url)
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
                    connection.execute(self.insert(arms).values(row))
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
            connection.execute(self.insert(cells).on_conflict_do_nothing(), wanted)
            return (connection.execute(_counting(study)).scalar() or 0) - before

        return self.do(work)

    def arms(self, study: str) -> dict[str, dict[str, Any]]:
        """Name -> content of each arm, in order."""
        query = sa.select(arms.c.arm, arms.c.content).where(arms.c.study == study).order_by(arms.c.place)
        return self.do(lambda c: {row.arm: row.content for row in c.execute(query)})

    def cells(self, study: str) -> list[sa.Row[Any]]:
        """Every cell with its state, in the order in which they are trained."""
        query = sa.select(cells, (cells.c.lease_until - self.now()).label("left"))
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


def changed(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> ExciteError:
    """The error for an arm, or a study, that began with other options."""
    gone = next((key for key in sorted({*old, *new}) if old.get(key) != new.get(key)), "content")
    what = f"{gone} was {old.get(gone)!r} when the study began, and is {new.get(gone)!r} now"
    hint = "give the arm another name, or the study another folder with --out"
    return ExciteError(what, where=name, hint=hint, exit_code=BAD_USAGE)


def _counting(study: str) -> Any:
    return sa.select(sa.func.count()).select_from(cells).where(cells.c.study == study)
