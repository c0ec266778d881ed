"""decisions.csv: a table of all pairs, in which a reviewer accepts or rejects them for the next audit."""

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
"""Columns of decisions.csv; only the first three are required. ``a`` and ``b`` are paths or SHA-256."""

_WORDS = {
    **dict.fromkeys(("accept", "accepted", "yes", "same"), "accept"),
    **dict.fromkeys(("reject", "rejected", "no", "different"), "reject"),
}
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_FORM = "it needs the columns decision, a, and b, as in the decisions.csv of excite audit"


@dataclass(frozen=True)
class Decision:
    """The decision of a reviewer about two images.

    Args:
        word: accept or reject.
        a, b: paths, absolute or relative to ``folder``, or SHA-256.
        where: file and line.
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
    """Decisions about rows of a manifest, each pair with the smaller row first.

    Args:
        accepted, rejected: pairs of rows.
        missing: decisions about images that are not in the data set, or have changed.
    """

    accepted: frozenset[tuple[int, int]] = frozenset()
    rejected: frozenset[tuple[int, int]] = frozenset()
    missing: tuple[Decision, ...] = ()


def read_decisions(file: Path) -> list[Decision]:
    """The lines of a decisions.csv with a decision.

    Raises:
        ExciteError: with the problem of the file and its line.
    """
    try:
        table = read_table(file, short_rows=True)  # lines copied from the report are shorter
    except ExciteError as error:
        hint, code = error.hint or _FORM, error.exit_code
        raise ExciteError(error.what, where=file, hint=hint, exit_code=code) from error
    header = [name.lower() for name in table.header]
    for name in COLUMNS[:3]:
        if name not in header:
            raise ExciteError(f"has no column {name!r}", where=file, hint=_FORM)
    rows = zip(table.rows, table.lines, strict=True)
    decisions = [_decision(header, row, f"{file}, line {line}", file.parent) for row, line in rows]
    return [decision for decision in decisions if decision is not None]


def _decision(header: list[str], row: list[str], where: str, folder: Path) -> Decision | None:
    values = dict(zip(header, row, strict=True))
    word = values.get("decision", "").strip().lower()
    if not word:
        return None
    if word not in _WORDS:
        raise unknown_name("decision", word, ("accept", "reject"), where=where)
    identifiers = [values.get(name, "") for name in ("a", "b")]
    hashes = [values.get(f"{name}_sha256", "").strip().lower() for name in ("a", "b")]
    if not all(identifier or digest for identifier, digest in zip(identifiers, hashes, strict=True)):
        raise ExciteError("names only one image", where=where, hint=_FORM)
    return Decision(_WORDS[word], identifiers[0], identifiers[1], hashes[0], hashes[1], where, str(folder))


def resolve(decisions: Iterable[Decision], manifest: Manifest) -> ResolvedDecisions:
    """Match decisions with the rows of a checked manifest.

    An image is found by its path, else by its content, so that decisions about moved files remain valid.
    Decisions about files that have changed do not.

    Raises:
        ExciteError: if a pair is both accepted and rejected.
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

    decision_of: dict[tuple[int, int], Decision] = {}
    unmatched = []
    for decision in decisions:
        first = find(decision.a, decision.a_sha256, decision.folder)
        second = find(decision.b, decision.b_sha256, decision.folder)
        pairs = {(min(a, b), max(a, b)) for a in first for b in second if a != b}
        if not pairs:
            unmatched.append(decision)
        for pair in pairs:
            before = decision_of.setdefault(pair, decision)
            if before.word != decision.word:
                what = f"contradicts {before.where}: {decision.word} here, {before.word} there"
                raise ExciteError(what, where=decision.where, hint="remove one of them", exit_code=BAD_USAGE)
    by_word = {
        word: frozenset(pair for pair, decision in decision_of.items() if decision.word == word)
        for word in ("accept", "reject")
    }
    return ResolvedDecisions(by_word["accept"], by_word["reject"], tuple(unmatched))


def write_decisions(
    file: Path, manifest: Manifest, pairs: Sequence[Pair], decided: ResolvedDecisions
) -> None:
    """Write decisions.csv with all pairs, the least certain first, and with previous decisions.

    Decisions about other pairs, or about images that are not in the data set, follow at its end.
    """
    paths, hashes = manifest.table["path"].tolist(), manifest.table["sha256"].tolist()
    word_of = {
        **dict.fromkeys(decided.accepted, "accept"),
        **dict.fromkeys(decided.rejected, "reject"),
    }
    lines: list[tuple[object, ...]] = [COLUMNS]
    for pair in sorted(pairs, key=lambda pair: (pair.confidence, pair.a, pair.b)):
        a, b = pair.a, pair.b
        confidence = f"{pair.confidence:.3f}"
        word = word_of.pop((a, b), "")
        lines.append((word, paths[a], paths[b], pair.kind, confidence, pair.evidence, hashes[a], hashes[b]))
    for (a, b), word in sorted(word_of.items()):
        lines.append((word, paths[a], paths[b], "", "", "added by a reviewer", hashes[a], hashes[b]))
    for decision in decided.missing:
        identifiers = _absolute(decision.a, decision.folder), _absolute(decision.b, decision.folder)
        lines.append(
            (
                decision.word,
                *identifiers,
                "",
                "",
                "no longer in the data set",
                decision.a_sha256,
                decision.b_sha256,
            )
        )
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    write_text(file, text.getvalue())


def _absolute(identifier: str, folder: str) -> str:
    """A path as in a manifest; a SHA-256 does not change."""
    if not identifier or _SHA256.fullmatch(identifier.strip()):
        return identifier
    return str(path_on_disk(absolute_path(identifier, folder)))
