"""Decode an untrusted file into an upright RGB image, or raise an error with the reason in a few words."""

from __future__ import annotations

import hashlib
import io
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple, cast

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from excite.config.pixel_limit import MAX_PIXELS
from excite.data.decoding_errors import decoding_errors
from excite.data.dicom import SUFFIXES, is_dicom, read_dicom
from excite.data.foreign_formats import HEAD_BYTES, describe_unsupported_format
from excite.data.intensity import FULL_RANGE, IntensityRange, SampleExtremes, low_byte_tiles, measure_extremes
from excite.data.pillow_limits import whole_images_only, without_texts
from excite.data.shard_index import locate
from excite.data.stored_image import StoredImage
from excite.data.upright import DeepSamples, upright_with_samples
from excite.errors import ExciteError

Reader = Callable[[IO[bytes]], ImageFile.ImageFile]

# The first bytes of a file choose the reader, not its name. The readers are called directly because
# Image.open has its own pixel limit, which is global to the process.
_READERS: dict[str, tuple[re.Pattern[bytes], Reader]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), JpegImagePlugin.jpeg_factory),
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    "GIF": (re.compile(rb"GIF8[79]a"), GifImagePlugin.GifImageFile),
    "BMP": (re.compile(rb"BM.{4}", re.DOTALL), BmpImagePlugin.BmpImageFile),
    "TIFF": (re.compile(rb"II[*+]\x00(?!.{4}CR)|MM\x00[*+]", re.DOTALL), TiffImagePlugin.TiffImageFile),
    "WebP": (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), WebPImagePlugin.WebPImageFile),
    "PPM": (re.compile(rb"P([0-7]|[Ffy]\s)"), PpmImagePlugin.PpmImageFile),
    "JPEG 2000": (
        re.compile(rb"\xff\x4f\xff\x51|\x00\x00\x00\x0cjP  \r\n\x87\n"),
        Jpeg2KImagePlugin.Jpeg2KImageFile,
    ),
}
FORMATS = tuple(_READERS)

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp",
    ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx", ".avif", ".heic", ".heif", ".jxl",
    ".tga", ".ico", *SUFFIXES,
})
# fmt: on
"""Extensions of images; more than those of ``FORMATS``, so that other formats are reported too."""

_TEXT_LIMIT = re.compile("MAX_TEXT_CHUNK|text chunk")  # in Pillow's message for a PNG beyond its limits
_KIND_OF_IMAGE, _SUB_IMAGES = 254, 330  # TIFF: 1 is a reduced version of another image in the file


@dataclass(frozen=True)
class Inspection:
    """The result of checking a file.

    Args:
        sha256: hash of its bytes.
        size: (width, height) in pixels, upright.
        extremes: smallest and largest sample, if samples have more than 8 bits.
        patient: of a DICOM file, a name for its patient (see ``dicom.patient_name``), "" if it has none; None
            for any other file.
    """

    sha256: str
    size: tuple[int, int]
    extremes: SampleExtremes | None
    patient: str | None = None


class _Decoded(NamedTuple):
    """An upright image, its samples if they have more than 8 bits, and the patient as in ``Inspection``."""

    image: Image.Image
    deep: DeepSamples | None = None
    patient: str | None = None


def decode(
    source: str | Path | StoredImage | bytes | BinaryIO,
    *,
    max_pixels: int = MAX_PIXELS,
    intensity_range: IntensityRange | None = None,
) -> Image.Image:
    """Decode an image: upright, RGB, 8 bits per channel; the first frame of an animation.

    See ``excite.data.upright`` for the conversion of other modes, and ``excite.data.dicom`` for DICOM, which
    needs pydicom. The format is recognized by the content of the file, not by its extension.

    Args:
        source: a path, also of an image in a shard, the bytes of a file, or an open binary file.
        max_pixels: larger images are refused from their header, before they are decoded.
        intensity_range: see ``upright``.

    Raises:
        ExciteError: if the file is unreadable, empty, truncated, damaged, larger than ``max_pixels``, no
            image, or of a format that is not in ``FORMATS``.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> Image.new("L", (3, 2)).save(file, "PNG")
        >>> image = decode(file.getvalue())
        >>> image.mode, image.size
        ('RGB', (3, 2))
    """
    with _opened(source) as stream:
        return _decoded(stream, max_pixels, intensity_range).image


