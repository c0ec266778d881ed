"""The end of ``excite train``: the result, at most three notes, and where to go from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from excite.cli.metrics_output import (
    abstention_text,
    labels_line,
    operating_point_text,
    print_classes,
    print_folds,
    sample_size,
    with_interval,
)
from excite.cli.output import print_labeled, print_line
from excite.system.progress import LABEL
from excite.system.text import command_line, shorter_path

if TYPE_CHECKING:
    from excite.reporting.run_facts import RunFacts
    from excite.runs.run import Run

MAX_NOTES = 3
"""Notes that the terminal shows; the report has all."""
MIN_CLASSES = 3
"""Of two classes a table adds little: the sensitivity of one is the specificity of the other."""


def print_result(run: Run, shortcuts: Sequence[str] = ()) -> None:
    """Print the accuracy on the test images, what a reader must know about it, and the next commands.

    Args:
        shortcuts: what the colors of regions tell without the network; it takes the place of a note.
    """
    from excite.reporting.run_facts import RunFacts

    facts = RunFacts.of(run)
    test = run.metrics["test"]
    print_line()
    repeats = f", mean over {test['repeats']} repeats" if test.get("repeats", 1) > 1 else ""
    print_labeled("RESULT", result_line(test) + repeats)
    largest = test["majority_class"]
    print_labeled("baseline", f"always {largest['label']!r}: accuracy {largest['fraction']:.1%}")
    if text := threshold_text(facts):
        print_labeled("threshold", text)
    if abstention := test.get("abstention"):
        print_labeled("abstains", abstention_text(abstention))
    if photos := test.get("photos"):
        print_labeled("by photo", f"{result_line(photos, 'photo')}; predictions of its copies are averaged")
    if len(test["classes"]) >= MIN_CLASSES:
        print_classes(test, ("sensitivity", "ppv"))
    if facts.folds:
        print_folds(run.metrics)
        print_labeled("labels", labels_line(run.metrics["label_noise"]))
    notes = important_notes(facts)
    if shortcuts:
        command = command_line("excite", "explain", run.path, "--shortcuts")
        text = (
            f"Colors alone tell the classes: {'; '.join(shortcuts)}. Unless the object is there, this is a "
        )
        text += f"shortcut. Details: {command}"
        notes = [*notes[: MAX_NOTES - 1], text]
    for text in notes[:MAX_NOTES]:
        print_labeled("note", text)
    image = shorter_path(run.predictions["path"].iloc[0])
    # Not broken into lines: they are copied.
    print_line(f"{'run':<{LABEL}}{run.path}")
    print_line(f"{'report':<{LABEL}}{run.path / 'report.html'}")
    print_line(f"{'next':<{LABEL}}{command_line('excite', 'predict', run.path, image)}")
    if facts.resolved.attention != "none" and not facts.folds and not any(facts.identity_gates):
        print_line(f"{'':<{LABEL}}{command_line('excite', 'explain', run.path, '--attention')}")


def result_line(figures: Mapping[str, Any], counted: str = "image") -> str:
    """The accuracy with its interval, and the number of images behind it."""
    return f"accuracy {with_interval(figures['accuracy'])} on {sample_size(figures, counted)}"


def threshold_text(facts: RunFacts) -> str:
    """The threshold by which the classes of the result are predicted; empty without a positive class."""
    from excite.reporting.decision_text import fold_rules_text

    if point := facts.test.get("operating_point"):
        return operating_point_text(point)
    rule = facts.predictions.rule
    return "" if rule is None else fold_rules_text(rule)


def important_notes(facts: RunFacts) -> list[str]:
    """What a reader must know before the metrics, the most severe first."""
    from excite.reporting.sentences import FINE, disjointness, warnings

    statements = [each for each in (disjointness(facts), *warnings(facts)) if each.severity != FINE]
    return [each.text for each in statements]
