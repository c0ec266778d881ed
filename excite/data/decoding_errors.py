"""One line for every way in which decoding a file can fail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from excite.errors import ExciteError


@contextmanager
def decoding_errors(where: object) -> Iterator[None]:
    """Turn every exception of the ``with`` block into an ExciteError with a reason in a few words.

    Args:
        where: the file, for errors that do not name one.
    """
    try:
        yield
    except ExciteError as error:
        raise ExciteError(error.what, where=error.where or where, hint=error.hint) from error.__cause__
    except FileNotFoundError as error:
        raise ExciteError("there is no such file", where=where) from error
    except MemoryError as error:
        raise ExciteError("does not fit into memory", where=where) from error
    except Exception as error:  # decoders raise almost any exception for malformed bytes
        raise ExciteError(_reason(error), where=where) from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror.lower()}"
    text = " ".join(str(error).split())
    if bits := re.search(r"cannot handle (\d+)-bit layers", text):
        return f"is a JPEG with {bits[1]} bits per sample, which is not supported; convert it to a 16-bit PNG"
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return "is truncated"
    return f"is damaged: {text or type(error).__name__}"[:120]
