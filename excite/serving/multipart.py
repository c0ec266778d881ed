"""The images in a body of type multipart/form-data, from memory to memory: nothing is written to a disk."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from excite.serving.refusals import RefusedError

MAX_HEADERS = 16  # of a part
MAX_HEADER_BYTES = 8192
SHOWN = 200  # characters of a file name
OTHER_PARTS = 8  # form fields beside the images


@dataclass(frozen=True)
class Upload:
    """An image file as it arrived.

    Args:
        name: what the client calls it; only ever shown, never used as a path.
        content: its bytes.
    """

    name: str
    content: bytes


@dataclass
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    content: bytearray = field(default_factory=bytearray)


def parse_multipart(content_type: str, body: bytes, max_images: int) -> list[Upload]:
    """The parts that are files, in order.

    Args:
        content_type: the header, with the boundary.
        body: the whole body.
        max_images: largest number of files.

    Raises:
        RefusedError: if the body is damaged (400), or has too many parts (413).
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise RefusedError(400, "malformed", "the Content-Type has no valid boundary")
    reader = _Reader(max_images)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin,
                "on_part_data": reader.data,
                "on_part_end": reader.end,
                "on_header_field": reader.header_name,
                "on_header_value": reader.header_value,
                "on_header_end": reader.header_end,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise RefusedError(400, "malformed", "the multipart body is damaged") from error
    if not reader.complete:
        raise RefusedError(400, "malformed", "the multipart body is truncated")
    if not reader.uploads:
        raise RefusedError(400, "malformed", "the multipart body has no file")
    return reader.uploads


class _Reader:
    """Collects what the parser reports."""

    def __init__(self, max_images: int) -> None:
        self.uploads: list[Upload] = []
        self.complete = True
        self._max_images, self._parts = max_images, 0
        self._part = _Part()

    def begin(self) -> None:
        self.complete = False
        self._parts += 1
        if self._parts > self._max_images + OTHER_PARTS:
            raise self._too_many()
        self._part = _Part()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.name += data[start:end]
        self._check_header()

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.value += data[start:end]
        self._check_header()

    def header_end(self) -> None:
        part = self._part
        part.headers[bytes(part.name).lower()] = bytes(part.value)
        part.name, part.value = bytearray(), bytearray()

    def data(self, data: bytes, start: int, end: int) -> None:
        self._part.content += memoryview(data)[start:end]

    def end(self) -> None:
        self.complete = True
        part = self._part
        _, options = parse_options_header(part.headers.get(b"content-disposition", b""))
        is_image = part.headers.get(b"content-type", b"").startswith(b"image/")
        if b"filename" not in options and not is_image:
            return
        if len(self.uploads) == self._max_images:
            raise self._too_many()
        name = options.get(b"filename", b"").decode(errors="replace")[:SHOWN]
        self.uploads.append(Upload(name, bytes(part.content)))
        self._part = _Part()

    def _check_header(self) -> None:
        part = self._part
        if len(part.headers) > MAX_HEADERS or len(part.name) + len(part.value) > MAX_HEADER_BYTES:
            raise RefusedError(400, "malformed", "a part of the body has too large headers")

    def _too_many(self) -> RefusedError:
        return RefusedError(413, "too_many", f"a request may have {self._max_images} images")
