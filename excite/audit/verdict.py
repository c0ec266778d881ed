"""The first sentence of an audit: its most important finding."""

from __future__ import annotations

from dataclasses import dataclass

from excite.audit.audit import Audit
from excite.audit.table import headline
from excite.data.group_columns import group_columns
from excite.system.text import command_line

FINE, WARN, BAD = "fine", "warn", "bad"


@dataclass(frozen=True)
class Verdict:
    """The most important finding of an audit.

    Args:
        text: one or two sentences.
        severity: ``bad`` for leaks and conflicting labels, ``warn`` for images that a random split would
            separate from their copies, ``fine`` otherwise.
    """

    text: str
    severity: str

    def to_dict(self) -> dict[str, str]:
        """The entry ``verdict`` of audit.json."""
        return {"text": self.text, "severity": self.severity}


def verdict_of(audit: Audit) -> Verdict:
    """The finding with which an audit begins."""
    if findings := headline(audit):
        return Verdict(f"{'; '.join(findings).capitalize()}.", BAD)
    if not audit.files.splits and not audit.manifest.table["group"].any() and (text := _would_leak(audit)):
        return Verdict(text, WARN)
    if audit.files.splits:
        return Verdict("No photo is on both sides of the given split or has conflicting labels.", FINE)
    return Verdict("No photo has conflicting labels, and none would be on both sides of a split.", FINE)


def _would_leak(audit: Audit) -> str:
    """That a random split would separate images of a subject, and which does not; "" if none would."""
    images, photos, pattern = len(audit), len(audit.members), audit.name_pattern
    columns = group_columns(audit.manifest)
    if columns:
        shown, unit, how = columns[0].groups, "groups", command_line("--group-column", columns[0].name)
    elif pattern is not None:
        shown, unit = pattern.groups, "subjects"
        how = command_line("--group-pattern", pattern.pattern)
    else:
        shown, unit, how = photos, "photos", "--split grouped, the default of excite train"
    if shown >= images:
        return ""
    copies = ""
    if unit != "photos" and photos < images:
        copies = f" (near-duplicates: {photos:,} photos)"
    text = f"{images:,} files show about {shown:,} {unit}{copies}"
    return f"{text}: a random split would leak; use {how}."
