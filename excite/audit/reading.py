"""Read data for an audit: a data set as for training, or a folder of images without classes."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from excite.data.archives import is_archive, unpack
from excite.data.folders import is_image_name, list_folder, without_image_names
from excite.data.left_out import LeftOut
from excite.data.manifest import Manifest
from excite.data.paths import absolute_path, path_on_disk
from excite.data.reading import read_manifest, refuse_cache_inside
from excite.data.split import apply_group_pattern
from excite.errors import require_utf8
from excite.system.cache import cache_directory


def read_images(source: str | Path, *, group_pattern: str | None = None, **columns: str) -> Manifest:
    """The images of a data set, which need not be complete.

    Args:
        source: as for ``read_manifest``, or a folder that contains only images, which then have no label.
        group_pattern: takes groups from the file names, see ``apply_group_pattern``.
        columns: names of the columns of a CSV, see ``read_manifest``.

    Raises:
        ExciteError: with the problem of the source, its place, and what to do.
    """
    place = path_on_disk(absolute_path(os.path.expanduser(source)))  # noqa: PTH111
    left_out: tuple[LeftOut, ...] = ()
    if is_archive(place):
        unpacked = unpack(place, cache_directory())
        place, left_out = unpacked.folder, unpacked.left_out
    manifest = _flat(place, left_out)
    if manifest is None:
        manifest = read_manifest(source, complete=False, **columns)
    if group_pattern is not None:
        manifest = apply_group_pattern(manifest, group_pattern)
    return manifest


def _flat(folder: Path, left_out: tuple[LeftOut, ...]) -> Manifest | None:
    """The images of a folder without subfolders; None for anything else.

    Args:
        left_out: files that were left out already.
    """
    if not folder.is_dir():
        return None
    require_utf8(folder)
    folders, files = list_folder(folder)
    images = [str(file) for file in files if is_image_name(file)]
    if folders or not images:
        return None
    refuse_cache_inside(folder)
    others = [str(file) for file in files if not is_image_name(file)]
    table = pd.DataFrame({"path": images, "label": ""})
    return Manifest(table, ("",), (*without_image_names(others), *left_out))
