"""decisions.csv: what a person says of pairs, written as a form and obeyed by the next audit."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from excite.audit.duplicates.pair import Pair
from excite.data.csv_table import read_table
from excite.data.manifest import Manifest
from excite.data.paths import absolute_path, path_on_disk
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.system.files import write_text

COLUMNS = ("decision", "a", "b", "kind", "confidence", "evidence", "a_sha256", "b_sha256")
"""The form's columns; a line needs the first three alone. ``a`` and ``b`` are paths or SHA-256."""

_WORDS = {
    **dict.fromkeys(("accept", "accepted", "yes", "same"), "accept"),
    **dict.fromkeys(("reject", "rejected", "no", "different"), "reject"),
}
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_FORM = "its columns are decision, a and b; excite audit writes such a file to fill in"


@dataclass(frozen=True)
class Decision:
    """What a person said of two images.

    Args:
        word: accept or reject.
        a, b: paths, which may be relative to ``folder``, or SHA-256.
        where: the file and line that say so.
    """

    word: str
    a: str
    b: str
    a_sha256: str = ""
    b_sha256: str = ""
    where: str = ""
    folder: str = ""


@dataclass(frozen=True)
class ResolvedDecisions:
    """Decisions as rows of a manifest, each pair with the smaller row first.

    Args:
        missing: decisions about images that the set does not hold, or that have changed since.
    """

    accepted: frozenset[tuple[int, int]] = frozenset()
    rejected: frozenset[tuple[int, int]] = frozenset()
    missing: tuple[Decision, ...] = ()


def read_decisions(file: Path) -> list[Decision]:
    """The lines of a decisions.csv in which a decision stands; lines without one are passed over.

    Raises:
        ExciteError: what is wrong with the file, and in which line.
    """
    try:
        table = read_table(file, short_rows=True)  # lines pasted from the page are shorter than the form's
    except ExciteError as error:
        hint, code = error.hint or _FORM, error.exit_code
        raise ExciteError(error.what, where=file, hint=hint, exit_code=code) from error
    header = [name.lower() for name in table.header]
    for name in COLUMNS[:3]:
        if name not in header:
            raise ExciteError(f"has no column {name!r}", where=file, hint=_FORM)
    rows = zip(table.rows, table.lines, strict=True)
    found = [_decision(header, row, f"{file}, line {line}", file.parent) for row, line in rows]
    return [decision for decision in found if decision is not None]


def _decision(header: list[str], row: list[str], where: str, folder: Path) -> Decision | None:
    values = dict(zip(header, row, strict=True))
    word = values.get("decision", "").strip().lower()
    if not word:
        return None
    if word not in _WORDS:
        raise unknown_name("decision", word, ("accept", "reject"), where=where)
    ends = [values.get(name, "") for name in ("a", "b")]
    hashes = [values.get(f"{name}_sha256", "").strip().lower() for name in ("a", "b")]
    if not all(end or digest for end, digest in zip(ends, hashes, strict=True)):
        raise ExciteError("names only one image", where=where, hint=_FORM)
    return Decision(_WORDS[word], ends[0], ends[1], hashes[0], hashes[1], where, str(folder))


def resolve(decisions: Iterable[Decision], manifest: Manifest) -> ResolvedDecisions:
    """Decisions as rows of a manifest that has been through ``check_files``.

    An image is looked for by its path, then by its content, so that a file that was moved is found again. A
    file that has changed since is another picture, and the decision about it counts no more.

    Raises:
        ExciteError: when a pair is both accepted and rejected.
    """
    rows = {path: row for row, path in enumerate(manifest.table["path"])}
    hashes = manifest.table["sha256"].tolist()
    holders = defaultdict(list)
    for row, digest in enumerate(hashes):
        if digest:
            holders[digest].append(row)

    def find(end: str, digest: str, folder: str) -> list[int]:
        row = rows.get(_absolute(end, folder))
        if row is not None and digest in ("", hashes[row]):
            return [row]
        return holders.get(digest or end.strip().lower(), [])

    said: dict[tuple[int, int], Decision] = {}
    missing = []
    for decision in decisions:
        first = find(decision.a, decision.a_sha256, decision.folder)
        second = find(decision.b, decision.b_sha256, decision.folder)
        pairs = {(min(a, b), max(a, b)) for a in first for b in second if a != b}
        if not pairs:
            missing.append(decision)
        for pair in pairs:
            before = said.setdefault(pair, decision)
            if before.word != decision.word:
                what = f"says {decision.word} where {before.where} says {before.word}"
                raise ExciteError(what, where=decision.where, hint="keep one of them", exit_code=BAD_USAGE)
    by_word = {
        word: frozenset(pair for pair, decision in said.items() if decision.word == word)
        for word in ("accept", "reject")
    }
    return ResolvedDecisions(by_word["accept"], by_word["reject"], tuple(missing))


def write_decisions(
    file: Path, manifest: Manifest, pairs: Sequence[Pair], decided: ResolvedDecisions
) -> None:
    """Write the form with all pairs, the least sure first, what was decided before filled in.

    Decisions about pairs or images that are no longer found are kept at its end.
    """
    paths, hashes = manifest.table["path"].tolist(), manifest.table["sha256"].tolist()
    words = {
        **dict.fromkeys(decided.accepted, "accept"),
        **dict.fromkeys(decided.rejected, "reject"),
    }
    lines: list[tuple[object, ...]] = [COLUMNS]
    for pair in sorted(pairs, key=lambda pair: (pair.confidence, pair.a, pair.b)):
        a, b = pair.a, pair.b
        confidence = f"{pair.confidence:.3f}"
        word = words.pop((a, b), "")
        lines.append((word, paths[a], paths[b], pair.kind, confidence, pair.evidence, hashes[a], hashes[b]))
    for (a, b), word in sorted(words.items()):
        lines.append((word, paths[a], paths[b], "", "", "named by a person", hashes[a], hashes[b]))
    for old in decided.missing:
        ends = _absolute(old.a, old.folder), _absolute(old.b, old.folder)
        lines.append((old.word, *ends, "", "", "not in the set any more", old.a_sha256, old.b_sha256))
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    write_text(file, text.getvalue())


def _absolute(end: str, folder: str) -> str:
    """A path as manifests hold it; a SHA-256 stays what it is."""
    if not end or _SHA256.fullmatch(end.strip()):
        return end
    return str(path_on_disk(absolute_path(end, folder)))
