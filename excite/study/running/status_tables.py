"""Cells as tables: their states, the running cells, the workers, and each cell."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from excite.reporting.text import many
from excite.study.store.leases import location_of
from excite.study.store.schema import DONE, FAILED, RUNNING, WAITING
from excite.study.store.store import Look
from excite.system.progress import clock
from excite.system.text import printable

SIGNS = {WAITING: ("·", "dim"), RUNNING: ("▶", "yellow"), DONE: ("✓", "green"), FAILED: ("✗", "red")}
MOST_LINES = 8  # running cells listed below the table


def signs_table(cells: Sequence[Any]) -> Table:
    """A row per arm with a sign for each cell; the folds of a seed are adjacent."""
    seeds, folds = (len({getattr(cell, name) for cell in cells}) for name in ("seed", "fold"))
    head = "seed 0" if seeds == 1 else f"seeds 0 to {seeds - 1}"
    table = _table("arm", f"{head}, {folds} folds each" if folds > 1 else head)
    table.columns[1].overflow = "fold"
    for arm in dict.fromkeys(cell.arm for cell in cells):
        own = sorted((cell.seed, cell.fold, cell.state) for cell in cells if cell.arm == arm)
        row = Text()
        for number, (_, _, state) in enumerate(own):
            if number and number % (folds if folds > 1 else 5) == 0:
                row.append(" ")
            row.append(*SIGNS[state])
        table.add_row(Text(printable(arm), overflow="fold"), row)
    return table


def progress_text(cells: Sequence[Any]) -> str:
    """Number of finished cells, and the remaining time."""
    states = [cell.state for cell in cells]
    text = f"{states.count(DONE)} of {len(cells)} cells done, {states.count(RUNNING)} running"
    if failed := states.count(FAILED):
        text += f", {failed} failed"
    left = states.count(WAITING) + states.count(RUNNING)
    if left and (spent := [seconds for cell in cells if (seconds := _seconds(cell, DONE)) is not None]):
        text += f", about {clock(float(np.mean(spent)) * left / max(states.count(RUNNING), 1))} left"
    return text


def running_text(cells: Sequence[Any]) -> str:
    """A line for each running cell: name, duration, location."""
    folded = _folded(cells)
    lines = [
        f"▶ {cell_name(cell, folded)}  {clock(_seconds(cell, RUNNING) or 0)}  {location_of(cell.worker)}"
        for cell in cells
        if cell.state == RUNNING
    ]
    more = len(lines) - MOST_LINES
    return "\n".join([*lines[:MOST_LINES], f"and {more} more"] if more > 0 else lines)


def workers_table(cells: Sequence[Any]) -> Table:
    """A row per machine or node of a cluster: finished cells, seconds per cell, running cells."""
    table = _table("where", "cells done", "time per cell", "failed", "running")
    for row in worker_rows(cells):
        seconds = row["seconds"]
        duration = "-" if seconds is None else clock(seconds)
        at = ", ".join(row["running"][:MOST_LINES]) + (" ..." if len(row["running"]) > MOST_LINES else "")
        values = (row["where"], row["done"], duration, row["failed"], at or "-")
        table.add_row(*(Text(printable(one)) for one in values))
    return table


def worker_rows(cells: Sequence[Any]) -> list[dict[str, Any]]:
    """``where``, ``done``, mean ``seconds`` per cell, ``failed`` and ``running`` of each machine or node."""
    folded = _folded(cells)
    by_place: dict[str, list[Any]] = {}
    for cell in cells:
        if cell.state == WAITING:
            continue
        where = location_of(cell.worker).rpartition(", process ")[0] or location_of(cell.worker)
        by_place.setdefault(where, []).append(cell)
    rows = []
    for where, own in sorted(by_place.items()):
        spent = [seconds for cell in own if (seconds := _seconds(cell, DONE)) is not None]
        states = [cell.state for cell in own]
        rows.append(
            {
                "where": where,
                "done": states.count(DONE),
                "seconds": float(np.mean(spent)) if spent else None,
                "failed": states.count(FAILED),
                "running": [cell_name(cell, folded) for cell in own if cell.state == RUNNING],
            }
        )
    return rows


def cells_table(cells: Sequence[Any]) -> Table:
    """A row per cell."""
    table = _table("arm", "seed", "fold", "state", "time", "where", "error")
    for row in state_rows(cells):
        time = "" if row["seconds"] is None else clock(row["seconds"])
        values = (row["arm"], row["seed"], row["fold"], row["state"], time, row["worker"], row["error"])
        table.add_row(*(Text(printable(one)) for one in values))
    return table


def look_rows(looks: Sequence[Look]) -> list[dict[str, Any]]:
    """``seen`` (ISO 8601, UTC) and ``cells``, the number of finished cells, of each look at the results."""
    return [
        {
            "seen": datetime.fromtimestamp(look.seen, UTC).isoformat(timespec="seconds"),
            "cells": len(look.cells),
        }
        for look in looks
    ]


def looks_text(looks: Sequence[Look]) -> str:
    """How often the results have been looked at."""
    if not looks:
        return "results  no look yet; excite study export computes the differences"
    last = look_rows(looks)[-1]
    times = "looked at once" if len(looks) == 1 else f"looked at {len(looks)} times, last"
    return f"results  {times} with {many(last['cells'], 'finished cell')}, {last['seen']}"


def state_rows(cells: Sequence[Any]) -> list[dict[str, Any]]:
    """``arm``, ``seed``, ``fold``, ``state``, ``seconds`` so far or in all, ``worker``, ``error`` of each."""
    return [
        {
            "arm": cell.arm,
            "seed": cell.seed,
            "fold": cell.fold,
            "state": cell.state,
            "seconds": _seconds(cell, DONE, RUNNING),
            "worker": "" if cell.state == WAITING else location_of(cell.worker),
            "error": cell.error,
        }
        for cell in cells
    ]


def cell_name(cell: Any, folded: bool) -> str:
    """``se8 seed 2``, with the fold if there are folds."""
    return f"{cell.arm} seed {cell.seed}" + (f" fold {cell.fold}" if folded else "")


def _seconds(cell: Any, *states: str) -> float | None:
    """Duration of a cell so far or in total; None unless it is in one of the states."""
    if cell.state not in states or not cell.started:
        return None
    # By the database's clock, like the other times: what is left of a lease is its end minus now.
    until = cell.ended if cell.state == DONE else cell.lease_until - cell.left
    return None if until is None else float(until - cell.started)


def _folded(cells: Sequence[Any]) -> bool:
    return len({cell.fold for cell in cells}) > 1


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    return table
