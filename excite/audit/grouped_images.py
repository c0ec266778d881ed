"""The readable images of a data set with their groups, for splitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from excite.audit.audit import Audit, audit
from excite.audit.reading import read_images
from excite.config.pixel_limit import MAX_PIXELS
from excite.data.extension import with_earlier_groups
from excite.data.file_validation import read_checked
from excite.data.group_columns import group_columns_text
from excite.data.manifest import Manifest
from excite.data.paths import refuse_inside_data
from excite.system.cache import cache_directory
from excite.system.progress import Display


@dataclass(frozen=True)
class GroupingOptions:
    """How images are read and grouped.

    Args:
        columns: ``path_column``, ``label_column``, and ``group_column`` of a CSV.
        group_pattern: regular expression on the file name; its first capture group is the group.
        group_duplicates: join near-duplicates.
        near_duplicates: find cropped, rotated, and recolored copies, too; None: for up to 20,000 images.
        decisions: files with review decisions.
        max_unreadable: the largest fraction of unreadable files.
        max_pixels: larger images are unreadable.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    group_pattern: str | None = None
    group_duplicates: bool = True
    near_duplicates: bool | None = None
    decisions: Sequence[Path] = ()
    max_unreadable: float = 0.01
    max_pixels: int = MAX_PIXELS


def grouped_images(
    data: str | Path,
    options: GroupingOptions,
    display: Display,
    *,
    out: Path | None = None,
    earlier: Manifest | None = None,
) -> tuple[Manifest, Audit | None]:
    """The readable images with the groups of the user, of an earlier manifest, and of near-duplicates.

    Args:
        data: as for ``train``; a split in it is ignored.
        out: a file that will be written, which must not be among the images.
        earlier: a manifest whose groups are kept.

    Returns:
        the images, and the audit if near-duplicates were joined.

    Raises:
        ExciteError: for data that cannot be read, and an ``out`` among the images.
    """
    if out is not None:
        refuse_inside_data(out, str(data))
    manifest = read_images(data, **options.columns).with_columns(split="")
    if out is not None:
        refuse_inside_data(out, str(data), manifest.table["path"])
    cache = cache_directory()
    images, unreadable = read_checked(
        manifest,
        max_unreadable=options.max_unreadable,
        max_pixels=options.max_pixels,
        cache=cache,
        display=display,
        group_pattern=options.group_pattern,
        complete=False,
    )
    if text := group_columns_text(images):
        display.note(text)
    if earlier is not None:
        images = with_earlier_groups(images, earlier)
    if not options.group_duplicates:
        return images, None
    audited = audit(
        images,
        unreadable=unreadable,
        near_duplicates=options.near_duplicates,
        max_pixels=options.max_pixels,
        cache=cache,
        decisions=options.decisions,
        progress=display.stage,
    )
    return audited.grouped(), audited
