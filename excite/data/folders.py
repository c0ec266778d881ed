"""The images of a folder: one walk for training, evaluation, audit and prediction."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from excite.data.decoding import IMAGE_SUFFIXES
from excite.data.left_out import LeftOut
from excite.errors import ExciteError, require_utf8

CLUTTER = frozenset(("__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"))


@dataclass
class FolderFiles:
    """Files below a folder.

    Args:
        images: paths of the files with the extension of an image.
        others: paths of the other files.
    """

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def find_images(folder: Path, *, entered: set[str] | None = None, any_name: bool = False) -> FolderFiles:
    """All files below a folder, sorted. Links to folders are followed, without endless loops.

    Args:
        entered: real paths of folders to skip; the folders of this walk are added.
        any_name: accept names that are not UTF-8.

    Raises:
        ExciteError: for a folder that cannot be read, or a name that is not UTF-8.
    """
    entered = set() if entered is None else entered
    found, waiting = FolderFiles(), [folder]
    while waiting:
        place = waiting.pop()
        real = os.path.realpath(place)
        if real in entered:  # a link that leads back
            continue
        entered.add(real)
        folders, files = list_folder(place, any_name=any_name)
        waiting += folders
        for file in files:
            (found.images if is_image_name(file) else found.others).append(str(file))
    return FolderFiles(sorted(found.images), sorted(found.others))


def list_folder(folder: Path, *, any_name: bool = False) -> tuple[list[Path], list[Path]]:
    """The folders and the files in a folder, each sorted by name, without hidden ones and system files.

    Raises:
        ExciteError: as ``find_images``.
    """
    try:
        with os.scandir(folder) as entries:
            visible = [e for e in entries if not e.name.startswith(".") and e.name not in CLUTTER]
    except OSError as error:
        raise ExciteError(
            f"the folder cannot be read: {(error.strerror or '').lower()}", where=folder
        ) from error
    folders: list[Path] = []
    files: list[Path] = []
    for entry in sorted(visible, key=lambda entry: entry.name):
        path = folder / entry.name
        if not any_name:
            require_utf8(folder / entry.name)
        # Path.is_dir, unlike DirEntry.is_dir, does not raise for a link to itself.
        if path.is_dir() if entry.is_symlink() else entry.is_dir():
            folders.append(path)
        elif entry.is_symlink() or entry.is_file():  # not a pipe or a socket, which would never end
            files.append(path)
    return folders, files


def is_image_name(file: Path) -> bool:
    """Whether a file has the extension of an image."""
    return file.suffix.lower() in IMAGE_SUFFIXES


def without_image_names(files: list[str]) -> tuple[LeftOut, ...]:
    """The report of files without the extension of an image; empty if there are none."""
    if not files:
        return ()
    verb = "it does" if len(files) == 1 else "they do"
    return (LeftOut(len(files), f"{verb} not have the extension of an image", files[0]),)


def beside_class_folders(files: list[str]) -> tuple[LeftOut, ...]:
    """The report of images beside class folders; empty if there are none."""
    if not files:
        return ()
    verb = "it is" if len(files) == 1 else "they are"
    return (LeftOut(len(files), f"{verb} outside the class folders", files[0]),)
