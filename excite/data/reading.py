"""Data as people keep it, class folders, train/val/test folders or a CSV file, read into a manifest."""

from __future__ import annotations

import difflib
import os
import stat
from pathlib import Path

import pandas as pd

from excite.data.cache import cache_directory
from excite.data.csv_reading import ROLES, read_csv
from excite.data.decoding import IMAGE_SUFFIXES
from excite.data.digits import digits_folder
from excite.data.manifest import SPLIT_NAMES, Manifest, check_classes
from excite.errors import BAD_USAGE, ExciteError, require_utf8

DIGITS = "digits"
_CLUTTER = frozenset(("__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"))
_ARRANGE = "put the images of each class into a folder of their own: <folder>/<class>/<image>"


def read_manifest(
    source: str | Path,
    *,
    path_column: str = "path",
    label_column: str = "label",
    group_column: str = "group",
    split_column: str = "split",
    complete: bool = True,
) -> Manifest:
    """The images of a folder, a CSV file, or the built-in ``"digits"``, in an order that is always the same.

    A folder holds class folders, or train, val and test folders that hold class folders. A CSV file has a
    path and a label column; paths are absolute or start at the CSV's own folder. Image files are neither
    opened nor looked for here; ``check_files`` does that.

    Args:
        path_column, label_column, group_column, split_column: what the CSV calls them.
        complete: refuse data that cannot be trained on, as ``check_classes`` does.

    Raises:
        ExciteError: what is wrong with the source, where, and how to put it right.
    """
    columns = dict(zip(ROLES, (path_column, label_column, group_column, split_column), strict=True))
    if source == DIGITS:
        place = digits_folder(cache_directory())
    else:
        place = Path(os.path.normpath(Path(source).expanduser().absolute()))
    require_utf8(place)
    try:
        is_folder = stat.S_ISDIR(place.stat().st_mode)
    except FileNotFoundError as error:
        raise _no_such_place(source, place) from error
    except OSError as error:
        raise ExciteError(f"cannot be read: {(error.strerror or '').lower()}", where=place) from error
    if is_folder:
        renamed = [name for role, name in columns.items() if name != role]
        if renamed:
            what = f"column {renamed[0]!r} was named, but the data is a folder, not a CSV file"
            raise ExciteError(what, where=place, exit_code=BAD_USAGE)
        manifest = _read_folder(place)
    elif place.suffix.lower() in IMAGE_SUFFIXES:
        hint = "name the folder that holds the class folders; one picture is for `excite predict`"
        raise ExciteError("is a single image, not a data set", where=place, hint=hint, exit_code=BAD_USAGE)
    else:
        manifest = read_csv(place, columns)
    if complete:
        check_classes(manifest, where=place)
    return manifest


def _no_such_place(source: str | Path, place: Path) -> ExciteError:
    try:
        siblings = [entry.name for entry in place.parent.iterdir()]
    except OSError:
        siblings = []
    near = difflib.get_close_matches(place.name, [*siblings, DIGITS], n=1)
    offer = None
    if near:
        is_digits = near[0] == DIGITS and DIGITS not in siblings
        offer = f"did you mean {DIGITS if is_digits else str(place.with_name(near[0]))!r}?"
    return ExciteError("there is no such file or folder", where=source, hint=offer, exit_code=BAD_USAGE)


def _read_folder(root: Path) -> Manifest:
    folders, files = _listed(root)
    if not folders:
        raise _no_class_folders(root, files)
    splits = {folder: SPLIT_NAMES.get(folder.name.casefold(), "") for folder in folders}
    named = [split for split in splits.values() if split]
    # A class may be called "train", beside "plane" and "ship": then it holds images, not class folders.
    is_split = len(named) == len(folders) or (
        "train" in named and len(named) > 1 and all(_listed(f)[0] for f, split in splits.items() if split)
    )
    if not is_split:
        rows, other = _class_rows(folders, "", {str(root.resolve())})
        return _manifest(rows, other + len(files))
    if len(set(named)) < len(named):
        twice = [folder.name for folder, split in splits.items() if named.count(split) > 1]
        raise ExciteError(f"folders {' and '.join(map(repr, twice))} mean the same split", where=root)
    rows, ignored = [], len(files)
    for folder, split in splits.items():
        seen = {str(root.resolve())}
        classes, direct = _listed(folder)
        if not split:
            images, other = _images(folder, seen)
            direct = []
            if images:
                what = f"folder {folder.name!r} holds images but is none of train, val and test"
                raise ExciteError(what, where=root, hint="move it elsewhere")
        elif not classes:
            raise _no_class_folders(folder, direct)
        else:
            found, other = _class_rows(classes, split, {*seen, str(folder.resolve())})
            rows += found
        ignored += other + len(direct)
    return _manifest(rows, ignored)


def _no_class_folders(folder: Path, files: list[Path]) -> ExciteError:
    images = sum(file.suffix.lower() in IMAGE_SUFFIXES for file in files)
    if images:
        return ExciteError(
            f"{images} images lie in the folder itself, without a class", where=folder, hint=_ARRANGE
        )
    tables = [file for file in files if file.suffix.lower() == ".csv"]
    hint = f"to read a CSV file name it: {tables[0]}" if tables else _ARRANGE
    what = f"the folder holds no images, only {len(files)} other files" if files else "the folder is empty"
    return ExciteError(what, where=folder, hint=hint)


def _class_rows(folders: list[Path], split: str, seen: set[str]) -> tuple[list[tuple[str, str, str]], int]:
    """(path, label, split) of every image, and the number of other files."""
    rows, ignored = [], 0
    for folder in folders:
        images, other = _images(folder, set(seen))
        if not images:
            beside = f", only {other} other files" if other else ""
            hint = "remove it, or move it elsewhere, or add images"
            raise ExciteError(f"the class folder holds no images{beside}", where=folder, hint=hint)
        rows += [(path, folder.name, split) for path in images]
        ignored += other
    return rows, ignored


def _manifest(rows: list[tuple[str, str, str]], ignored: int) -> Manifest:
    table = pd.DataFrame(rows, columns=["path", "label", "split"])
    return Manifest(table, tuple(sorted(set(table["label"]))), ignored)


def _images(folder: Path, seen: set[str]) -> tuple[list[str], int]:
    """Image files below a folder, sorted, and the number of other files; no folder in ``seen`` is entered."""
    images, ignored, waiting = [], 0, [folder]
    while waiting:
        place = waiting.pop()
        real = str(place.resolve())
        if real in seen:  # a link that leads back
            continue
        seen.add(real)
        folders, files = _listed(place)
        waiting += folders
        found = [str(file) for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        images += found
        ignored += len(files) - len(found)
    return sorted(images), ignored


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the files in a folder, each sorted by name; hidden ones and clutter left out."""
    try:
        with os.scandir(folder) as entries:
            visible = [e for e in entries if not e.name.startswith(".") and e.name not in _CLUTTER]
    except OSError as error:
        raise ExciteError(
            f"the folder cannot be read: {(error.strerror or '').lower()}", where=folder
        ) from error
    folders: list[Path] = []
    files: list[Path] = []
    for entry in sorted(visible, key=lambda entry: entry.name):
        path = folder / entry.name
        try:
            entry.name.encode()
        except UnicodeEncodeError as error:
            raise ExciteError(
                f"the name {entry.name!r} is not UTF-8", where=folder, hint="rename it"
            ) from error
        # Path.is_dir, unlike DirEntry.is_dir, takes a link to itself for what it is: no folder.
        is_folder = path.is_dir() if entry.is_symlink() else entry.is_dir()
        (folders if is_folder else files).append(path)
    return folders, files
