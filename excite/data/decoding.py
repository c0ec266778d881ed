"""From the bytes of an untrusted file to an upright RGB picture, or to a short reason why not."""

from __future__ import annotations

import hashlib
import io
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from excite.config.pixel_limit import MAX_PIXELS
from excite.data.foreign_formats import HEAD_BYTES, describe_unsupported_format
from excite.data.intensity import (
    FULL_RANGE,
    IntensityRange,
    SampleExtremes,
    deep_samples,
    is_inverted,
    low_byte_tiles,
    measure_extremes,
    to_eight_bits,
)
from excite.data.pillow_limits import whole_images_only, without_texts
from excite.errors import ExciteError

Reader = Callable[[IO[bytes]], ImageFile.ImageFile]

# What is decoded: a file's first bytes choose the reader, its name does not. The readers are called
# directly because Image.open has a pixel limit of its own, which is global to the process.
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
    ".tga", ".ico",
})
# fmt: on
"""What counts as an image by its name; wider than ``FORMATS``, so that the rest is reported, not missed."""

_TEXT_LIMIT = re.compile("MAX_TEXT_CHUNK|text chunk")  # in what Pillow says of a PNG beyond its limits
_ORIENTATION = 0x0112
_KIND_OF_IMAGE, _SUB_IMAGES = 254, 330  # TIFF: 1 is a reduced version of another image in the file
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Inspection:
    """What the check of a file records.

    Args:
        sha256: of its bytes.
        size: (width, height) in pixels, upright.
        extremes: of its samples, where they have more than 8 bits.
    """

    sha256: str
    size: tuple[int, int]
    extremes: SampleExtremes | None


def decode(
    source: str | Path | bytes | BinaryIO,
    *,
    max_pixels: int = MAX_PIXELS,
    intensity_range: IntensityRange | None = None,
) -> Image.Image:
    """An image, wholly decoded, upright, RGB, 8 bits per channel; of an animation the first frame.

    See ``upright`` for how other modes become RGB. A file whose name promises another format is read for
    what it is.

    Raises:
        ExciteError: the reason in a few words, and the path: unreadable, empty, truncated, damaged, not an
            image, a format not in ``FORMATS``, or more than ``max_pixels`` (told from the header alone).
    """
    with _opened(source) as stream:
        return _decoded(stream, max_pixels, intensity_range)[0]


def decode_and_hash(
    path: str | Path, *, max_pixels: int = MAX_PIXELS, intensity_range: IntensityRange | None = None
) -> tuple[Image.Image, str]:
    """The image as ``decode`` gives it, and the SHA-256 of the very bytes that it was read from."""
    with _opened(path) as stream:
        digest = hashlib.file_digest(cast(io.BufferedReader, stream), "sha256").hexdigest()
        return _decoded(stream, max_pixels, intensity_range)[0], digest


