"""A study whose images have moved since it began: they are found again, and its files name the new place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from excite.data.archives import is_archive, unpack
from excite.data.file_validation import check_files
from excite.data.manifest import Manifest
from excite.data.reading import read_manifest
from excite.errors import BAD_USAGE, ExciteError
from excite.runs.moved_data import OPTION, missing_images
from excite.study.store.schema import DONE
from excite.study.study import FILE, MANIFEST, Study, cell_folder
from excite.system.cache import cache_directory
from excite.system.files import write_text
from excite.system.progress import Display


def locate_images(study: Study, data_root: Path | None, display: Display) -> Study:
    """The study with its images where they are now.

    If they are not where the study read them, they are searched for at the same place relative to the folders
    above the study and to the working directory. Their content is compared before anything is changed.

    Args:
        study: an existing study.
        data_root: the folder that the data is in now; None: search.
        display: gets a note if the data was found elsewhere.

    Raises:
        ExciteError: if images are missing or have changed, and for a data root without them.
    """
    images = study.images
    paths = images.table["path"].tolist()
    data = Path(study_data(study))
    if data_root is None and missing_images(paths[:1]) and is_archive(data):
        unpack(data, cache_directory())  # the cache was emptied
    if data_root is None and not missing_images(paths):
        return study
    places = _candidates(study, paths) if data_root is None else _below(data_root, paths)
    found = next((new for new in places if not missing_images(new[:1])), None)
    if found is None and data_root is not None:
        what = f"does not contain the images of the study, such as {Path(paths[0]).name}"
        raise ExciteError(what, where=f"--data-root {data_root}", exit_code=BAD_USAGE)
    if missing := missing_images(paths if found is None else found):
        what = f"{len(missing)} of {len(paths)} images are missing, such as {missing[0]}"
        raise ExciteError(what, where=study.folder, hint=OPTION)
    assert found is not None
    moved = images.with_columns(path=found)
    _require_same_content(images, moved, study.config(next(iter(study.arms))).max_pixels)
    adopt_paths(study, images, moved)
    display.note(f"the images have moved from {_common_folder(paths)} to {_common_folder(found)}")
    return Study(study.folder, study.store, study.name)


def study_data(study: Study) -> str:
    """The data that the study was begun with, as study.yaml names it."""
    noted = yaml.safe_load((study.folder / FILE).read_text(encoding="utf-8"))
    return str(noted["data"])


def adopt_paths(study: Study, before: Manifest, now: Manifest) -> None:
    """Let the study and its cells refer to images at new paths.

    Args:
        study: the study.
        before: its images with their old paths.
        now: the same images in the same order, with their new paths.
    """
    new = dict(zip(before.table["path"], now.table["path"], strict=True))
    if all(old == path for old, path in new.items()):
        return
    for cell in study.store.cells(study.name):
        place = cell_folder(study.folder, cell.arm, cell.seed, cell.fold)
        if cell.state != DONE:
            # It ended before its result was stored, so that its predictions name the old paths.
            (place / "metrics.json").unlink(missing_ok=True)
        if (place / "config.yaml").is_file():  # else its training starts anew
            _rename(place / MANIFEST, new)
    now.save(study.folder / MANIFEST)
    noted = yaml.safe_load((study.folder / FILE).read_text(encoding="utf-8"))
    noted["data"] = str(_common_folder(now.table["path"].tolist()))
    write_text(study.folder / FILE, yaml.safe_dump(noted, sort_keys=False, allow_unicode=True))


def _rename(file: Path, new: Mapping[str, str]) -> None:
    manifest = read_manifest(file, complete=False)
    manifest.with_paths([new.get(path, path) for path in manifest.table["path"]]).save(file)


def _candidates(study: Study, paths: list[str]) -> list[list[str]]:
    """Paths of the images at the same place relative to the folders above the study and where we are."""
    places = dict.fromkeys([*study.folder.absolute().parents, Path.cwd()])
    return [new for place in places for new in _below(place, paths, with_name=True)]


def _below(place: Path, paths: list[str], *, with_name: bool = False) -> list[list[str]]:
    """Paths of the images in a folder, below fewer and fewer of their old folders.

    Args:
        with_name: keep at least the name of the folder that held all images.
    """
    common = _common_folder(paths)
    ancestors = list(common.parents) if with_name else [common, *common.parents]
    root = Path(os.path.abspath(place))  # noqa: PTH100 (keeps links)
    return [[str(root / Path(path).relative_to(ancestor)) for path in paths] for ancestor in ancestors]


def _common_folder(paths: list[str]) -> Path:
    return Path(os.path.commonpath([Path(path).parent for path in paths]))


def _require_same_content(before: Manifest, now: Manifest, max_pixels: int) -> None:
    """Raises: ExciteError with the first image that is not the one that the study began with."""
    checked, unreadable = check_files(now, max_pixels=max_pixels, cache=cache_directory(), complete=False)
    hint = "restore it, or name another folder with --data-root"
    what = "the image has changed since the study began"
    if unreadable:
        raise ExciteError(f"{what}: {unreadable[0].reason}", where=unreadable[0].path, hint=hint)
    changed = now.table["path"][before.table["sha256"] != checked.table["sha256"]]
    if len(changed):
        raise ExciteError(what, where=changed.iloc[0], hint=hint)
