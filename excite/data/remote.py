"""Files in an object store: read in parts, checked, repeated after a fault, and kept in a bounded cache."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from excite.errors import BAD_USAGE, ExciteError
from excite.system.cache import cache_path
from excite.system.files import replacing
from excite.system.shared_work import locked

T = TypeVar("T")

ATTEMPTS = 8
"""Times that a part is asked for before the fault is reported; the waits between add up to half a minute."""
CACHE_BYTES = 20 * 10**9
"""Bytes of shards on this machine by default; ``EXCITE_SHARD_CACHE_GB`` sets another limit."""
FOLDER = "shards"  # in the cache folder
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 10.0  # seconds
_CONNECT, _READ = 5, 20  # seconds until a connection, or a read, counts as failed
_PART_BYTES = 8 * 2**20  # of a shard that is fetched as a whole
_SHOWN = 200  # characters of what a client says
_RECENT, _OFTEN = 1024, 64  # a shard with this many of the most recent reads is fetched as a whole
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError)  # faults that asking again does not mend


class RemoteFile:
    """One file of an object store.

    Args:
        address: such as ``s3://bucket/shards/000000.tar``.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._files = _file_system(address.partition("://")[0])

    def read_whole(self, check: Callable[[bytes], None]) -> bytes:
        """All bytes of a small file.

        Args:
            check: raises ExciteError for a content that is not what was written.

        Raises:
            ExciteError: if it is missing or cannot be read.
        """

        def attempt() -> bytes:
            content: bytes = self._files.cat_file(self.address)
            check(content)
            return content

        return self._repeated(attempt, self.address)

    def read(self, offset: int, size: int, sha256: str, name: str) -> bytes:
        """A part of the file with this hash.

        Args:
            name: of what is read, for errors.

        Raises:
            ExciteError: if it is missing, or if ``ATTEMPTS`` times it cannot be read or has another hash.
        """
        kept = self._kept()
        if kept is not None:
            try:
                with kept.open("rb") as file:
                    file.seek(offset)
                    content = file.read(size)
                if hashlib.sha256(content).hexdigest() == sha256:
                    return content
            except OSError:  # removed meanwhile to make room
                pass

        def attempt() -> bytes:
            content = self._files.cat_file(self.address, start=offset, end=offset + size)
            if len(content) != size or (sha256 and hashlib.sha256(content).hexdigest() != sha256):
                raise OSError(f"{len(content):,} bytes were received that were not written (SHA-256 differs)")
            return content

        return self._repeated(attempt, name)

    def _repeated(self, attempt: Callable[[], T], name: str) -> T:
        wait = _FIRST_WAIT
        for number in range(1, ATTEMPTS + 1):
            try:
                return attempt()
            except _FINAL as error:
                missing = isinstance(error, FileNotFoundError)
                reason = "there is no such object" if missing else "access is denied"
                hint = f"check the address and {', '.join(_VARIABLES)}"
                raise ExciteError(reason, where=self.address, hint=hint) from error
            except Exception as error:  # clients raise their own types for a cut connection or a busy store
                if number == ATTEMPTS:
                    said = error.what if isinstance(error, ExciteError) else str(error)
                    text = " ".join(said.split()) or type(error).__name__
                    what = f"{name} cannot be read in {ATTEMPTS} attempts: {text[:_SHOWN]}"
                    raise ExciteError(what, where=self.address, hint="run the command again") from error
                time.sleep(wait * random.uniform(0.5, 1.0))  # not all processes at once
                wait = min(2 * wait, _LONGEST_WAIT)
        raise AssertionError

    def _kept(self) -> Path | None:
        """The shard on this machine; fetched now if it was read often recently. None: read parts of it."""
        if not self.address.endswith(".tar"):
            return None
        path = _kept_path(self.address)
        if path.exists():
            return path
        if not _is_read_often(self.address):
            return None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(path, waits=False) as is_mine:
                if not is_mine:
                    return None
                return self._fetch(path)
        except OSError:  # the disk is full, or the cache cannot be written to
            return None

    def _fetch(self, path: Path) -> Path | None:
        size = self._repeated(lambda: int(self._files.size(self.address)), self.address)
        if not _make_room(path.parent, size):
            return None
        with replacing(path) as file:
            for start in range(0, size, _PART_BYTES):
                end = min(start + _PART_BYTES, size)
                # Each image is compared with its hash when it is read from here.
                file.write(self.read_part(start, end))
        return path

    def read_part(self, start: int, end: int) -> bytes:
        """Bytes that have no hash of their own.

        Raises:
            ExciteError: if they cannot be read.
        """

        def attempt() -> bytes:
            content: bytes = self._files.cat_file(self.address, start=start, end=end)
            if len(content) != end - start:
                raise OSError(f"{len(content):,} of {end - start:,} bytes were received")
            return content

        return self._repeated(attempt, self.address)


_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL")


@lru_cache(maxsize=4096)
def remote_file(address: str) -> RemoteFile:
    """The file at an address.

    Raises:
        ExciteError: for an address that does not begin with ``s3://``, and if s3fs is not installed.
    """
    return RemoteFile(address)


@lru_cache(maxsize=4)
def _file_system(protocol: str) -> Any:
    """The client; its credentials come from the environment only, and without any it is anonymous."""
    if protocol != "s3":
        what = f"addresses begin with s3://, not with {protocol}://"
        raise ExciteError(what, where="data", hint="mount it as a folder", exit_code=BAD_USAGE)
    try:
        import s3fs
    except ModuleNotFoundError as error:
        what = "object stores need s3fs, which is not installed"
        raise ExciteError(what, hint='pip install "excite[scale]"') from error
    key, secret, token, endpoint = (os.environ.get(name) or None for name in _VARIABLES)
    return s3fs.S3FileSystem(
        anon=key is None,
        key=key,
        secret=secret,
        token=token,
        endpoint_url=endpoint,
        config_kwargs={
            "connect_timeout": _CONNECT,
            "read_timeout": _READ,
            "retries": {"max_attempts": 1},
            "max_pool_connections": 64,
        },
        skip_instance_cache=True,
    )


_recent: deque[str] = deque()
_counts: Counter[str] = Counter()
_mutex = threading.Lock()


def _is_read_often(address: str) -> bool:
    with _mutex:
        _recent.append(address)
        _counts[address] += 1
        if len(_recent) > _RECENT:
            _counts[_recent.popleft()] -= 1
        return _counts[address] >= _OFTEN


def _kept_path(address: str) -> Path:
    return cache_path() / FOLDER / f"{hashlib.sha256(address.encode()).hexdigest()}.tar"


def cache_limit() -> int:
    """Bytes that shards of object stores may take on this machine.

    Raises:
        ExciteError: if ``EXCITE_SHARD_CACHE_GB`` is not a number.
    """
    text = os.environ.get("EXCITE_SHARD_CACHE_GB", "")
    try:
        return int(float(text) * 1e9) if text else CACHE_BYTES
    except ValueError as error:
        raise ExciteError(f"{text!r} is not a number", where="EXCITE_SHARD_CACHE_GB") from error


def _make_room(folder: Path, size: int) -> bool:
    """Remove the shards that were written first until one more fits into the limit; False if it cannot."""
    limit = cache_limit()
    kept = sorted((file.stat().st_mtime, file.stat().st_size, file) for file in folder.glob("*.tar"))
    total = sum(each for _, each, _ in kept)
    if size > limit:
        return False
    for _, each, file in kept:
        if total + size <= limit:
            break
        file.unlink(missing_ok=True)
        total -= each
    return True
