"""Whether images may show people, whose pictures do not belong on a page without being asked for."""

from __future__ import annotations

from excite.audit.name_patterns import propose_pattern
from excite.data.group_columns import group_columns
from excite.data.manifest import Manifest


def may_show_people(manifest: Manifest) -> bool:
    """Whether the images have groups that the user defined, or columns or file names that look like groups.

    Groups are usually patients or other people. This is the default of ``--thumbnails`` for all pages and
    figures: without such groups they show images.
    """
    if manifest.has_named_groups or group_columns(manifest):
        return True
    table = manifest.table
    return propose_pattern(table["path"].tolist(), table["label"].tolist()) is not None
