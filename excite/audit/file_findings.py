"""Pass 1 of the audit: unusual files, and counts of classes, sizes, formats, and color modes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from excite.audit.file_metadata import FileMetadata, collect_metadata
from excite.data.file_validation import UnreadableFile
from excite.data.left_out import LeftOut
from excite.data.manifest import Manifest
from excite.system.parallel import Progress

TINY = 32
"""Short side in pixels below which an image is tiny; less if most images of the data set are small."""

ASPECT = 4.0
"""Ratio of the sides above which a square crop shows only a small part of the image."""

MIN_STD = 4.0
"""Standard deviation of the pixel values (0 to 255) below which an image is near-constant; a covered lens
with JPEG noise stays below 3."""

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
class UnusualFile:
    """A readable file that should be reviewed.

    Args:
        kind: tiny, extreme aspect, near-constant, or wrong extension.
    """

    path: str
    kind: str
    detail: str


@dataclass(frozen=True)
class FileFindings:
    """The findings of pass 1.

    Args:
        bad: unreadable files, which are left out.
        odd: readable files that should be reviewed.
        classes: number of images per class.
        splits: the same for each split.
        sizes: number of ``distinct`` sizes; smallest, median, and largest ``width`` and ``height``.
        formats, modes: number of images per file format and color mode.
        gray: number of images without color.
        left_out: files among the images that do not belong to the data set.
    """

    bad: tuple[UnreadableFile, ...]
    odd: tuple[UnusualFile, ...]
    classes: dict[str, int]
    splits: dict[str, dict[str, int]]
    sizes: dict[str, Any]
    formats: dict[str, int]
    modes: dict[str, int]
    gray: int
    left_out: tuple[LeftOut, ...]

    @property
    def imbalance(self) -> float:
        """Images of the largest class per image of the smallest; 0 if a class has none."""
        least = min(self.classes.values(), default=0)
        return max(self.classes.values()) / least if least else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The findings as ``files`` of ``audit.json``."""
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
    unreadable: Sequence[UnreadableFile] = (),
    *,
    cache: Path | None = None,
    progress: Callable[[str], Progress | None] | None = None,
) -> tuple[Manifest, tuple[FileMetadata, ...], FileFindings]:
    """The manifest, the metadata of each file, and the findings.

    A file that changes between the check and this pass is left out of the manifest, and listed as unreadable.

    Args:
        manifest: the readable images, as ``check_files`` returns them.
        unreadable: the files that ``check_files`` left out.
        cache: folder that remembers metadata by the content of the files.
        progress: called with the name of a stage; returns the callback for its progress.
    """
    stage = progress("reading headers") if progress is not None and len(manifest) else None
    collected = collect_metadata(manifest, cache=cache, progress=stage)
    changed = [
        UnreadableFile(path, "changed while it was read")
        for path, metadata in zip(manifest.table["path"].tolist(), collected, strict=True)
        if metadata is None
    ]
    unchanged = np.array([metadata is not None for metadata in collected], dtype=bool)
    images = replace(manifest, table=manifest.table[unchanged])
    files = tuple(metadata for metadata in collected if metadata is not None)
    findings = FileFindings(
        bad=(*unreadable, *changed),
        odd=tuple(_unusual_files(images, files)),
        classes=images.counts(),
        splits={split: images.part(split).counts() for split in images.splits},
        sizes=_sizes(images),
        formats=_counted(metadata.format for metadata in files),
        modes=_counted(metadata.mode for metadata in files),
        gray=sum(metadata.gray for metadata in files),
        left_out=manifest.left_out,
    )
    return images, files, findings


def unreadable_kind(reason: str) -> str:
    """The kind of an unreadable file: empty, truncated, wrong type, too large, or unreadable."""
    kinds = {
        "empty": ("is empty", "has no pixels"),
        "truncated": ("is truncated",),
        "too large": ("is too large", "does not fit"),
        "unreadable": ("is damaged", "cannot be read", "there is no"),
        "wrong type": ("is ",),
    }
    return next((kind for kind, starts in kinds.items() if reason.startswith(starts)), "unreadable")


def _unusual_files(manifest: Manifest, facts: Sequence[FileMetadata]) -> list[UnusualFile]:
    """Unusual files. Limits of size and aspect adapt to the data set: among 8 x 8 digits, none is tiny."""
    sides = manifest.table[["width", "height"]].to_numpy()
    if not len(sides):
        return []
    short, ratio = sides.min(axis=1), sides.max(axis=1) / sides.min(axis=1)
    tiny, extreme = min(TINY, np.median(short) / 2), max(ASPECT, 2 * np.median(ratio))
    found = []
    for path, (width, height), fact in zip(
        manifest.table["path"].tolist(), sides.tolist(), facts, strict=True
    ):
        size = f"{width} x {height} pixels"
        if min(width, height) < tiny:
            found.append(UnusualFile(path, "tiny", size))
        if max(width, height) / min(width, height) > extreme:
            found.append(UnusualFile(path, "extreme aspect", size))
        if fact.std < MIN_STD:
            detail = f"its pixels differ by {fact.std:.1f} of 255 (standard deviation)"
            found.append(UnusualFile(path, "near-constant", detail))
        suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 (twenty times as fast)
        if fact.format and _PROMISED.get(suffix, fact.format) != fact.format:
            found.append(UnusualFile(path, "wrong extension", f"is {fact.format}, named {suffix}"))
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
