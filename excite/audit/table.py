"""An audit as a table: the images, the findings, and their confidence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from excite.audit.audit import NEAR_DUPLICATES_UP_TO, Audit
from excite.audit.file_findings import unreadable_kind
from excite.data.group_columns import group_columns_text
from excite.data.split import apply_group_pattern

SHOWN = 5
"""Number of examples and classes in a line; audit.json has all of them."""


def audit_rows(audit: Audit) -> list[tuple[str, str]]:
    """(property, finding) of each line: first files, then near-duplicates, then their effect on splits."""
    return [*_file_rows(audit), *_pair_rows(audit), *_finding_rows(audit)]


def headline(audit: Audit) -> list[str]:
    """The findings that make metrics optimistic or labels wrong, in a few words each."""
    findings = []
    if audit.leaks:
        findings.append(f"{_in_splits(len(audit.leaks.groups))} more than one split")
    if audit.conflicts:
        findings.append(f"{_many(len(audit.conflicts), 'photo')} with conflicting labels")
    return findings


def _file_rows(audit: Audit) -> list[tuple[str, str]]:
    files = audit.files
    rows = [("images", f"{len(audit):,}")]
    rows += [("", str(left_out)) for left_out in files.left_out]
    if files.bad:
        kinds: dict[str, int] = {}
        for file in files.bad:
            kind = unreadable_kind(file.reason)
            kinds[kind] = kinds.get(kind, 0) + 1
        rows.append(("unreadable", f"{len(files.bad)} left out: {_counts(kinds)}"))
        rows += [("", f"{file.path}: {file.reason}") for file in files.bad[:SHOWN]]
    for kind in dict.fromkeys(file.kind for file in files.odd):
        odd = [file for file in files.odd if file.kind == kind]
        rows.append((kind, f"{_many(len(odd), 'image')}, for example {odd[0].path}: {odd[0].detail}"))
    if len(files.classes) > 1:
        largest = f"; the largest has {files.imbalance:.1f} x the smallest" if files.imbalance > 1 else ""
        rows.append(("classes", _counts(files.classes) + largest))
    rows += [(split, _counts(counts)) for split, counts in files.splits.items()]
    if len(audit):
        sizes = files.sizes
        (w0, w1, w2), (h0, h1, h2) = sizes["width"], sizes["height"]
        text = (
            f"{w0} x {h0} pixels"
            if sizes["distinct"] == 1
            else (
                f"{sizes['distinct']} sizes, {w0} to {w2} (median {w1}) wide, {h0} to {h2} (median {h1}) high"
            )
        )
        rows.append(("sizes", text))
        gray = f"; {files.gray:,} without color" if files.gray else ""
        rows.append(("formats", f"{_counts(files.formats)}; {_counts(files.modes)}{gray}"))
    return rows


def _pair_rows(audit: Audit) -> list[tuple[str, str]]:
    rows = []
    for kind, count in audit.kinds.items():
        if kind == "same photo" and not audit.near_duplicates:
            limit = f"by default up to {NEAR_DUPLICATES_UP_TO:,} images; "
            reason = limit if len(audit) > NEAR_DUPLICATES_UP_TO else ""
            rows.append((kind, f"not searched ({reason}use --near-duplicates)"))
            continue
        confidences = [pair.confidence for pair in audit.pairs if pair.kind == kind]
        confidence = f", confidence {_between(min(confidences), max(confidences))}" if confidences else ""
        rows.append((kind, _many(count, "pair") + confidence))
    if audit.grouping.doubtful:
        count = len(audit.grouping.doubtful)
        rows.append(("doubtful", f"{_many(count, 'pair')} not joined: weak evidence, or rejected"))
    decided = audit.decisions
    if decided.accepted or decided.rejected or decided.missing:
        unmatched = (
            f", {len(decided.missing)} about images that are not in the data" if decided.missing else ""
        )
        rows.append(
            (
                "decisions",
                f"{len(decided.accepted)} pairs accepted, {len(decided.rejected)} rejected{unmatched}",
            )
        )
    group_sizes = [len(rows) for rows in audit.members.values() if len(rows) > 1]
    text = f"{len(audit.members):,} of {len(audit):,} images"
    if group_sizes:
        have = "has" if len(group_sizes) == 1 else "have"
        text += f"; {len(group_sizes):,} {have} more than one, the largest {max(group_sizes):,}"
    rows.append(("groups", text))
    for number in audit.grouping.oversized:
        size = len(audit.members[number])
        text = f"group {number} has {size:,} of {len(audit):,} images, perhaps because of false pairs"
        rows.append(("OVERSIZED GROUP", f"{text}; review its pairs in decisions.csv"))
    return rows


def _finding_rows(audit: Audit) -> list[tuple[str, str]]:
    rows = []
    leaks = audit.leaks
    if len(leaks.totals) > 1:
        text = "no group is in more than one split"
        if leaks:
            parts = [
                f"{count:,} of {leaks.totals[split]:,} in {split} ({leaks.fraction(split):.1%})"
                for split, count in leaks.images.items()
            ]
            text = f"{_in_splits(len(leaks.groups))} more than one split; "
            text += "images with a near-duplicate in another split: "
            text += ", ".join(parts)
        rows.append(("LEAKS" if leaks else "leaks", text))
    if audit.conflicts:
        rows.append(("LABEL CONFLICTS", f"{_many(len(audit.conflicts), 'photo')} with conflicting labels"))
        paths = audit.manifest.table["path"]
        for conflict in audit.conflicts[:SHOWN]:
            labels = audit.manifest.table["label"]
            examples = {labels[row]: f"{paths[row]} ({labels[row]})" for row in conflict.images}
            rows.append(("", " = ".join(examples.values())))
    rows += [("SHORTCUT", str(shortcut)) for shortcut in audit.shortcuts]
    if text := group_columns_text(audit.manifest):
        rows.append(("columns", text))
    if audit.name_pattern is not None:
        rows.append(("file names", str(audit.name_pattern) + _agreement(audit, audit.name_pattern.pattern)))
    return rows


def _agreement(audit: Audit, pattern: str) -> str:
    """How many near-duplicates agree with the pattern of the names."""
    if not audit.grouping.used:
        return ""
    groups = apply_group_pattern(audit.manifest, pattern).table["group"].tolist()
    inside = sum(groups[pair.a] == groups[pair.b] for pair in audit.grouping.used) / len(audit.grouping.used)
    return f" ({inside:.1%} of the {_many(len(audit.grouping.used), 'pair')} are in the same group)"


def _between(low: float, high: float) -> str:
    low, high = (
        math.floor(1000 * value + 1e-9) / 1000 for value in (low, high)
    )  # rounded down: 1 means certain
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _in_splits(groups: int) -> str:
    return "1 group is in" if groups == 1 else f"{groups:,} groups are in"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _counts(counts: Mapping[str, Any]) -> str:
    phrases = [f"{count:,} {name or 'without a label'}" for name, count in list(counts.items())[: 2 * SHOWN]]
    rest = len(counts) - len(phrases)
    return ", ".join(phrases) + (f" and {rest} more" if rest > 0 else "")
