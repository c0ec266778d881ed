"""Pass 1 of the audit: files that are bad, tiny, near-constant or misnamed; class counts, sizes, modes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from excite.audit.file_metadata import FileMetadata, collect_metadata
from excite.config.pixel_limit import MAX_PIXELS
from excite.data.file_validation import UnreadableFile, check_files
from excite.data.manifest import LeftOut, Manifest
from excite.system.parallel import Progress

TINY = 32
"""Short side in pixels under which little can be seen; less where most of a set is small."""

ASPECT = 4.0
"""Ratio of the sides above which a crop to a square shows a small part of the picture."""

SPREAD = 4.0
"""Standard deviation of the pixel values, of 255, under which a picture is near-constant: a covered lens with
JPEG's noise stays under 3."""

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WebP": (".webp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "JPEG 2000": (".jp2", ".j2k", ".jpx"),
}
_PROMISED = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes}


@dataclass(frozen=True)
class OddFile:
    """A file that can be read and yet deserves a look.

    Args:
        kind: tiny, extreme aspect, near-constant or wrong extension.
    """

    path: str
    kind: str
    detail: str


@dataclass(frozen=True)
class FileFindings:
    """What pass 1 found.

    Args:
        bad: files that are no usable picture; they are left out of everything else.
        classes: images per class; ``splits`` holds the same for each split.
        sizes: ``distinct`` and the smallest, median and largest ``width`` and ``height``.
        gray: images without color.
        left_out: files among the images that are not of the data set.
    """

    bad: tuple[UnreadableFile, ...]
    odd: tuple[OddFile, ...]
    classes: dict[str, int]
    splits: dict[str, dict[str, int]]
    sizes: dict[str, Any]
    formats: dict[str, int]
    modes: dict[str, int]
    gray: int
    left_out: tuple[LeftOut, ...]

    @property
    def imbalance(self) -> float:
        """Images of the largest class for each of the smallest; 0 where a class has none."""
        least = min(self.classes.values(), default=0)
        return max(self.classes.values()) / least if least else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "bad": [
                {"path": f.path, "kind": unreadable_kind(f.reason), "reason": f.reason} for f in self.bad
            ],
            "odd": [{"path": f.path, "kind": f.kind, "detail": f.detail} for f in self.odd],
            "classes": self.classes,
            "imbalance": round(self.imbalance, 3),
            "splits": self.splits,
            "sizes": self.sizes,
            "formats": self.formats,
            "color_modes": self.modes,
            "without_color": self.gray,
            "ignored": sum(files.count for files in self.left_out),
            "left_out": [asdict(files) for files in self.left_out],
        }


def inspect_files(
    manifest: Manifest,
    *,
    max_pixels: int = MAX_PIXELS,
    cache: Path | None = None,
    progress: Callable[[str], Progress | None] | None = None,
) -> tuple[Manifest, tuple[FileMetadata, ...], FileFindings]:
    """The manifest of the good files with hash and size, the facts of each, and what is to be said of all.

    Args:
        cache: what was read is remembered here, by content.
        progress: called with a stage's name, gives what takes its progress.
    """

    def stage(name: str) -> Progress | None:
        return None if progress is None or not len(manifest) else progress(name)

    kept, bad = check_files(
        manifest, max_pixels=max_pixels, cache=cache, progress=stage("checking images"), complete=False
    )
    if manifest.intensity_range is not None:
        kept = replace(kept, intensity_range=manifest.intensity_range)
    found = collect_metadata(kept, cache=cache, progress=stage("reading headers") if len(kept) else None)
    lost = [
        UnreadableFile(path, "changed while it was read")
        for path, fact in zip(kept.table["path"], found, strict=True)
        if fact is None
    ]
    kept = replace(kept, table=kept.table[np.array([fact is not None for fact in found], dtype=bool)])
    facts = tuple(fact for fact in found if fact is not None)
    findings = FileFindings(
        bad=(*bad, *lost),
        odd=tuple(_odd_files(kept, facts)),
        classes=kept.counts(),
        splits={split: kept.part(split).counts() for split in kept.splits},
        sizes=_sizes(kept),
        formats=_counted(fact.format for fact in facts),
        modes=_counted(fact.mode for fact in facts),
        gray=sum(fact.gray for fact in facts),
        left_out=manifest.left_out,
    )
    return kept, facts, findings


def unreadable_kind(reason: str) -> str:
    """What a reason of ``check_files`` comes down to: empty, truncated, wrong type, too large, unreadable."""
    kinds = {
        "empty": ("is empty", "has no pixels"),
        "truncated": ("is truncated",),
        "too large": ("is too large", "does not fit"),
        "unreadable": ("is damaged", "cannot be read", "there is no"),
        "wrong type": ("is ",),
    }
    return next((kind for kind, starts in kinds.items() if reason.startswith(starts)), "unreadable")


def _odd_files(manifest: Manifest, facts: Sequence[FileMetadata]) -> list[OddFile]:
    """Tiny and extreme are judged beside the rest of the set: 8 x 8 digits are all as they should be."""
    sides = manifest.table[["width", "height"]].to_numpy()
    if not len(sides):
        return []
    short, ratio = sides.min(axis=1), sides.max(axis=1) / sides.min(axis=1)
    tiny, extreme = min(TINY, np.median(short) / 2), max(ASPECT, 2 * np.median(ratio))
    found = []
    for path, (width, height), fact in zip(manifest.table["path"], sides.tolist(), facts, strict=True):
        size = f"{width} x {height} pixels"
        if min(width, height) < tiny:
            found.append(OddFile(path, "tiny", size))
        if max(width, height) / min(width, height) > extreme:
            found.append(OddFile(path, "extreme aspect", size))
        if fact.spread < SPREAD:
            detail = f"its pixels differ by {fact.spread:.1f} of 255 (standard deviation)"
            found.append(OddFile(path, "near-constant", detail))
        suffix = PurePath(path).suffix.lower()
        if fact.format and _PROMISED.get(suffix, fact.format) != fact.format:
            found.append(OddFile(path, "wrong extension", f"is {fact.format}, named {suffix}"))
    return found


def _sizes(manifest: Manifest) -> dict[str, Any]:
    sides = manifest.table[["width", "height"]].to_numpy()
    if not len(sides):
        return {"distinct": 0}
    found: dict[str, Any] = {"distinct": len(np.unique(sides, axis=0))}
    for column, name in enumerate(("width", "height")):
        values = sides[:, column]
        found[name] = [int(values.min()), int(np.median(values)), int(values.max())]
    return found


def _counted(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())
