"""Requests with damaged, lying, and hostile uploads; for ``benchmarks/serving.py`` and the tests."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Sequence

from PIL import Image

Source = random.Random
_POST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"


def mutated(images: Sequence[bytes], source: Source) -> tuple[str, bytes]:
    """A kind of mutation, and a complete HTTP request, which may be malformed."""
    kind = source.choice(list(MUTATIONS))
    return kind, MUTATIONS[kind](source.choice(images), source)


def request(
    body: bytes, headers: bytes = b"", length: int | None = None, path: bytes = b"/predict?evidence=1"
) -> bytes:
    """A request; ``length`` is what its header says."""
    size = b"Content-Length: %d\r\n" % (len(body) if length is None else length)
    return b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + headers + size + b"\r\n" + body


def form(files: Sequence[tuple[bytes, bytes]], boundary: bytes = b"b0undary") -> bytes:
    """A request with a form."""
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="image"; filename="%b"\r\n\r\n%b\r\n'
        % (boundary, name, content)
        for name, content in files
    ]
    kind = b"Content-Type: multipart/form-data; boundary=%b\r\n" % boundary
    return request(b"".join(parts) + b"--%b--\r\n" % boundary, kind)


def _converted(image: bytes, source: Source) -> bytes:
    """The image in another format and mode."""
    format = source.choice(["PNG", "GIF", "BMP", "TIFF", "WebP", "JPEG", "PPM", "JPEG2000", "ICO", "PCX"])
    mode = source.choice(["RGB", "L", "P", "RGBA", "1", "I;16", "CMYK", "LA"])
    file = io.BytesIO()
    try:
        opened = Image.open(io.BytesIO(image)).convert("RGB").resize((97, 61))
        opened.convert(mode).save(file, format)
    except (OSError, ValueError, KeyError):
        opened.save(file, "PNG")
    return file.getvalue()


def _truncated(image: bytes, source: Source) -> bytes:
    content = source.choice([image, _converted(image, source)])
    return request(content[: source.randrange(len(content))])


def _flipped(image: bytes, source: Source) -> bytes:
    content = bytearray(source.choice([image, _converted(image, source)]))
    for _ in range(source.choice([1, 3, 30, 300])):
        content[source.randrange(min(len(content), source.choice([64, 1024, 10**9])))] = source.randrange(256)
    return request(bytes(content))


def _spliced(image: bytes, source: Source) -> bytes:
    other = _converted(image, source)
    content = bytearray(_converted(image, source))
    place, length = source.randrange(len(content)), source.randrange(200)
    content[place : place + source.randrange(200)] = other[source.randrange(len(other)) :][:length]
    return request(bytes(content))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _bomb(image: bytes, source: Source) -> bytes:
    """Many pixels, a text that unpacks to 50 MB, many frames, or many scans in a few bytes."""
    kind = source.randrange(5)
    if kind == 0:
        side = source.choice([2**31 - 1, 60_000, 5001, 4999])
        header = struct.pack(">IIBBBBB", side, side, *source.choice([(8, 2), (16, 6), (1, 0)]), 0, 0, 0)
        rows = _chunk(b"IDAT", zlib.compress(bytes(10**6)))
        return request(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + rows + _chunk(b"IEND", b""))
    if kind == 1:
        png = io.BytesIO()
        Image.new("RGB", (9, 9)).save(png, "PNG")
        text = _chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(5 * 10**7)))
        return request(png.getvalue()[:33] + text + png.getvalue()[33:])
    if kind == 2:
        gif = io.BytesIO()
        frames = [Image.new("L", (9, 9), shade) for shade in range(200)]
        frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:])
        return request(gif.getvalue())
    if kind == 3:
        jpeg = io.BytesIO()
        Image.open(io.BytesIO(image)).convert("RGB").save(jpeg, "JPEG", progressive=True)
        content = jpeg.getvalue()
        last = content.rindex(b"\xff\xda")
        return request(content[:-2] + content[last:-2] * source.choice([30, 3000]) + content[-2:])
    webp = io.BytesIO()
    Image.new("RGB", (source.choice([2000, 5100]),) * 2).save(
        webp, "WebP", lossless=True, method=0, quality=0
    )
    return request(webp.getvalue())


def _polyglot(image: bytes, source: Source) -> bytes:
    tail = source.choice(
        [b"<script>alert(1)</script>", b"PK\x03\x04" + bytes(99), b"%PDF-1.7\n", b"#!/bin/sh\n", image]
    )
    return request(source.choice([image + tail, tail + image, image[:2] + tail + image[2:]]))


def _no_image(image: bytes, source: Source) -> bytes:
    contents = [
        b"",
        b"\0" * 9999,
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://169.254.169.254/'/></svg>",
        b"<!DOCTYPE html><img src=x>",
        b"PK\x03\x04" + zlib.compress(image),
        b"http://169.254.169.254/latest/meta-data/",
        source.randbytes(source.randrange(5000)),
        b"P6 99999 99999 255\n",
        b"GIF89a",
        b"\xff\xd8\xff",
        b"II*\0" + source.randbytes(200),
        b"RIFF\xff\xff\xff\xffWEBPVP8X" + source.randbytes(50),
    ]
    return request(source.choice(contents))


def _lying_length(image: bytes, source: Source) -> bytes:
    length = source.choice([0, 1, len(image) - 1, len(image) + 1, 10**8, 10**19, -1])
    return request(image, length=length)


def _strange_names(image: bytes, source: Source) -> bytes:
    names = [
        b"../../etc/passwd",
        b"a\0.jpg",
        b"a\r\nX: y",
        b"\xff\xfe",
        b'"',
        b"x" * 9000,
        b"\\\\host\\share",
        b"%2e%2e%2f",
    ]
    return form(
        [
            (source.choice(names), image[: source.choice([0, 50, 10**9])])
            for _ in range(source.randrange(1, 4))
        ]
    )


def _damaged_form(image: bytes, source: Source) -> bytes:
    content = bytearray(form([(b"a.jpg", image[:2000])] * source.randrange(1, 30)))
    start = content.index(b"\r\n\r\n") + 4
    for _ in range(source.randrange(1, 20)):
        place = source.randrange(start, len(content))
        content[place] = source.choice(b"\r\n-\0ab\xff")
    return bytes(content)


def _large_headers(image: bytes, source: Source) -> bytes:
    names = [
        b"X-Large: ",
        b"Content-Type: multipart/form-data; boundary=",
        b"Cookie: ",
        b"Authorization: Bearer ",
    ]
    return request(image, source.choice(names) + b"x" * 100_000 + b"\r\n")


def _malformed(image: bytes, source: Source) -> bytes:
    heads = [
        b"POST /predict HTTP/1.1\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        _POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /%00%2e%2e/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /predict?set=nan&evidence=%ff HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n",
        _POST + b"Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
        b"DELETE /predict HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ]
    return source.choice(heads)


MUTATIONS: dict[str, Callable[[bytes, Source], bytes]] = {
    "truncated": _truncated,
    "flipped": _flipped,
    "spliced": _spliced,
    "converted": lambda image, source: request(_converted(image, source)),
    "bomb": _bomb,
    "polyglot": _polyglot,
    "no image": _no_image,
    "lying length": _lying_length,
    "strange names": _strange_names,
    "damaged form": _damaged_form,
    "large headers": _large_headers,
    "malformed": _malformed,
}
