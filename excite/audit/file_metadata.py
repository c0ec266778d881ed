"""What is known of a file besides its picture: bytes, format, color mode, and how flat the picture is."""

from __future__ import annotations

import csv
import hashlib
import io
import sys
import warnings
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from excite.data.decoding import decode, upright
from excite.data.intensity import IntensityRange, format_range
from excite.data.manifest import Manifest
from excite.errors import ExciteError
from excite.system.files import replacing
from excite.system.parallel import Progress, in_threads

_LOOKED_AT = 256  # pixels of the short side that spread and color are measured on; more tells no more
_COLORED = 8  # levels between the channels of a pixel that JPEG puts into gray at most
_VERSION = 2
_NAMES = {"JPEG2000": "JPEG 2000", "MPO": "JPEG", "WEBP": "WebP", "DIB": "BMP"}
_PILLOW = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")


@dataclass(frozen=True)
class FileMetadata:
    """What is known of a file besides its picture.

    Args:
        bytes: size of the file.
        format: as its first bytes say, one of ``decoding.FORMATS``; "" for a picture beyond Pillow's limit.
        mode: Pillow's color mode, such as RGB, L, P or CMYK; likewise.
        quantization: sum of JPEG's first quantization table, which falls with the quality; 0 elsewhere.
        gray: whether no pixel has color, however it is saved.
        spread: standard deviation of the pixel values, of 255, averaged over the channels.
    """

    bytes: int
    format: str
    mode: str
    quantization: int
    gray: bool
    spread: float


def read_file_metadata(
    path: str | Path, intensity_range: IntensityRange | None = None
) -> FileMetadata | None:
    """The facts of a file that has been decoded before; None when that fails now."""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            with Image.open(file, formats=_PILLOW) as image:
                name = _NAMES.get(image.format or "", image.format or "")
                mode, tables = image.mode, getattr(image, "quantization", None) or {}
                image.draft(None, (_LOOKED_AT, _LOOKED_AT))  # JPEG alone can decode less than everything
                deep = image.mode in ("I", "F") or ";16" in str([tile[3] for tile in image.tile])
                if deep:
                    picture = decode(path, max_pixels=sys.maxsize, intensity_range=intensity_range)
                else:
                    picture = upright(image)
    except Image.DecompressionBombError:  # the user has allowed more than Pillow's own limit
        picture = decode(path, max_pixels=sys.maxsize, intensity_range=intensity_range)
        name, mode, tables = "", "", {}
    except (ExciteError, OSError, ValueError, SyntaxError):
        return None
    if (step := min(picture.size) // _LOOKED_AT) > 1:
        fewer = (picture.width // step, picture.height // step)
        picture = picture.resize(fewer, Image.Resampling.NEAREST)  # keeps the noise of single pixels
    quantization = sum(next(iter(tables.values()), ())) if name == "JPEG" else 0
    return FileMetadata(size, name, mode, quantization, _is_gray(picture), round(_spread(picture), 3))


def _spread(picture: Image.Image) -> float:
    """Standard deviation averaged over the channels, from the histogram: ten times as fast as the pixels."""
    counts = np.array(picture.histogram(), dtype=float).reshape(3, 256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    levels = np.arange(256)
    means = shares @ levels
    return float(np.sqrt(np.maximum(shares @ levels**2 - means**2, 0)).mean())


def _is_gray(picture: Image.Image) -> bool:
    """Whether all but a thousandth of the pixels have the same level in each channel."""
    red, green, blue = picture.split()
    highest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    lowest = ImageChops.darker(ImageChops.darker(red, green), blue)
    counts = ImageChops.subtract(highest, lowest).histogram()
    return sum(counts[_COLORED + 1 :]) < 0.001 * sum(counts)


def collect_metadata(
    manifest: Manifest, *, cache: Path | None = None, progress: Progress | None = None
) -> list[FileMetadata | None]:
    """The facts of every file of a checked manifest; None for one that cannot be read any more.

    Args:
        cache: they are remembered here by the files' content; a changed file is read anew.
    """
    hashes = "\n".join(manifest.table["sha256"])
    range_ = manifest.intensity_range
    read = "" if range_ is None else f" {format_range(range_)}"
    key = hashlib.sha256(f"{_VERSION} {_LOOKED_AT} {_COLORED}{read}\n{hashes}".encode()).hexdigest()
    memory = None if cache is None else cache / "facts" / f"{key}.csv"
    recalled = _recalled(memory, len(manifest))
    if recalled is not None:
        return [*recalled]
    with warnings.catch_warnings():  # how many pixels are too many has been decided before
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        reader = partial(read_file_metadata, intensity_range=range_)
        found = list(in_threads(reader, manifest.table["path"].tolist(), progress=progress))
    if memory is not None and None not in found:
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerows(astuple(fact) for fact in found if fact is not None)
        with suppress(OSError), replacing(memory) as file:  # forgetting costs time, nothing else
            file.write(text.getvalue().encode())
    return found


def _recalled(memory: Path | None, count: int) -> list[FileMetadata] | None:
    """What was read last time, or None when there is nothing whole to recall."""
    if memory is None:
        return None
    try:
        with memory.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file, strict=True) if len(row) == len(fields(FileMetadata))]
        facts = [_fact(*row) for row in rows]
    except (OSError, ValueError, KeyError, csv.Error):
        return None
    return facts if len(facts) == count else None


def _fact(size: str, name: str, mode: str, quantization: str, gray: str, spread: str) -> FileMetadata:
    colored = {"True": True, "False": False}
    return FileMetadata(int(size), name, mode, int(quantization), colored[gray], float(spread))
