"""Work around the global settings of Pillow without changing them for the rest of the process."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import ImageFile

_SIGNATURE = 8  # bytes before a PNG's first chunk
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
# Texts that may contain the orientation, and their largest size.
_ORIENTATIONS = (b"XML:com.adobe.xmp\0\0", b"Raw profile type exif\0")
_SMALL = 1 << 16

_lock = threading.Lock()
_readers = 0
_callers_choice = False


@contextmanager
def whole_images_only() -> Iterator[None]:
    """Refuse truncated files inside the block, even if other code of the process lets Pillow accept them.

    The setting is restored when the last thread leaves the block."""
    global _readers, _callers_choice  # noqa: PLW0603 (Pillow's own switch is global)
    with _lock:
        if _readers == 0:
            _callers_choice = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = _callers_choice


def without_texts(stream: BinaryIO) -> io.BytesIO:
    """A PNG without its texts and color profile, which Pillow limits to 1 MB each.

    A truncated chunk is retained, so that the decoder refuses the file.
    """
    stream.seek(0)
    chunks = [stream.read(_SIGNATURE)]
    while len(header := stream.read(8)) == 8:
        length, name = struct.unpack(">I4s", header)
        body = b"" if length > _SMALL and name in _TEXTS else stream.read(length + 4)
        if name in _TEXTS and not body.startswith(_ORIENTATIONS):
            if not body:
                stream.seek(length + 4, io.SEEK_CUR)
            continue
        chunks += [header, body]
        if name == b"IEND":
            break
    return io.BytesIO(b"".join(chunks) + header[: len(header) % 8])
