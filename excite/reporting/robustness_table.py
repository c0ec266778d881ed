"""Accuracy and log loss of the weights before and after fine-tuning, on corrupted test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CLEAN = "clean"
KINDS = ("start", "tuned", "final")


@dataclass(frozen=True)
class RobustnessTable:
    """Rows of accuracy and log loss, and a sentence that compares the weights.

    Args:
        summary: the sentence above the table.
        columns: the weights: before fine-tuning, after it, and those of the run.
        rows: name of the corruption and, for each column, accuracy and log loss as text.
    """

    summary: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def build_robustness_table(robustness: Mapping[str, Any]) -> RobustnessTable:
    """The table of ``robustness.json``."""
    rows = [(row["corruption"], tuple(_text(row[kind]) for kind in KINDS)) for row in robustness["rows"]]
    corrupted = [row for row in robustness["rows"] if row["corruption"] != CLEAN]
    clean = next(row for row in robustness["rows"] if row["corruption"] == CLEAN)
    rows.append(("mean of the corruptions", tuple(_text(_mean(corrupted, kind)) for kind in KINDS)))
    return RobustnessTable(_summary(robustness, clean, corrupted), KINDS, tuple(rows))


def _summary(
    robustness: Mapping[str, Any], clean: Mapping[str, Any], corrupted: Sequence[Mapping[str, Any]]
) -> str:
    start, tuned = _mean(corrupted, "start"), _mean(corrupted, "tuned")
    better = "tuned" if tuned["log_loss"] < start["log_loss"] else "start"
    better_on_clean = "tuned" if clean["tuned"]["log_loss"] < clean["start"]["log_loss"] else "start"
    names = {"tuned": "the fine-tuned weights", "start": "the initial weights"}
    text = f"On {robustness['n']:,} corrupted test images, {names[better]} have the lower mean log loss "
    text += f"({tuned['log_loss']:.3f} fine-tuned, {start['log_loss']:.3f} initial); on the clean images, "
    text += f"{names[better_on_clean]} {'do, too' if better_on_clean == better else 'do'}. "
    if robustness["probe"]:
        return text + (
            "On the validation images, the fine-tuned weights were not better by more than one standard "
            "error: the final model is the linear probe, refitted on train + val."
        )
    fraction = robustness["fraction"]
    if fraction == 1:
        return text + "The final weights are the fine-tuned ones."
    return text + (
        f"The final weights are {fraction:.0%} fine-tuned and {1 - fraction:.0%} initial, chosen on the "
        "validation images."
    )


def _mean(rows: Sequence[Mapping[str, Any]], kind: str) -> dict[str, float]:
    return {name: sum(row[kind][name] for row in rows) / len(rows) for name in ("accuracy", "log_loss")}


def _text(metrics: Mapping[str, float]) -> str:
    return f"{100 * metrics['accuracy']:.1f} %, {metrics['log_loss']:.3f}"
