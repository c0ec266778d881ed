"""Data for an audit: as for a training, and a folder of images without classes too."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from excite.data.decoding import IMAGE_SUFFIXES
from excite.data.manifest import Manifest
from excite.data.reading import read_manifest
from excite.data.split import apply_group_pattern
from excite.errors import require_utf8


def read_images(source: str | Path, *, group_pattern: str | None = None, **columns: str) -> Manifest:
    """The images of a data set to look through; unlike for a training, nothing need be complete.

    Args:
        source: as ``read_manifest`` takes it, or a folder that holds nothing but images: they have no label.
        group_pattern: takes the groups from the file names, see ``apply_group_pattern``.
        columns: what a CSV calls its columns, see ``read_manifest``.

    Raises:
        ExciteError: what is wrong with the source, where, and how to put it right.
    """
    require_utf8(Path(source))
    manifest = _flat(Path(source))
    if manifest is None:
        manifest = read_manifest(source, complete=False, **columns)
    if group_pattern is not None:
        manifest = apply_group_pattern(manifest, group_pattern)
    return manifest


def _flat(folder: Path) -> Manifest | None:
    """A folder with images and no folders in it; None for anything else."""
    folder = Path(os.path.normpath(folder.expanduser().absolute()))
    if not folder.is_dir():
        return None
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    images = sorted(str(path) for path in visible if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images or any(path.is_dir() for path in visible):
        return None
    for path in images:
        require_utf8(Path(path))
    table = pd.DataFrame({"path": images, "label": ""})
    return Manifest(table, ("",), ignored=len(visible) - len(images))
