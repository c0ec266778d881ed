"""What fine-tuned weights and their start are worth under changes that another camera or light brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PLAIN = "clean"
KINDS = ("start", "tuned", "final")


@dataclass(frozen=True)
class ShiftTable:
    """Rows of accuracy and log loss, and which of the weights bear the shifts better.

    Args:
        says: the sentence over the table.
        columns: whose weights.
        rows: name of the shift and, for each column, accuracy and log loss as text.
    """

    says: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def shift_table(shifts: Mapping[str, Any]) -> ShiftTable:
    """The table of ``robustness.json``."""
    rows = [(row["corruption"], tuple(_text(row[kind]) for kind in KINDS)) for row in shifts["rows"]]
    changed = [row for row in shifts["rows"] if row["corruption"] != PLAIN]
    plain = next(row for row in shifts["rows"] if row["corruption"] == PLAIN)
    rows.append(("mean of the shifts", tuple(_text(_mean(changed, kind)) for kind in KINDS)))
    return ShiftTable(_says(shifts, plain, changed), KINDS, tuple(rows))


def _says(shifts: Mapping[str, Any], plain: Mapping[str, Any], changed: Sequence[Mapping[str, Any]]) -> str:
    start, tuned = _mean(changed, "start"), _mean(changed, "tuned")
    better = "tuned" if tuned["log_loss"] < start["log_loss"] else "start"
    at_home = "tuned" if plain["tuned"]["log_loss"] < plain["start"]["log_loss"] else "start"
    names = {"tuned": "the tuned weights", "start": "the weights at the start"}
    text = (
        f"On {shifts['n']:,} test images changed as another camera or light would, {names[better]} do better "
    )
    text += f"(mean log loss {tuned['log_loss']:.3f} tuned, {start['log_loss']:.3f} at the start); "
    also = "too" if at_home == better else f"it is {names[at_home]}"
    text += f"on the images as they are, {also}. "
    share = shifts["fraction"]
    if shifts["probe"]:
        return (
            text
            + "Kept was nothing of the tuned, but the start: a probe, fitted anew to validation images too."
        )
    return (
        text + f"Kept were {share:.0%} of the tuned and {1 - share:.0%} of the start's, chosen on validation."
    )


def _mean(rows: Sequence[Mapping[str, Any]], kind: str) -> dict[str, float]:
    return {name: sum(row[kind][name] for row in rows) / len(rows) for name in ("accuracy", "log_loss")}


def _text(figures: Mapping[str, float]) -> str:
    return f"{100 * figures['accuracy']:.1f} %, {figures['log_loss']:.3f}"
