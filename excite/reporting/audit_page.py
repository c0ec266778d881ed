"""audit.html: pairs of images side by side for review, in one file that works offline."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from excite.audit.audit import Audit
from excite.audit.decisions import write_decisions
from excite.audit.duplicates.pair import Pair
from excite.audit.table import audit_rows
from excite.audit.verdict import verdict_of
from excite.config.pixel_limit import MAX_PIXELS
from excite.reporting.html import SIDE as SIDE
from excite.reporting.html import SMALL, common_folder, template, thumbnail
from excite.system.files import write_text

MOST_PAIRS = 200
"""Maximum number of pairs on the page: at 15 kB per thumbnail, up to 6 MB, which a phone can open."""

_FRACTION = 4  # conflicts and leaks take at most a quarter of the page each, to leave space for other pairs


@dataclass(frozen=True)
class _Section:
    title: str
    text: str
    pairs: list[Pair]
    left_out: int


def write_audit(
    audit: Audit,
    folder: Path,
    *,
    title: str = "",
    thumbnails: bool = True,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write ``audit.json``, ``audit.html`` and ``decisions.csv`` into a folder.

    Earlier decisions are copied into ``decisions.csv``.

    Args:
        title: name of the data set.
        thumbnails: show the images; mind the privacy of the people in them.
        progress: called with (pairs drawn, pairs on the page).

    Raises:
        ExciteError: if a file cannot be written.
    """
    write_decisions(folder / "decisions.csv", audit.manifest, audit.pairs, audit.decisions)
    document = json.dumps(audit_document(audit), indent=2, ensure_ascii=False)
    write_text(folder / "audit.json", document + "\n")
    page = audit_page(audit, title=title, thumbnails=thumbnails, max_pixels=max_pixels, progress=progress)
    write_text(folder / "audit.html", page)


def audit_document(audit: Audit) -> dict[str, Any]:
    """The content of ``audit.json``."""
    return {"verdict": verdict_of(audit).to_dict(), **audit.to_dict()}


