"""Metadata of image files: bytes, format, color mode, and contrast."""

from __future__ import annotations

import csv
import hashlib
import io
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageChops

from excite.data.decoding import decode
from excite.data.dicom import is_dicom
from excite.data.file_check import CHUNK
from excite.data.foreign_formats import HEAD_BYTES
from excite.data.intensity import IntensityRange, format_range
from excite.data.manifest import Manifest
from excite.data.stored_image import StoredImage
from excite.data.upright import upright
from excite.errors import ExciteError
from excite.system.cache import name_owner
from excite.system.parallel import Progress, after, in_threads
from excite.system.shared_work import SharedPart, compute_together

_LOOKED_AT = 256  # short side in pixels on which contrast and color are measured; more changes nothing
_COLORED = 8  # largest difference between the channels of a gray pixel after JPEG
_VERSION = 2
_NAMES = {"JPEG2000": "JPEG 2000", "MPO": "JPEG", "WEBP": "WebP", "DIB": "BMP"}
_PILLOW = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")


@dataclass(frozen=True, slots=True)
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
    path: str | Path | StoredImage, intensity_range: IntensityRange | None = None
) -> FileMetadata | None:
    """The metadata of a checked file; None if it cannot be decoded any more."""
    try:
        with _opened(path) as file:
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


def _of_dicom(
    path: str | Path | StoredImage, size: int, intensity_range: IntensityRange | None
) -> FileMetadata:
    """The header of a DICOM file is not read for its metadata: it names the patient."""
    picture = decode(path, max_pixels=sys.maxsize, intensity_range=intensity_range)
    return _measured(size, "DICOM", "", 0, picture)


def _measured(size: int, name: str, mode: str, quantization: int, picture: Image.Image) -> FileMetadata:
    """Metadata with what is measured on the picture."""
    if (step := min(picture.size) // _LOOKED_AT) > 1:
        fewer = (picture.width // step, picture.height // step)
        picture = picture.resize(fewer, Image.Resampling.NEAREST)  # preserves the noise of single pixels
    return FileMetadata(size, name, mode, quantization, _is_gray(picture), round(_spread(picture), 3))


def _opened(path: str | Path | StoredImage) -> BinaryIO:
    """The bytes of a file, or of an image in a shard."""
    if isinstance(path, StoredImage) and path.shard:
        return io.BytesIO(path.read())
    return Path(path.path if isinstance(path, StoredImage) else path).open("rb")


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
    files, hashes = manifest.files(), manifest.table["sha256"].to_numpy()
    range_ = manifest.intensity_range
    parts = []
    for start in range(0, len(manifest), CHUNK):
        chunk = files[start : start + CHUNK]
        memory = (
            None if cache is None else cache / "facts" / _file_name(hashes[start : start + CHUNK], range_)
        )
        name_owner(memory, [file.path for file in chunk])
        read = partial(_read_all, chunk, range_, after(start, len(manifest), progress))
        parts.append(SharedPart(memory, read, _format, partial(_parse, count=len(chunk))))
    with warnings.catch_warnings():  # the check has refused images with too many pixels
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        done = compute_together(parts)
    return list(chain.from_iterable(done))


def _file_name(hashes: Iterable[str], intensity_range: IntensityRange | None) -> str:
    """The file of the cache for images with these hashes."""
    read = "" if intensity_range is None else f" {format_range(intensity_range)}"
    text = "\n".join([f"{_VERSION} {_LOOKED_AT} {_COLORED}{read}", *hashes])
    return f"{hashlib.sha256(text.encode()).hexdigest()}.csv"


def _read_all(
    files: Sequence[StoredImage], intensity_range: IntensityRange | None, progress: Progress | None
) -> list[FileMetadata | None]:
    reader = partial(read_file_metadata, intensity_range=intensity_range)
    return list(in_threads(reader, files, progress=progress))


def _format(files: Sequence[FileMetadata | None]) -> str:
    """The metadata as CSV; "" if a file cannot be read any more, which is not remembered."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(astuple(metadata) for metadata in files if metadata is not None)
    return "" if None in files else text.getvalue()


def _parse(text: str, *, count: int) -> list[FileMetadata | None] | None:
    """The metadata of ``count`` files; None if the text is damaged."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    width = len(fields(FileMetadata))
    files: list[FileMetadata | None] = [_metadata(*row) for row in rows if len(row) == width]
    return files if len(files) == count else None


def _metadata(size: str, name: str, mode: str, quantization: str, gray: str, std: str) -> FileMetadata:
    colored = {"True": True, "False": False}
    return FileMetadata(int(size), name, mode, int(quantization), colored[gray], float(std))
