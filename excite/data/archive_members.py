"""The files in a zip or tar archive, one after the other, without trusting it.

A member is only ever a name and bytes: links and devices are counted and skipped, and names that lead out of
the archive are refused.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from excite.errors import ExciteError
from excite.system.portable_names import unportable_reason

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
OTHER_SUFFIXES = (".rar", ".7z", ".tar.zst", ".tzst")

_HEADER_LIMIT = 64 * 2**20  # bytes that are read at once from a tar, so that a header cannot fill the memory
_UNPACK = "unpack it yourself, and name the folder"
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags of a member of a zip
_DECOMPRESSORS: tuple[tuple[bytes, Callable[[IO[bytes]], IO[bytes]]], ...] = (
    (b"\x1f\x8b", lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file))),
    (b"BZh", lambda file: cast(IO[bytes], bz2.BZ2File(file))),
    (b"\xfd7zXZ\x00", lambda file: cast(IO[bytes], lzma.LZMAFile(file))),  # noqa: SIM115
)


@dataclass(frozen=True)
class Member:
    """An entry of an archive.

    Args:
        name: as stored, for messages.
        parts: of its path; empty for an entry that is not a file.
        size: of its content in bytes, as the archive states it.
        content: the content, to be read before the next member; None if it is not a file.
    """

    name: str
    parts: tuple[str, ...]
    size: int
    content: Callable[[], IO[bytes]] | None


def has_archive_name(path: str | os.PathLike[str]) -> bool:
    """Whether a path has the extension of an archive that can be read.

    >>> has_archive_name("photos.TAR.gz"), has_archive_name("photos.gz")
    (True, False)
    """
    return os.fspath(path).lower().endswith(SUFFIXES)


def archive_stem(path: Path) -> str:
    """The name of an archive without its extension.

    >>> archive_stem(Path("photos.tar.gz"))
    'photos'
    """
    longest_first = sorted(SUFFIXES, key=len, reverse=True)
    suffix = next((each for each in longest_first if path.name.lower().endswith(each)), "")
    return path.name[: len(path.name) - len(suffix)]


@contextlib.contextmanager
def archive_errors(path: Path) -> Iterator[None]:
    """Turn what the standard library raises for a damaged archive into one line."""
    try:
        yield
    except ExciteError as error:
        raise ExciteError(error.what, where=path, hint=error.hint) from error.__cause__
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise ExciteError(f"is damaged or incomplete: {_in_words(error)}", where=path) from error
    except OSError as error:
        if error.errno is not None:  # of the disk
            raise
        raise ExciteError(f"is damaged or incomplete: {_in_words(error)}", where=path) from error
    except (NotImplementedError, RuntimeError) as error:  # a method of compression of other programs
        raise ExciteError(f"cannot be read: {_in_words(error)}", where=path, hint=_UNPACK) from error
    except (ValueError, OverflowError, MemoryError) as error:
        raise ExciteError(f"is damaged: {_in_words(error)}", where=path) from error


def members(path: Path) -> Iterator[Member]:
    """The members of an archive in its order.

    Raises:
        ExciteError: for a member outside the archive, an encrypted one, and a name that Windows cannot write.
        Exception: of the standard library, for a damaged archive; see ``archive_errors``.
    """
    with path.open("rb") as file:
        is_zip = zipfile.is_zipfile(file)
        file.seek(0)
        yield from _of_zip(file) if is_zip else _of_tar(file)


def _of_zip(file: IO[bytes]) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = _decoded(info)
            kind = info.external_attr >> 28  # the type of a file on Unix; 0 if another system wrote the zip
            if info.is_dir() or kind not in (0, 0o10):
                if kind == 0o12:  # a link
                    yield Member(name, (), 0, None)
                continue
            if info.flag_bits & _ENCRYPTED:
                raise ExciteError(f"is encrypted, such as {name!r}", hint=_UNPACK)
            yield Member(name, _parts(name), info.file_size, _opener(archive, info))


def _opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(info)


def _decoded(info: zipfile.ZipInfo) -> str:
    """The name of a member: UTF-8, also where the zip does not say so, or else code page 437 by its rules."""
    if info.flag_bits & _UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _of_tar(file: IO[bytes]) -> Iterator[Member]:
    head = file.read(8)
    file.seek(0)
    opener = next((opener for magic, opener in _DECOMPRESSORS if head.startswith(magic)), None)
    stream = _Limited(file if opener is None else opener(file))
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as archive:
        for info in archive:
            archive.members = []  # type: ignore[attr-defined]  # it would grow with every member
            if info.isdir():
                continue
            if not info.isreg():
                yield Member(info.name, (), 0, None)
                continue
            yield Member(info.name, _parts(info.name), info.size, _extractor(archive, info))


def _extractor(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    return lambda: cast(IO[bytes], archive.extractfile(info))


class _Limited:
    """A stream of which only so much is read at once: a header of a tar states its own length."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek, self.tell, self.close = stream.seek, stream.tell, stream.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER_LIMIT:
            raise ExciteError("is damaged: a header is larger than 64 MiB")
        return self._stream.read(size)


def _parts(name: str) -> tuple[str, ...]:
    """The parts of the path of a file. Raises: ExciteError if it leads out of the archive."""
    slashed = name.replace("\\", "/")  # as some programs on Windows write
    parts = tuple(part for part in slashed.split("/") if part not in ("", "."))
    has_drive = len(slashed) > 1 and slashed[1] == ":" and slashed[0].isalpha()
    if slashed.startswith("/") or has_drive or ".." in parts or not parts:
        raise ExciteError(f"has a file outside of itself, {name!r}: nothing was unpacked", hint=_UNPACK)
    if "\0" in name:
        raise ExciteError(f"has a file with a zero byte in its name, {name!r}", hint=_UNPACK)
    if os.name == "nt":
        for part in parts:
            if reason := unportable_reason(part):
                raise ExciteError(f"has a file that Windows cannot write, {name!r}: {reason}")
    return parts


def _in_words(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
