"""Where the images of a run are now, if their folder has moved since the training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from excite.data.archives import is_archive, unpack
from excite.data.shard_index import shards_above
from excite.data.stored_image import is_remote
from excite.errors import BAD_USAGE, ExciteError
from excite.runs.run import Run
from excite.system.cache import cache_directory
from excite.system.files import write_text
from excite.system.progress import Display

OPTION = "restore them, or name the folder that the data is in now with --data-root FOLDER"


def open_run(path: str | Path, data_root: str | Path | None = None, display: Display | None = None) -> Run:
    """An existing run, with its images where they are now.

    Args:
        path: the run folder.
        data_root: the folder that the data is in now; None: where the training read it or, if it is not
            there, at the same place relative to the run folder or to the working directory.
        display: gets a note if the data was found elsewhere.

    Raises:
        ExciteError: if the folder is not a run, and for a data root without the images of the run.
    """
    run = Run.open(path)
    paths = run.manifest.table["path"].tolist()
    if data_root is not None:
        moved = Run(run.path, Path(data_root))
        if missing_images(moved.manifest.table["path"].tolist()[:1]):
            first = moved.manifest.table["path"].iloc[0]
            what = f"does not contain the images of the run: there is no {first}"
            raise ExciteError(what, where=f"--data-root {data_root}", exit_code=BAD_USAGE)
        return moved
    if not missing_images(paths[:1]):
        return run
    if is_archive(run.data_path):  # the cache was emptied, or is another one
        folder = unpack(run.data_path, cache_directory()).folder
        moved = run if not missing_images(paths[:1]) else Run(run.path, folder)
        if not missing_images(moved.manifest.table["path"].tolist()[:1]):
            return moved
    for place in _candidates(run):
        moved = Run(run.path, place)
        if not missing_images(moved.manifest.table["path"].tolist()[:1]):
            if display is not None:
                display.note(f"the data has moved from {run.data_path} to {place}")
            return moved
    return run


def missing_images(paths: Sequence[str]) -> list[str]:
    """The paths at which there is no file."""
    shards: dict[str, bool] = {}  # whether they are there, each looked for once
    return [path for path in paths if not os.path.isfile(path) and not _in_shard(path, shards)]  # noqa: PTH113


def _in_shard(path: str, known: dict[str, bool]) -> bool:
    """Whether a path leads into a shard that is there."""
    for shard in shards_above(path):
        if shard not in known:
            known[shard] = is_remote(shard) or os.path.isfile(shard)  # noqa: PTH113 (many files)
        if known[shard]:
            return True
    return False


def require_images(run: Run, paths: Sequence[str]) -> None:
    """Raises: ExciteError, in one line, if images of the run are missing."""
    if missing := missing_images(paths):
        what = f"{len(missing)} of {len(paths)} images are missing, such as {missing[0]}"
        raise ExciteError(what, where=run.path, hint=OPTION)


def adopt_moved_data(run: Run) -> Run:
    """Let a run that is about to be resumed refer to its images where they are now."""
    if run.data_root is None:
        return run
    run.manifest.save(run.path / "manifest.csv")
    data = run.data_path / Path(run.config.data).name if run.config.data.endswith(".csv") else run.data_path
    write_text(run.path / "config.yaml", run.config.replace(data=str(data), out=str(run.path)).to_yaml())
    return Run(run.path)


def _candidates(run: Run) -> list[Path]:
    """Where the data may be: at its old place relative to the run, or to the working directory."""
    old = run.root
    began_in = Path(os.path.normpath(run.working_directory / run.config.out)) if run.config.out else None
    places = []
    if began_in is not None and began_in.is_absolute():
        relative = os.path.relpath(old, began_in)
        places.append(Path(os.path.normpath(run.path.absolute() / relative)))
    if run.working_directory.is_absolute() and old.is_relative_to(run.working_directory):
        places.append(Path.cwd() / old.relative_to(run.working_directory))
    return places