def inspect_file(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Inspection:
    """Decode a file as ``decode`` does, and record its hash, size, and extremes. Raises: as ``decode``."""
    with _opened(path) as stream:
        digest = hashlib.file_digest(cast(io.BufferedReader, stream), "sha256").hexdigest()
        image, extremes = _decoded(stream, max_pixels, FULL_RANGE)
        return Inspection(digest, image.size, extremes)


def upright(image: Image.Image, intensity_range: IntensityRange | None = None) -> Image.Image:
    """An open image turned as its EXIF orientation says, as RGB with 8 bits per channel.

    Transparency is laid over white; color profiles are not applied; the caller's image is left as it is.

    Args:
        intensity_range: the samples of an image with more than 8 bits that become 0 and 255; None: all that
            16-bit integers hold.

    Raises:
        ExciteError: when its pixels cannot be read, or are floating-point samples without a range.
    """
    return _upright(image, intensity_range)[0]


def _upright(
    image: Image.Image, intensity_range: IntensityRange | None, low_bytes: Image.Image | None = None
) -> tuple[Image.Image, SampleExtremes | None]:
    """The upright image, and the extremes of samples that have more than 8 bits; ``low_bytes`` as
    ``low_byte_tiles`` decodes them."""
    with _reasons(getattr(image, "filename", None) or None):
        image.load()
        shown, samples = image, deep_samples(image)
        if samples is not None:
            eight = to_eight_bits(samples, intensity_range, inverted=is_inverted(image))
            shown = Image.fromarray(eight)
        elif low_bytes is not None:
            upper = np.asarray(image)
            samples = upper.astype(np.uint16) << 8 | np.asarray(low_bytes)
            shown = Image.fromarray(to_eight_bits(samples, intensity_range))
            samples = samples[..., :3]  # how opaque an image is says nothing of its range
        turn = _TURNS.get(_orientation(image))
        turned = shown if turn is None else shown.transpose(turn)
        result = _rgb(turned)
        if result is not image:
            result.info = {}  # the orientation has been followed; a second reader must not turn it again
        if samples is None:
            return result, None
        return result, measure_extremes(samples, inverted=is_inverted(image))


def _decoded(
    stream: BinaryIO, max_pixels: int, intensity_range: IntensityRange | None
) -> tuple[Image.Image, SampleExtremes | None]:
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    if not head:
        raise ExciteError("is empty (0 bytes)")
    reader = next((reader for pattern, reader in _READERS.values() if pattern.match(head)), None)
    if reader is None:
        raise ExciteError(describe_unsupported_format(head, FORMATS))
    with whole_images_only():
        try:
            return _read(stream, reader, max_pixels, intensity_range)
        except ValueError as error:
            if reader is not PngImagePlugin.PngImageFile or not _TEXT_LIMIT.search(str(error)):
                raise
            # Pillow limits texts and profiles that nobody needs here: read the image without them.
            return _read(without_texts(stream), reader, max_pixels, intensity_range)


def _read(
    stream: BinaryIO, reader: Reader, max_pixels: int, intensity_range: IntensityRange | None
) -> tuple[Image.Image, SampleExtremes | None]:
    stream.seek(0)
    image = reader(stream)
    width, height = image.size
    if width < 1 or height < 1:
        raise ExciteError("has no pixels")
    if width * height > max_pixels:
        raise ExciteError(f"is too large: {width} x {height} pixels, the limit is {max_pixels:,}")
    tags = getattr(image, "tag_v2", {})
    if _SUB_IMAGES in tags and tags.get(_KIND_OF_IMAGE) == 1:
        raise ExciteError("is a camera's raw file with a thumbnail; convert it to JPEG or PNG")
    low_bytes = None
    if "transparency" not in image.info and (tiles := low_byte_tiles(image)):
        stream.seek(0)
        low_bytes = reader(stream)
        low_bytes.tile = tiles
        low_bytes.load()
        stream.seek(0)
        image = reader(stream)
    result, extremes = _upright(image, intensity_range, low_bytes)
    return (result.copy() if result is image else result), extremes  # lets go of the file


@contextmanager
def _opened(source: str | Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        with _reasons(None):
            yield io.BytesIO(source)
    elif isinstance(source, str | Path):
        # A named pipe would be waited on for ever, so look before opening.
        with _reasons(source):
            if not stat.S_ISREG(Path(source).stat().st_mode):
                raise ExciteError("is not a file")
            with Path(source).open("rb") as file:
                yield file
    else:
        with _reasons(getattr(source, "name", None)):
            yield source if source.seekable() else io.BytesIO(source.read())


@contextmanager
def _reasons(where: object) -> Iterator[None]:
    """Whatever goes wrong inside becomes an ExciteError with a reason in a few words."""
    try:
        yield
    except ExciteError as error:
        raise ExciteError(error.what, where=error.where or where, hint=error.hint) from error.__cause__
    except FileNotFoundError as error:
        raise ExciteError("there is no such file", where=where) from error
    except MemoryError as error:
        raise ExciteError("does not fit into memory", where=where) from error
    except Exception as error:  # decoders meet hostile bytes and raise nearly anything
        raise ExciteError(_reason(error), where=where) from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror.lower()}"
    text = " ".join(str(error).split())
    if bits := re.search(r"cannot handle (\d+)-bit layers", text):
        return f"is a JPEG with {bits[1]} bits per sample, which is not decoded; convert it to a 16-bit PNG"
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return "is truncated"
    return f"is damaged: {text or type(error).__name__}"[:120]


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged tag does not make the picture a bad one
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "LAB":
        space, screen = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, space, screen, outputMode="RGB")
        assert converted is not None  # None is for work in place
        return converted
    if not image.has_transparency_data:
        return image.convert("RGB")
    picture = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), picture).convert("RGB")
