"""Labeled images from memory as a CSV file and image files in the cache, which every command reads."""

from __future__ import annotations

import io
import shutil
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from excite.data.paths import absolute_path
from excite.errors import BAD_USAGE, ExciteError
from excite.runs.image_inputs import single_images, to_image
from excite.system.cache import cache_directory

LabeledImages = str | Path | pd.DataFrame | Sequence[Any]
"""A folder, a CSV file, ``"digits"``, a DataFrame, pairs of image and label, or images and labels."""

FOLDER = "memory"  # in the cache
FILE = "images.csv"
_HINT = "pass a folder, a CSV, a DataFrame with path (or image) and label, pairs, or (images, labels)"


def labeled_files(data: LabeledImages) -> str:
    """The name of the data set on the disk, for ``TrainConfig.data``.

    Images and tables from memory are written to the cache folder, named by their content, so that the same
    data is written once. A PNG has the same pixels as the image.

    Args:
        data: a folder, a CSV file, or ``"digits"``, which stay as they are; a DataFrame with the columns
            ``label`` and ``path`` or ``image``, and any others, such as ``group`` and ``split``; pairs of an
            image and its label, such as a dataset of torchvision; or two sequences, N images and N labels.
            An image is a path, a PIL image, an array (H, W) or (H, W, C), or a tensor (H, W) or (C, H, W).

    Raises:
        ExciteError: for another type, images and labels of different number, and images that are not valid.

    Example:
        >>> frame = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["cat", "dog"]})
        >>> Path(labeled_files(frame)).name
        'images.csv'
    """
    if isinstance(data, str | Path):
        return str(data)
    table = data.copy() if isinstance(data, pd.DataFrame) else _table_of(data)
    if table.empty:
        raise ExciteError("the data set is empty", where="data", exit_code=BAD_USAGE)
    contents: dict[str, bytes] = {}
    if "image" in table.columns:
        if "path" in table.columns:
            what = "has both a column path and a column image"
            raise ExciteError(what, where="DataFrame", hint="keep one of them", exit_code=BAD_USAGE)
        names = []
        for number, image in enumerate(table.pop("image")):
            path, content = _file_of(image, number)
            names.append(path)
            if content is not None:
                contents[path] = content
        table.insert(0, "path", names)
    elif "path" in table.columns:
        table["path"] = [str(absolute_path(path)) for path in table["path"]]
    return str(_written(table, contents))


def _table_of(data: Any) -> pd.DataFrame:
    """A table with the columns image and label."""
    if isinstance(data, tuple) and len(data) == 2 and not isinstance(data[0], str | Path):
        images, labels = data
        images, labels = list(single_images(images)), _list(labels)
        if len(images) != len(labels):
            what = f"{len(images)} images and {len(labels)} labels"
            raise ExciteError(what, where="data", hint=_HINT, exit_code=BAD_USAGE)
        return pd.DataFrame({"image": pd.Series(images, dtype=object), "label": labels})
    try:
        pairs = [(image, label) for image, label in (data[row] for row in range(len(data)))]
    except (TypeError, ValueError, KeyError, IndexError) as error:
        what = f"cannot be read as labeled images: {type(data).__name__}"
        raise ExciteError(what, where="data", hint=_HINT, exit_code=BAD_USAGE) from error
    labels = _list([label for _, label in pairs])
    names = getattr(data, "classes", None)  # as datasets of torchvision have
    if names is not None and all(isinstance(label, int) and 0 <= label < len(names) for label in labels):
        labels = [names[label] for label in labels]
    return pd.DataFrame({"image": pd.Series([image for image, _ in pairs], dtype=object), "label": labels})


def _list(labels: Iterable[Any]) -> list[Any]:
    """Labels as Python values: tensors and NumPy numbers would be printed as such."""
    return [label.item() if isinstance(label, torch.Tensor | np.generic) else label for label in labels]


def _file_of(image: Any, number: int) -> tuple[str, bytes | None]:
    """The path of an image file, or the name and the content of one that is to be written."""
    if isinstance(image, str | Path):
        return str(absolute_path(image)), None
    if not isinstance(image, Image.Image | np.ndarray | torch.Tensor):
        what = f"image {number} is a {type(image).__name__}"
        raise ExciteError(what, where="data", hint=_HINT, exit_code=BAD_USAGE)
    picture = image if isinstance(image, Image.Image) else to_image(image, deep=True)
    if picture.mode == "I" and (samples := np.asarray(picture)).min() >= 0 and samples.max() <= 65535:
        picture = Image.fromarray(samples.astype(np.uint16))
    suffix = "png" if picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else "tiff"
    content = io.BytesIO()
    picture.save(content, format=suffix.upper())
    return f"{number:06}.{suffix}", content.getvalue()


def _written(table: pd.DataFrame, contents: dict[str, bytes]) -> Path:
    """The CSV in a folder of the cache that is named by the content of the table and the images."""
    text = table.to_csv(index=False)
    key = sha256(text.encode("utf-8", "surrogateescape"))
    for content in contents.values():
        key.update(sha256(content).digest())
    home = cache_directory() / FOLDER
    folder = home / key.hexdigest()[:16]
    if not (folder / FILE).is_file():
        temporary = home / f".{uuid.uuid4().hex}"
        try:
            temporary.mkdir(parents=True)
            for name, content in contents.items():
                (temporary / name).write_bytes(content)
            (temporary / FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
            with suppress(OSError):  # another process has written the same
                temporary.rename(folder)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ExciteError(f"cannot be written: {reason}", where=folder) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder / FILE
