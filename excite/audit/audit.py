"""What a data set hides: bad files, copies, photos on both sides of a split or under two labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from excite.audit.decisions import ResolvedDecisions, read_decisions, resolve
from excite.audit.duplicates.find import Grouping, find_pairs, group_images
from excite.audit.duplicates.pair import KINDS, Pair
from excite.audit.file_findings import FileFindings, inspect_files
from excite.audit.file_metadata import FileMetadata
from excite.audit.leaks import LabelConflict, Leaks, find_leaks, label_conflicts
from excite.audit.metadata_shortcut import Shortcut, find_shortcuts
from excite.audit.name_patterns import NamePattern, propose_pattern
from excite.config.pixel_limit import MAX_PIXELS
from excite.data.manifest import Manifest
from excite.system.parallel import Progress

PHOTOS_UP_TO = 20_000
"""Images up to which pass 3 runs unasked: it takes milliseconds an image."""


@dataclass(frozen=True, eq=False)
class Audit:
    """What was found in a data set, every index a row of ``manifest``.

    Args:
        manifest: the good images with hash and size; its groups and splits are as the user gave them.
        files: pass 1.
        facts: of each image's file.
        photos: whether pass 3 was run.
        pairs: the evidence of passes 2 and 3.
        linked: the groups that come of it, joined with the user's own and with a person's decisions.
        same_photo: the photo's number of each image: the groups without those that the user named.
        decided: those decisions.
        leaks: groups that straddle the split that the user gave.
        conflicts: photos under two labels or more.
    """

    manifest: Manifest
    files: FileFindings
    facts: tuple[FileMetadata, ...]
    near_duplicates: bool
    pairs: tuple[Pair, ...]
    grouping: Grouping
    same_photo: tuple[int, ...]
    decisions: ResolvedDecisions
    leaks: Leaks
    conflicts: tuple[LabelConflict, ...]

    def __len__(self) -> int:
        return len(self.manifest)

    @property
    def deep(self) -> bool:
        """Whether images have more than 8 bits per channel."""
        return self.manifest.extremes is not None

    @property
    def groups(self) -> tuple[int, ...]:
        """The group's number of each image."""
        return self.grouping.groups

    @cached_property
    def members(self) -> dict[int, list[int]]:
        """The rows of each group."""
        found = defaultdict(list)
        for row, group in enumerate(self.groups):
            found[group].append(row)
        return dict(found)

    @cached_property
    def shortcuts(self) -> list[Shortcut]:
        """Classes told apart by their files alone; found out when first asked for, in seconds."""
        sides = self.manifest.table[["width", "height"]].to_numpy()
        groups = np.array(self.groups, dtype=np.int64)
        return find_shortcuts(self.facts, sides, self.manifest.targets(), groups)

    @cached_property
    def name_pattern(self) -> NamePattern | None:
        """File names that look like groups, where the user named none."""
        table = self.manifest.table
        if table["group"].any():
            return None
        return propose_pattern(table["path"].tolist(), table["label"].tolist())

    @property
    def kinds(self) -> dict[str, int]:
        """Pairs of each kind, from the surest to the least sure."""
        counts = Counter(pair.kind for pair in self.pairs)
        return {kind: counts[kind] for kind in KINDS}

    def grouped(self) -> Manifest:
        """The manifest with the found groups and photos in their columns; an image alone has neither.

        A group keeps the name that the user gave it; where found copies join several, all of them.
        """
        table = self.manifest.table
        return self.manifest.with_columns(
            group=_names(self.groups, table["group"].tolist()),
            photo=_names(self.same_photo, table["photo"].tolist()),
        )

    def to_dict(self) -> dict[str, Any]:
        """The content of audit.json."""
        paths = self.manifest.table["path"].tolist()
        used = set(self.grouping.used)
        sizes = sorted((len(rows) for rows in self.members.values()), reverse=True)
        return {
            "images": len(self),
            "groups": len(self.members),
            "group_sizes": {"largest": sizes[0] if sizes else 0, "singletons": sizes.count(1)},
            "oversized_groups": [
                {"group": number, "images": len(self.members[number])} for number in self.grouping.oversized
            ],
            "passes": ["files", "same picture", *(["same photo"] if self.near_duplicates else [])],
            "pairs": [
                {
                    "a": paths[pair.a],
                    "b": paths[pair.b],
                    "kind": pair.kind,
                    "evidence": pair.evidence,
                    "confidence": round(pair.confidence, 4),
                    "used": pair in used,
                }
                for pair in self.pairs
            ],
            "kinds": self.kinds,
            "decisions": {
                "accepted": len(self.decisions.accepted),
                "rejected": len(self.decisions.rejected),
                "not_found": len(self.decisions.missing),
            },
            "leaks": self.leaks.to_dict(),
            "label_conflicts": [
                {"labels": conflict.labels, "images": [paths[row] for row in conflict.images]}
                for conflict in self.conflicts
            ],
            "shortcuts": [shortcut.to_dict() for shortcut in self.shortcuts],
            "name_pattern": None if self.name_pattern is None else self.name_pattern.to_dict(),
            "files": self.files.to_dict(),
        }