def audit_page(
    audit: Audit,
    *,
    title: str = "",
    most_pairs: int = MOST_PAIRS,
    thumbnails: bool = True,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """The page as HTML; names of files and classes are escaped.

    Args:
        most_pairs: maximum number of pairs shown; the page states how many are not.
        thumbnails: as for ``write_audit``.
    """
    sections = _sections(audit, most_pairs)
    range_ = audit.manifest.intensity_range
    small = lru_cache(maxsize=256)(lambda path: thumbnail(path, max_pixels, range_) if thumbnails else "")
    view = _View(audit)
    total = sum(len(section.pairs) for section in sections)
    done = 0
    shown = []
    for section in sections:
        cards = []
        for pair in section.pairs:
            cards.append(view.card(pair, small))
            done += 1
            if progress is not None:
                progress(done, total)
        shown.append({"title": section.title, "text": section.text, "cards": cards, "left": section.left_out})
    return template("audit.html").render(
        title=title or "data set",
        root=view.root,
        verdict=verdict_of(audit),
        oversized=len(audit.grouping.oversized),
        terms=_terms(audit),
        rows=audit_rows(audit),
        figures=_figures(audit),
        sections=shown,
        thumbnails=thumbnails,
        total=len(audit.pairs),
    )


TERMS = {
    "identical file": "The same bytes under two names.",
    "identical pixels": "Files that differ, but every pixel is equal after decoding.",
    "same picture": "The whole picture again: re-encoded, resized, recolored, mirrored, or turned. The "
    "evidence is how well the brightness of two thumbnails correlates, as they are and in their fine "
    "details: 1 is equal, and unrelated pictures are near 0.",
    "same photo": "A part of the picture, or a rotated or strongly changed copy: corners of one image are "
    "found at the corresponding places of the other (features agree), and the aligned pixels correlate: 1 is "
    "equal.",
}
CONFIDENCE = "The estimated probability that two images show the same photo, rounded down."
SHORTCUT = (
    "A small decision tree that sees only the file (size, format, color mode, or bytes), and no pixel, "
    "predicts the class more often than with shuffled labels. A network can learn the same instead of the "
    "object."
)


def _terms(audit: Audit) -> list[tuple[str, str]]:
    """The words on the page that need an explanation, each with it."""
    terms = [(kind, TERMS[kind]) for kind, count in audit.kinds.items() if count]
    if terms:
        terms.append(("confidence", CONFIDENCE))
    if audit.shortcuts:
        terms.append(("SHORTCUT", SHORTCUT))
    return terms


def _figures(audit: Audit) -> list[tuple[str, str, bool]]:
    """(number, what it counts, whether it is a problem) for the top of the page."""
    affected = sum(audit.leaks.images.values())
    counts = [
        (len(audit), "image", "images", False),
        (len(audit.members), "group", "groups", False),
        (len(audit.pairs), "pair", "pairs", False),
        (
            affected,
            "image with a near-duplicate in another split",
            "images with a near-duplicate in another split",
            True,
        ),
        (len(audit.conflicts), "photo with conflicting labels", "photos with conflicting labels", True),
        (len(audit.files.bad), "unreadable file", "unreadable files", True),
    ]
    return [
        (f"{count:,}", one if count == 1 else many, bad and count > 0) for count, one, many, bad in counts
    ]


def _sections(audit: Audit, most: int) -> list[_Section]:
    """The most important section first; within each, the least certain pairs first, as these need review."""
    labels, splits = audit.manifest.table["label"].tolist(), audit.manifest.table["split"].tolist()
    conflicts, leaks, rest = [], [], []
    for pair in sorted(audit.pairs, key=lambda pair: (pair.confidence, pair.a, pair.b)):
        if labels[pair.a] != labels[pair.b]:
            conflicts.append(pair)
        elif splits[pair.a] and splits[pair.b] and splits[pair.a] != splits[pair.b]:
            leaks.append(pair)
        else:
            rest.append(pair)
    kinds = [
        ("Conflicting labels", "Either the pair or one of the labels is wrong.", conflicts),
        ("Across the given split", "The test score measures memorization of these images.", leaks),
        ("Other pairs", "Copies that belong in one group.", rest),
    ]
    # Each section has a quota; space that one does not need goes to the others.
    quota = [min(len(pairs), max(most // _FRACTION, 1)) for _, _, pairs in kinds]
    for index in (0, 1, 2):
        quota[index] += max(0, min(len(kinds[index][2]) - quota[index], most - sum(quota)))
    return [
        _Section(title, text, pairs[:count], len(pairs) - count)
        for (title, text, pairs), count in zip(kinds, quota, strict=True)
        if pairs
    ]


class _View:
    """Converts rows of the audit to cards."""

    def __init__(self, audit: Audit) -> None:
        table = audit.manifest.table
        self.paths: list[str] = table["path"].tolist()
        self.table = table
        self.root = common_folder(self.paths)
        self.doubtful = set(audit.grouping.doubtful)
        self.decisions = {
            **dict.fromkeys(audit.decisions.accepted, "accept"),
            **dict.fromkeys(audit.decisions.rejected, "reject"),
        }

    def card(self, pair: Pair, thumbnail: Callable[[str], str]) -> dict[str, Any]:
        a, b = self._address(pair.a), self._address(pair.b)
        decided = self.decisions.get((pair.a, pair.b), "")
        return {
            "kind": pair.kind,
            "percent": math.floor(100 * pair.confidence + 1e-9),  # rounded down: only certainty is 100 %
            "evidence": pair.evidence,
            "doubtful": pair in self.doubtful and not decided,
            "decided": decided,
            "images": [self._image(row, thumbnail) for row in (pair.a, pair.b)],
            "accept": _csv_line("accept", a, b),
            "reject": _csv_line("reject", a, b),
        }

    def _address(self, row: int) -> str:
        """The identifier of an image in decisions.csv: its path, or its hash if the path is not printable."""
        path = self.paths[row]
        return path if path.isprintable() else str(self.table["sha256"].iloc[row])

    def _image(self, row: int, thumbnail: Callable[[str], str]) -> dict[str, Any]:
        facts = self.table.iloc[row]
        path = str(facts["path"])
        return {
            "source": thumbnail(path),
            "path": path,
            "name": path.removeprefix(self.root),
            "label": facts["label"],
            "split": facts["split"],
            "size": f"{facts['width']} x {facts['height']}",
            "small": max(facts["width"], facts["height"]) < SMALL,
        }


def _csv_line(*values: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(values)
    return text.getvalue().rstrip("\r\n")
