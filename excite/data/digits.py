"""Built-in data: the 1,797 handwritten digits of scikit-learn, as a folder of PNG files."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import numpy as np
from PIL import Image

from excite.errors import ExciteError

IMAGES = 1797


def digits_folder(cache: Path) -> Path:
    """The folder ``cache/digits/<class>/<index>.png`` of 8 x 8 gray images, written on first use.

    It is written under another name and renamed, so that it is complete or missing, and several processes may
    write it at the same time.

    Raises:
        ExciteError: if the files cannot be written.
    """
    folder = cache / "digits"
    if _is_whole(folder):
        return folder
    temporary = cache / f".digits.{uuid.uuid4().hex}.tmp"
    try:
        _write(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            # Another process was faster, and the result is the same; or files were removed.
            if not _is_whole(folder):
                shutil.rmtree(folder)
                temporary.rename(folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = "free some space, or set EXCITE_CACHE to another folder"
        raise ExciteError(f"the digits cannot be written: {reason}", where=cache, hint=hint) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _is_whole(folder: Path) -> bool:
    return sum(1 for _ in folder.glob("[0-9]/*.png")) == IMAGES


def _write(folder: Path) -> None:
    from sklearn.datasets import load_digits  # takes a second to import; needed once per machine

    digits = load_digits()
    pictures = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    for index, (picture, label) in enumerate(zip(pictures, digits.target, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{index:04d}.png")
