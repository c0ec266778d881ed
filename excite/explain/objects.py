"""Where the object is in a picture: masks or boxes of the user, in the network's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from excite.data.csv_table import read_table
from excite.data.decoding import decode
from excite.data.preprocessing import Preprocessing
from excite.errors import BAD_USAGE, ExciteError

BOX = ("left", "top", "right", "bottom")


def object_masks(source: Path, paths: Sequence[str], preprocessing: Preprocessing) -> np.ndarray:
    """Masks (N, S, S) of the objects of N pictures, True on the object.

    Args:
        source: a folder with a picture for each image, of the same name with any ending, white on the object;
            or a CSV with the columns path, left, top, right, bottom: boxes in pixels of the upright image,
            several rows for several boxes. Paths are compared by their last part.
        paths: of the images.
        preprocessing: how images become input; masks are treated likewise.

    Raises:
        ExciteError: if an image has no mask or box, or a mask has another size than its image.
    """
    read = _masks_in(source) if source.is_dir() else _boxes_in(source)
    masks = []
    for path in paths:
        name = Path(path).stem if source.is_dir() else Path(path).name
        if name not in read:
            what = f"has no {'mask' if source.is_dir() else 'box'} for {Path(path).name}"
            raise ExciteError(what, where=source, exit_code=BAD_USAGE)
        mask = _drawn(read[name], path)
        masks.append(preprocessing.pixels(mask.convert("RGB"))[..., 0] >= 128)
    return np.stack(masks)


def _drawn(found: Path | list[tuple[float, ...]], path: str) -> Image.Image:
    """The mask of one image in its own size."""
    size = decode(path).size
    if isinstance(found, Path):
        mask = decode(str(found)).convert("L")
        if mask.size != size:
            what = f"has {mask.size[0]} x {mask.size[1]} pixels, its image has {size[0]} x {size[1]}"
            raise ExciteError(what, where=found, exit_code=BAD_USAGE)
        return mask
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for left, top, right, bottom in found:
        draw.rectangle((left, top, right - 1, bottom - 1), fill=255)
    return mask


def _masks_in(folder: Path) -> dict[str, Path | list[tuple[float, ...]]]:
    return {file.stem: file for file in sorted(folder.rglob("*")) if file.is_file()}


def _boxes_in(file: Path) -> dict[str, Path | list[tuple[float, ...]]]:
    table = read_table(file).frame()
    if missing := [name for name in ("path", *BOX) if name not in table]:
        what = f"has no column {missing[0]!r}"
        raise ExciteError(what, where=file, hint=f"boxes need path, {', '.join(BOX)}", exit_code=BAD_USAGE)
    boxes: dict[str, Path | list[tuple[float, ...]]] = {}
    for number, row in enumerate(table.to_dict("records")):
        try:
            box = tuple(float(row[name]) for name in BOX)
        except ValueError as error:
            raise ExciteError(f"row {number + 2} is not a box", where=file, exit_code=BAD_USAGE) from error
        known = boxes.setdefault(Path(str(row["path"])).name, [])
        assert isinstance(known, list)
        known.append(box)
    return boxes
