"""An audit as a table to read: what was looked at, what was found, how sure it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from excite.audit.audit import PHOTOS_UP_TO, Audit
from excite.audit.file_findings import unreadable_kind
from excite.data.split import apply_group_pattern

SHOWN = 5
"""Examples and classes that a line names; the rest is in audit.json."""


def audit_rows(audit: Audit) -> list[tuple[str, str]]:
    """(what, found) line by line, the files first, then copies, then what they do to a split."""
    return [*_file_rows(audit), *_pair_rows(audit), *_finding_rows(audit)]


def headline(audit: Audit) -> list[str]:
    """What makes figures flatter or labels wrong, in a few words each; empty when nothing does."""
    found = []
    if audit.leaks:
        found.append(f"{_straddling(len(audit.leaks.groups))} the split")
    if audit.conflicts:
        found.append(f"{_many(len(audit.conflicts), 'photo')} under two labels")
    return found


def _file_rows(audit: Audit) -> list[tuple[str, str]]:
    files = audit.files
    rows = [("images", f"{len(audit):,}")]
    rows += [("", str(left_out)) for left_out in files.left_out]
    if files.bad:
        kinds: dict[str, int] = {}
        for file in files.bad:
            kind = unreadable_kind(file.reason)
            kinds[kind] = kinds.get(kind, 0) + 1
        rows.append(("bad files", f"{len(files.bad)} left out: {_counts(kinds)}"))
        rows += [("", f"{file.path}: {file.reason}") for file in files.bad[:SHOWN]]
    for kind in dict.fromkeys(file.kind for file in files.odd):
        odd = [file for file in files.odd if file.kind == kind]
        rows.append((kind, f"{_many(len(odd), 'image')}, such as {odd[0].path}: {odd[0].detail}"))
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
            why = f"; it runs unasked up to {PHOTOS_UP_TO:,} images" if len(audit) > PHOTOS_UP_TO else ""
            rows.append((kind, f"not looked for{why}; --near-duplicates does"))
            continue
        sure = [pair.confidence for pair in audit.pairs if pair.kind == kind]
        confidence = f", confidence {_between(min(sure), max(sure))}" if sure else ""
        rows.append((kind, _many(count, "pair") + confidence))
    if audit.grouping.doubtful:
        count = len(audit.grouping.doubtful)
        rows.append(("doubtful", f"{_many(count, 'pair')} not joined: too little evidence, or rejected"))
    decided = audit.decisions
    if decided.accepted or decided.rejected or decided.missing:
        gone = f", {len(decided.missing)} about images that are not here" if decided.missing else ""
        rows.append(
            ("decisions", f"{len(decided.accepted)} pairs accepted, {len(decided.rejected)} rejected{gone}")
        )
    several = [len(rows) for rows in audit.members.values() if len(rows) > 1]
    text = f"{len(audit.members):,} of {len(audit):,} images"
    if several:
        hold = "holds" if len(several) == 1 else "hold"
        text += f"; {len(several):,} {hold} more than one, the largest {max(several):,}"
    rows.append(("groups", text))
    for number in audit.grouping.oversized:
        size = len(audit.members[number])
        text = f"group {number} holds {size:,} of {len(audit):,} images: false pairs may have chained it"
        rows.append(("GIANT GROUP", f"{text}; judge its pairs in decisions.csv"))
    return rows


def _finding_rows(audit: Audit) -> list[tuple[str, str]]:
    rows = []
    leaks = audit.leaks
    if len(leaks.totals) > 1:
        text = "no group lies on both sides of the given split"
        if leaks:
            parts = [
                f"{count:,} of {leaks.totals[split]:,} in {split} ({leaks.fraction(split):.1%})"
                for split, count in leaks.images.items()
            ]
            text = (
                f"{_straddling(len(leaks.groups))} the given split; images with a near-duplicate elsewhere: "
            )
            text += ", ".join(parts)
        rows.append(("LEAKS" if leaks else "leaks", text))
    if audit.conflicts:
        rows.append(("LABEL CONFLICTS", f"{_many(len(audit.conflicts), 'photo')} under two labels or more"))
        paths = audit.manifest.table["path"]
        for conflict in audit.conflicts[:SHOWN]:
            labels = audit.manifest.table["label"]
            shown = {labels[row]: f"{paths[row]} ({labels[row]})" for row in conflict.images}
            rows.append(("", " = ".join(shown.values())))
    rows += [("SHORTCUT", str(shortcut)) for shortcut in audit.shortcuts]
    if audit.name_pattern is not None:
        rows.append(("file names", str(audit.name_pattern) + _agreement(audit, audit.name_pattern.pattern)))
    return rows


def _agreement(audit: Audit, pattern: str) -> str:
    """Whether the pictures bear out what the names seem to say."""
    if not audit.grouping.used:
        return ""
    given = apply_group_pattern(audit.manifest, pattern).table["group"].tolist()
    inside = sum(given[pair.a] == given[pair.b] for pair in audit.grouping.used) / len(audit.grouping.used)
    return f" ({inside:.1%} of the {_many(len(audit.grouping.used), 'pair')} found lie inside its groups)"


def _between(low: float, high: float) -> str:
    low, high = (math.floor(1000 * value + 1e-9) / 1000 for value in (low, high))  # 1 is for what is certain
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _straddling(groups: int) -> str:
    return "1 group straddles" if groups == 1 else f"{groups:,} groups straddle"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _counts(counts: Mapping[str, Any]) -> str:
    shown = [f"{count:,} {name or 'without a label'}" for name, count in list(counts.items())[: 2 * SHOWN]]
    rest = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
