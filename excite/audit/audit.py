"""The audit of a data set: unusual files, near-duplicates, leaks between splits, and conflicting labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from excite.audit.decisions import ResolvedDecisions, read_decisions, resolve
from excite.audit.duplicates.find import Grouping, find_pairs, group_images
from excite.audit.duplicates.pair import KINDS, Pair
from excite.audit.file_findings import FileFindings, inspect_files
from excite.audit.file_metadata import FileMetadata
from excite.audit.leaks import LabelConflict, Leaks, find_leaks, label_conflicts
from excite.audit.metadata_shortcut import Shortcut, find_label_shortcuts, find_shortcuts
from excite.audit.name_patterns import NamePattern, propose_pattern
from excite.config.pixel_limit import MAX_PIXELS
from excite.config.task import MULTILABEL
from excite.data.file_validation import UnreadableFile
from excite.data.manifest import DUPLICATES, Manifest
from excite.errors import ExciteError
from excite.system.notebook import facts_html
from excite.system.parallel import Progress

NEAR_DUPLICATES_UP_TO = 20_000
"""Number of images up to which pass 3 runs by default; it takes milliseconds per image."""


@dataclass(frozen=True, eq=False)
class Audit:
    """The findings in a data set; every index is a row of ``manifest``.

    Args:
        manifest: the readable images with hash and size, and with the groups and splits of the user.
        files: findings of pass 1.
        metadata: of the file of each image.
        near_duplicates: whether pass 3 was run.
        pairs: near-duplicates, from passes 2 and 3.
        grouping: groups from these pairs, the user's groups, and review decisions.
        same_photo: number of the photo of each image: the groups without those of the user.
        decisions: the review decisions.
        leaks: groups in more than one split of the data.
        conflicts: photos with several labels.
    """

    manifest: Manifest
    files: FileFindings
    metadata: tuple[FileMetadata, ...]
    near_duplicates: bool
    pairs: tuple[Pair, ...]
    grouping: Grouping
    same_photo: tuple[int, ...]
    decisions: ResolvedDecisions
    leaks: Leaks
    conflicts: tuple[LabelConflict, ...]

    def __len__(self) -> int:
        return len(self.manifest)

    def __repr__(self) -> str:
        counts = self._counts()
        width = max(map(len, counts))
        lines = [f"  {name:<{width}}  {count}" for name, count in counts.items()]
        return "\n".join([f"Audit of {len(self):,} images", *lines])

    def _repr_html_(self) -> str:
        return facts_html(f"Audit of {len(self):,} images", self._counts().items())

    @property
    def pairs_table(self) -> pd.DataFrame:
        """A row for each pair of near-duplicates: paths, labels, the kind of pair, and the evidence."""
        images = self.manifest.table[["path", "label"]]
        first, second = (images.iloc[[getattr(pair, side) for pair in self.pairs]] for side in ("a", "b"))
        columns = {
            "a": first["path"],
            "b": second["path"],
            "label_a": first["label"],
            "label_b": second["label"],
        }
        found = {name: [getattr(pair, name) for pair in self.pairs] for name in ("kind", "evidence")}
        return pd.DataFrame({**{name: list(values) for name, values in columns.items()}, **found})

    def _counts(self) -> dict[str, str]:
        """What was found, in a few words each."""
        counts = {"groups": f"{len(self.members):,}"}
        counts |= {kind: _counted(count, "pair") for kind, count in self.kinds.items()}
        if not self.near_duplicates:
            counts["same photo"] = "not searched"
        counts["leaks"] = f"{_counted(len(self.leaks.groups), 'group')} in more than one split"
        counts["labels"] = f"{_counted(len(self.conflicts), 'photo')} with conflicting labels"
        counts["unreadable"] = _counted(len(self.files.bad), "file")
        return counts

    @property
    def deep(self) -> bool:
        """Whether there are images with more than 8 bits per channel."""
        return self.manifest.extremes is not None

    @property
    def groups(self) -> tuple[int, ...]:
        """The number of the group of each image."""
        return self.grouping.groups

    @cached_property
    def members(self) -> dict[int, list[int]]:
        """The rows of each group."""
        members = defaultdict(list)
        for row, group in enumerate(self.groups):
            members[group].append(row)
        return dict(members)

    @cached_property
    def shortcuts(self) -> list[Shortcut]:
        """Properties of the files that predict the class or a label; computed on first access, in seconds."""
        sides = self.manifest.table[["width", "height"]].to_numpy()
        groups = np.array(self.groups, dtype=np.int64)
        targets = self.manifest.targets()
        if self.manifest.task == MULTILABEL:
            return find_label_shortcuts(self.metadata, sides, targets, groups, self.manifest.classes)
        return find_shortcuts(self.metadata, sides, targets, groups)

    @cached_property
    def name_pattern(self) -> NamePattern | None:
        """A pattern of the file names that looks like groups, if the user defined none."""
        table = self.manifest.table
        if table["group"].any():
            return None
        return propose_pattern(table["path"].tolist(), table["label"].tolist())

    @property
    def kinds(self) -> dict[str, int]:
        """Number of pairs of each kind, from the most to the least certain."""
        counts = Counter(pair.kind for pair in self.pairs)
        return {kind: counts[kind] for kind in KINDS}

    def grouped(self) -> Manifest:
        """The manifest with groups and photos in its columns; "" for an image without near-duplicates.

        A group keeps the name of the user; a group that joins several of these has all of their names. Other
        names come from the content of the files, so that they, and the split, stay when images are added.
        """
        table = self.manifest.table
        hashes = table["sha256"].tolist()
        return self.manifest.with_columns(
            group=_names(self.groups, table["group"].tolist(), hashes),
            photo=_names(self.same_photo, table["photo"].tolist(), hashes),
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
    unreadable: Sequence[UnreadableFile] = (),
    near_duplicates: bool | None = None,
    max_pixels: int = MAX_PIXELS,
    cache: Path | None = None,
    decisions: Sequence[Path] = (),
    progress: Callable[[str], Progress | None] | None = None,
) -> Audit:
    """Inspect files, find near-duplicates, group them, and collect the findings.

    Args:
        manifest: the readable images, as ``check_files`` returns them, with the user's groups and splits.
        unreadable: the files that ``check_files`` left out, for the report.
        near_duplicates: run pass 3, which finds cropped, rotated, and recolored copies; by default for up to
            ``NEAR_DUPLICATES_UP_TO`` images.
        max_pixels: larger images are refused.
        cache: folder that remembers results by the content of the files.
        decisions: files with review decisions, see ``read_decisions``.
        progress: called with the name of a stage; returns the callback for its progress.

    Raises:
        ExciteError: if the images are not checked, or if decisions cannot be read or contradict each other.
    """
    if (manifest.table["sha256"] == "").any():
        raise ExciteError("only checked images can be audited", hint="call check_files first")
    # An error in the decisions is reported before the long passes begin.
    read = [decision for file in decisions for decision in read_decisions(file)]
    images, metadata, files = inspect_files(manifest, unreadable, cache=cache, progress=progress)
    decided = resolve(read, images)
    near_duplicates = len(images) <= NEAR_DUPLICATES_UP_TO if near_duplicates is None else near_duplicates
    pairs: list[Pair] = []
    if len(images) > 1:
        pairs = find_pairs(
            images, near_duplicates=near_duplicates, max_pixels=max_pixels, cache=cache, progress=progress
        )
    known = images.table["group"].tolist()
    accepted = {*decided.accepted, *_same_photo_pairs(images.table["photo"].tolist())}
    join = partial(group_images, len(images), pairs, cannot_link=decided.rejected, must_link=accepted)
    grouping = join(known=known if any(known) else None)
    # Two photos of one patient may have two labels; one photo may not.
    photos = join() if any(known) else grouping
    labels = images.table["label"].tolist()
    values = images.targets() if images.task == MULTILABEL else None
    return Audit(
        manifest=images,
        files=files,
        metadata=metadata,
        near_duplicates=near_duplicates,
        pairs=tuple(pairs),
        grouping=grouping,
        same_photo=photos.groups,
        decisions=decided,
        leaks=find_leaks(images.table["split"].tolist(), grouping.groups),
        conflicts=tuple(label_conflicts(labels, photos.groups, values)),
    )


def _counted(count: int, one: str) -> str:
    return f"{count:,} {one}{'' if count == 1 else 's'}"


def _names(numbers: Sequence[int], given: Sequence[str], hashes: Sequence[str]) -> list[str]:
    """The name of the group of each image; "" for a group of one image."""
    members = defaultdict(list)
    for row, number in enumerate(numbers):
        members[number].append(row)
    taken = set(given)
    names = [""] * len(numbers)
    for rows in members.values():
        known = sorted({given[row] for row in rows if given[row]})
        name = "+".join(known)
        if not known and len(rows) > 1:
            name = f"{DUPLICATES}{min(hashes[row] for row in rows)[:12]}"
        while name and name not in known and name in taken:
            name += "'"
        taken.add(name)
        for row in rows:
            names[row] = name
    return names


def _same_photo_pairs(photos: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Each image with the previous one of the same photo, as the column ``photo`` names them."""
    last: dict[str, int] = {}
    for row, name in enumerate(photos):
        if name and name in last:
            yield last[name], row
        last[name] = row


def decision_files(folder: Path, named: Path | None = None) -> list[Path]:
    """The files with review decisions: the one of the user, and that of an earlier audit in the folder.

    The latter is rewritten after the audit, so it is always read, and no decision is lost.
    """
    own = folder / "decisions.csv"
    files = [] if named is None else [named]
    if own.exists() and not (named is not None and named.exists() and named.samefile(own)):
        files.append(own)
    return files
