"""From the bytes of an untrusted file to an upright RGB picture, or to a short reason why not."""

from __future__ import annotations

import hashlib
import io
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

from excite.errors import ExciteError

MAX_PIXELS = 178_956_970 // 2
"""Pictures above this are refused by default: a quarter of a gigabyte once decoded."""

Reader = Callable[[IO[bytes]], ImageFile.ImageFile]

# What is decoded: a file's first bytes choose the reader, its name does not. The readers are called
# directly because Image.open has a pixel limit of its own, which is global to the process.
_READERS: dict[str, tuple[re.Pattern[bytes], Reader]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), JpegImagePlugin.jpeg_factory),
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    "GIF": (re.compile(rb"GIF8[79]a"), GifImagePlugin.GifImageFile),
    "BMP": (re.compile(rb"BM.{4}", re.DOTALL), BmpImagePlugin.BmpImageFile),
    "TIFF": (re.compile(rb"II[*+]\x00|MM\x00[*+]"), TiffImagePlugin.TiffImageFile),
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

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(source: str | Path | bytes | BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A picture, wholly decoded, upright, RGB, 8 bits a channel; of an animation the first frame.

    See ``upright`` for how other modes become RGB. A file whose name promises another format is read for
    what it is.

    Raises:
        ExciteError: the reason in a few words, and the path: unreadable, empty, truncated, damaged, not an
            image, a format not in ``FORMATS``, or more than ``max_pixels`` (told from the header alone).
    """
    with _opened(source) as stream:
        return _decoded(stream, max_pixels)


def decode_and_hash(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, str]:
    """The picture as ``decode`` gives it, and the SHA-256 of the very bytes that it was read from."""
    with _opened(path) as stream:
        digest = hashlib.file_digest(cast(io.BufferedReader, stream), "sha256").hexdigest()
        return _decoded(stream, max_pixels), digest


def upright(image: Image.Image) -> Image.Image:
    """An open picture turned as its EXIF orientation says, as RGB with 8 bits a channel.

    Transparency is laid over white. Grey of 16 bits keeps its upper 8; so does 32-bit integer grey that
    goes beyond 255. Floating-point grey is taken as 0..1, or as 0..255 where it goes beyond 1. Colour
    profiles are not applied. The caller's picture is left as it is.

    Raises:
        ExciteError: when its pixels cannot be read.
    """
    with _reasons(getattr(image, "filename", None) or None):
        image.load()
        turn = _TURNS.get(_orientation(image))
        turned = image if turn is None else image.transpose(turn)
        result = _rgb(turned)
        if result is not image:
            result.info = {}  # the orientation has been followed; a second reader must not turn it again
        return result


def _decoded(stream: BinaryIO, max_pixels: int) -> Image.Image:
    stream.seek(0)
    head = stream.read(64)
    stream.seek(0)
    if not head:
        raise ExciteError("is empty (0 bytes)")
    reader = next((reader for pattern, reader in _READERS.values() if pattern.match(head)), None)
    if reader is None:
        raise ExciteError(_foreign(head))
    # Other code in the process may have switched this on; half a picture must not pass for a whole one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    image = reader(stream)
    width, height = image.size
    if width < 1 or height < 1:
        raise ExciteError("has no pixels")
    if width * height > max_pixels:
        raise ExciteError(f"is too large: {width} x {height} pixels, the limit is {max_pixels:,}")
    result = upright(image)
    return result.copy() if result is image else result  # lets go of the file


def _foreign(head: bytes) -> str:
    """Why a file that starts like this is not decoded."""
    if head[4:8] == b"ftyp":
        return "is HEIC, AVIF or video; convert it to JPEG or PNG"
    if head.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")):
        return "is JPEG XL; convert it to JPEG or PNG"
    if not head.strip(b"\x00"):
        return "is not an image: it holds zeros"
    # Control characters other than white space do not occur in text.
    if not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", head):
        return "is not an image but text"
    return f"is not an image of a known format ({', '.join(FORMATS)})"


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
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode == "LAB":
        space, screen = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, space, screen, outputMode="RGB")
        assert converted is not None  # None is for work in place
        return converted
    if not image.has_transparency_data:
        return image.convert("RGB")
    picture = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), picture).convert("RGB")


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """Grey of any depth, (height, width), as uint8."""
    if grey.dtype.kind == "f":
        grey = np.nan_to_num(grey, nan=0.0)
        scale = 255.0 if grey.max() <= 1 else 1.0
        return np.rint(np.clip(grey * scale, 0, 255)).astype(np.uint8)
    if grey.dtype.itemsize == 2 or grey.max() > 255:
        return (np.clip(grey, 0, 65535) >> 8).astype(np.uint8)
    return np.clip(grey, 0, 255).astype(np.uint8)
