"""Images in multipart/form-data, as httpx writes it, and damaged."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excite.serving.multipart import parse_multipart
from excite.serving.refusals import RefusedError

BOUNDARY = "multipart/form-data; boundary=b"
FILE = b'Content-Disposition: form-data; name="f"; filename="%s"\r\n\r\n'


def encode(files: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """Content type and body, by httpx."""
    parts = [("image", (name, content, "image/jpeg")) for name, content in files]
    request = httpx.Request("POST", "http://localhost", files=parts)
    return request.headers["content-type"], request.read()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.text("abc ü图.-_/\\", min_size=1, max_size=9), st.binary(max_size=300)),
        min_size=1,
        max_size=4,
    )
)
def test_what_httpx_encodes_is_read_back(files: list[tuple[str, bytes]]) -> None:
    found = parse_multipart(*encode(files), 4)
    assert [each.content for each in found] == [content for _, content in files]


def test_names_are_data_and_fields_without_a_file_are_left_out() -> None:
    body = (
        b"--b\r\n"
        + FILE % b"../../etc/passwd"
        + b"one\r\n--b\r\nContent-Disposition: form-data; name=x\r\n\r\n2\r\n--b--\r\n"
    )
    [found] = parse_multipart(BOUNDARY, body, 4)
    assert (found.name, found.content) == ("../../etc/passwd", b"one")


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", b"--b--\r\n", 400),
        ("multipart/form-data; boundary=" + "b" * 71, b"", 400),
        (BOUNDARY, b"", 400),
        (BOUNDARY, b"no boundary at all", 400),
        (BOUNDARY, b"--b\r\n" + FILE % b"a" + b"cut off", 400),
        (BOUNDARY, b"--b\r\nX: " + b"h" * 100_000 + b"\r\n\r\n\r\n--b--\r\n", 400),
        (BOUNDARY, b"--b\r\n" + b"A: b\r\n" * 100 + b"\r\n\r\n--b--\r\n", 400),
        (BOUNDARY, b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n2\r\n--b--\r\n", 400),
        (BOUNDARY, b"".join([b"--b\r\n" + FILE % b"a" + b"1\r\n"] * 5) + b"--b--\r\n", 413),
        (BOUNDARY, b"".join([b"--b\r\n\r\n1\r\n"] * 5000) + b"--b--\r\n", 413),
    ],
)
def test_damaged_bodies_are_refused(kind: str, body: bytes, status: int) -> None:
    with pytest.raises(RefusedError) as refused:
        parse_multipart(kind, body, 4)
    assert refused.value.status == status


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_changed_body_is_read_or_refused_with_4xx(data: st.DataObject) -> None:
    kind, body = encode([("a.jpg", b"\xff\xd8one"), ("b.png", b"two")])
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(changed) - 1))
        changed[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    status = 200
    try:
        found = parse_multipart(kind, bytes(changed), 4)
    except RefusedError as error:
        found, status = [], error.status
    assert status == 200 or 400 <= status < 500
    assert len(found) <= 4
