"""Metadata of image files: bytes, format, color mode, and contrast."""

from __future__ import annotations

import csv
import hashlib
import io
import sys
import warnings
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from excite.data.decoding import decode
from excite.data.dicom import is_dicom
from excite.data.foreign_formats import HEAD_BYTES
from excite.data.intensity import IntensityRange, format_range
from excite.data.manifest import Manifest
from excite.data.upright import upright
from excite.errors import ExciteError
from excite.system.cache import name_owner, recall, remember
from excite.system.parallel import Progress, in_threads

_LOOKED_AT = 256  # short side in pixels on which contrast and color are measured; more changes nothing
_COLORED = 8  # largest difference between the channels of a gray pixel after JPEG
_VERSION = 2
_NAMES = {"JPEG2000": "JPEG 2000", "MPO": "JPEG", "WEBP": "WebP", "DIB": "BMP"}
_PILLOW = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")


@dataclass(frozen=True)
class FileMetadata:
    """Metadata of one image file.

    Args:
        bytes: size of the file.
        format: DICOM or one of ``decoding.FORMATS``, by the first bytes; "" for an image beyond Pillow's
            pixel limit.
        mode: color mode of Pillow, such as RGB, L, P, or CMYK; "" likewise, and for DICOM.
        quantization: sum of the first quantization table of a JPEG, which decreases with quality; else 0.
        gray: whether the image has no color, whatever its mode.
        std: standard deviation of the pixel values (0 to 255), averaged over the channels.
    """

    bytes: int
    format: str
    mode: str
    quantization: int
    gray: bool
    std: float


def read_file_metadata(
    path: str | Path, intensity_range: IntensityRange | None = None
) -> FileMetadata | None:
    """The metadata of a checked file; None if it cannot be decoded any more."""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            head = file.read(HEAD_BYTES)
            file.seek(0)
            if is_dicom(head):
                return _of_dicom(path, size, intensity_range)
            with Image.open(file, formats=_PILLOW) as image:
                name = _NAMES.get(image.format or "", image.format or "")
                mode, tables = image.mode, getattr(image, "quantization", None) or {}
                image.draft(None, (_LOOKED_AT, _LOOKED_AT))  # only JPEG can be decoded at a lower resolution
                deep = image.mode in ("I", "F") or ";16" in str([tile[3] for tile in image.tile])
                if deep:
                    picture = decode(path, max_pixels=sys.maxsize, intensity_range=intensity_range)
                else:
                    picture = upright(image)
    except Image.DecompressionBombError:  # allowed by --max-pixels
        picture = decode(path, max_pixels=sys.maxsize, intensity_range=intensity_range)
        name, mode, tables = "", "", {}
    except (ExciteError, OSError, ValueError, SyntaxError):
        return None
    quantization = sum(next(iter(tables.values()), ())) if name == "JPEG" else 0
    return _measured(size, name, mode, quantization, picture)


def _of_dicom(path: str | Path, size: int, intensity_range: IntensityRange | None) -> FileMetadata:
    """The header of a DICOM file is not read for its metadata: it names the patient."""
    picture = decode(path, max_pixels=sys.maxsize, intensity_range=intensity_range)
    return _measured(size, "DICOM", "", 0, picture)


def _measured(size: int, name: str, mode: str, quantization: int, picture: Image.Image) -> FileMetadata:
    """Metadata with what is measured on the picture."""
    if (step := min(picture.size) // _LOOKED_AT) > 1:
        fewer = (picture.width // step, picture.height // step)
        picture = picture.resize(fewer, Image.Resampling.NEAREST)  # preserves the noise of single pixels
    return FileMetadata(size, name, mode, quantization, _is_gray(picture), round(_spread(picture), 3))


def _spread(picture: Image.Image) -> float:
    """Standard deviation averaged over the channels, from the histogram, which is ten times faster."""
    counts = np.array(picture.histogram(), dtype=float).reshape(3, 256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    levels = np.arange(256)
    means = shares @ levels
    return float(np.sqrt(np.maximum(shares @ levels**2 - means**2, 0)).mean())


def _is_gray(picture: Image.Image) -> bool:
    """Whether all but 0.1 % of the pixels have equal channels."""
    red, green, blue = picture.split()
    highest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    lowest = ImageChops.darker(ImageChops.darker(red, green), blue)
    counts = ImageChops.subtract(highest, lowest).histogram()
    return sum(counts[_COLORED + 1 :]) < 0.001 * sum(counts)


def collect_metadata(
    manifest: Manifest, *, cache: Path | None = None, progress: Progress | None = None
) -> list[FileMetadata | None]:
    """The metadata of every file of a checked manifest; None for a file that cannot be read any more.

    Args:
        cache: folder that remembers the metadata by the content of the files.
    """
    hashes = "\n".join(manifest.table["sha256"])
    range_ = manifest.intensity_range
    read = "" if range_ is None else f" {format_range(range_)}"
    key = hashlib.sha256(f"{_VERSION} {_LOOKED_AT} {_COLORED}{read}\n{hashes}".encode()).hexdigest()
    memory = None if cache is None else cache / "facts" / f"{key}.csv"
    name_owner(memory, manifest.table["path"])
    if (remembered := recall(memory, partial(_parse, count=len(manifest)))) is not None:
        return [*remembered]
    with warnings.catch_warnings():  # the check has refused images with too many pixels
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        reader = partial(read_file_metadata, intensity_range=range_)
        files = list(in_threads(reader, manifest.table["path"].tolist(), progress=progress))
    if None not in files:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(astuple(metadata) for metadata in files if metadata is not None)
        remember(memory, text.getvalue())
    return files


def _parse(text: str, *, count: int) -> list[FileMetadata] | None:
    """The metadata of ``count`` files; None if the text is damaged."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    files = [_metadata(*row) for row in rows if len(row) == len(fields(FileMetadata))]
    return files if len(files) == count else None


def _metadata(size: str, name: str, mode: str, quantization: str, gray: str, std: str) -> FileMetadata:
    colored = {"True": True, "False": False}
    return FileMetadata(int(size), name, mode, int(quantization), colored[gray], float(std))
