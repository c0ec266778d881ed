"""Every failure of a decoder becomes one line with a reason."""

from __future__ import annotations

import errno
import os

import pytest

from excite.data.decoding_errors import decoding_errors
from excite.errors import ExciteError


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(), "there is no such file"),
        (MemoryError(), "does not fit into memory"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), "cannot be read: permission denied"),
        (OSError("image file is truncated (3 bytes not processed)"), "is truncated"),
        (EOFError(), "is truncated"),
        (ValueError("bad\n  marker"), "is damaged: bad marker"),
        (ZeroDivisionError(), "is damaged: ZeroDivisionError"),
        (OSError("cannot handle 12-bit layers"), "is a JPEG with 12 bits per sample, which is not supported"),
    ],
)
def test_any_exception_becomes_a_reason(error: Exception, reason: str) -> None:
    with pytest.raises(ExciteError) as raised, decoding_errors("photo.jpg"):
        raise error
    assert raised.value.what.startswith(reason)
    assert raised.value.where == "photo.jpg"
    assert raised.value.__cause__ is error


def test_a_long_message_is_cut_off() -> None:
    with pytest.raises(ExciteError) as raised, decoding_errors("photo.jpg"):
        raise ValueError("x" * 1000)
    assert len(raised.value.what) == 120


def test_errors_of_excite_get_the_file_unless_they_name_one() -> None:
    with (
        pytest.raises(ExciteError, match=r"^photo\.jpg: is too large .use --max-pixels"),
        decoding_errors("photo.jpg"),
    ):
        raise ExciteError("is too large", hint="use --max-pixels")
    with pytest.raises(ExciteError, match=r"^other\.jpg: is empty"), decoding_errors("photo.jpg"):
        raise ExciteError("is empty", where="other.jpg")


def test_a_request_to_stop_is_no_damaged_file() -> None:
    with pytest.raises(KeyboardInterrupt), decoding_errors("photo.jpg"):
        raise KeyboardInterrupt
