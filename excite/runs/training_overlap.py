"""Images of other data that the training has seen: the same files, or other copies of the same photos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from excite.audit.audit import PHOTOS_UP_TO
from excite.audit.duplicates.cross_pairs import find_cross_pairs
from excite.audit.duplicates.grouping import BITS_FOR_ONE, bits
from excite.audit.duplicates.pair import KINDS, Pair
from excite.audit.leaks import count_near_duplicates
from excite.data.manifest import Manifest
from excite.runs.derive import intensity_range_of
from excite.runs.run import Run
from excite.system.cache import cache_directory
from excite.system.progress import Display


@dataclass(frozen=True)
class SeenImage:
    """An image of other data and what the training has seen of it.

    Args:
        row: of the data's manifest.
        path: of the image.
        counterpart: path of the training or validation image that shows the same photo.
        kind, evidence, confidence: of the pair, as in ``audit.json``.
    """

    row: int
    path: str
    counterpart: str
    kind: str
    evidence: str
    confidence: float

    def to_dict(self) -> dict[str, str | float]:
        """The entry of ``seen_images`` in ``metrics.json``, and the row of ``seen_in_training.csv``."""
        return {
            "path": self.path,
            "counterpart": self.counterpart,
            "kind": self.kind,
            "evidence": self.evidence,
            "confidence": round(self.confidence, 4),
        }


def seen_in_training(run: Run, images: Manifest, display: Display) -> list[SeenImage]:
    """The images that have a copy among those that the run was trained or tuned with, by row.

    A training image whose file is gone or has changed is compared by content alone, unless the cache still
    knows what it looked like.

    Args:
        images: checked images.
    """
    manifest = run.manifest
    used = manifest  # of a cross-validation: all but one of the networks of a repeat have seen any image
    if run.config.folds is None:
        table = manifest.table
        used = replace(manifest, table=table[table["split"].isin(["train", "val"])])
    near_duplicates = run.config.near_duplicates
    range_ = intensity_range_of(run.config)
    found = find_cross_pairs(
        replace(used, intensity_range=range_),
        replace(images, intensity_range=range_, extremes=None),
        near_duplicates=len(used) + len(images) <= PHOTOS_UP_TO
        if near_duplicates is None
        else near_duplicates,
        max_pixels=run.config.max_pixels,
        cache=cache_directory(),
        progress=display.stage,
    )
    if found.missing:
        text = f"{found.missing} of {len(used)} training images are gone or have changed"
        display.note(f"{text}: only exact copies of them can be found")
    counterparts = _counterparts(found.pairs, used.photo_codes().tolist())
    paths, known = images.table["path"].tolist(), used.table["path"].tolist()
    return [
        SeenImage(row, paths[row], known[pair.a], pair.kind, pair.evidence, pair.confidence)
        for row, pair in sorted(counterparts.items())
    ]


def _counterparts(pairs: Sequence[Pair], near_duplicates: Sequence[int]) -> dict[int, Pair]:
    """The surest pair of each image that shows a known photo: one file, or enough evidence in all its pairs.

    Args:
        photos: the number of the photo of each known image.
    """
    by_photo: dict[int, dict[int, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        by_photo[pair.b][near_duplicates[pair.a]].append(pair)
    found = {}
    for row, candidates in by_photo.items():
        enough = [pair for rows in candidates.values() if _is_enough(rows) for pair in rows]
        if enough:
            found[row] = min(enough, key=lambda pair: (KINDS.index(pair.kind), -pair.confidence, pair.a))
    return found


def _is_enough(pairs: Sequence[Pair]) -> bool:
    identical = any(pair.kind == KINDS[0] for pair in pairs)
    return identical or sum(bits(pair.confidence) for pair in pairs) >= BITS_FOR_ONE


def duplicates_in_train(manifest: Manifest, split: str) -> int:
    """How many images of a split have a sibling, of the same group, among the training images."""
    if split == "train" or "train" not in manifest.splits:
        return 0
    codes = [int(code) for code in manifest.group_codes()]
    return count_near_duplicates(manifest.table["split"].tolist(), codes, of=split)