def audit(
    manifest: Manifest,
    *,
    near_duplicates: bool | None = None,
    max_pixels: int = MAX_PIXELS,
    cache: Path | None = None,
    decisions: Sequence[Path] = (),
    progress: Callable[[str], Progress | None] | None = None,
) -> Audit:
    """Look through a data set in three passes, join what belongs together, and collect the findings.

    Args:
        manifest: the images; its group column is what the user knows, its split column what is checked.
        photos: run pass 3, which finds crops, turns and recolored copies; None: up to
            ``PHOTOS_UP_TO`` images.
        max_pixels: larger pictures are refused.
        cache: what was found is remembered here, by content.
        decisions: a person's decisions, files as ``read_decisions`` takes them.
        progress: called with a stage's name, gives what takes its progress.

    Raises:
        ExciteError: when the decisions cannot be read or contradict each other.
    """
    # A slip in them is told before the work begins.
    said = [decision for file in decisions for decision in read_decisions(file)]
    kept, facts, files = inspect_files(manifest, max_pixels=max_pixels, cache=cache, progress=progress)
    decided = resolve(said, kept)
    near_duplicates = len(kept) <= PHOTOS_UP_TO if near_duplicates is None else near_duplicates
    pairs: list[Pair] = []
    if len(kept) > 1:
        pairs = find_pairs(
            kept, near_duplicates=near_duplicates, max_pixels=max_pixels, cache=cache, progress=progress
        )
    known = kept.table["group"].tolist()
    accepted = {*decided.accepted, *_chained(kept.table["photo"].tolist())}
    join = partial(group_images, len(kept), pairs, rejected=decided.rejected, accepted=accepted)
    linked = join(known=known if any(known) else None)
    # Two photos of one patient may have two labels; one photo may not.
    alone = join() if any(known) else linked
    labels = kept.table["label"].tolist()
    return Audit(
        manifest=kept,
        files=files,
        facts=facts,
        near_duplicates=near_duplicates,
        pairs=tuple(pairs),
        grouping=linked,
        same_photo=alone.groups,
        decisions=decided,
        leaks=find_leaks(kept.table["split"].tolist(), linked.groups),
        conflicts=tuple(label_conflicts(labels, alone.groups)),
    )


def _names(numbers: Sequence[int], given: Sequence[str]) -> list[str]:
    """A name for each image of what it shares with others; "" for what it shares with none."""
    members = defaultdict(list)
    for row, number in enumerate(numbers):
        members[number].append(row)
    taken = set(given)
    names = [""] * len(numbers)
    for number, rows in members.items():
        known = list(dict.fromkeys(given[row] for row in rows if given[row]))
        name = "+".join(known)
        if not known and len(rows) > 1:
            name = f"photo-{number}"
        while name and name not in known and name in taken:
            name += "'"
        taken.add(name)
        for row in rows:
            names[row] = name
    return names


def _chained(near_duplicates: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Each image and the one before it of the same photo, as the user says."""
    last: dict[str, int] = {}
    for row, name in enumerate(near_duplicates):
        if name and name in last:
            yield last[name], row
        last[name] = row


def decision_files(folder: Path, named: Path | None = None) -> list[Path]:
    """Whose decisions count: the file that is named, and what an earlier audit left in the folder.

    The folder's own is written anew after the audit, so it is always read: nobody's word is lost.
    """
    own = folder / "decisions.csv"
    files = [] if named is None else [named]
    if own.exists() and not (named is not None and named.exists() and named.samefile(own)):
        files.append(own)
    return files
