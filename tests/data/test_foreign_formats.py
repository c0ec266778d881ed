"""Files that are not images, recognized by their first bytes."""

from __future__ import annotations

import gzip
import io
import zipfile

import numpy as np
import pytest

from excite.data.decoding import FORMATS
from excite.data.foreign_formats import HEAD_BYTES, describe_unsupported_format


def numpy_file() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def zip_file() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.txt", "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (numpy_file(), "is a NumPy array"),
        (zip_file(), "is a ZIP archive"),
        (gzip.compress(b"x", mtime=0), "is compressed with gzip"),
        (bytes(128) + b"DICM", "is DICOM"),
        (b"%PDF-1.7", "is a PDF document"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
        (b"<?xml version='1.0'?><svg/>", "is an SVG drawing"),
        (b"id,label\n1,cat\n", "is not an image but text"),
        (bytes(64), "only zeros"),
        (b"\x01\x02\x03\x04random", "is not an image of a known format"),
    ],
)
def test_what_a_file_is(content: bytes, message: str) -> None:
    assert message in describe_unsupported_format(content[:HEAD_BYTES], FORMATS)
