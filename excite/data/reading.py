"""Read a data set into a manifest: class folders, split folders, an archive, a CSV file, or shards."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from excite.data.archives import is_archive, unpack
from excite.data.csv_reading import ROLES, read_csv
from excite.data.decoding import IMAGE_SUFFIXES
from excite.data.digits import digits_folder
from excite.data.folders import (
    beside_class_folders,
    find_images,
    is_image_name,
    list_folder,
    without_image_names,
)
from excite.data.label_reading import LabelFormat
from excite.data.left_out import LeftOut
from excite.data.manifest import Manifest, check_classes, normalize_name, split_names
from excite.data.paths import absolute_path, path_on_disk, refuse_cache_inside_data
from excite.data.shard_index import BEGUN, has_shards
from excite.data.shard_reading import read_shards
from excite.data.stored_image import is_remote
from excite.errors import BAD_USAGE, ExciteError, require_utf8
from excite.system.cache import cache_directory, cache_path

DIGITS = "digits"
_ARRANGE = "put the images of each class into their own folder: <folder>/<class>/<image>"


def read_manifest(
    source: str | Path,
    *,
    path_column: str = "path",
    label_column: str = "label",
    group_column: str = "group",
    split_column: str = "split",
    label_columns: str = "",
    label_separator: str = "",
    empty_label: str = LabelFormat.empty,
    complete: bool = True,
) -> Manifest:
    """The images of a folder, an archive, a CSV file, or the built-in ``"digits"``, in a fixed order.

    A folder contains class folders, or train, val, and test folders with class folders. A zip or tar archive
    of such a folder is unpacked into the cache (see ``excite.data.archives``). A CSV file has a column with
    paths and one with labels; relative paths start at the folder of the CSV. A folder that ``excite shard``
    has written, or the address of one in an object store, is read by its index. Image files are not opened;
    ``check_files`` does that.

    Args:
        path_column, label_column, group_column, split_column: names of the columns of a CSV.
        label_columns, label_separator, empty_label: several labels of an image, see ``LabelFormat``.
        complete: refuse data that cannot be trained on, as ``check_classes`` does.

    Raises:
        ExciteError: with the problem of the source, its place, and what to do.
    """
    columns = dict(zip(ROLES, (path_column, label_column, group_column, split_column), strict=True))
    labels = LabelFormat(label_columns, label_separator, empty_label)
    labels.check()
    if source == DIGITS:
        place = digits_folder(cache_directory())
    else:
        place = path_on_disk(absolute_path(os.path.expanduser(source)))  # noqa: PTH111
    require_utf8(place)
    if is_remote(str(source)) or has_shards(place):
        return _shards(str(source) if is_remote(str(source)) else str(place), columns, complete=complete)
    if (place / BEGUN).is_dir():
        raise ExciteError(
            "holds begun shards that are not complete", where=place, hint="run excite shard again"
        )
    try:
        is_folder = stat.S_ISDIR(place.stat().st_mode)
    except FileNotFoundError as error:
        raise _no_such_place(source, place) from error
    except OSError as error:
        raise ExciteError(f"cannot be read: {(error.strerror or '').lower()}", where=place) from error
    left_out: tuple[LeftOut, ...] = ()
    if not is_folder and is_archive(place):
        unpacked = unpack(place, cache_directory())
        place, left_out, is_folder = unpacked.folder, unpacked.left_out, True
    if is_folder:
        renamed = [name for role, name in columns.items() if name != role]
        if renamed:
            what = f"column {renamed[0]!r} has no effect: the data is a folder, not a CSV file"
            raise ExciteError(what, where=place, exit_code=BAD_USAGE)
        if labels.given:
            what = "an image in a class folder has one class; several labels are read from a CSV file"
            hint = "list the images in a CSV with a 0/1 column for each label, and name it instead"
            raise ExciteError(what, where=place, hint=hint, exit_code=BAD_USAGE)
        refuse_cache_inside(place)
        manifest = _read_folder(place)
        refuse_cache_inside(place, manifest.table["path"])  # also where links to class folders lead
    elif place.suffix.lower() in IMAGE_SUFFIXES:
        hint = "name the folder of the class folders; to classify one image, use `excite predict`"
        raise ExciteError("is a single image, not a data set", where=place, hint=hint, exit_code=BAD_USAGE)
    else:
        manifest = read_csv(place, columns, labels)
    if left_out:
        manifest = replace(manifest, left_out=(*manifest.left_out, *left_out))
    if complete:
        check_classes(manifest, where=place)
    return manifest


def _shards(folder: str, columns: dict[str, str], *, complete: bool) -> Manifest:
    """The images of shards; of the columns of their index, the one with the groups can be chosen."""
    renamed = [name for role, name in columns.items() if name != role and role != "group"]
    if renamed:
        what = f"column {renamed[0]!r} has no effect: the data is a folder of shards, not a CSV file"
        raise ExciteError(what, where=folder, exit_code=BAD_USAGE)
    if not is_remote(folder):
        refuse_cache_inside(Path(folder))
    manifest = read_shards(folder.rstrip("/"), group_column=columns["group"])
    if complete:
        check_classes(manifest, where=folder)
    return manifest


def refuse_cache_inside(folder: Path, images: Iterable[str] = ()) -> None:
    """Refuse a cache inside the folder of a data set, or inside a folder of its images."""
    try:
        cache = cache_path()
    except ExciteError:  # there is no cache folder; writing to it reports that
        return
    refuse_cache_inside_data(cache, folder, images)


def _no_such_place(source: str | Path, place: Path) -> ExciteError:
    try:
        names_beside = [entry.name for entry in place.parent.iterdir()]
    except OSError:
        names_beside = []
    near = difflib.get_close_matches(place.name, [*names_beside, DIGITS], n=1)
    offer = None
    if near:
        is_digits = near[0] == DIGITS and DIGITS not in names_beside
        offer = f"did you mean {DIGITS if is_digits else str(place.with_name(near[0]))!r}?"
    return ExciteError("there is no such file or folder", where=source, hint=offer, exit_code=BAD_USAGE)


def _read_folder(root: Path) -> Manifest:
    folders, files = list_folder(root)
    if not folders:
        raise _no_class_folders(root, files)
    splits = _split_folders(root, folders)
    entered = {os.path.realpath(root)}
    if splits is None:
        _refuse_unknown_splits(root, folders)
        return _manifest(*_class_rows(folders, "", entered), files)
    rows: list[tuple[str, str, str]] = []
    others, beside = [], files
    for folder, split in splits.items():
        if not split:
            files_inside = find_images(folder, entered=set(entered))
            if files_inside.images:
                what = f"folder {folder.name!r} contains images, but is not train, val, or test"
                raise ExciteError(what, where=root, hint="move it elsewhere")
            others += files_inside.others
            continue
        inner = _unwrapped(folder)
        classes, direct = list_folder(inner)
        if not classes:
            raise _split_without_classes(root, inner, direct)
        more, left = _class_rows(classes, split, {*entered, os.path.realpath(inner)})
        rows += more
        others += left
        beside += direct
    return _manifest(rows, others, beside)


def _split_folders(root: Path, folders: list[Path]) -> dict[Path, str] | None:
    """The split that each folder means, or "" for none; None if the folders are classes."""
    meant = split_names(folder.name for folder in folders)
    splits = {folder: meant[folder.name] for folder in folders}
    named = [split for split in splits.values() if split]
    # A class may be called "train", next to "plane" and "ship": then it contains images, not class folders.
    is_split = len(named) == len(folders) or (
        "train" in named and len(named) > 1 and all(list_folder(f)[0] for f, split in splits.items() if split)
    )
    if not is_split:
        return None
    if len(set(named)) < len(named):
        twice = [folder.name for folder, split in splits.items() if named.count(split) > 1]
        names = " and ".join(map(repr, twice))
        raise ExciteError(f"folders {names} mean the same split", where=root, hint="rename one of them")
    return splits


def _unwrapped(folder: Path) -> Path:
    """The folder, or its only child if that has the same name, as some archives unpack."""
    folders, files = list_folder(folder)
    inside = len(folders) == 1 and folders[0].name == folder.name
    return folders[0] if inside and not any(map(is_image_name, files)) else folder


def _refuse_unknown_splits(root: Path, folders: list[Path]) -> None:
    """Refuse folders that look like a split, or like a wrapper around the data set, with unknown names."""
    inside = []
    for folder in folders:
        below, files = list_folder(folder)
        if not below or any(map(is_image_name, files)):
            return
        inside.append({normalize_name(path.name).casefold(): path.name for path in below})
    if len(folders) == 1 and len(inside[0]) > 1:
        what = f"at least two classes are needed, found {folders[0].name!r} alone"
        raise ExciteError(what, where=root, hint=f"if its folders are the classes, name {folders[0]}")
    common = set(inside[0]).intersection(*inside)
    if len(folders) < 2 or len(common) < 2 or 2 * len(common) <= len(set().union(*inside)):
        return
    tops = _listed(folder.name for folder in folders)
    below_names = _listed(inside[0][key] for key in sorted(common))
    raise ExciteError(
        f"folders {tops} all contain folders {below_names}: are they splits or classes?",
        where=root,
        hint=f"if {below_names} are the classes, rename {tops} to train, val, and test, or list the images "
        f"in a CSV with columns path, label, and split; if {tops} are the classes, list the images in a "
        "CSV with columns path and label",
    )


def _listed(names: Iterable[str]) -> str:
    quoted = [repr(name) for name in names]
    return ", ".join(quoted[:3]) + (", ..." if len(quoted) > 3 else "")


def _split_without_classes(root: Path, folder: Path, files: list[Path]) -> ExciteError:
    images = sum(map(is_image_name, files))
    if not images:
        return _no_class_folders(folder, files)
    tables = [file for file in list_folder(root)[1] if file.suffix.lower() == ".csv"]
    remedies = [
        f"if their classes are known, put each image into {folder.name}/<class>/",
        "if not, move the folder elsewhere: the test set is then drawn from the other images, and "
        "excite predict classifies these images",
    ]
    if tables:
        remedies.insert(
            0, f"if {tables[0].name} lists them with their classes, name it instead of the folder"
        )
    what = f"{folder.name}/ has no class folders: its {images} images have no class"
    return ExciteError(what, where=folder, hint="; ".join(remedies))


def _no_class_folders(folder: Path, files: list[Path]) -> ExciteError:
    images = sum(map(is_image_name, files))
    if images:
        return ExciteError(
            f"{images} images are in the folder itself, without a class", where=folder, hint=_ARRANGE
        )
    tables = [file for file in files if file.suffix.lower() == ".csv"]
    hint = f"to read a CSV file, name it: {tables[0]}" if tables else _ARRANGE
    what = f"the folder contains no images, only {len(files)} other files" if files else "the folder is empty"
    return ExciteError(what, where=folder, hint=hint)


def _class_rows(
    folders: list[Path], split: str, entered: set[str]
) -> tuple[list[tuple[str, str, str]], list[str]]:
    """(path, label, split) of every image, and the other files."""
    rows: list[tuple[str, str, str]] = []
    others: list[str] = []
    for folder in folders:
        walk = find_images(folder, entered=set(entered))
        if not walk.images:
            example = f", such as {walk.others[0]}" if walk.others else ""
            beside = f", only {len(walk.others)} other files{example}" if walk.others else ""
            hint = "add images, or remove the folder"
            raise ExciteError(f"the class folder contains no images{beside}", where=folder, hint=hint)
        rows += [(path, folder.name, split) for path in walk.images]
        others += walk.others
    return rows, others


def _manifest(rows: list[tuple[str, str, str]], others: list[str], beside: list[Path]) -> Manifest:
    """The manifest of these rows.

    Args:
        others: files among the images without the extension of an image.
        beside: files next to the class folders.
    """
    others = others + [str(file) for file in beside if not is_image_name(file)]
    images = [str(file) for file in beside if is_image_name(file)]
    table = pd.DataFrame(rows, columns=["path", "label", "split"])
    classes = tuple(sorted({normalize_name(label) for label in table["label"]}))
    return Manifest(table, classes, without_image_names(others) + beside_class_folders(images))