def image_format(head: bytes) -> str | None:
    """The format of a file with these first bytes, one of ``FORMATS``; None for any other.

    >>> image_format(b"GIF89a"), image_format(b"<svg>")
    ('GIF', None)
    """
    return next((name for name, (pattern, _) in _READERS.items() if pattern.match(head)), None)


def decode_and_hash(
    path: str | Path | StoredImage,
    *,
    max_pixels: int = MAX_PIXELS,
    intensity_range: IntensityRange | None = None,
) -> tuple[Image.Image, str]:
    """The image as ``decode`` returns it, and the SHA-256 of the bytes that it was decoded from."""
    with _opened(path) as stream:
        digest = hashlib.file_digest(cast(io.BufferedReader, stream), "sha256").hexdigest()
        return _decoded(stream, max_pixels, intensity_range).image, digest


def inspect_file(path: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Inspection:
    """Decode a file as ``decode`` does, and return its hash, size, and extremes."""
    with _opened(path) as stream:
        digest = hashlib.file_digest(cast(io.BufferedReader, stream), "sha256").hexdigest()
        decoded = _decoded(stream, max_pixels, FULL_RANGE)
        deep = decoded.deep
        extremes = None if deep is None else measure_extremes(deep.samples, inverted=deep.inverted)
        return Inspection(digest, decoded.image.size, extremes, decoded.patient)


def _decoded(stream: BinaryIO, max_pixels: int, intensity_range: IntensityRange | None) -> _Decoded:
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    if not head:
        raise ExciteError("is empty (0 bytes)")
    if is_dicom(head):
        found = read_dicom(stream, max_pixels=max_pixels, intensity_range=intensity_range)
        return _Decoded(found.image, patient=found.patient)
    format = image_format(head)
    if format is None:
        raise ExciteError(describe_unsupported_format(head, FORMATS))
    reader = _READERS[format][1]
    with whole_images_only():
        try:
            return _read(stream, reader, max_pixels, intensity_range)
        except ValueError as error:
            if reader is not PngImagePlugin.PngImageFile or not _TEXT_LIMIT.search(str(error)):
                raise
            # Pillow limits texts and profiles, which are not needed: read the image without them.
            return _read(without_texts(stream), reader, max_pixels, intensity_range)


def _read(
    stream: BinaryIO, reader: Reader, max_pixels: int, intensity_range: IntensityRange | None
) -> _Decoded:
    stream.seek(0)
    image = reader(stream)
    width, height = image.size
    if width < 1 or height < 1:
        raise ExciteError("has no pixels")
    if width * height > max_pixels:
        raise ExciteError(f"is too large: {width} x {height} pixels, the limit is {max_pixels:,}")
    tags = getattr(image, "tag_v2", {})
    if _SUB_IMAGES in tags and tags.get(_KIND_OF_IMAGE) == 1:
        raise ExciteError("is a camera raw file with a thumbnail; convert it to JPEG or PNG")
    low_bytes = None
    if "transparency" not in image.info and (tiles := low_byte_tiles(image)):
        stream.seek(0)
        low_bytes = reader(stream)
        low_bytes.tile = tiles
        low_bytes.load()
        stream.seek(0)
        image = reader(stream)
    result, deep = upright_with_samples(image, intensity_range, low_bytes)
    return _Decoded(result.copy() if result is image else result, deep)  # a copy does not refer to the file


@contextmanager
def _opened(source: str | Path | StoredImage | bytes | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        with decoding_errors(None):
            yield io.BytesIO(source)
    elif isinstance(source, StoredImage) and not source.shard:
        with _opened(source.path) as file:
            yield file
    elif isinstance(source, StoredImage):
        with decoding_errors(source.path):
            yield io.BytesIO(source.read())
    elif isinstance(source, str | Path) and (image := locate(str(source))) is not None:
        with _opened(image) as file:
            yield file
    elif isinstance(source, str | Path):
        # Opening a named pipe would block forever.
        with decoding_errors(source):
            if not stat.S_ISREG(Path(source).stat().st_mode):
                raise ExciteError("is not a file")
            with Path(source).open("rb") as file:
                yield file
    else:
        with decoding_errors(getattr(source, "name", None)):
            yield source if source.seekable() else io.BytesIO(source.read())
