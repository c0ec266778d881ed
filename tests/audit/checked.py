"""The audit, and its first pass, of a manifest whose files have not been checked yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from excite.audit import audit as audit_module
from excite.audit.audit import Audit
from excite.audit.file_findings import FileFindings, inspect_files
from excite.audit.file_metadata import FileMetadata
from excite.config.pixel_limit import MAX_PIXELS
from excite.data.file_validation import check_files
from excite.data.manifest import Manifest
from excite.data.reading import read_manifest


def checked(folder: Path) -> Manifest:
    """The images of a folder, with the files checked."""
    return check_files(read_manifest(folder, complete=False), complete=False)[0]


def audit(manifest: Manifest, *, cache: Path | None = None, **options: Any) -> Audit:
    images, unreadable = check_files(manifest, cache=cache, complete=False)
    return audit_module.audit(images, unreadable=unreadable, cache=cache, **options)


def inspect(
    manifest: Manifest, *, max_pixels: int = MAX_PIXELS, cache: Path | None = None
) -> tuple[Manifest, tuple[FileMetadata, ...], FileFindings]:
    images, unreadable = check_files(manifest, max_pixels=max_pixels, cache=cache, complete=False)
    return inspect_files(images, unreadable, cache=cache)
